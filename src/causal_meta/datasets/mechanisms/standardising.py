"""Standardising inside a model: every variable is standardised before its children read it.

Each variable gets two numbers of the model, mean m_j and standard deviation s_j, computed once from
the first 256 rows of the task's own noise and kept, however many rows are drawn: further rows,
interventions and counterfactuals all use the same model. With z = (x - m)/s it is z_j = (f_j(z_pa,
e_j) - m_j)/s_j. "values" reports z (internally standardised models, iSCM: Ormaniec et al. 2025),
"inputs" reports f_j(z_pa, e_j) (BCNP: Dhir et al. 2025). Both papers take the statistics of
whatever rows are drawn.
"""

from __future__ import annotations

import copy
import dataclasses
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from causal_meta.conf.data import FamilyConfig
from causal_meta.datasets.mechanisms.law import AppliedLaw, Parameters
from causal_meta.datasets.mechanisms.mixture import MechanismBatch
from causal_meta.fixed_order import in_order, row_sums

Mode = Literal["values", "inputs"]

REFERENCE_ROWS = 256
# a standard deviation below this part of the mean is float rounding: such a variable is only
# centred
_CONSTANT = 1e-6
_MEAN, _STD = "standardising_mean", "standardising_std"


class StandardisedLaw(AppliedLaw):
    """`law` with the means and standard deviations of its inputs [b, K] (mode "inputs") or of its
    own variable [b] ("values") as parameters."""

    def __init__(self, law: AppliedLaw, mode: Mode) -> None:
        super().__init__(law.config)
        self.law, self.mode = law, mode
        self.cells = law.cells  # type: ignore[misc]

    def pick(self, parameters: Parameters, row: Tensor, node: Tensor, width: int) -> Parameters:
        inner = {name: value for name, value in parameters.items() if name not in (_MEAN, _STD)}
        return self.law.pick(inner, row, node, width) | {
            name: parameters[name][row, node] for name in (_MEAN, _STD)
        }

    def _inputs(self, parameters: Parameters, inputs: Tensor) -> Tensor:
        if self.mode == "values":
            return inputs
        slots = inputs.shape[1]
        return (inputs - parameters[_MEAN][:, :slots, None]) / parameters[_STD][:, :slots, None]

    def apply(
        self,
        parameters: Parameters,
        inputs: Float[Tensor, "b K N"],
        noise: Float[Tensor, "b N"],
    ) -> Float[Tensor, "b N"]:
        values = self.law.apply(parameters, self._inputs(parameters, inputs), noise)
        if self.mode == "inputs":
            return values
        return values.sub_(parameters[_MEAN][:, None]).div_(parameters[_STD][:, None])

    def location_scale(
        self, parameters: Parameters, inputs: Tensor
    ) -> tuple[Tensor, Tensor] | None:
        moments = self.law.location_scale(parameters, self._inputs(parameters, inputs))
        if moments is None or self.mode == "inputs":
            return moments
        mean, std = parameters[_MEAN][:, None], parameters[_STD][:, None]
        return (moments[0] - mean) / std, moments[1] / std


def reference_moments(
    batch: MechanismBatch, noise: Float[Tensor, "B R D"]
) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B D"]]:
    """Mean and standard deviation of f_j(z_pa, e_j) over the rows that follow from the reference
    noise, causes before effects.

    Summed in double precision.
    """
    tasks, rows, nodes = noise.shape
    columns = noise.new_zeros(tasks, nodes, -(-rows // 16) * 16)
    columns[..., :rows] = noise.mT
    mean, std = torch.zeros(tasks, nodes), torch.ones(tasks, nodes)
    for b, j, values in batch.by_depth(columns):
        exact = values[:, :rows].double()
        m = row_sums(exact) / rows
        s = (row_sums((exact - m[:, None]).square()) / rows).sqrt()
        mean[b, j] = m.float()
        std[b, j] = torch.where(s > _CONSTANT * m.abs(), s, 1.0).float()
        columns[b, j] = (values - mean[b, j, None]) / std[b, j, None]
    return mean, std


def standardised(
    batch: MechanismBatch, noise: Float[Tensor, "B R D"], mode: Mode
) -> MechanismBatch:
    """The models of `batch`, as drawn, with standardising inside; `noise` is that of the reference
    rows.

    Affine mechanisms stay affine: means and standard deviations are absorbed into weights, bias and
    noise scale.
    """
    mean, std = reference_moments(batch, noise)
    parameters = []
    for part, (law, drawn) in enumerate(zip(batch.factory.laws, batch.parameters, strict=True)):
        owner = batch.owners(part)
        part_mean, part_std = mean[owner], std[owner]
        if mode == "inputs":
            slots, mask = batch.parents.index[owner], batch.parents.mask[owner]
            part_mean = part_mean.gather(1, slots.flatten(1)).view_as(mask) * mask
            part_std = torch.where(
                mask > 0, part_std.gather(1, slots.flatten(1)).view_as(mask), 1.0
            )
        if drawn and law.affine:
            drawn = _folded(drawn, part_mean, part_std, mode)
        elif drawn:
            drawn = drawn | {_MEAN: part_mean, _STD: part_std}
        parameters.append(drawn)
    factory = copy.copy(batch.factory)
    factory.laws = [law if law.affine else StandardisedLaw(law, mode) for law in factory.laws]
    return dataclasses.replace(batch, factory=factory, parameters=parameters)


def _folded(parameters: Parameters, mean: Tensor, std: Tensor, mode: Mode) -> Parameters:
    """The parameters of w . x + b + s e after standardising its inputs or its value."""
    weight, bias, noise_std = parameters["weight"], parameters["bias"], parameters["noise_std"]
    if mode == "values":
        return parameters | {
            "weight": weight / std[..., None],
            "bias": (bias - mean) / std,
            "noise_std": noise_std / std,
        }
    weight = weight / std
    return parameters | {"weight": weight, "bias": bias - in_order(weight * mean, dim=-1)}


def mode_of(config: FamilyConfig) -> Mode | None:
    """How models of the family are standardised inside; None where they are not."""
    return None if config.internal_standardising == "none" else config.internal_standardising
