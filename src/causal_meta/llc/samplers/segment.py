"""What a Markov chain sampler is, and the one compiled program that carries a segment of all its
chains."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from causal_meta import randomness
from causal_meta.conf.samplers import ChainConfig, SamplerConfig
from causal_meta.draws import virial_groups
from causal_meta.llc.landscapes.landscape import Rows
from causal_meta.llc.samplers.checkpoint import Arrays
from causal_meta.llc.samplers.prepared import Prepared, Start

LOSS_WORK = 1 / 3  # a loss alone in terms of a gradient
_DENSE_GROUPS = 4096  # parameters up to which sums over groups are a product of matrices


class Info(NamedTuple):
    """What a transition of all chains tells, [C]: acceptance probability, whether it diverged, an
    energy (or an error of it), gradients."""

    acceptance: Any
    divergent: Any
    energy: Any
    gradients: Any


class View(NamedTuple):
    """Where the chains are: w - w* [C, P], L_n(w) - L_n(w*) [C], the gradient of the exponent U [C,
    P], the gradients that looking took, and what else a sampler measures now and then, [C] each
    (not a number where it did not)."""

    away: Any
    excess: Any
    slope: Any
    work: Any
    checks: Mapping[str, Any] = {}


class Method(Protocol):
    """A sampler's transitions, written for all chains at once, and how it tunes itself between two
    windows of the warm-up."""

    prepared: Prepared
    learns_shape: bool
    first_work: float
    tells: frozenset[str]

    def tuning(self, start: Start, data: Rows) -> Any:
        """The tuning before the first transition: a tuple of arrays (compiled)."""

    def begin(self, key: Any, start: Start, tuning: Any, data: Rows) -> Any:
        """The state of all chains at their start: a tuple of arrays with chains first; it takes
        `first_work` gradients (compiled)."""

    def step(
        self, key: Any, state: Any, tuning: Any, data: Rows, adapting: Any
    ) -> tuple[Any, Any, Info]:
        """A transition of all chains; the tuning may change while `adapting` (compiled)."""

    def pulse(self, state: Any) -> Any:
        """A number of each chain [C] that is not finite once the chain has left the numbers
        (compiled)."""

    def view(self, key: Any, due: Any, state: Any, tuning: Any, data: Rows) -> View:
        """Where the chains are, for the record, and where `due` what costs many gradients to
        measure (compiled)."""

    def every(self, warm_thin: int) -> int:
        """Draws from one to the next at which that is due: in the warm-up, of so many transitions a
        draw, or (0) while sampling."""

    def retune(
        self, state: Any, tuning: Any, windows: list[Arrays], part: float
    ) -> tuple[Any, Any]:
        """State and tuning after a window of the warm-up (NumPy), from the records of the last
        windows; `part` of the warm-up is behind."""

    def told(self, tuning: Any, records: Arrays) -> tuple[dict[str, Any], dict[str, Any]]:
        """What was adapted, and other statistics of the draws kept (NumPy)."""


class Counters(NamedTuple):
    """Transitions so far; and of each chain the transition at which it was found to be no number
    (-1: never)."""

    moves: Any
    failed: Any

    @classmethod
    def zero(cls, chains: int) -> Counters:
        """Before the first transition."""
        return cls(np.zeros((), np.int32), np.full(chains, -1, np.int32))


def segment(method: Method, config: ChainConfig, size: int) -> Callable[..., Any]:
    """The function that makes `count` <= `size` draws of `thin` transitions each and records them
    in buffers [size, C, ...].

    It takes (key, number, (state, counters), tuning, count, behind, every, thin, adapting, data),
    with the number of the segment in the run, `behind` draws before it, of which each `every`-th is
    looked at closely, and gives ((state, counters), tuning, records, moments of row losses).
    """
    look, zeros = _recorder(config), np.zeros(config.chains, config.precision)
    lines = directions(config, method.prepared.landscape.n_parameters)

    def run(
        key: Any,
        number: Any,
        state: Any,
        tuning: Any,
        count: Any,
        behind: Any,
        every: Any,
        thin: Any,
        adapting: Any,
        data: Rows,
    ) -> Any:
        own = jax.random.fold_in(key, number)

        def move(key: Any, carry: Any) -> Any:
            (state, counters), tuning, noted = carry
            state, tuning, info = method.step(key, state, tuning, data, adapting)
            failed = jnp.where(
                (counters.failed < 0) & ~jnp.isfinite(method.pulse(state)),
                counters.moves,
                counters.failed,
            )
            noted = Info(
                *(
                    so_far + jnp.asarray(new, zeros.dtype)
                    for so_far, new in zip(noted, info, strict=True)
                )
            )
            return (state, Counters(counters.moves + 1, failed)), tuning, noted

        def draw(t: Any, carry: Any) -> Any:
            state, tuning, records, moments = carry
            key_of_draw = jax.random.fold_in(own, t)
            carry = (state, tuning, Info(zeros, zeros, zeros, zeros))
            state, tuning, noted = jax.lax.fori_loop(
                0, thin, lambda i, inner: move(jax.random.fold_in(key_of_draw, i), inner), carry
            )
            found = look(
                method, key_of_draw, (behind + t) % every == 0, state, tuning, noted, thin, data
            )
            records = {name: records[name].at[t].set(found[name]) for name in records}
            return (
                state,
                tuning,
                records,
                _add_rows(moments, method.prepared, found["excess"], found["away"], data),
            )

        shapes = jax.eval_shape(
            partial(look, method),
            key,
            adapting,
            state,
            tuning,
            Info(zeros, zeros, zeros, zeros),
            thin,
            data,
        )
        records = {
            name: jnp.zeros((size, *spec.shape), spec.dtype) for name, spec in shapes.items()
        }
        n_rows = method.prepared.landscape.n if config.row_moments else 0
        state, tuning, records, moments = jax.lax.fori_loop(
            0, count, draw, (state, tuning, records, jnp.zeros((2, n_rows), zeros.dtype))
        )
        away, slope = records["away"], records["slope"]
        kept = {
            name: values
            for name, values in records.items()
            if name not in ("away", "slope") or method.learns_shape
        }
        kept |= {
            "distance": jnp.linalg.norm(away, axis=-1),
            "projection": away @ lines,
            "virial": group_sums(away * slope),
        }
        return state, tuning, kept | ({"away": away} if config.keep_parameters else {}), moments

    return run


def _recorder(config: ChainConfig) -> Callable[..., dict[str, Any]]:
    """What is kept of a draw: name -> array [C, ...]. What follows from it is computed for all
    draws of a segment at once."""

    def look(
        method: Method,
        key: Any,
        due: Any,
        carried: Any,
        tuning: Any,
        noted: Info,
        thin: Any,
        data: Rows,
    ) -> dict[str, Any]:
        state, counters = carried
        seen = method.view(key, due, state, tuning, data)
        found = {
            "excess": seen.excess,
            "away": seen.away,
            "slope": seen.slope,
            "acceptance": noted.acceptance / thin,
            "divergent": noted.divergent,
            "energy": noted.energy / thin,
            "work": noted.gradients + seen.work + (LOSS_WORK if config.row_moments else 0.0),
            "failed": counters.failed,
        }
        return found | {f"check.{name}": values for name, values in seen.checks.items()}

    return look


def group_sums(values: Any) -> Any:
    """Sums of [..., P] over the groups of the virial, [..., J]."""
    groups = virial_groups(values.shape[-1])
    count = int(groups[-1]) + 1
    if len(groups) <= _DENSE_GROUPS:
        return values @ jnp.asarray(np.eye(count)[groups], values.dtype)
    rows = values.reshape(-1, len(groups))
    sums = jax.vmap(
        lambda row: jax.ops.segment_sum(row, jnp.asarray(groups), count, indices_are_sorted=True)
    )(rows)
    return sums.reshape(*values.shape[:-1], count)


def _add_rows(moments: Any, prepared: Prepared, excess: Any, away: Any, data: Rows) -> Any:
    """Sums of row losses (less those at w*, so that little is lost) and of their squares [2, n],
    over the chains that are numbers."""
    rows = prepared.landscape.row_losses
    if moments.shape[1] == 0 or rows is None:
        return moments
    at_centre = rows(prepared.centre, data)
    found = jax.vmap(lambda one: rows(prepared.centre + one, data) - at_centre)(away)
    found = jnp.where(jnp.isfinite(excess)[:, None], found, 0.0)
    return moments + jnp.stack([found.sum(0), (found**2).sum(0)])


def directions(config: SamplerConfig, size: int) -> Any:
    """K fixed random directions of unit length as columns [P, K]: the same for every run of this
    seed, whatever the sampler."""
    drawn = (
        randomness.generator(config.seed, "llc", "projections")
        .standard_normal((config.projections, size))
        .T
    )
    return np.asarray(drawn / np.linalg.norm(drawn, axis=0), config.precision)
