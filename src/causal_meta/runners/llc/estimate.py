"""Local learning coefficients: a sampler around the point that a target holds, its draws and the
estimate from them.

`trace.nc` holds the draws (see `records.traces`), `analysis.json` the estimate with its errors,
work, seconds and flags (`llc.estimates.estimators`), in strict JSON. The plot family `chains` draws
`diagnostics/` from both.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from causal_meta.conf.convert import to_plain
from causal_meta.conf.samplers import SamplerConfig
from causal_meta.conf.setting import ConfigError
from causal_meta.draws import Draws
from causal_meta.facts.write import finite
from causal_meta.llc.estimates.estimators import estimate
from causal_meta.llc.estimates.running import settling
from causal_meta.records.analyses import ANALYSIS, TRACE
from causal_meta.records.traces import write_trace
from causal_meta.runners.progress import Progress
from causal_meta.store.disk import write_atomic

if TYPE_CHECKING:
    from causal_meta.store import Artifact, Attempt

#: A killed run loses at most about this many seconds of work, or one segment.
SECONDS_BETWEEN_CHECKPOINTS = 5.0
Report = Callable[[int, int], None]  # draws done, draws in all


class _Target(NamedTuple):
    """The properties of a target that an estimate needs: numbers of rows and parameters, exact
    values, and whether w* is known to be a minimum."""

    n: int
    n_parameters: int
    exact: dict[str, float]
    is_minimum: bool | None


def estimate_llc(config: SamplerConfig, attempt: Attempt) -> dict[str, Any]:
    """Sample the posterior around the point of `attempt.inputs["of"]` and estimate its learning
    coefficient; the builder of all samplers.

    A killed run resumes from the checkpoint of its last segment and ends with the same draws.
    `analysis.json` names the chains that failed; the estimate excludes them.

    Returns:
        Dims and metrics for `meta.json`.

    Raises:
        ConfigError: for a mask or a step that cannot be used.
        ValueError: where the loss is not finite at w*.
    """
    of = attempt.inputs["of"]
    with _progress(config, attempt) as report:
        draws, target = _sampled(config, of, attempt.inputs.get("tasks"), _Sealed(attempt), report)
    write_trace(
        attempt.folder / TRACE,
        draws,
        {"inference_library": "causal_meta", "sampler": config.kind, "target_id": of.id},
    )
    check = None if target.is_minimum is None else {"is_minimum": target.is_minimum}
    analysis = estimate(draws, n=target.n, n_parameters=target.n_parameters, check=check)
    analysis |= _seconds(draws, analysis, attempt) | {
        "sampler": config.kind,
        "target_id": of.id,
        "exact": target.exact,
        "adapted": dict(draws.adapted),
        "statistics": dict(draws.statistics),
        "running": _running(draws),
        "sampler_config": to_plain(config),
    }
    plain, _ = finite(analysis)
    write_atomic(attempt.folder / ANALYSIS, json.dumps(plain, indent=1, allow_nan=False) + "\n")
    _record(attempt, plain)
    attempt.discard_checkpoints()
    metrics = {name: plain[name] for name in ("llc_mean", "llc_mcse", "ess", "rhat")}
    dims = {
        "chains": config.chains,
        "draws": analysis["draws"],
        "n": target.n,
        "p": target.n_parameters,
    }
    return {"dims": dims, "metrics": metrics, "jax_enable_x64": config.precision == "float64"}


# ----------------------------------------------------------------------------------------- sampling


def _sampled(
    config: SamplerConfig, of: Artifact, tasks: Artifact | None, checkpoint: _Sealed, report: Report
) -> tuple[Draws, _Target]:
    """The draws, and the properties of their target."""
    if tasks is not None:
        from causal_meta.llc.samplers.on_torch import sample_torch
        from causal_meta.runners.llc.checkpoint_landscape import checkpoint_landscape

        of_model = checkpoint_landscape(of, tasks, width=config.precision)
        draws = sample_torch(of_model, config, checkpoint=checkpoint, progress=report)
        n_parameters = of_model.restricted(config.posterior.mask).n_parameters
        return draws, _Target(
            of_model.n, n_parameters, {}, draws.statistics["centre"]["is_minimum"]
        )
    if config.posterior.polish:
        raise ConfigError(
            "posterior.polish is for trained graph models; a network is polished when it is built "
            "(training.polish), so omit it."
        )
    from causal_meta.llc.samplers import masked, sample
    from causal_meta.runners.llc.network_training import load_landscape

    landscape = load_landscape(of)
    draws = sample(landscape, config, checkpoint=checkpoint, progress=report)
    restricted = masked(landscape, config.posterior.mask)
    exact = dict(restricted.exact)
    if restricted.expectation is not None:
        # the posterior is not proper without localisation, or the quadrature does not converge
        with contextlib.suppress(ValueError):
            value, error = restricted.expectation(draws.n_beta, draws.gamma)
            exact |= {"expected": float(value), "expected_error": float(error)}
    is_minimum = of.meta.get("metrics", {}).get("is_minimum")
    return draws, _Target(landscape.n, restricted.n_parameters, exact, is_minimum)


class _Sealed:
    """The states of all chains as plain arrays, kept by the attempt."""

    def __init__(self, attempt: Attempt) -> None:
        self.attempt = attempt

    def load(self) -> dict[str, NDArray[Any]] | None:
        """What an earlier attempt left, if it left anything."""
        return self.attempt.load("arrays")

    def save(self, arrays: dict[str, NDArray[Any]], done: int) -> None:
        """Replace the checkpoint, if the last one is some seconds old."""
        if self.attempt.seconds_since_save() >= SECONDS_BETWEEN_CHECKPOINTS:
            self.attempt.save(arrays, done, "arrays")


@contextlib.contextmanager
def _progress(config: SamplerConfig, attempt: Attempt) -> Iterator[Report]:
    """A function that shows the progress of a sampler as a bar, as lines, or not at all, by the
    attempt's options."""
    with contextlib.ExitStack() as stack:
        shown: list[Progress] = []

        def report(done: int, total: int) -> None:
            if not shown:
                shown.append(
                    stack.enter_context(
                        Progress(
                            total, style=attempt.options.get("progress", "auto"), title=config.kind
                        )
                    )
                )
            shown[0].total = total  # a run whose error is still too large is lengthened
            shown[0].update(done)

        yield report


# ----------------------------------------------------------------------------------------- analysis


def _seconds(draws: Draws, analysis: Mapping[str, Any], attempt: Attempt) -> dict[str, Any]:
    """Wall seconds of compilation, warm-up and sampling, and the variance normalised by the seconds
    of the last two."""
    parts = {
        f"{name}_sec": float(draws.seconds[name]) if name in draws.seconds else None
        for name in ("compile", "warmup", "sampling")
    }
    spent = sum(parts[name] or 0.0 for name in ("warmup_sec", "sampling_sec"))
    error = analysis["llc_mcse"]
    return {
        "walltime_sec": round(attempt.facts.wall_s, 3),
        "cpu_sec": round(attempt.facts.cpu_s, 3),
        **parts,
        "wnv_sec": None if error is None else error**2 * spent,
    }


def _running(draws: Draws) -> dict[str, list[float]]:
    """The running estimate with its error, and with gradients and seconds of all chains together
    (warm-up included, compilation not)."""
    running = settling(draws)
    length = draws.loss.shape[1]
    warmup, sampling = (float(draws.seconds.get(name, 0.0)) for name in ("warmup", "sampling"))
    fields = dataclasses.asdict(running) | {"seconds": warmup + sampling * running.draws / length}
    return {name: np.asarray(values).tolist() for name, values in fields.items()}


def _record(attempt: Attempt, analysis: Mapping[str, Any]) -> None:
    """Record the running estimate as scalars and the result as an event."""
    running = analysis["running"]
    for at, mean, error in zip(running["draws"], running["mean"], running["error"], strict=True):
        attempt.facts.scalars(int(at), "sample", {"llc": mean, "llc_mcse": error})
    names = (
        "llc_mean",
        "llc_mcse",
        "ess_bulk",
        "ess_tail",
        "rhat",
        "divergences",
        "acceptance",
        "total_fges",
    )
    metrics = {name: analysis[name] for name in names if analysis[name] is not None}
    attempt.facts.event(
        "on_test_end",
        split="sample",
        metrics=metrics,
        flags=list(analysis["flags"]),
        failed_chains=len(analysis["failed_chains"]),
    )
