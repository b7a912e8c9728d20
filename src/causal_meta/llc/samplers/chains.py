"""Carrying out Markov chains: one compiled program for a segment of all chains, called for each
window of the warm-up and each part of the sampling.

Everything that depends on data, tuning or the number of draws is an argument of the program, so
that it is compiled once. Between two calls all state is plain arrays: a checkpoint holds them, and
chains that go on from it give bitwise the draws of chains that were never stopped. Keys belong to
(segment, draw, transition, chain), so a chain's random numbers do not depend on how many others run
beside it.

Where the configuration leaves the number of draws open, sampling goes on until the estimate is
known well enough (`llc.samplers.lengthening`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import numpy as np

from causal_meta.conf.samplers import ChainConfig
from causal_meta.conf.setting import ConfigError
from causal_meta.draws import Draws, virial_groups
from causal_meta.llc.landscapes.landscape import Landscape, Rows, float_width
from causal_meta.llc.samplers.checkpoint import Arrays, Checkpoint
from causal_meta.llc.samplers.lengthening import further
from causal_meta.llc.samplers.prepared import (
    LOOKS,
    POWER_ITERATIONS,
    Prepared,
    Start,
    prepare,
    stream,
)
from causal_meta.llc.samplers.segment import Counters, Method, segment

_WINDOWS = 10  # parts of the warm-up, after each of which a sampler may be tuned anew
_SEGMENTS = 10  # about so many parts of the sampling
_LONGEST = 2000  # draws of a segment at most
_HASTY: dict[str, str | bool] = {
    "xla_backend_optimization_level": "0",
    "xla_cpu_use_fusion_emitters": False,
}
_PARTS = ("compile", "warmup", "sampling")
_BUFFER = 1 << 22  # numbers that the positions of a segment may take

Tell = Callable[[int, int], None]
Build = Callable[[Prepared], Method]


@dataclass(frozen=True)
class Plan:
    """Segments of a run: draws in each (`warm`, then `kept`), transitions per draw of the warm-up,
    and the size of the buffers."""

    warm: tuple[int, ...]
    kept: tuple[int, ...]
    warm_thin: int
    size: int

    @classmethod
    def of(cls, draws: int, warmup: int, numbers: int) -> Plan:
        """The plan of `warmup` transitions and `draws` draws, each of which takes `numbers` numbers
        of a buffer.

        >>> Plan.of(1000, 1000, 100)
        Plan(warm=(100, 100, 100, 100, 100, 100, 100, 100, 100, 100), kept=(100, 100, 100, 100, 100,
        100, 100, 100, 100, 100), warm_thin=1, size=100)
        """
        size = min(
            max(-(-draws // _SEGMENTS), 100), _LONGEST, max(10, _BUFFER // max(numbers, 1)), draws
        )
        windows = min(_WINDOWS, warmup)
        each = -(-warmup // windows) if windows else 0
        thin = max(1, -(-each // size))
        return cls((-(-each // thin),) * windows, _in_segments(draws, size), thin, size)


@dataclass
class Run:
    """What has come about so far: state and tuning, records of the kept draws, and what went before
    them."""

    state: Any
    tuning: Any
    work: Any
    windows: list[Arrays] = field(default_factory=list)
    records: dict[str, list[Any]] = field(default_factory=dict)
    moments: Any = None
    kept: tuple[int, ...] = ()
    seconds: Any = field(default_factory=lambda: np.zeros((2, 3)))
    done: int = 0

    def arrays(self) -> Arrays:
        """All of it as plain arrays."""
        found: Arrays = {
            f"state.{i}": np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(self.state))
        }
        found |= {
            f"tuning.{i}": np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(self.tuning))
        }
        found |= {
            f"window.{i}.{name}": values
            for i, window in enumerate(self.windows)
            for name, values in window.items()
        }
        found |= {f"record.{name}": np.concatenate(parts) for name, parts in self.records.items()}
        return found | {
            "moments": self.moments,
            "work": self.work,
            "seconds": self.seconds,
            "done": np.array(self.done),
            "kept": np.array(self.kept),
        }

    def take_up(self, arrays: Arrays) -> None:
        """Go on from `arrays`, whose state and tuning have the shape of those here."""
        for part in ("state", "tuning"):
            leaves, shape = jax.tree.flatten(getattr(self, part))
            setattr(
                self,
                part,
                jax.tree.unflatten(
                    shape, [np.asarray(arrays[f"{part}.{i}"]) for i in range(len(leaves))]
                ),
            )
        count = 1 + max(
            (int(name.split(".")[1]) for name in arrays if name.startswith("window.")), default=-1
        )
        self.windows = [
            {
                name.split(".", 2)[2]: arrays[name]
                for name in arrays
                if name.startswith(f"window.{i}.")
            }
            for i in range(count)
        ]
        self.records = {
            name.removeprefix("record."): [values]
            for name, values in arrays.items()
            if name.startswith("record.")
        }
        self.moments, self.work, self.seconds, self.done = (
            arrays["moments"],
            arrays["work"],
            arrays["seconds"],
            int(arrays["done"]),
        )
        self.kept = tuple(int(count) for count in arrays["kept"])


def run_chains(
    landscape: Landscape,
    config: ChainConfig,
    build: Build,
    warmup: int,
    *,
    checkpoint: Checkpoint | None = None,
    progress: Tell | None = None,
) -> Draws:
    """The draws of the method that `build` makes: warm-up in windows, then sampling in segments."""
    if config.row_moments and landscape.row_losses is None:
        raise ConfigError(
            f"{config.kind}.row_moments needs rows, but {landscape.name} is a population loss; "
            "leave it at False."
        )
    with float_width(config.precision):
        begun = _clocks()
        prepared, run, start = _opened(prepare(landscape, config, config.row_chunk), config, build)
        method = build(prepared)
        data = prepared.landscape.data
        plan = Plan.of(
            config.draws or config.first_draws, warmup, 2 * config.chains * landscape.n_parameters
        )
        run.kept = plan.kept
        key = stream(config.seed, config.kind, "chains")
        arguments = (
            key,
            np.int32(0),
            run.state,
            run.tuning,
            *[np.int32(1)] * 4,
            np.bool_(True),
            data,
        )
        program = jax.jit(segment(method, config, plan.size)).lower(*arguments).compile()
        opening = _clocks() - begun
        kept = checkpoint.load() if checkpoint else None
        if kept is not None:
            run.take_up(kept)
        run.seconds = run.seconds + np.outer(opening, [1.0, 0.0, 0.0])
        while True:
            while run.done < (total := len(plan.warm) + len(run.kept)):
                _segment(program, method, plan, run, key, data, config)
                if checkpoint:
                    checkpoint.save(run.arrays(), run.done)
                if progress:
                    progress(run.done, total)
            draws = _draws(prepared, method, config, run, start)
            more = 0 if config.draws else further(draws, config.aim)
            if more == 0:
                return draws
            run.kept += _in_segments(more, plan.size)


def _in_segments(count: int, size: int) -> tuple[int, ...]:
    """`count` draws in segments of `size`."""
    full, rest = divmod(count, size)
    return (size,) * full + ((rest,) if rest else ())


def hasty(lowered: Any) -> Any:
    """The program of a function that is called once, compiled in a hurry where that is known to be
    quicker than it is slow: on a CPU, without LLVM's optimisation and by the emitter that is done
    sooner. Versions of XLA that do not know these options compile it as they do."""
    if jax.default_backend() != "cpu":
        return lowered.compile()
    try:
        return lowered.compile(_HASTY)
    except RuntimeError:
        return lowered.compile()


def _opened(prepared: Prepared, config: ChainConfig, build: Build) -> tuple[Prepared, Run, Start]:
    """The posterior with L_n(w*), and the chains at their start, by one program."""
    keys = stream(config.seed, config.kind, "start"), stream(config.seed, config.kind, "curvature")

    # with the keys as arguments, so that all seeds share the program
    def opening(key: Any, seen: Any, data: Rows) -> Any:
        ready = prepared.centred(prepared.loss(prepared.centre, data))
        method = build(ready)
        start = ready.start(jax.random.fold_in(key, 0), seen, config.start_jitter, data)
        tuning = method.tuning(start, data)
        return (
            ready.posterior.centre_loss,
            start,
            tuning,
            method.begin(jax.random.fold_in(key, 1), start, tuning, data),
        )

    given = (*keys, prepared.landscape.data)
    program = hasty(jax.jit(opening).lower(*given))
    centre_loss, start, tuning, state = jax.tree.map(np.asarray, program(*given))
    if not np.isfinite(centre_loss):
        raise ValueError(
            f"The loss of {prepared.landscape.name} at w* is {centre_loss}; no posterior around "
            "it can be sampled."
        )
    work = np.full(
        config.chains,
        build(prepared).first_work + 2 * LOOKS + (2 * POWER_ITERATIONS + 1) / config.chains,
    )
    return (
        prepared.centred(centre_loss),
        Run((state, Counters.zero(config.chains)), tuning, work, moments=np.zeros((2, 0))),
        start,
    )


def _segment(
    program: Callable[..., Any],
    method: Method,
    plan: Plan,
    run: Run,
    key: Any,
    data: Rows,
    config: ChainConfig,
) -> None:
    """Carry out the next segment of the plan."""
    begun = _clocks()
    warm = run.done < len(plan.warm)
    count = (plan.warm + run.kept)[run.done]
    thin = plan.warm_thin if warm else config.thin
    behind = sum(run.kept[: run.done - len(plan.warm)]) if not warm else 0
    every = method.every(thin if warm else 0)
    numbers = [np.int32(number) for number in (count, behind, every, thin)]
    found = program(key, np.int32(run.done), run.state, run.tuning, *numbers, np.bool_(warm), data)
    run.state, run.tuning, record, moments = jax.tree.map(np.asarray, found)
    record = {name: values[:count] for name, values in record.items()}
    run.work = run.work if not warm else run.work + record["work"].sum(0, dtype=np.float64)
    run.done += 1
    if warm:
        part = run.done / len(plan.warm)
        run.windows = [*run.windows, record][-max(1, run.done // 2) :]
        state, run.tuning = method.retune(run.state[0], run.tuning, run.windows, part)
        run.state = (state, _counted_again(run.state[1], np.isfinite(method.pulse(state))))
        run.windows = run.windows if part < 1 else []
    else:
        run.moments = moments if run.moments.shape[1] == 0 else run.moments + moments
        for name, values in record.items():
            if name != "slope" and (name != "away" or config.keep_parameters):
                run.records.setdefault(name, []).append(values)
    run.seconds = run.seconds + np.outer(
        _clocks() - begun, [0.0, 1.0, 0.0] if warm else [0.0, 0.0, 1.0]
    )


def _counted_again(counters: Counters, sound: Any) -> Counters:
    """Chains that the warm-up has put back among the numbers have not failed."""
    return counters._replace(
        failed=np.where(sound, -1, counters.failed).astype(counters.failed.dtype)
    )


def _clocks() -> Any:
    """Wall and CPU seconds."""
    return np.array([time.perf_counter(), time.process_time()])


def _draws(
    prepared: Prepared, method: Method, config: ChainConfig, run: Run, start: Start
) -> Draws:
    """The record as `Draws`, chains first."""
    records = {
        name: np.swapaxes(np.concatenate(parts), 0, 1) for name, parts in run.records.items()
    }
    adapted, statistics = method.told(run.tuning, records)
    failed = run.state[1].failed
    statistics |= {
        "failed_chains": {str(chain): int(move) for chain, move in enumerate(failed) if move >= 0},
        "moves": int(run.state[1].moves),
    }
    statistics |= {"cpu_seconds": dict(zip(_PARTS, run.seconds[1].tolist(), strict=True))}
    size = prepared.landscape.n_parameters
    draws = Draws(
        loss=np.asarray(prepared.posterior.centre_loss + records["excess"], config.precision),
        centre_loss=float(prepared.posterior.centre_loss),
        n_beta=prepared.posterior.n_beta,
        gamma=prepared.posterior.gamma,
        distance=records["distance"],
        projection=records["projection"],
        gradients=run.work[:, None] + np.cumsum(records["work"], axis=1, dtype=np.float64),
        seconds=dict(zip(_PARTS, run.seconds[0].tolist(), strict=True)),
        adapted={"curvature_at_centre": float(start.centre_curvature)} | adapted,
        statistics=statistics,
        parameters=records["away"] + np.asarray(prepared.centre)
        if config.keep_parameters
        else None,
        row_moments=_row_moments(prepared, run.moments, records["excess"])
        if config.row_moments
        else None,
    )
    told: dict[str, Any] = {
        name: records[name] for name in ("acceptance", "energy") if name in method.tells
    }
    if "divergent" in method.tells:
        told["divergent"] = records["divergent"] > 0
    told |= {
        "virial": records["virial"],
        "virial_sizes": tuple(np.bincount(virial_groups(size)).tolist()),
    }
    return replace(draws, **told)


def _row_moments(prepared: Prepared, sums: Any, excess: Any) -> Any:
    """Mean and variance of each row's loss over the draws, [2, n]."""
    rows = prepared.landscape.row_losses
    assert rows is not None
    at_centre = np.asarray(jax.jit(rows)(prepared.centre, prepared.landscape.data))
    count = int(np.isfinite(excess).sum())
    mean = sums[0] / count
    return np.stack(
        [at_centre + mean, np.maximum(sums[1] / count - mean**2, 0.0) * count / max(count - 1, 1)]
    )
