"""The picture of a structural causal model: the response of every variable to each of its
causes, with the band of its noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from causal_meta.datasets.threads import one_thread

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ROWS = 400
_GRID = 41
_NOISES = 100
_BAND = (0.1, 0.5, 0.9)
MOST_PANELS = 30


class Function(Protocol):
    """The mechanism of one variable."""

    @property
    def name(self) -> str: ...

    def __call__(self, parents: Tensor, noise: Tensor) -> Tensor: ...


class Done(Protocol):
    """The effect of an intervention on one variable."""

    @property
    def hard(self) -> bool: ...

    @property
    def value(self) -> Tensor: ...


class Model(Protocol):
    """The attributes of a structural causal model that drawing reads."""

    seed: int
    n_nodes: int
    adjacency_matrix: Tensor
    topological_order: list[int]

    @property
    def mechanisms(self) -> Sequence[Function]: ...

    @property
    def changes(self) -> Mapping[int, Done]: ...

    @property
    def whole_table(self) -> bool: ...

    def noise(self, n_samples: int, seed: int | None = None) -> Tensor: ...

    def sample(self, n_samples: int, seed: int | None = None) -> Tensor: ...


def portrait(instance: Model, most: int = MOST_PANELS) -> Figure:
    """The graph, then a panel for every variable without causes and every edge, causes first, at
    most `most` of them."""
    from causal_meta import drawing

    with one_thread():
        rows = instance.sample(_rows_of(instance))
        panels: list[tuple[int | None, int]] = []
        for j in instance.topological_order:
            causes = torch.nonzero(instance.adjacency_matrix[:, j])[:, 0].tolist()
            panels += [(i, j) for i in causes] or [(None, j)]
        responses = []
        for i, j in panels[:most]:
            x = None if i is None else rows[:, i].double().numpy()
            curve = [None] * 4 if i is None else _curve(instance, rows, i, j)
            grid, low, middle, high = (
                None if part is None else part.double().numpy() for part in curve
            )
            cause = None if i is None else f"x{i}"
            responses.append(
                drawing.Response(
                    cause, f"x{j}", rows[:, j].double().numpy(), x, grid, middle, low, high
                )
            )
    return drawing.model(
        instance.adjacency_matrix.numpy(),
        [f"x{j} {label}".strip() for j, label in enumerate(_labels(instance))],
        responses,
        title=_title(instance),
        note=_note(instance, len(panels) - len(responses)),
    )


def _laws(instance: Model) -> set[str]:
    """The names of the mechanisms that variables have."""
    return {
        mechanism.name
        for j, mechanism in enumerate(instance.mechanisms)
        if j not in instance.changes
    }


def _labels(instance: Model) -> list[str]:
    """The label of each variable in the graph beside its number: its intervention, and its
    mechanism where there are several."""
    several = len(_laws(instance)) > 1
    labels = []
    for j, mechanism in enumerate(instance.mechanisms):
        change = instance.changes.get(j)
        if change is not None and (change.hard or not several):
            labels.append("do" if change.hard else "shift")
        else:
            labels.append(mechanism.name if several else "")
    return labels


def _title(instance: Model) -> str:
    changes = []
    for j, change in instance.changes.items():
        value = (
            ""
            if change.value.ndim
            else f" {'=' if change.hard else 'by'} {float(change.value):.3g}"
        )
        changes.append(f"{'do' if change.hard else 'shift'} x{j}{value}")
    return f"Structural causal model of seed {instance.seed}" + (
        f" under {', '.join(changes)}" if changes else ""
    )


def _note(instance: Model, left_out: int) -> str:
    edges, laws = int(instance.adjacency_matrix.sum()), _laws(instance)
    note = f"{instance.n_nodes} variables, {edges} edge{'s' * (edges != 1)}" + (
        f", {laws.pop()} mechanisms" if len(laws) == 1 else ""
    )
    note += (
        ". Dots: rows."
        if instance.whole_table
        else ". Line: median over the noise, other causes at their medians; band: 10 to 90 %; "
        "dots: rows."
    )
    return note + (f" {left_out} more panels are left out." if left_out else "")


def _rows_of(instance: Model) -> int:
    """The number of rows to show: that of the values of an intervention, if it has them by row."""
    return next(
        (len(change.value) for change in instance.changes.values() if change.value.ndim), _ROWS
    )


def _curve(instance: Model, rows: Tensor, i: int, j: int) -> list[Tensor | None]:
    """Grid [G] over the middle 96 % of cause i, and the three quantiles [G] of x_j over its noise
    there; None where a law makes whole tables."""
    if instance.whole_table or any(change.value.ndim for change in instance.changes.values()):
        return [None] * 4
    parents = torch.nonzero(instance.adjacency_matrix[:, j])[:, 0]
    low, high = torch.quantile(rows[:, i], torch.tensor([0.02, 0.98])).tolist()
    low, high = (low, high) if high > low else (low - 1.0, high + 1.0)
    grid = torch.linspace(low, high, _GRID)
    inputs = rows[:, parents].median(dim=0).values.expand(_GRID, _NOISES, -1).clone()
    inputs[..., parents.tolist().index(i)] = grid[:, None]
    noise = instance.noise(_NOISES, seed=0)[:, j].expand(_GRID, -1)
    values = instance.mechanisms[j](inputs.flatten(0, 1), noise.flatten()).view(_GRID, _NOISES)
    return [grid, *torch.quantile(values, torch.tensor(_BAND), dim=1)]
