"""Training of a landscape's parameters by gradient methods (optax): compiled loops of many steps
that can be left and taken up again."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from numpy.typing import NDArray

from causal_meta.conf.networks import NetworkTrainingConfig
from causal_meta.llc.landscapes.landscape import Landscape, float_width
from causal_meta.randomness import generator

RECENT = 20  # losses that early stopping looks at
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Segment:
    """A stretch of training that is done: completed steps, the losses of its steps, whether
    training is over, and the state to go on from."""

    step: int
    losses: NDArray[np.floating]
    over: bool
    state: Arrays

    @property
    def parameters(self) -> NDArray[np.float64]:
        """w [P]."""
        return np.asarray(self.state["leaf.0"], np.float64)


def train(
    landscape: Landscape,
    config: NetworkTrainingConfig,
    seed: int,
    *,
    state: Mapping[str, Any] | None = None,
    segment_steps: int = 500,
) -> Iterator[Segment]:
    """Minimise L_n from `landscape.centre`, `segment_steps` steps at a time, or go on from the
    `state` of a segment of before.

    Every step takes all rows (where `batch_size` is 0 or not less than n), or the next `batch_size`
    rows of an order of all rows that is fresh in each epoch (drawn from (seed, epoch); the n mod
    batch_size rows at its end are left out of that epoch). Training is over after `max_steps`
    steps, or, after its warm-up, where the losses of the last 20 steps have a standard deviation
    below `early_stop`. The loss of a step is that before it, of its rows. Going on gives the same
    bits as not having stopped. Raises ValueError for a loss that is not finite.
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
            wanted = min(segment_steps, config.max_steps - step)
            rows = _orders(seed, step, segment_steps, landscape.n, batch)
            carry, losses, done = run(
                jax.tree.unflatten(tree, leaves), scape.data, rows, wanted, step
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
            over = step >= config.max_steps or int(done) < wanted
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


def learning_rate(config: NetworkTrainingConfig) -> Callable[[Any], Any]:
    """The rate of a step: linear from 0 over `warmup_steps`, then constant, or half a cosine down
    to `final_rate` of it at `max_steps`."""
    peak, warm = config.learning_rate, config.warmup_steps

    def rate(step: Any) -> Any:
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
    """The rows [count, batch] of steps `step` … of training; [count, 0] where every step takes
    all."""
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
) -> Callable[..., Any]:
    """The program of one segment: up to `wanted` of `count` steps."""
    gradient = jax.value_and_grad(landscape.mean_loss)

    def run(carry: Any, data: Any, rows: Any, wanted: Any, before: Any) -> Any:
        def one(state: Any) -> Any:
            i, (w, inner, recent), losses = state
            chosen = {key: value[rows[i]] for key, value in data.items()} if batch else data
            loss, slope = gradient(w, chosen)
            updates, inner = optimizer.update(slope, inner, w)
            recent = jnp.append(recent[1:], loss)
            return i + 1, (optax.apply_updates(w, updates), inner, recent), losses.at[i].set(loss)

        def going(state: Any) -> Any:
            i, (_, _, recent), _ = state
            warm = before + i >= config.warmup_steps + RECENT
            return (i < wanted) & ~(warm & (jnp.std(recent) < config.early_stop))

        done, carry, losses = jax.lax.while_loop(
            going, one, (jnp.asarray(0), carry, jnp.zeros(count, carry[2].dtype))
        )
        return carry, losses, done

    return run
