"""A seeded network and a seeded run of every sampler that stay what they were: if one of these
changes, raise `revision` of its kind.

Compared with a tolerance that another processor passes and another distribution does not. In
`tests/runners/test_golden.py` are the kinds without JAX.
"""

import json

import numpy as np
import pytest

from causal_meta.conf import registry
from causal_meta.conf.compose import compose
from causal_meta.conf.samplers import SamplerConfig
from causal_meta.runners.build import make
from causal_meta.runners.llc.points import polished
from causal_meta.store import Store

SHORT = ["chains=2", "draws=20", "seed=7"]
SETTINGS: dict[str, list[str]] = {
    "hmc": ["warmup=40", "mass=diagonal", "target_acceptance=0.8"],
    "nuts": ["warmup=40", "mass=diagonal", "max_doublings=5", "target_acceptance=0.8"],
    "mclmc": ["warmup=40", "thin=2", "steps=10", "energy_variance=3e-6"],
    "mala": ["warmup=40", "thin=2"],
    "sgld": ["warmup=40", "thin=2"],
    "sgnht": ["warmup=40", "thin=2"],
    "vi": ["annealed=0", "steps=20", "components=3", "rounds=2", "round_draws=200"],
}
REVISIONS = (
    dict.fromkeys(SETTINGS, 1)
    | dict.fromkeys(("hmc", "nuts", "mala", "mclmc", "sgnht"), 2)
    | {"sgld": 3, "vi": 3, "network": 1}
)
GOLDEN: dict[str, list[float]] = {
    "hmc": [1.524978, 0.5973966, 0.2171544, 2223.0],
    "nuts": [0.4883406, 0.296353, 0.1316548, 665.0],
    "mclmc": [0.5901533, 0.7999537, 0.1465368, 3275.0],
    "mala": [0.7944497, 0.5630904, 0.1507221, 235.0],
    "sgld": [0.7564534, 1.633426, 0.190875, 823.0],
    "sgnht": [0.537593, 0.1155514, 0.1683893, 823.0],
    "vi": [1.747240, 3.324036, 0.2078538, 592.0],
    "network": [0.8132536, 5.127931, 6.145224, 3.233724],
}


POLISHED_LOSS = -0.8973173


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("golden"), patience=0)


@pytest.fixture(scope="module")
def network(store):
    words = [
        "model.in_dim=2",
        "model.widths=[3]",
        "data.n_rows=300",
        "training.max_steps=200",
        "training.warmup_steps=0",
        "training.polish=false",
    ]
    return make(store, compose("network", [*words, "seed=7"]), options={"progress": "off"})


@pytest.fixture(scope="module")
def form(store):
    return make(store, compose("network", ["model=power_sum", "data.n_rows=1000", "seed=7"]))


def numbers(run):
    """Mean and last estimate of the chains, and their mean distance."""
    analysis = json.loads((run.folder / "analysis.json").read_text())
    assert not analysis["failed_chains"]
    from causal_meta.records.traces import read_trace

    draws = read_trace(run.folder / "trace.nc")
    return [
        float(draws.llc.mean()),
        float(draws.llc[0, 0]),
        float(draws.distance.mean()),
        float(draws.gradients[:, -1].sum()),
    ]


@pytest.mark.parametrize("kind", list(SETTINGS))
def test_a_seeded_run_stays_what_it_was(store, form, kind):
    assert registry.config_class(kind).revision == REVISIONS[kind]
    run = make(
        store, compose(kind, [*SHORT, *SETTINGS[kind]]), {"of": form}, options={"progress": "off"}
    )
    assert numbers(run) == pytest.approx(GOLDEN[kind], rel=1e-3, abs=1e-6)


def test_a_seeded_network_stays_what_it_was(network):
    assert registry.config_class("network").revision == REVISIONS["network"]
    with np.load(network.folder / "params.npz") as arrays:
        w = np.concatenate([arrays[name].ravel() for name in arrays.files])
    with np.load(network.folder / "data.npz") as arrays:
        data = [float(np.abs(arrays["x"]).mean()), float(arrays["y"].sum())]
    assert [*data, float(np.abs(w).sum()), network.meta["metrics"]["L0"]] == pytest.approx(
        GOLDEN["network"], rel=1e-3
    )


def test_the_polish_of_a_seeded_network_ends_where_it_did(store, network):
    smooth = polished(store, network, budget=3000, tolerance=1e-4, options={"progress": "off"})
    # a gap of 1e-4 per parameter leaves as much open
    assert smooth.meta["metrics"]["L0"] == pytest.approx(POLISHED_LOSS, abs=1e-3)


def test_every_sampler_has_a_golden_run():
    assert set(registry.tags(SamplerConfig)) == set(SETTINGS)
