"""The report of a store with learning coefficients: numbers, flags, failed chains and pictures come
from the artifacts, all of them."""

import json

import numpy as np

from causal_meta.conf.samplers import HMCConfig, SGLDConfig
from causal_meta.reports import run_report
from causal_meta.runners.build import make


def test_a_report_tells_estimates_flags_and_failures(
    llc_store, made_up_target, made_up_sampler, made_up
):
    sound = make(llc_store, HMCConfig(), {"of": made_up_target})

    def failing(landscape, config, **further):
        draws = made_up(length=200)
        draws.loss[1, 100:] = np.inf
        return draws

    made_up_sampler(failing)
    make(llc_store, SGLDConfig(precond="rmsprop"), {"of": made_up_target})
    folder = run_report(llc_store, "made_up")
    page = (folder / "report.html").read_text()
    analysis = json.loads((sound.folder / "analysis.json").read_text())
    assert f"{analysis['llc_mean']:.3f}\u00a0±\u00a0{analysis['llc_error']:.3f}" in page
    assert "Complexity of made_up" in page
    assert (
        "The exact expectation at this n, β and γ is 2.9703. The exact limit of large n is λ = 3."
        in page
    )
    assert "1 of 4 chains of sgld precond=rmsprop on made_up failed" in page
    assert "failed_chains" in page
    assert page.count("<img") == 1 + 4 + 4
    summary = json.loads((folder / "inference" / "summary.json").read_text())["coefficients"]
    assert [run["sampler"] for run in summary[0]["runs"]] == ["hmc", "sgld precond=rmsprop"]
    assert summary[0]["runs"][0]["llc_mean"] == analysis["llc_mean"]
    assert list((folder / "inference" / "figures").iterdir())
    assert run_report(llc_store, "made_up") == folder


def test_a_run_that_cannot_be_read_is_named(llc_store, made_up_target, made_up_sampler):
    run = make(llc_store, HMCConfig(), {"of": made_up_target})
    (run.folder / "analysis.json").write_text("{")
    page = (run_report(llc_store) / "report.html").read_text()
    assert f"{run.id} (hmc) could not be read and is left out" in page
