"""The runner of samplers, with synthetic draws in place of a sampler: published files, resumption,
and failed chains."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from causal_meta import monitoring
from causal_meta.cli import main
from causal_meta.conf.samplers import HMCConfig, VIConfig
from causal_meta.facts import read_events, read_scalars
from causal_meta.runners.build import make
from causal_meta.runners.llc import estimate

SNIPPET = Path(__file__).parent / "aggregation.txt"


def test_the_published_files(llc_store, made_up_target, made_up_sampler):
    run = make(llc_store, HMCConfig(), {"of": made_up_target})
    analysis = json.loads((run.folder / "analysis.json").read_text(), parse_constant=pytest.fail)
    names = (
        "llc_mean llc_std llc_mcse interval ess ess_bulk ess_tail rhat divergences "
        "acceptance total_fges walltime_sec wnv sampler_config flags "
    )
    names += "failed_chains compile_sec warmup_sec sampling_sec wnv_sec exact adapted running"
    assert set(names.split()) <= analysis.keys()
    assert abs(analysis["llc_mean"] - 300 / 101) < 4.5 * analysis["llc_mcse"]  # false alarm 1e-5
    assert analysis["sampler_config"]["kind"] == "hmc"
    assert analysis["exact"] == {
        "lambda": 3.0,
        "multiplicity": 1,
        "expected": pytest.approx(300 / 101),
        "expected_error": 0.0,
    }
    assert analysis["running"]["gradients"][-1] == analysis["total_fges"] == 4 * 40_500
    assert analysis["running"]["mean"][-1] == pytest.approx(analysis["llc_mean"])
    assert analysis["running"]["seconds"][-1] == 0.75
    assert not (run.folder / "diagnostics").exists(), "nobody subscribed to draw them"
    assert not (run.folder / "checkpoints").exists()
    assert run.meta["jax_enable_x64"] is True
    assert run.meta["metrics"]["llc_mean"] == analysis["llc_mean"]
    assert set(run.meta["digests"]) >= {"trace.nc", "analysis.json"}
    assert llc_store.verify() == []
    event = next(event for event in read_events(run.folder) if event["moment"] == "on_test_end")
    assert event["metrics"]["llc_mean"] == analysis["llc_mean"]
    assert len(read_scalars(run.folder)) == 2 * len(analysis["running"]["draws"])


def test_a_subscriber_draws_the_pictures_and_they_are_drawn_again_from_the_files(
    llc_store, made_up_target, made_up_sampler
):
    subscribers = [monitoring.subscriber(llc_store, ["chains"])]
    run = make(llc_store, HMCConfig(), {"of": made_up_target}, subscribers=subscribers)
    folder = run.folder / "diagnostics"
    before = {path.stem: path.read_bytes() for path in folder.iterdir()}
    assert sorted(before) == ["energy", "rank", "running_llc", "trace", "wnv"]
    assert not any(name.startswith("diagnostics") for name in run.meta["digests"])
    assert llc_store.verify() == []
    for path in folder.iterdir():
        path.unlink()
    assert {path.stem: path.read_bytes() for path in monitoring.draw(run.folder, ["chains"])} == (
        before
    )


def test_approximations_have_neither_ranks_nor_energy(
    llc_store, made_up_target, made_up_sampler, made_up
):
    made_up_sampler(
        lambda landscape, config, **further: made_up(
            length=100, independent=True, weights=np.zeros((4, 100))
        )
    )
    run = make(llc_store, VIConfig(), {"of": made_up_target})
    drawn = [path.stem for path in monitoring.draw(run.folder, ["chains"])]
    assert drawn == ["trace", "running_llc", "wnv"]
    analysis = json.loads((run.folder / "analysis.json").read_text())
    assert (analysis["independent"], analysis["rhat"]) == (True, None)


def test_a_killed_run_resumes_from_its_last_segment(
    llc_store, made_up_target, made_up_sampler, made_up, monkeypatch
):
    monkeypatch.setattr(estimate, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    segments = []

    def dies_in_its_third_segment(landscape, config, checkpoint, progress):
        state = checkpoint.load()
        done = 0 if state is None else int(state["done"])
        for segment in range(done, 4):
            segments.append(segment)
            if segment == 2 and done == 0:
                raise KeyboardInterrupt
            checkpoint.save(
                {"done": np.array(segment + 1), "key": np.arange(2, dtype=np.uint32)}, segment + 1
            )
            progress(segment + 1, 4)
        assert state["key"].dtype == np.uint32
        return made_up()

    made_up_sampler(dies_in_its_third_segment)
    with pytest.raises(KeyboardInterrupt):
        make(llc_store, HMCConfig(), {"of": made_up_target})
    run = make(llc_store, HMCConfig(), {"of": made_up_target})
    assert segments == [0, 1, 2, 2, 3]
    assert [event["moment"] for event in read_events(run.folder)].count("on_resume") == 1


@pytest.mark.parametrize("bad", [[2], [0, 1, 2, 3]])
def test_a_failed_chain_is_named_and_sets_the_exit_status(
    llc_store, made_up_target, made_up_sampler, made_up, capsys, bad
):
    def failing(landscape, config, **further):
        draws = made_up(length=200)
        draws.loss[bad, 100:] = np.inf
        return draws

    made_up_sampler(failing)
    for _ in range(2):
        assert main(["infer", "hmc", "of=made_up"]) == 1
        out = capsys.readouterr().out.splitlines()
        assert [line.split(":")[0] for line in out if "failed:" in line] == [
            f"  chain {k} failed" for k in bad
        ]
        assert out[-1].startswith("run_hmc_")
    analysis = json.loads((llc_store.find(out[-1]).folder / "analysis.json").read_text())
    assert [chain["chain"] for chain in analysis["failed_chains"]] == bad
    assert (analysis["llc_mean"] is None) == (len(bad) == 4)
    assert main(["llc", "compare", "of=made_up"]) == (1 if len(bad) < 4 else 2)


def test_a_stored_run_is_shown_without_jax(llc_store, made_up_target, made_up_sampler, capsys):
    assert main(["infer", "hmc", "of=made_up"]) == 0
    first = capsys.readouterr()
    assert "built in" in first.err
    code = (
        "import sys\nfrom causal_meta.cli import main\nassert main(['infer', 'hmc', "
        "'of=made_up']) == 0\n"
    )
    code += "print('jax' in sys.modules, 'torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, check=True
    )
    assert done.stdout == first.out + "False False\n"
    assert "in the store already" in done.stderr


def test_deleted_pictures_and_a_truncated_trace(llc_store, made_up_target, made_up_sampler, capsys):
    main(["infer", "hmc", "of=made_up"])
    run = llc_store.find(capsys.readouterr().out.split()[-1])
    for path in (run.folder / "diagnostics").iterdir():
        path.unlink()
    (run.folder / "diagnostics").rmdir()
    assert main(["infer", "hmc", "of=made_up"]) == 0
    assert len(list((run.folder / "diagnostics").iterdir())) == 5
    data = (run.folder / "trace.nc").read_bytes()
    (run.folder / "trace.nc").write_bytes(data[: len(data) // 2])
    capsys.readouterr()
    assert main(["infer", "hmc", "of=made_up"]) == 2
    assert "is truncated" in capsys.readouterr().err
    assert "trace.nc" in llc_store.verify()[0]


def test_unsuitable_inputs_are_refused(llc_store, made_up_target, made_up_sampler, capsys):
    main(["infer", "hmc", "of=made_up"])
    run = capsys.readouterr().out.split()[-1]
    for words, message in (
        ([f"of={run}"], "hmc takes network, amortised as of"),
        (["of=nobody"], "nothing called 'nobody'"),
        (["of=made_up", "draws=1"], "hmc.draws is 1; give at least 10, or 0"),
        (["of=made_up", "step=1"], "hmc has no setting or input 'step'"),
    ):
        assert main(["infer", "hmc", *words]) == 2
        assert message in capsys.readouterr().err


def test_the_aggregation_of_earlier_systems_works_unchanged(
    llc_store, made_up_target, made_up_sampler, monkeypatch
):
    """The snippet of lambda-hat's page on its output layout, word for word."""
    for config in (HMCConfig(), HMCConfig(seed=1)):
        make(llc_store, config, {"of": made_up_target})
    monkeypatch.chdir(llc_store.root.parent)
    space: dict = {}
    exec(compile(SNIPPET.read_text(), str(SNIPPET), "exec"), space)
    table = space["aggregate_results"]("runs")
    assert len(table) == 2
    assert set(table["sampler"]) == {"hmc"}
    assert set(table["n_data"]) == {20_000}
    assert table["llc_mean"].between(2, 4).all()


def test_the_facts_of_runs(llc_store, made_up_target, made_up_sampler):
    from causal_meta.facts import aggregate_results

    make(llc_store, HMCConfig(seed=5), {"of": made_up_target})
    row = aggregate_results(llc_store.root).iloc[0]
    assert (row["sampler"], row["target_kind"], row["target.p"], row["run_seed"]) == (
        "hmc",
        "network",
        6,
        5,
    )
    assert row["llc_mean"] == pytest.approx(3, abs=0.5)
