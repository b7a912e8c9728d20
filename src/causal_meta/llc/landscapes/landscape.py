"""A loss landscape around one point: the interface between samplers and the network or formula
that they sample."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int
from numpy.typing import NDArray

Width = Literal["float32", "float64"]
Values = jax.Array | NDArray[Any]
Rows = Mapping[str, Values]


@dataclass(frozen=True)
class Landscape:
    """The mean negative log-likelihood L_n(w) of `n` rows as a function of P flat parameters,
    around the point `centre` (w*).

    Fields:
        data: arrays whose first axis runs over the n rows; an argument of every function, never a
            constant of a compiled program.
        row_losses: `row_losses(w [P], rows) -> [B]`, the loss of each of B rows in nats, so that
            any subset of rows is a minibatch; None for a population loss.
        population_loss: `population_loss(w [P]) -> ()`, the loss K(w) where there are no rows; n
            then sets the temperature alone, and there are no minibatches.
        parameter_names: the slice of w of each parameter leaf, from which a restricted LLC selects.
        exact: the exact `lambda` and `multiplicity`, where they are known.
        expectation: `expectation(nβ, γ)`, the exact nβ E[L_n(w) - L_n(w*)] under the local
            posterior at this n, with its numerical error.
    """

    name: str
    n: int
    centre: Float[Values, " P"]
    data: Rows = field(default_factory=dict)
    row_losses: Callable[[jax.Array, Rows], jax.Array] | None = None
    population_loss: Callable[[jax.Array], jax.Array] | None = None
    parameter_names: Mapping[str, slice] = field(default_factory=dict)
    exact: Mapping[str, float] = field(default_factory=dict)
    expectation: Callable[[float, float], tuple[float, float]] | None = None

    def __post_init__(self) -> None:
        """Exactly one of the two losses must be present, and n must allow a temperature 1 / log
        n."""
        if (self.row_losses is None) == (self.population_loss is None):
            raise ValueError(f"{self.name}: give row losses or a population loss, one of the two.")
        if self.n < 2:
            raise ValueError(
                f"{self.name} has n = {self.n}; the temperature 1 / log n needs at least 2 rows."
            )

    @property
    def n_parameters(self) -> int:
        """P."""
        return len(self.centre)

    def mean_loss(self, w: Float[jax.Array, " P"], data: Rows) -> Float[jax.Array, ""]:
        """L_n(w): the mean loss of the rows of `data`, or the population loss."""
        if self.row_losses is None:
            assert self.population_loss is not None
            return self.population_loss(w)
        return jnp.mean(self.row_losses(w, data))

    def at_width(self, width: Width) -> Landscape:
        """The same landscape with centre and floating-point data as JAX arrays of precision
        `width`; to be used inside `float_width(width)`."""
        dtype = jnp.dtype(width)

        def cast(values: Values) -> jax.Array:
            return (
                jnp.asarray(values, dtype)
                if np.issubdtype(np.asarray(values).dtype, np.floating)
                else jnp.asarray(values)
            )

        with float_width(width):
            return replace(
                self,
                centre=cast(np.asarray(self.centre)),
                data={key: cast(values) for key, values in self.data.items()},
            )

    def restricted(self, indices: Int[np.ndarray, " K"]) -> Landscape:
        """The landscape of the parameters `indices` alone, all others fixed at w*; its LLC is the
        restricted LLC (Wang et al. 2024, section 3.2)."""
        selected, whole = np.asarray(indices), self

        def widened(w: jax.Array) -> jax.Array:
            return jnp.asarray(whole.centre, w.dtype).at[selected].set(w)

        rows, population = self.row_losses, self.population_loss
        return replace(
            self,
            centre=np.asarray(self.centre)[selected],
            row_losses=None if rows is None else lambda w, data: rows(widened(w), data),
            population_loss=None if population is None else lambda w: population(widened(w)),
            parameter_names={},
            exact={},
            expectation=None,
        )


def float_width(width: Width) -> AbstractContextManager[None]:
    """The context in which JAX computes in precision `width`.

    >>> with float_width("float64"):
    ...     jnp.zeros(1).dtype
    dtype('float64')
    """
    return jax.enable_x64(width == "float64")
