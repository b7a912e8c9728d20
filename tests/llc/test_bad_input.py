"""Input without a valid estimate gives a flag or a clear error on the command line, never a number
without a warning."""

import json
import subprocess
import sys

import pytest

from causal_meta.cli import main
from causal_meta.store import Store

TINY = [
    "model.in_dim=2",
    "model.widths=[2]",
    "data.n_rows=40",
    "training.max_steps=3",
    "training.polish=false",
]
QUICK = ["chains=2", "draws=100", "warmup=100"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A store with a network after three training steps and a formula with w* at its minimum."""
    home = tmp_path_factory.mktemp("store")
    assert main(["build", "network", *TINY, "--name", "raw", "--store", str(home), "--quiet"]) == 0
    assert (
        main(
            [
                "build",
                "network",
                "model=power_sum",
                "data.n_rows=1000",
                "--name",
                "form",
                "--store",
                str(home),
                "--quiet",
            ]
        )
        == 0
    )
    return home


@pytest.fixture
def run(home, capsys):
    """Run a command; returns its status, its last line, and its standard error."""

    def command(*words):
        capsys.readouterr()
        status = main([*words, "--store", str(home)])
        output = capsys.readouterr()
        return status, (output.out.splitlines() or [""])[-1], output.err

    return command


def analysis(home, run_id):
    return json.loads((Store(home).find(run_id).folder / "analysis.json").read_text())


def test_a_point_that_is_no_minimum_is_flagged_and_so_is_a_negative_estimate(run, home):
    status, run_id, _ = run("infer", "hmc", "of=raw", *QUICK)
    result = analysis(home, run_id)
    assert status == 0
    assert result["llc_mean"] < 0
    assert {"not_a_minimum", "negative_llc"} <= set(result["flags"])


def test_a_step_that_is_too_large_is_flagged_and_one_that_diverges_fails(run, home):
    words = [
        "infer",
        "sgld",
        "of=form",
        "chains=2",
        "draws=200",
        "warmup=200",
        "thin=2",
        "step_rule=fixed",
        "noise=independent",
    ]
    status, run_id, _ = run(*words, "step_size=3e-3")
    assert status == 0
    assert {"step_size_bias", "law_violated"} & set(analysis(home, run_id)["flags"])
    status, run_id, _ = run(*words, "step_size=10")
    result = analysis(home, run_id)
    assert status == 1
    assert [chain["chain"] for chain in result["failed_chains"]] == [0, 1]
    assert result["llc_mean"] is None


def test_one_row_has_no_temperature(run):
    status, _, output = run("build", "network", *TINY, "data.n_rows=1")
    assert status == 2
    assert "n_rows is 1; it must be at least 2" in output


def test_an_unknown_mask_is_refused(run):
    status, _, output = run("infer", "hmc", "of=raw", "posterior.mask=layers.7.*", *QUICK)
    assert status == 2
    assert "layers.7.*" in output


def test_minibatches_of_a_loss_without_rows(run):
    status, _, output = run("infer", "sgld", "of=form", "batch_size=10")
    assert status == 2
    assert "without rows" in output


def test_the_loss_is_recomputed_in_the_float_precision_of_the_sampler(run, home):
    """The target is in float64; in float32 L_n(w*) is recomputed on the same data, and the float
    resolution is reported."""
    from causal_meta.runners.llc.network_training import load_landscape

    status, run_id, _ = run("infer", "mala", "of=raw", "precision=float32", *QUICK)
    result, target = analysis(home, run_id), Store(home).find("raw")
    landscape = load_landscape(target).at_width("float32")
    assert status == 0
    assert result["centre_loss"] == pytest.approx(
        float(landscape.mean_loss(landscape.centre, landscape.data)), rel=1e-6
    )
    assert result["centre_loss"] != target.meta["metrics"]["L0"]
    assert Store(home).find(run_id).meta["jax_enable_x64"] is False
    assert result["float_resolution"] > 0


def test_inputs_that_are_no_network(run):
    status, _, output = run("infer", "hmc", "of=nothing")
    assert status == 2
    assert "nothing called 'nothing'" in output


def test_without_jax_one_sentence_names_what_to_install(home):
    code = "import sys\nsys.modules['jax'] = None\nfrom causal_meta.cli import main\n"
    code += f"sys.exit(main(['infer', 'hmc', 'of=raw', 'seed=99', '--store', {str(home)!r}]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2
    assert (
        done.stderr == "hmc needs the Python package jax, which is missing; install it with pip "
        "install 'causal-meta[llc]'.\n"
    )
