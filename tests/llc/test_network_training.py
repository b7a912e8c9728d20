"""Building network targets: training against plain loops, interrupted builds bit by bit, formulas,
and the check from the command line."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from causal_meta.cli import main
from causal_meta.conf.compose import compose
from causal_meta.conf.local_posterior import LocalPosteriorConfig
from causal_meta.conf.networks import NetworkConfig, NetworkTrainingConfig
from causal_meta.conf.registry import tags
from causal_meta.conf.setting import ConfigError
from causal_meta.llc.landscapes.landscape import Landscape
from causal_meta.llc.landscapes.training import learning_rate, train
from causal_meta.runners.build import make
from causal_meta.runners.llc import network_training
from causal_meta.runners.llc.network_training import load_landscape
from causal_meta.runners.llc.points import check_point, polished
from causal_meta.store import Store

QUIET = {"progress": "off"}
WORDS = [
    "model=small",
    "model.target_params=20",
    "model.depth=1",
    "data=small",
    "training.max_steps=900",
    "training.early_stop=0",
    "training.polish_budget=2000",
    "seed=3",
]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("networks"), patience=0)


@pytest.fixture(scope="module")
def target(store):
    return make(store, compose("network", WORDS), options=QUIET)


def arrays(artifact, name):
    with np.load(artifact.folder / name) as stored:
        return {key: stored[key] for key in stored.files}


# ---------------------------------------------------------------------------------------- artifacts


def test_the_landscape_that_is_loaded_is_the_one_that_was_built(target):
    landscape = load_landscape(target)
    w = np.concatenate([value.reshape(-1) for value in arrays(target, "params.npz").values()])
    assert (landscape.centre == w).all()
    assert list(arrays(target, "params.npz")) == list(landscape.parameter_names)
    assert all(
        (landscape.data[name] == values).all()
        for name, values in arrays(target, "data.npz").items()
    )
    meta = target.meta
    assert (
        (meta["dims"]["n"], meta["dims"]["d"], meta["dims"]["p"])
        == (100, 4, len(w))
        == (landscape.n, 4, landscape.n_parameters)
    )
    assert meta["jax_enable_x64"] is True
    point = check_point(target, None, LocalPosteriorConfig())
    assert point.is_minimum, point.minimum.sentence
    assert (point.minimum.loss, point.loss_float32) == (
        meta["metrics"]["L0"],
        meta["metrics"]["L0_float32"],
    )
    assert point.minimum.gap <= 1e-4 * len(w) * 1.01
    assert meta["metrics"]["is_minimum"] is True
    assert len(arrays(target, "training.npz")["losses"]) == 900
    assert not (target.folder / "checkpoints").exists()


def test_a_mask_restricts_the_check(target):
    point = check_point(target, None, LocalPosteriorConfig(mask="layers.0.*", gamma=3.0))
    whole = check_point(target, None, LocalPosteriorConfig(gamma=3.0))
    assert point.minimum.n_parameters == 15
    assert point.minimum.ends.highest <= whole.minimum.ends.highest * (1 + 1e-9)  # interlacing
    assert point.minimum.gamma == 3.0
    with pytest.raises(ConfigError, match="nothing"):
        check_point(target, None, LocalPosteriorConfig(mask="nothing"))


def test_a_network_without_polish_is_refused_and_can_be_polished(store):
    raw = make(store, compose("network", [*WORDS, "training.polish=false"]), options=QUIET)
    assert raw.meta["metrics"]["is_minimum"] is False
    point = check_point(raw, None, LocalPosteriorConfig())
    assert not point.is_minimum
    assert "float32" in point.notes[0]
    smooth = polished(store, raw, budget=3000, tolerance=1e-4, options=QUIET)
    assert smooth.inputs == {"init": raw.id}
    assert (arrays(smooth, "data.npz")["y"] == arrays(raw, "data.npz")["y"]).all()
    assert check_point(smooth, None, LocalPosteriorConfig()).is_minimum
    assert not (smooth.folder / "training.npz").exists()


def test_files_that_were_changed_are_named(target, store, tmp_path):
    copy = Store(shutil.copytree(store.root, tmp_path / "copy", symlinks=True)).find(target.id)
    params = arrays(copy, "params.npz")
    np.savez(copy.folder / "params.npz", **params | {"layers.0.bias": params["layers.0.bias"] + 1})
    point = check_point(copy, None, LocalPosteriorConfig())
    assert "not those of the build" in point.notes[0]
    np.savez(
        copy.folder / "params.npz", **params | {"layers.0.bias": params["layers.0.bias"] * np.nan}
    )
    with pytest.raises(ValueError, match="not finite"):
        load_landscape(copy)
    (copy.folder / "params.npz").write_bytes(b"torn")
    with pytest.raises(ValueError, match=r"params.npz of tgt_\w+ cannot be read"):
        load_landscape(copy)


FORMS = [
    "quadratic",
    "power_sum",
    "normal_crossing",
    "reduced_rank",
    "deep_linear",
    "linear_regression",
]


@pytest.mark.parametrize("form", FORMS)
def test_formulas_are_targets_whose_point_is_a_minimum(store, form):
    artifact = make(store, compose("network", [f"model={form}", "data.n_rows=500"]), options=QUIET)
    landscape = load_landscape(artifact)
    assert (landscape.n, landscape.exact["lambda"]) == (500, artifact.meta["exact"]["lambda"])
    assert artifact.meta["metrics"]["is_minimum"] is True
    assert artifact.meta["metrics"]["gap"] < 1e-3


def test_a_formula_at_a_truth_that_is_no_minimum_is_refused_and_can_be_polished(store):
    noisy = make(
        store,
        compose("network", ["model=reduced_rank", "model.sample=noisy", "data.n_rows=300"]),
        options=QUIET,
    )
    assert noisy.meta["metrics"]["is_minimum"] is False
    smooth = polished(store, noisy, budget=3000, tolerance=1e-4, options=QUIET)
    assert smooth.meta["metrics"]["is_minimum"] is True
    assert (load_landscape(smooth).data["y"] == load_landscape(noisy).data["y"]).all()


def test_invalid_settings_are_refused(store, target):
    assert set(FORMS) < set(
        tags(NetworkConfig.__dataclass_fields__["model"].default.__class__.__mro__[1])
    )
    for words, message in [
        (["model=quadratic", "training.max_steps=10"], "formula"),
        (["model=quadratic", "data.noise_scale=2"], "n_rows alone"),
        (["data.n_rows=1"], "at least 2"),
        (["data.noise_scale=0"], "loss=mse"),
        (["training.momentum=0.9"], "sgd"),
        (["training.weight_decay=0.1"], "adamw"),
        (["model.activation=sine"], "activation"),
        (["data.inputs=gaus_iso"], "gauss_iso"),
    ]:
        with pytest.raises(ConfigError, match=message):
            compose("network", words)
    with pytest.raises(ConfigError, match="another model"):
        make(
            store,
            compose("network", ["model=small", "data=small"]),
            {"init": target},
            options=QUIET,
        )
    with pytest.raises(ValueError, match="learning_rate"):
        make(
            store,
            compose("network", [*WORDS, "training.optimizer=sgd", "training.learning_rate=1e9"]),
            options=QUIET,
        )


# ----------------------------------------------------------------------------------------- training


def regression(n=40, p=3, seed=0):
    """Least squares of n rows, as a landscape around 0, with its rows."""
    draws = np.random.default_rng(seed)
    x, y = draws.standard_normal((n, p)), draws.standard_normal(n)
    losses = lambda w, rows: 0.5 * (rows["x"] @ w - rows["y"]) ** 2  # noqa: E731
    return Landscape("regression", n, np.zeros(p), {"x": x, "y": y}, losses), x, y


def plain(**changes):
    return NetworkTrainingConfig(
        **{
            "optimizer": "sgd",
            "learning_rate": 0.05,
            "max_steps": 12,
            "early_stop": 0.0,
            "precision": "float64",
        }
        | {"batch_size": 0, "schedule": "constant", "warmup_steps": 0}
        | changes
    )


def test_gradient_descent_on_least_squares_is_the_plain_loop():
    landscape, x, y = regression()
    done = list(train(landscape, plain(momentum=0.5), 0, segment_steps=5))
    w, velocity, losses = np.zeros(3), np.zeros(3), []
    for _ in range(12):
        residual = x @ w - y
        losses.append(0.5 * (residual**2).mean())
        velocity = x.T @ residual / len(y) + 0.5 * velocity
        w = w - 0.05 * velocity
    assert [segment.step for segment in done] == [5, 10, 12]
    assert done[-1].parameters == pytest.approx(w, rel=1e-12)
    assert np.concatenate([segment.losses for segment in done]) == pytest.approx(losses, rel=1e-12)


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_adam_is_the_plain_loop_and_weight_decay_pulls_to_zero(optimizer):
    landscape, x, y = regression()
    decay = 0.1 if optimizer == "adamw" else 0.0
    (done,) = train(landscape, plain(optimizer=optimizer, weight_decay=decay), 0)
    w, m, v = np.zeros(3), np.zeros(3), np.zeros(3)
    for step in range(1, 13):
        g = x.T @ (x @ w - y) / len(y)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        w = w - 0.05 * (m / (1 - 0.9**step) / (np.sqrt(v / (1 - 0.999**step)) + 1e-8) + decay * w)
    assert done.parameters == pytest.approx(w, rel=1e-9)


def test_minibatches_take_every_row_once_in_an_epoch_and_are_those_that_a_plain_loop_takes():
    landscape, x, y = regression(n=23)
    config = plain(batch_size=5, max_steps=12)
    batches = []
    rows = {"x": x, "y": y, "row": np.arange(23)}
    kept = dataclasses.replace(landscape, data=rows)
    whole = list(train(kept, config, 7))[-1]
    from causal_meta.llc.landscapes.training import _orders

    orders = _orders(7, 0, 12, 23, 5)
    w = np.zeros(3)
    for step in range(12):
        chosen = orders[step]
        batches.append(chosen)
        w = w - 0.05 * x[chosen].T @ (x[chosen] @ w - y[chosen]) / 5
    assert whole.parameters == pytest.approx(w, rel=1e-10)
    epochs = np.stack(batches).reshape(3, 20)
    assert all(len(set(epoch)) == 20 for epoch in epochs.tolist())
    assert not (epochs[0] == epochs[1]).all()
    assert (_orders(7, 5, 4, 23, 5) == orders[5:9]).all()


def test_training_stops_early_and_rates_follow_their_schedule():
    landscape, _, _ = regression()
    done = list(train(landscape, plain(early_stop=1e-3, max_steps=5000), 0))[-1]
    assert done.over
    assert 20 < done.step < 5000
    slow = list(train(landscape, plain(early_stop=1e-3, max_steps=5000, warmup_steps=300), 0))[-1]
    assert slow.step >= 320  # small learning rates do not stop training
    rate = learning_rate(plain(schedule="cosine", warmup_steps=2, max_steps=12, final_rate=0.1))
    values = [float(rate(step)) for step in (0, 1, 2, 7, 12)]
    assert values == pytest.approx([0.025, 0.05, 0.05, 0.05 * 0.55, 0.005], rel=1e-5)


def test_a_training_cut_in_two_ends_with_the_same_bits():
    landscape, _, _ = regression(n=23)
    config = plain(optimizer="adam", batch_size=5, max_steps=60, precision="float32")
    whole = list(train(landscape, config, 1, segment_steps=20))
    again = list(train(landscape, config, 1, segment_steps=20, state=whole[0].state))
    assert (again[-1].parameters == whole[-1].parameters).all()
    assert list(train(landscape, config, 1, state=whole[-1].state)) == []


class Killed(BaseException):
    """An exception that no except clause of the package catches."""


@pytest.mark.parametrize("when", [1, 3])
def test_a_build_that_was_interrupted_ends_with_the_same_bits(target, tmp_path, monkeypatch, when):
    """Interrupted once in training and once in the polish."""
    monkeypatch.setattr(network_training, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    saved, once = [], network_training._Place.save

    def save(place, stage, done, values):
        once(place, stage, done, values)
        saved.append(stage)
        if len(saved) == when:
            raise Killed

    store = Store(tmp_path / "runs", patience=0)
    with monkeypatch.context() as patch:
        patch.setattr(network_training._Place, "save", save)
        with pytest.raises(Killed):
            make(store, compose("network", WORDS), options=QUIET)
    assert saved[-1] == ("training" if when == 1 else "polish")
    resumed = make(store, compose("network", WORDS), options=QUIET)
    assert resumed.meta["attempt"] == 2
    for name in ("data.npz", "params.npz", "training.npz"):
        assert all(
            (values == arrays(target, name)[key]).all()
            for key, values in arrays(resumed, name).items()
        ), name
    assert resumed.meta["metrics"] == target.meta["metrics"]


# --------------------------------------------------------------------------------- the command line


def test_a_killed_build_resumes(tmp_path):
    words = [
        "build",
        "network",
        "model=small",
        "data=small",
        "training.max_steps=80000",
        "training.early_stop=0",
        "training.polish=false",
    ]
    env = os.environ | {"CAUSAL_META_STORE": str(tmp_path / "runs")}
    often = (
        "import sys; from causal_meta.runners.llc import network_training; "
        "network_training.SECONDS_BETWEEN_CHECKPOINTS = 0.0; "
        "from causal_meta.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    going = subprocess.Popen(
        [sys.executable, "-c", often, *words],
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    end = time.monotonic() + 120
    while not list(Path(tmp_path).rglob("last.json")) and time.monotonic() < end:
        time.sleep(0.02)
    going.send_signal(signal.SIGKILL)
    going.wait()
    (note,) = Path(tmp_path).rglob("last.json")
    assert 0 < json.loads(note.read_text())["step"] < 80_000
    store = Store(tmp_path / "runs", patience=0)
    config = compose("network", words[2:])
    resumed = make(store, config, options=QUIET)
    assert (resumed.meta["attempt"], len(arrays(resumed, "training.npz")["losses"])) == (2, 80_000)


def test_the_exit_status_of_the_check(target, store, capsys, monkeypatch):
    monkeypatch.setenv("CAUSAL_META_STORE", str(store.root))
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", os.environ.get("JAX_COMPILATION_CACHE_DIR", ""))

    def check(*words):
        capsys.readouterr()
        return main(["llc", "check", *words]), *capsys.readouterr()

    status, out, _ = check(f"of={target.id}")
    assert status == 0
    assert "w* is a minimum" in out.splitlines()[-1]
    assert "SGLD step" in out
    raw = make(
        store,
        compose("network", [*WORDS, "training.max_steps=0", "training.polish=false"]),
        options=QUIET,
    )
    status, out, _ = check(f"of={raw.id}", "--quiet")
    assert (status, len(out.splitlines())) == (1, 1)
    assert "w* is not a minimum" in out
    status, out, _ = check(f"of={raw.id}", "--quiet", "--polish", "--budget", "3000")
    assert store.find(out.splitlines()[-1]).inputs == {"init": raw.id}
    for words, message in [
        ((f"of={raw.id}", "draws=50"), "posterior"),
        (("of=nobody",), "nobody"),
        ((f"of={raw.id}", "posterior.gamma=0"), "above 0"),
    ]:
        status, out, err = check(*words)
        assert (status, out, len(err.splitlines())) == (2, "", 1)
        assert message in err


def test_building_and_loading_a_network_load_no_torch(target, store):
    """Torch costs more processor time to import than a small network to build."""
    code = (
        "import sys\nfrom causal_meta.store import Store\nfrom "
        "causal_meta.runners.llc.network_training import load_landscape\n"
        f"load_landscape(Store({str(store.root)!r}).find({target.id!r}))\nprint('torch' in "
        "sys.modules, 'jax' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.split() == ["False", "True"]
