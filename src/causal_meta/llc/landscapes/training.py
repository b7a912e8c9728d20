"""Training of a landscape's parameters by gradient methods (optax), in compiled loops of many steps
between which it can be interrupted and resumed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike
from jaxtyping import Float
from numpy.typing import NDArray

from causal_meta.conf.networks import NetworkTrainingConfig
from causal_meta.llc.landscapes.landscape import Landscape, Rows, float_width
from causal_meta.randomness import generator

RECENT = 20  # number of losses that early stopping evaluates
Arrays = dict[str, NDArray[Any]]
#: parameters [P], the optimiser's state, and the last losses [RECENT]
Carry = tuple[jax.Array, optax.OptState, jax.Array]
_State = tuple[jax.Array, Carry, jax.Array]  # steps done, carry, losses [count]


@dataclass(frozen=True)
class Segment:
    """A completed segment of training: all completed steps, the losses of the segment's steps,
    whether training is over, and the state from which it resumes."""

    step: int
    losses: NDArray[np.floating]
    over: bool
    state: Arrays

    @property
    def parameters(self) -> Float[np.ndarray, " P"]:
        """w."""
        return np.asarray(self.state["leaf.0"], np.float64)


def train(
    landscape: Landscape,
    config: NetworkTrainingConfig,
    seed: int,
    *,
    state: Mapping[str, NDArray[Any]] | None = None,
    segment_steps: int = 500,
) -> Iterator[Segment]:
    """Minimise L_n from `landscape.centre`, in segments of `segment_steps` steps.

    Every step takes all rows (where `batch_size` is 0 or at least n), or the next `batch_size` rows
    of a random order of all rows, which is drawn from (seed, epoch) for each epoch; the last n mod
    batch_size rows of an epoch are not used. Training ends after `max_steps` steps, or, after its
    warm-up, where the losses of the last 20 steps have a standard deviation below `early_stop`.

    Args:
        state: of an earlier segment, from which training resumes with the same bits.

    Returns:
        An iterator over segments; the loss of a step is that of its rows before the step.

    Raises:
        ValueError: for a loss that is not finite.
    """
    assert landscape.row_losses is not None
    batch = config.batch_size if config.batch_size < landscape.n else 0
    with float_width(config.precision):
        scape = landscape.at_width(config.precision)
        optimizer = _optimizer(config)
        start = (
            scape.centre,
            optimizer.init(scape.centre),
            jnp.full(RECENT, jnp.inf, scape.centre.dtype),
        )
        leaves, tree = jax.tree.flatten(start)
        step = 0
        if state is not None:
            step, leaves = (
                int(state["step"]),
                [jnp.asarray(state[f"leaf.{i}"]) for i in range(len(leaves))],
            )
        run = jax.jit(_segment(scape, optimizer, config, segment_steps, batch))
        over = step >= config.max_steps or (state is not None and bool(state["over"]))
        while not over:
            limit = min(segment_steps, config.max_steps - step)
            rows = _orders(seed, step, segment_steps, landscape.n, batch)
            carry, losses, done = run(
                jax.tree.unflatten(tree, leaves), scape.data, rows, limit, step
            )
            leaves = jax.tree.leaves(carry)
            losses = np.asarray(losses)[: int(done)]
            if not np.isfinite(losses).all():
                bad = step + int(np.argmin(np.isfinite(losses)))
                raise ValueError(
                    f"The loss is {losses[bad - step]} at step {bad} of training; take a smaller "
                    "training.learning_rate."
                )
            step += int(done)
            over = step >= config.max_steps or int(done) < limit
            kept = {f"leaf.{i}": np.asarray(leaf) for i, leaf in enumerate(leaves)}
            yield Segment(
                step, losses, over, kept | {"step": np.asarray(step), "over": np.asarray(over)}
            )


def _optimizer(config: NetworkTrainingConfig) -> optax.GradientTransformation:
    rate = learning_rate(config)
    if config.optimizer == "sgd":
        return optax.sgd(rate, momentum=config.momentum or None)
    return (
        optax.adamw(rate, weight_decay=config.weight_decay)
        if config.optimizer == "adamw"
        else optax.adam(rate)
    )


def learning_rate(config: NetworkTrainingConfig) -> Callable[[jax.Array], ArrayLike]:
    """The learning rate by step: linear from 0 over `warmup_steps`, then constant, or half a cosine
    down to `final_rate` times its maximum at `max_steps`."""
    peak, warm = config.learning_rate, config.warmup_steps

    def rate(step: jax.Array) -> ArrayLike:
        rising = jnp.minimum(1.0, (step + 1) / warm) if warm else 1.0
        if config.schedule == "constant":
            return peak * rising
        progress = jnp.clip((step - warm) / max(1, config.max_steps - warm), 0, 1)
        return (
            peak
            * rising
            * (
                config.final_rate
                + (1 - config.final_rate) * 0.5 * (1 + jnp.cos(math.pi * progress))
            )
        )

    return rate


def _orders(seed: int, step: int, count: int, n: int, batch: int) -> NDArray[np.int32]:
    """The rows [count, batch] of `count` steps from `step`; [count, 0] where every step takes all
    rows."""
    if not batch:
        return np.empty((count, 0), np.int32)
    per_epoch = n // batch
    orders: dict[int, NDArray[np.int64]] = {}
    for epoch in range(step // per_epoch, (step + count - 1) // per_epoch + 1):
        orders[epoch] = (
            generator(seed, "network minibatches", epoch)
            .permutation(n)[: per_epoch * batch]
            .reshape(per_epoch, batch)
        )
    return np.stack(
        [orders[s // per_epoch][s % per_epoch] for s in range(step, step + count)]
    ).astype(np.int32)


def _segment(
    landscape: Landscape,
    optimizer: optax.GradientTransformation,
    config: NetworkTrainingConfig,
    count: int,
    batch: int,
) -> Callable[..., tuple[Carry, jax.Array, jax.Array]]:
    """The program of one segment: up to `limit` of `count` steps, after `before` earlier ones."""
    gradient = jax.value_and_grad(landscape.mean_loss)

    def run(
        carry: Carry, data: Rows, rows: jax.Array, limit: ArrayLike, before: ArrayLike
    ) -> tuple[Carry, jax.Array, jax.Array]:
        def one(state: _State) -> _State:
            i, (w, inner, recent), losses = state
            batch_rows = {key: value[rows[i]] for key, value in data.items()} if batch else data
            loss, slope = gradient(w, batch_rows)
            updates, inner = optimizer.update(slope, inner, w)
            recent = jnp.append(recent[1:], loss)
            return i + 1, (optax.apply_updates(w, updates), inner, recent), losses.at[i].set(loss)

        def unfinished(state: _State) -> jax.Array:
            i, (_, _, recent), _ = state
            warm = before + i >= config.warmup_steps + RECENT
            return (i < limit) & ~(warm & (jnp.std(recent) < config.early_stop))

        done, carry, losses = jax.lax.while_loop(
            unfinished, one, (jnp.asarray(0), carry, jnp.zeros(count, carry[2].dtype))
        )
        return carry, losses, done

    return run
