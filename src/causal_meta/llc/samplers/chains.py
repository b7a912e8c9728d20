"""Running Markov chains: one compiled program for a segment of all chains, called for each window
of the warm-up and each part of the sampling.

Everything that depends on data, tuning or the number of draws is an argument of the program, so
that it is compiled once. Between two calls all state is plain arrays: a checkpoint holds them, and
resumed chains give bitwise the draws of chains that were never stopped. Keys belong to (segment,
draw, transition, chain), so a chain's random numbers do not depend on the number of chains.

Where the configuration leaves the number of draws open, sampling continues until the error of the
estimate is small enough (`llc.samplers.lengthening`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, cast

import jax
import numpy as np
from numpy.typing import NDArray

from causal_meta.conf.samplers import ChainConfig
from causal_meta.conf.setting import ConfigError
from causal_meta.draws import Draws, virial_groups
from causal_meta.llc.landscapes.landscape import Landscape, Rows, float_width
from causal_meta.llc.samplers.arrays import Array, Key
from causal_meta.llc.samplers.checkpoint import Arrays, Checkpoint
from causal_meta.llc.samplers.lengthening import further
from causal_meta.llc.samplers.prepared import (
    POWER_ITERATIONS,
    START_ITERATIONS,
    Prepared,
    Start,
    prepare,
    stream,
)
from causal_meta.llc.samplers.segment import Counters, Method, Segment

_WINDOWS = 10  # parts of the warm-up, after each of which the sampler is retuned
_SEGMENTS = 10  # the approximate number of parts of the sampling
_LONGEST = 2000  # draws of a segment at most
_BUFFER = 1 << 22  # numbers that the positions of a segment may take
_PARTS = ("compile", "warmup", "sampling")
_FEWER_PASSES: dict[str, str | bool] = {
    "xla_backend_optimization_level": "0",
    "xla_cpu_use_fusion_emitters": False,
}

Progress = Callable[[int, int], None]
"""Called with the number of segments done, and of all."""
Build = Callable[[Prepared], Method[Any, Any]]


class Lowered(Protocol):
    """What `jax.jit(function).lower(...)` returns."""

    def compile(self, compiler_options: dict[str, str | bool] | None = None) -> Callable[..., Any]:
        """The compiled program."""


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
    """A run up to now: state with counters, tuning, gradients taken in the warm-up [C], the last
    windows of the warm-up, and the records of the kept draws."""

    state: tuple[Any, Counters]
    tuning: Any
    work: NDArray[np.float64]
    windows: list[Arrays] = field(default_factory=list)
    records: dict[str, list[NDArray[Any]]] = field(default_factory=dict)
    moments: NDArray[Any] = field(default_factory=lambda: np.zeros((2, 0)))
    kept: tuple[int, ...] = ()
    seconds: NDArray[np.float64] = field(default_factory=lambda: np.zeros((2, 3)))
    done: int = 0

    def arrays(self) -> Arrays:
        """All of it as plain arrays."""
        arrays: Arrays = {}
        for part, tree in (("state", self.state), ("tuning", self.tuning)):
            leaves = jax.tree.leaves(tree)
            arrays |= {f"{part}.{i}": np.asarray(leaf) for i, leaf in enumerate(leaves)}
        for i, window in enumerate(self.windows):
            arrays |= {f"window.{i}.{name}": values for name, values in window.items()}
        arrays |= {f"record.{name}": np.concatenate(parts) for name, parts in self.records.items()}
        return arrays | {
            "moments": self.moments,
            "work": self.work,
            "seconds": self.seconds,
            "done": np.array(self.done),
            "kept": np.array(self.kept),
        }

    def resume(self, arrays: Arrays) -> None:
        """Continue from `arrays`, whose state and tuning have the shapes of those here."""
        self.state = _unflattened(self.state, arrays, "state")
        self.tuning = _unflattened(self.tuning, arrays, "tuning")
        windows: dict[int, Arrays] = {}
        for name, values in arrays.items():
            kind, _, rest = name.partition(".")
            if kind == "window":
                number, _, column = rest.partition(".")
                windows.setdefault(int(number), {})[column] = values
            elif kind == "record":
                self.records[rest] = [values]
        self.windows = [windows[i] for i in sorted(windows)]
        self.moments, self.work = arrays["moments"], arrays["work"]
        self.seconds, self.done = arrays["seconds"], int(arrays["done"])
        self.kept = tuple(int(count) for count in arrays["kept"])


def _unflattened(tree: Any, arrays: Arrays, part: str) -> Any:
    """A tree of the structure of `tree` whose leaves are `arrays["part.0"]`, ...."""
    leaves, structure = jax.tree.flatten(tree)
    return jax.tree.unflatten(
        structure, [np.asarray(arrays[f"{part}.{i}"]) for i in range(len(leaves))]
    )


def run_chains(
    landscape: Landscape,
    config: ChainConfig,
    build: Build,
    warmup: int,
    *,
    checkpoint: Checkpoint | None = None,
    progress: Progress | None = None,
) -> Draws:
    """The draws of the method that `build` makes: `warmup` transitions in windows, then sampling in
    segments.

    Raises `ConfigError` for row moments of a population loss, and ValueError where the loss at w*
    is not finite.
    """
    if config.row_moments and landscape.row_losses is None:
        raise ConfigError(
            f"{config.kind}.row_moments needs rows, but {landscape.name} is a population loss; "
            "leave it at False."
        )
    with float_width(config.precision):
        begun = _clocks()
        prepared, run, start = _opened(prepare(landscape, config, config.row_chunk), config, build)
        method, data = build(prepared), prepared.landscape.data
        numbers = 2 * config.chains * landscape.n_parameters
        plan = Plan.of(config.draws or config.first_draws, warmup, numbers)
        run.kept = plan.kept
        key = stream(config.seed, config.kind, "chains")
        ones = [np.int32(1)] * 4
        arguments = (key, np.int32(0), run.state, run.tuning, *ones, np.bool_(True), data)
        program = jax.jit(Segment(method, config, plan.size).run).lower(*arguments).compile()
        opening = _clocks() - begun
        saved = checkpoint.load() if checkpoint else None
        if saved is not None:
            run.resume(saved)
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


def compiled_quickly(lowered: Lowered) -> Callable[..., Any]:
    """The program of a function that is called once, compiled with fewer optimisation passes where
    that reduces total time: on a CPU, without LLVM's optimisation and with XLA's older emitter.
    Versions of XLA that do not know these options compile as usual."""
    if jax.default_backend() != "cpu":
        return lowered.compile()
    try:
        return lowered.compile(_FEWER_PASSES)
    except RuntimeError:
        return lowered.compile()


def _opened(prepared: Prepared, config: ChainConfig, build: Build) -> tuple[Prepared, Run, Start]:
    """The posterior with L_n(w*), and the chains at their start, by one program."""

    # with the keys as arguments, so that all seeds share the program
    def opening(key: Key, directions: Key, data: Rows) -> Any:
        ready = prepared.centred(prepared.loss(prepared.centre, data))
        method = build(ready)
        start = ready.start(jax.random.fold_in(key, 0), directions, config.start_jitter, data)
        tuning = method.tuning(start, data)
        state = method.begin(jax.random.fold_in(key, 1), start, tuning, data)
        return ready.posterior.centre_loss, start, tuning, state

    keys = stream(config.seed, config.kind, "start"), stream(config.seed, config.kind, "curvature")
    arguments = (*keys, prepared.landscape.data)
    program = compiled_quickly(jax.jit(opening).lower(*arguments))
    centre_loss, start, tuning, state = jax.tree.map(np.asarray, program(*arguments))
    if not np.isfinite(centre_loss):
        raise ValueError(
            f"The loss of {prepared.landscape.name} at w* is {centre_loss}; no posterior around "
            "it can be sampled."
        )
    shared = (2 * POWER_ITERATIONS + 1) / config.chains
    work = np.full(config.chains, build(prepared).first_work + 2 * START_ITERATIONS + shared)
    return (
        prepared.centred(centre_loss),
        Run((state, Counters.zero(config.chains)), tuning, work),
        start,
    )


def _segment(
    program: Callable[..., Any],
    method: Method[Any, Any],
    plan: Plan,
    run: Run,
    key: Key,
    data: Rows,
    config: ChainConfig,
) -> None:
    """Run the next segment of the plan."""
    begun = _clocks()
    warm = run.done < len(plan.warm)
    count = (plan.warm + run.kept)[run.done]
    thin = plan.warm_thin if warm else config.thin
    before = 0 if warm else sum(run.kept[: run.done - len(plan.warm)])
    interval = method.check_interval(thin if warm else 0)
    numbers = [np.int32(number) for number in (count, before, interval, thin)]
    results = program(
        key, np.int32(run.done), run.state, run.tuning, *numbers, np.bool_(warm), data
    )
    run.state, run.tuning, record, moments = jax.tree.map(np.asarray, results)
    record = {name: values[:count] for name, values in record.items()}
    run.done += 1
    if warm:
        run.work = run.work + record["work"].sum(0, dtype=np.float64)
        part = run.done / len(plan.warm)
        run.windows = [*run.windows, record][-max(1, run.done // 2) :]
        state, run.tuning = method.retune(run.state[0], run.tuning, run.windows, part)
        run.state = (state, _without_restarted(run.state[1], method.finite(state)))
        run.windows = run.windows if part < 1 else []
    else:
        run.moments = moments if run.moments.shape[1] == 0 else run.moments + moments
        for name, values in record.items():
            if name != "slope" and (name != "away" or config.keep_parameters):
                run.records.setdefault(name, []).append(values)
    parts = [0.0, 1.0, 0.0] if warm else [0.0, 0.0, 1.0]
    run.seconds = run.seconds + np.outer(_clocks() - begun, parts)


def _without_restarted(counters: Counters, finite: Array) -> Counters:
    """Chains that the warm-up has restarted, so that they are finite again, have not failed."""
    failed = np.where(finite, -1, counters.failed).astype(counters.failed.dtype)
    return counters._replace(failed=failed)


def _clocks() -> NDArray[np.float64]:
    """Wall and CPU seconds."""
    return np.array([time.perf_counter(), time.process_time()])


def _draws(
    prepared: Prepared, method: Method[Any, Any], config: ChainConfig, run: Run, start: Start
) -> Draws:
    """The records as `Draws`, chains first."""
    records = {
        name: np.swapaxes(np.concatenate(parts), 0, 1) for name, parts in run.records.items()
    }
    adapted, statistics = method.summary(run.tuning, records)
    failed = run.state[1].failed
    statistics |= {
        "failed_chains": {str(chain): int(move) for chain, move in enumerate(failed) if move >= 0},
        "moves": int(run.state[1].moves),
        "cpu_seconds": dict(zip(_PARTS, run.seconds[1].tolist(), strict=True)),
    }
    posterior, size = prepared.posterior, prepared.landscape.n_parameters
    centre, centre_loss = np.asarray(prepared.centre), cast(float, posterior.centre_loss)
    draws = Draws(
        loss=np.asarray(centre_loss + records["excess"], config.precision),
        centre_loss=float(centre_loss),
        n_beta=posterior.n_beta,
        gamma=posterior.gamma,
        distance=records["distance"],
        projection=records["projection"],
        gradients=run.work[:, None] + np.cumsum(records["work"], axis=1, dtype=np.float64),
        virial=records["virial"],
        virial_sizes=tuple(np.bincount(virial_groups(size)).tolist()),
        seconds=dict(zip(_PARTS, run.seconds[0].tolist(), strict=True)),
        adapted={"curvature_at_centre": float(start.centre_curvature)} | adapted,
        statistics=statistics,
        acceptance=records["acceptance"] if "acceptance" in method.reports else None,
        energy=records["energy"] if "energy" in method.reports else None,
        divergent=records["divergent"] > 0 if "divergent" in method.reports else None,
    )
    if config.keep_parameters:
        draws = replace(draws, parameters=records["away"] + centre)
    if config.row_moments:
        draws = replace(draws, row_moments=_row_moments(prepared, run.moments, records["excess"]))
    return draws


def _row_moments(
    prepared: Prepared, sums: NDArray[Any], excess: NDArray[Any]
) -> NDArray[np.floating]:
    """Mean and variance of each row's loss over the draws, [2, n]."""
    rows = prepared.landscape.row_losses
    assert rows is not None
    at_centre = np.asarray(jax.jit(rows)(prepared.centre, prepared.landscape.data))
    count = int(np.isfinite(excess).sum())
    mean = sums[0] / count
    variance = np.maximum(sums[1] / count - mean**2, 0.0) * count / max(count - 1, 1)
    return np.stack([at_centre + mean, variance])
