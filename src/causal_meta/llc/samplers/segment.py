"""The protocol of Markov chain samplers, and the one compiled program that runs a segment of all
chains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from causal_meta import randomness
from causal_meta.conf.samplers import ChainConfig, SamplerConfig
from causal_meta.draws import virial_groups
from causal_meta.llc.landscapes.landscape import Rows
from causal_meta.llc.samplers.arrays import Array, Key
from causal_meta.llc.samplers.checkpoint import Arrays
from causal_meta.llc.samplers.prepared import Prepared, Start

LOSS_WORK = 1 / 3  # cost of a loss without its gradient, in gradients
_DENSE_GROUPS = 4096  # parameters up to which sums over groups are a product of matrices

State = TypeVar("State")
Tuning = TypeVar("Tuning")


class Info(NamedTuple):
    """Statistics of one transition of all chains, [C] each: acceptance probability, whether it
    diverged, an energy (or an error of it), gradients taken."""

    acceptance: Array | float
    divergent: Array | float
    energy: Array | float
    gradients: Array | float


class Observation(NamedTuple):
    """The chains at a draw: w - w* [C, P], L_n(w) - L_n(w*) [C], the gradient of the exponent U [C,
    P], the gradients spent on observing, and further measurements, [C] each (NaN where one was not
    due)."""

    away: Array
    excess: Array
    slope: Array
    work: Array | float
    checks: Mapping[str, Array] = {}


class Method(Protocol[State, Tuning]):
    """A sampler: its transitions, written for all chains at once, and its adaptation between two
    windows of the warm-up.

    State and tuning are tuples of arrays, the state with chains first. `learns_shape`: `retune`
    reads positions and gradients of the records; `first_work`: gradients that `begin` takes;
    `reports`: the fields of `Info` that the sampler fills.
    """

    prepared: Prepared
    learns_shape: bool
    first_work: float
    reports: frozenset[str]

    def tuning(self, start: Start, data: Rows) -> Tuning:
        """The tuning before the first transition (compiled)."""

    def begin(self, key: Key, start: Start, tuning: Tuning, data: Rows) -> State:
        """The state of all chains at their start (compiled)."""

    def transition(
        self, key: Key, state: State, tuning: Tuning, data: Rows, adapting: Array
    ) -> tuple[State, Tuning, Info]:
        """One transition of all chains; the tuning may change while `adapting` (compiled)."""

    def finite(self, state: State) -> Array:
        """Whether each chain is still finite, [C]."""

    def observe(
        self, key: Key, due: Array, state: State, tuning: Tuning, data: Rows
    ) -> Observation:
        """The chains as they are recorded; where `due`, with the measurements that cost many
        gradients (compiled)."""

    def check_interval(self, warm_thin: int) -> int:
        """Draws from one due measurement to the next: in the warm-up, where a draw is `warm_thin`
        transitions, or (0) while sampling."""

    def retune(
        self, state: State, tuning: Tuning, windows: list[Arrays], part: float
    ) -> tuple[State, Tuning]:
        """State and tuning after a window of the warm-up, from the records of the last windows;
        `part` of the warm-up is complete (NumPy)."""

    def summary(self, tuning: Tuning, records: Arrays) -> tuple[dict[str, Any], dict[str, Any]]:
        """What was adapted, and statistics of the draws kept (NumPy)."""


class Counters(NamedTuple):
    """Transitions so far; and for each chain the transition after which it was no longer finite
    (-1: it still is)."""

    moves: Array
    failed: Array

    @classmethod
    def zero(cls, chains: int) -> Counters:
        """Before the first transition."""
        return cls(np.zeros((), np.int32), np.full(chains, -1, np.int32))


Carried = tuple[State, Counters]


@dataclass(frozen=True)
class Segment:
    """The program that makes at most `size` draws of all chains, recorded in buffers [size, C,
    ...]."""

    method: Method[Any, Any]
    config: ChainConfig
    size: int

    def run(
        self,
        key: Key,
        number: Array,
        carried: Carried[State],
        tuning: Tuning,
        count: Array,
        before: Array,
        interval: Array,
        thin: Array,
        adapting: Array,
        data: Rows,
    ) -> tuple[Carried[State], Tuning, dict[str, Array], Array]:
        """Segment `number` of a run: `count` draws of `thin` transitions each, after `before`
        earlier draws, with the costly measurements at every `interval`-th draw of the run.

        Returns state with counters, tuning, records [size, C, ...] and sums of row losses [2, n].
        """
        key = jax.random.fold_in(key, number)

        def draw(t: Array, loop: Any) -> Any:
            carried, tuning, records, moments = loop
            key_of_draw = jax.random.fold_in(key, t)
            carried, tuning, info = self._transitions(
                key_of_draw, carried, tuning, thin, adapting, data
            )
            due = (before + t) % interval == 0
            values = self._recorded(key_of_draw, due, carried, tuning, info, thin, data)
            records = {name: records[name].at[t].set(values[name]) for name in records}
            return carried, tuning, records, self._add_rows(moments, values, data)

        shapes = jax.eval_shape(
            self._recorded, key, adapting, carried, tuning, self._no_info(), thin, data
        )
        records = {
            name: jnp.zeros((self.size, *spec.shape), spec.dtype) for name, spec in shapes.items()
        }
        n_rows = self.method.prepared.landscape.n if self.config.row_moments else 0
        moments = jnp.zeros((2, n_rows), self.config.precision)
        carried, tuning, records, moments = jax.lax.fori_loop(
            0, count, draw, (carried, tuning, records, moments)
        )
        return carried, tuning, self._kept(records), moments

    def _transitions(
        self, key: Key, carried: Carried[State], tuning: Tuning, thin: Array, adapting: Array,
        data: Rows,
    ) -> tuple[Carried[State], Tuning, Info]:  # fmt: skip
        """`thin` transitions, and the sums of their statistics."""
        method, zeros = self.method, self._zeros()

        def move(i: Array, loop: Any) -> Any:
            (state, counters), tuning, sums = loop
            state, tuning, info = method.transition(
                jax.random.fold_in(key, i), state, tuning, data, adapting
            )
            failed = jnp.where(
                (counters.failed < 0) & ~method.finite(state), counters.moves, counters.failed
            )
            added = (jnp.asarray(new, zeros.dtype) for new in info)
            sums = Info(*(old + new for old, new in zip(sums, added, strict=True)))
            return (state, Counters(counters.moves + 1, failed)), tuning, sums

        end: tuple[Carried[State], Tuning, Info] = jax.lax.fori_loop(
            0, thin, move, (carried, tuning, self._no_info())
        )
        return end

    def _recorded(
        self, key: Key, due: Array, carried: Carried[State], tuning: Tuning, info: Info,
        thin: Array, data: Rows,
    ) -> dict[str, Array]:  # fmt: skip
        """The record of a draw, name -> array [C, ...]; `_kept` adds what follows from it, for all
        draws of a segment at once."""
        state, counters = carried
        observed = self.method.observe(key, due, state, tuning, data)
        row_losses = LOSS_WORK if self.config.row_moments else 0.0
        record: dict[str, Any] = {
            "excess": observed.excess,
            "away": observed.away,
            "slope": observed.slope,
            "acceptance": info.acceptance / thin,
            "divergent": info.divergent,
            "energy": info.energy / thin,
            "work": info.gradients + observed.work + row_losses,
            "failed": counters.failed,
        }
        return record | {f"check.{name}": values for name, values in observed.checks.items()}

    def _kept(self, records: dict[str, Array]) -> dict[str, Array]:
        """The records of a segment with distances, projections and virials; positions and
        gradients only where something reads them."""
        away, slope = records["away"], records["slope"]
        lines = directions(self.config, self.method.prepared.landscape.n_parameters)
        kept = dict(records)
        if not self.method.learns_shape:
            del kept["away"], kept["slope"]
        kept |= {
            "distance": jnp.linalg.norm(away, axis=-1),
            "projection": away @ lines,
            "virial": group_sums(away * slope),
        }
        return kept | ({"away": away} if self.config.keep_parameters else {})

    def _add_rows(self, moments: Array, record: dict[str, Array], data: Rows) -> Array:
        """Sums [2, n] of row losses (less those at w*, to lose no digits) and of their squares,
        over the chains that are finite."""
        prepared = self.method.prepared
        rows = prepared.landscape.row_losses
        if moments.shape[1] == 0 or rows is None:
            return moments
        at_centre = rows(prepared.centre, data)
        losses = jax.vmap(lambda one: rows(prepared.centre + one, data) - at_centre)(record["away"])
        losses = jnp.where(jnp.isfinite(record["excess"])[:, None], losses, 0.0)
        return moments + jnp.stack([losses.sum(0), (losses**2).sum(0)])

    def _zeros(self) -> NDArray[Any]:
        return np.zeros(self.config.chains, self.config.precision)

    def _no_info(self) -> Info:
        return Info(*[self._zeros()] * 4)


def group_sums(values: Float[Array, "... P"]) -> Float[Array, "... J"]:
    """Sums over the J groups of neighbouring parameters of the virial (`draws.virial_groups`)."""
    groups = virial_groups(values.shape[-1])
    count = int(groups[-1]) + 1
    if len(groups) <= _DENSE_GROUPS:
        return values @ jnp.asarray(np.eye(count)[groups], values.dtype)
    rows = values.reshape(-1, len(groups))
    sums = jax.vmap(
        lambda row: jax.ops.segment_sum(row, jnp.asarray(groups), count, indices_are_sorted=True)
    )(rows)
    return sums.reshape(*values.shape[:-1], count)


def directions(config: SamplerConfig, size: int) -> Float[np.ndarray, "P K"]:
    """K fixed random directions of unit length as columns: the same for every run of this seed,
    whatever the sampler."""
    drawn = (
        randomness.generator(config.seed, "llc", "projections")
        .standard_normal((config.projections, size))
        .T
    )
    return np.asarray(drawn / np.linalg.norm(drawn, axis=0), config.precision)
