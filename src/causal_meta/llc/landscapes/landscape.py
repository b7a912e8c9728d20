"""A loss landscape around one point: what every sampler looks at, whatever network or formula is
behind it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

Width = Literal["float32", "float64"]
Rows = Mapping[str, Any]


@dataclass(frozen=True)
class Landscape:
    """The mean negative log-likelihood L_n(w) of `n` rows as a function of P flat parameters,
    around the point `centre` (w*).

    `data` holds arrays whose first axis runs over the n rows. It is an argument of every function
    and never a constant of a compiled program. `row_losses(w [P], rows) -> [B]` gives the loss of
    each row, so that any subset of rows is a minibatch; it is None for a population loss K(w),
    which `mean_loss(w [P], data) -> ()` gives alone (then `n` only sets the temperature, and there
    are no minibatches).

    `parameter_names` maps each parameter leaf to its slice of w; a restricted LLC chooses among
    them. `exact` holds the exact `lambda` and `multiplicity` where they are known, and
    `expectation(nβ, γ)` gives nβ E[L_n(w) - L_n(w*)] under the local posterior at this n, with its
    error.
    """

    name: str
    n: int
    centre: NDArray[np.floating]
    data: Rows = field(default_factory=dict)
    row_losses: Callable[[Any, Rows], Any] | None = None
    population_loss: Callable[[Any], Any] | None = None
    parameter_names: Mapping[str, slice] = field(default_factory=dict)
    exact: Mapping[str, float] = field(default_factory=dict)
    expectation: Callable[[float, float], tuple[float, float]] | None = None

    def __post_init__(self) -> None:
        """Exactly one of the two losses must be given, and n must allow a temperature 1 / log n."""
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

    def mean_loss(self, w: Any, data: Rows) -> Any:
        """L_n(w), a scalar: the mean over the rows of `data`, or the population loss."""
        if self.row_losses is None:
            assert self.population_loss is not None
            return self.population_loss(w)
        return jnp.mean(self.row_losses(w, data))

    def at_width(self, width: Width) -> Landscape:
        """The same landscape with centre and floating data as JAX arrays of `width`, to be used
        inside `float_width(width)`."""
        dtype = jnp.dtype(width)

        def cast(values: Any) -> Any:
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

    def restricted(self, indices: NDArray[np.integer]) -> Landscape:
        """The landscape of the parameters `indices` alone, all others held at w*: its LLC is the
        restricted one (Wang et al. 2024, section 3.2)."""
        chosen, whole = np.asarray(indices), self

        def widened(w: Any) -> Any:
            return jnp.asarray(whole.centre, w.dtype).at[chosen].set(w)

        rows, population = self.row_losses, self.population_loss
        return replace(
            self,
            centre=np.asarray(self.centre)[chosen],
            row_losses=None if rows is None else lambda w, data: rows(widened(w), data),
            population_loss=None if population is None else lambda w: population(widened(w)),
            parameter_names={},
            exact={},
            expectation=None,
        )


def float_width(width: Width) -> Any:
    """The context in which JAX computes in `width`; every call of this room runs inside one.

    >>> with float_width("float64"):
    ...     jnp.zeros(1).dtype
    dtype('float64')
    """
    return jax.enable_x64(width == "float64")
