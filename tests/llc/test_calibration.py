"""A small calibration study: default runs on targets with exact values, at other seeds;
`benchmarks/llc_calibration.py` is the large one.

A run without flags has |z| < 5; with 16 runs the false-alarm rate is below 1e-3, including the
heavy tails of the errors' errors.
"""

import importlib.util
from pathlib import Path

import pytest

from causal_meta.conf import forms, samplers

spec = importlib.util.spec_from_file_location(
    "llc_calibration", Path(__file__).parents[2] / "benchmarks" / "llc_calibration.py"
)
study = importlib.util.module_from_spec(spec)
spec.loader.exec_module(study)

SEEDS = range(7000, 7004)
CASES = [("powers", "mala"), ("powers", "mclmc"), ("flat", "hmc"), ("powers", "sgld")]


def lines_of(target, kind, seeds=SEEDS):
    lines = []
    study.runs_of(target, [kind], seeds, set(), lines.append)
    return lines


@pytest.fixture(scope="module")
def lines():
    return [line for case in CASES for line in lines_of(*case)]


def test_default_runs_are_right_or_flagged(lines):
    clean = [line for line in lines if not line["flags"]]
    assert [
        (line["target"], line["sampler"], study.score(line))
        for line in clean
        if abs(study.score(line)) > 5
    ] == []
    assert len(clean) >= len(lines) - 2, [
        (line["target"], line["sampler"], line["flags"]) for line in lines
    ]


def test_intervals_of_default_runs_cover(lines):
    """Of 16 intervals of 95 %, at least 12 (fewer in 1 of 1,000 seeds)."""
    assert sum(study.covers(line) for line in lines) >= 12


def test_runs_in_narrow_valleys_are_right_or_flagged():
    """MALA in the cross of (w1 w2)², whose valleys become narrower with distance."""
    for line in lines_of("crossing", "mala", SEEDS[:2]):
        assert line["flags"] or abs(study.score(line)) < 5


def test_a_wrong_sampler_is_flagged(monkeypatch):
    """Langevin steps of 1.6 / h_max: each run is flagged, and none of the plain means is right."""
    wrong = samplers.SGLDConfig(noise="independent", step_fraction=1.6, warmup=2000, thin=10)
    monkeypatch.setitem(study.SAMPLERS, "sgld", wrong)
    monkeypatch.setitem(study.TARGETS, "steep", (forms.QuadraticConfig(n_parameters=4), 1000))
    for line in lines_of("steep", "sgld", range(7100, 7102)):
        assert line["llc_mean_plain"] > line["exact"][0] + 4 * line["llc_mcse_plain"]
        assert "step_size_bias" in line["flags"]


def test_wilsons_interval_is_the_published_one():
    low, high = study.wilson(190, 200)
    assert low == pytest.approx(0.9104, abs=2e-4)
    assert high == pytest.approx(0.9726, abs=2e-4)
