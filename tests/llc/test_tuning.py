"""The search for a sampler's settings, with synthetic draws in place of a sampler: its result, its
budget, and its resumption."""

import csv
import json
import math
import shutil
import time
from dataclasses import replace

import numpy as np
import pytest

from causal_meta import monitoring
from causal_meta.cli import main
from causal_meta.conf.local_posterior import LocalPosteriorConfig
from causal_meta.conf.samplers import HMCConfig, SGLDConfig
from causal_meta.conf.setting import ConfigError
from causal_meta.conf.tuning import TuneConfig, TuningBudgetConfig, usual_space
from causal_meta.runners.build import make
from causal_meta.runners.llc.tuning import (
    NO_FAILURE,
    Reference,
    Trial,
    best_of,
    judged,
    least_gradients,
)
from causal_meta.store import StoreError
from causal_meta.workflow.study_file import read_study_file, variants

BEST_STEP = 0.1


@pytest.fixture
def tuned(llc_store, made_up_target, made_up_sampler, made_up):
    """Build a search whose method has a bias of 30 % for each factor of ten between the step and
    the best step; `tuned.calls` counts trials."""

    def sample(landscape, config, checkpoint=None, progress=None):
        run.calls += 1
        if run.before:
            run.before(run.calls, progress)
        draws = made_up(chains=config.chains, length=2000, seed=config.seed % 2**32)
        far = abs(math.log10(config.step_fraction / BEST_STEP))
        return replace(
            draws,
            loss=draws.centre_loss + (draws.loss - draws.centre_loss) * (1 + 0.3 * far),
            divergent=run.divergent(config, draws),
        )

    def run(**settings):
        config = TuneConfig(**({"method": SGLDConfig(), "trials": 6, "startup": 3} | settings))
        return make(llc_store, config, {"of": made_up_target}, options={"progress": "off"})

    made_up_sampler(sample)
    run.calls, run.before, run.divergent = 0, None, lambda config, draws: draws.divergent
    return run


def tree_of(run):
    return json.loads((run.folder / "tune.json").read_text(), parse_constant=pytest.fail)


def test_the_search_finds_the_best_step(tuned):
    """25 trials come within a factor of two of the best of three decades; later trials lie closer
    than the random first ones."""
    run = tuned(trials=25, startup=6)
    tree = tree_of(run)
    far = [
        abs(math.log10(trial["settings"]["step_fraction"] / BEST_STEP)) for trial in tree["trials"]
    ]
    assert abs(math.log10(tree["best"]["settings"]["step_fraction"] / BEST_STEP)) < 0.3
    assert np.mean(far[-12:]) < np.mean(far[1:7])
    assert tree["best"]["objective"] == min(trial["objective"] for trial in tree["trials"])
    assert tree["reference"] == {
        "value": pytest.approx(3 * 144.76 / 145.76, rel=1e-4),
        "error": 0.0,
        "source": "exact",
        "flags": [],
    }
    assert tree["trials"][0]["settings"] == {"step_fraction": SGLDConfig().fraction}
    assert len({trial["seed"] for trial in tree["trials"]}) == 25
    assert tree["spent"]["gradients"] == pytest.approx(
        sum(trial["gradients"] for trial in tree["trials"])
    )


def test_the_record(tuned, llc_store):
    """Table and tree agree, no checkpoint remains, and a second request runs no trial."""
    run = tuned()
    tree, rows = (
        tree_of(run),
        list(csv.DictReader((run.folder / "trials.csv").read_text().splitlines())),
    )
    assert [float(row["step_fraction"]) for row in rows] == [
        trial["settings"]["step_fraction"] for trial in tree["trials"]
    ]
    assert [float(row["llc_mean"]) for row in rows] == [
        trial["llc_mean"] for trial in tree["trials"]
    ]
    (picture,) = monitoring.draw(run.folder, ["search"])
    assert picture == run.folder / "diagnostics" / "tuning.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert not (run.folder / "checkpoints").exists()
    assert set(run.meta["digests"]) >= {"tune.json", "trials.csv", "best.yaml"}
    assert llc_store.verify() == []
    assert tuned().id == run.id
    assert tuned.calls == 6


def test_the_best_settings_can_be_pasted(tuned, made_up_target):
    """`best.yaml` is a study file whose one run is the method with the settings of the best
    trial."""
    run = tuned()
    study = read_study_file(run.folder / "best.yaml")
    (entry,) = study.entries
    (variant,) = variants(entry)
    assert variant.config == SGLDConfig(
        step_fraction=tree_of(run)["best"]["settings"]["step_fraction"]
    )
    assert entry.roles == {"of": [made_up_target.id]}


def test_a_killed_search_resumes(tuned, llc_store):
    """Killed in its fifth trial, it runs two more and ends with the trials of an uninterrupted
    search, except for times."""

    def dies(call, progress):
        if call == 5:
            raise KeyboardInterrupt

    def record(run):
        return [
            {key: value for key, value in trial.items() if key != "seconds"}
            for trial in tree_of(run)["trials"]
        ]

    tuned.before = dies
    with pytest.raises(KeyboardInterrupt):
        tuned()
    tuned.calls = 10
    killed = tuned()
    assert tuned.calls == 12
    again = record(killed)
    shutil.rmtree(killed.folder)
    assert record(tuned()) == again
    assert record(tuned(seed=1)) != again


def test_gradients_are_not_overspent(tuned):
    """A synthetic trial costs 4 x 20,500 gradients: three fit into 250,000, even if the cost was
    not known before the first."""
    tree = tree_of(
        tuned(
            budget=TuningBudgetConfig(gradients=250_000),
            method=SGLDConfig(draws=10, thin=1, warmup=100),
        )
    )
    assert [tree["ended_by"], len(tree["trials"]), tree["spent"]["gradients"]] == [
        "gradients",
        3,
        3 * 82_000,
    ]
    assert (
        least_gradients(
            TuneConfig(method=SGLDConfig(draws=10, thin=2, warmup=100, chains=3, batch_size=50)),
            1000,
        )
        == 3 * 120 * 0.05
    )
    with pytest.raises(ConfigError, match="takes at least 880,000 gradients"):
        tuned(budget=TuningBudgetConfig(gradients=1000))


def test_seconds_are_not_overspent(tuned):
    """The time limit stops a trial between two segments; spent time is summed over attempts."""

    def slow(call, progress):
        for segment in range(20):
            time.sleep(0.02)
            progress(segment, 20)

    tuned.before = slow
    tree = tree_of(tuned(budget=TuningBudgetConfig(seconds=1.0), trials=30))
    assert tree["ended_by"] == "seconds"
    assert 2 <= len(tree["trials"]) < 4
    assert tree["trials"][-1]["state"] in ("stopped", "ok")
    assert tree["spent"]["seconds"] < 1.6


def test_flagged_trials_are_never_best(tuned):
    """Divergences above 0.1 near the best step: the best is below it, and the search stays there;
    if all trials diverge there is none."""
    tuned.divergent = lambda config, draws: np.full(
        draws.divergent.shape, config.step_fraction > 0.05
    )
    tree = tree_of(tuned(trials=12))
    states = {trial["settings"]["step_fraction"] > 0.05: trial["state"] for trial in tree["trials"]}
    assert states == {True: "flagged", False: "ok"}
    assert tree["best"]["settings"]["step_fraction"] <= 0.05
    tuned.divergent = lambda config, draws: np.ones(draws.divergent.shape, bool)
    run = tuned(trials=3)
    assert tree_of(run)["best"] is None
    assert tree_of(run)["closest_flagged"]["objective"] == min(
        trial["objective"] for trial in tree_of(run)["trials"]
    )
    assert not (run.folder / "best.yaml").exists()


def test_flagged_trials_still_guide_the_search(tuned):
    """All trials diverge, and still the later ones are closer to the best step than the random
    first ones."""
    tuned.divergent = lambda config, draws: np.ones(draws.divergent.shape, bool)
    trials = tree_of(tuned(trials=20, startup=6))["trials"]
    far = [abs(math.log10(trial["settings"]["step_fraction"] / BEST_STEP)) for trial in trials]
    assert np.mean(far[-10:]) < 0.7 * np.mean(far[1:7])


def test_a_trial_that_cannot_be_sampled_is_listed(tuned):
    def breaks(call, progress):
        if call == 2:
            raise ValueError("The loss is not finite at w*.")

    tuned.before = breaks
    trials = tree_of(tuned())["trials"]
    assert [trial["state"] for trial in trials].count("failed") == 1
    assert trials[1]["reason"] == "The loss is not finite at w*."


ANALYSIS = {
    "total_fges": 1e4,
    "flags": [],
    "flag_details": {},
    "llc_mean": 2.2,
    "llc_mcse": 0.03,
    "llc_error": 0.04,
    "ess": 900.0,
}


def test_objectives():
    """Both objectives in closed form: noise raises the one and lowers the other; flags about the
    target do not fail a trial."""
    reference, trial = Reference(2.0, 0.04, "exact"), Trial(0, 1, {}, "failed")
    result = judged(trial, ANALYSIS, reference, "error")
    assert result.objective == pytest.approx(math.log10(math.hypot(0.2, 0.03) / 2))
    assert result.gap == pytest.approx(0.2 / 0.05)
    assert judged(trial, ANALYSIS, reference, "standard_errors").objective == pytest.approx(4.0)
    noisy = ANALYSIS | {"llc_mcse": 0.3}
    assert judged(trial, noisy, reference, "error").objective > result.objective
    assert judged(trial, noisy, reference, "standard_errors").objective < 1
    for flag in ("drift", *NO_FAILURE):
        state = judged(
            trial, ANALYSIS | {"flags": [flag], "flag_details": {flag: "why"}}, reference, "error"
        ).state
        assert state == ("ok" if flag in NO_FAILURE else "flagged")
    lost = judged(trial, ANALYSIS | {"llc_mean": None, "llc_mcse": None}, reference, "error")
    assert (lost.state, best_of([lost])) == ("failed", None)


def test_the_command(llc_store, made_up_target, tuned, capsys):
    """A named budget, a space, and the printed lines; without an exact value a run of HMC is made,
    once."""
    words = [
        "llc",
        "tune",
        "of=made_up",
        "method=sgld",
        "trials=4",
        "startup=2",
        "budget=quick",
        "--quiet",
    ]
    plain = tuned.before
    tuned.before = lambda call, progress: None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("causal_meta.cli.llc_tune._is_exact", lambda target: True)
        assert main([*words, "space.step_fraction=[0.01,1]"]) == 0
        assert capsys.readouterr().out.startswith("run_tune_")
        tuned.divergent = lambda config, draws: np.ones(draws.divergent.shape, bool)
        assert main([*words, "seed=3"]) == 1
        output = capsys.readouterr()
        assert "is without flags" in output.err
    assert plain is None


def test_a_run_as_the_reference(llc_store, made_up_target, tuned, made_up, monkeypatch):
    """A run on the same posterior is the reference, with its error; one of another posterior or
    target is refused."""
    step = tuned.divergent
    monkeypatch.setattr(
        "causal_meta.llc.samplers.sample",
        lambda landscape, config, **further: made_up(length=2000, seed=5),
    )
    good, other = (
        make(llc_store, HMCConfig(posterior=posterior), {"of": made_up_target})
        for posterior in (LocalPosteriorConfig(), LocalPosteriorConfig(gamma=2.0))
    )
    config = TuneConfig(trials=2)
    tree = tree_of(make(llc_store, config, {"of": made_up_target, "reference": good}))
    assert tree["reference"]["source"] == good.id
    assert tree["reference"]["error"] > 0
    assert abs(tree["reference"]["value"] - 300 / 101) < 5 * tree["reference"]["error"]
    with pytest.raises((ConfigError, StoreError), match="no run on"):
        make(llc_store, config, {"of": made_up_target, "reference": other})
    assert step is tuned.divergent


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"budget": TuningBudgetConfig()}, "bounds nothing"),
        ({"space": {"step": (0.1, 1.0)}}, "no number 'step' to search; allowed are .*step_size"),
        ({"space": {"step_fraction": (1.0, 0.1)}}, "lowest and highest"),
        ({"space": {"step_fraction": (0.1, 9.0)}}, "at most 4"),
        ({"space": {"precond": (0.0, 1.0)}}, "no number"),
    ],
)
def test_invalid_searches_are_refused(settings, words):
    with pytest.raises(ConfigError, match=words):
        TuneConfig(**settings)


def test_every_sampler_has_something_to_search():
    from causal_meta.conf.registry import config_class, tags
    from causal_meta.conf.samplers import SamplerConfig

    for tag in tags(SamplerConfig):
        method = config_class(tag)()
        assert TuneConfig(method=method).searched == usual_space(method)
        assert all(isinstance(getattr(method, name), int | float) for name in usual_space(method))


GOLDEN = [0.5, 0.004625253064977561, 0.9421869659192922]


def test_golden(tuned):
    """The first settings and estimates of a seed: if these change, raise `revision` of
    TuneConfig."""
    assert TuneConfig.revision == 1
    trials = tree_of(tuned(trials=3, seed=7))["trials"]
    assert [trial["settings"]["step_fraction"] for trial in trials] == pytest.approx(
        GOLDEN, rel=1e-6
    )
