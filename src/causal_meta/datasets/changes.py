"""Changes of single variables of a structural causal model: a variable is set, or something is
added to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from causal_meta.datasets.interventions import Interventions
from causal_meta.datasets.mechanisms import Mechanism

Value = float | Sequence[float] | Tensor


@dataclass(frozen=True, eq=False)
class Change:
    """The change of one variable: if `hard`, it is set to `value`; otherwise `value` is added to
    the result of its mechanism. `value` is float32, one number or one per row [N]."""

    hard: bool
    value: Tensor


@dataclass(frozen=True, eq=False)
class ChangedMechanism:
    """The function of a variable under an intervention, called as the mechanism itself: `(parents
    [N, k], noise [N]) -> [N]`.

    A variable that is set has no parents: k is 0.
    """

    mechanism: Mechanism
    change: Change

    @property
    def name(self) -> str:
        """`do` or `shift`, and the name of the mechanism it replaces."""
        return f"{'do' if self.change.hard else 'shift'} {self.mechanism.name}"

    def __call__(
        self, parents: Float[Tensor, "N k"], noise: Float[Tensor, " N"]
    ) -> Float[Tensor, " N"]:
        if self.change.hard:
            return self.change.value.expand_as(noise)
        return self.mechanism(parents, noise) + self.change.value


def values_by_variable(
    variables: int | Sequence[int], value: Value, n_nodes: int
) -> dict[int, Tensor]:
    """The value of each variable of an intervention, float32 [] or [N].

    Raises ValueError on a variable that is not among the `n_nodes` or named twice, and on values
    that do not fit or are not finite.
    """
    listed: Any = variables.tolist() if isinstance(variables, Tensor | np.ndarray) else variables
    one = not isinstance(listed, Sequence) or isinstance(listed, str)
    chosen: list[int] = []
    for j in [listed] if one else listed:
        if isinstance(j, bool) or not isinstance(j, Integral) or not 0 <= int(j) < n_nodes:
            raise ValueError(
                f"There is no variable {j!r}; the model has the variables 0 to {n_nodes - 1}."
            )
        chosen.append(int(j))
    if not chosen or len(set(chosen)) < len(chosen):
        raise ValueError(
            f"The variables of an intervention are {chosen}; name at least one, and none twice."
        )
    try:
        numbers = torch.as_tensor(value, dtype=torch.float32)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(
            f"The value of an intervention is {value!r}; give a number, or numbers in equally "
            "long rows."
        ) from None
    if not bool(torch.isfinite(numbers).all()) or not numbers.numel():
        raise ValueError(
            "The value of an intervention is missing, not a number or infinite; give finite "
            "numbers."
        )
    if numbers.ndim == 0:
        return dict.fromkeys(chosen, numbers)
    if numbers.ndim == 1 and one:
        return {chosen[0]: numbers}
    if numbers.ndim <= 2 and not one and numbers.shape[-1] == len(chosen):
        return dict(zip(chosen, numbers.unbind(-1), strict=True))
    shape = (
        "a number or one per row"
        if one
        else f"a number, {len(chosen)} numbers, or {len(chosen)} numbers per row"
    )
    raise ValueError(
        f"The value of an intervention on {len(chosen)} variables has shape "
        f"{tuple(numbers.shape)}; give {shape}."
    )


def cells_of(changes: Mapping[int, Change], n_rows: int) -> Interventions:
    """The changes of variables as interventions on the cells of one table of N rows.

    Raises ValueError if a change has values for another number of rows.
    """
    for j, change in changes.items():
        if change.value.ndim and len(change.value) != n_rows:
            raise ValueError(
                f"The intervention on variable {j} has {len(change.value)} values for "
                f"{n_rows} rows; ask for as many rows."
            )
    slots, shape = len(changes), (n_rows, len(changes))
    return Interventions(
        task=torch.zeros(n_rows, dtype=torch.int64),
        row=torch.arange(n_rows),
        target=torch.tensor(list(changes)).expand(shape),
        value=torch.stack([change.value.expand(n_rows) for change in changes.values()], dim=1),
        hard=torch.tensor([change.hard for change in changes.values()]).expand(shape),
        used=torch.ones(n_rows, slots, dtype=torch.bool),
    )
