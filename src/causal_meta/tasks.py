"""The data of a model: one table with the graph that generated it, and padded batches of tables.

Shapes: B tasks, N rows, D variables. `adjacency[i, j] = 1` means i causes j. A padded cell of `x`,
`adjacency` and `intervened` is 0.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from causal_meta.fixed_order import column_sums
from causal_meta.knowledge import Knowledge

# a spread below this share of a column's size is rounding, not information
_ROUNDING = 16 * torch.finfo(torch.float32).eps


@dataclass(eq=False)
class Task:
    """One table: `x` as measured (float32), `adjacency` the true graph (float32; None if unknown),
    `intervened` the cells set by interventions, and the seed it was drawn from (-1: none).
    `knowledge` restricts the graphs that a method may answer with (None: nothing is known), and
    `categorical` marks the columns whose numbers are codes of categories (None: no column).

    Unpacks to `(x, adjacency)`.
    """

    x: Float[Tensor, "N D"]
    adjacency: Float[Tensor, "D D"] | None
    intervened: Bool[Tensor, "N D"]
    seed: int = -1
    knowledge: Knowledge | None = None
    categorical: Bool[Tensor, " D"] | None = None

    def __iter__(self) -> Iterator[Tensor | None]:
        yield self.x
        yield self.adjacency


@dataclass(eq=False)
class TaskBatch:
    """B tables padded to a common size: the fields of `Task` stacked, `node_mask` and `row_mask`
    (true where real; real nodes and rows come first), and `seeds` (-1: none).

    Unpacks to `(x, adjacency)`.
    """

    x: Float[Tensor, "B N D"]
    adjacency: Float[Tensor, "B D D"] | None
    intervened: Bool[Tensor, "B N D"]
    node_mask: Bool[Tensor, "B D"]
    row_mask: Bool[Tensor, "B N"]
    seeds: Int64[Tensor, " B"]

    def __iter__(self) -> Iterator[Tensor | None]:
        yield self.x
        yield self.adjacency

    def __len__(self) -> int:
        return len(self.x)

    @property
    def n_rows(self) -> int:
        """N, padding included."""
        return self.x.shape[1]

    @property
    def n_nodes(self) -> int:
        """D, padding included."""
        return self.x.shape[2]

    def standardised(self) -> TaskBatch:
        """The batch with x standardised: see `standardise`."""
        return dataclasses.replace(self, x=standardise(self.x, self.node_mask, self.row_mask))

    def without_truth(self) -> TaskBatch:
        """The batch without its graphs: all that a model reads when it answers."""
        return dataclasses.replace(self, adjacency=None)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> TaskBatch:
        """The batch on another device."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> TaskBatch:
        """The batch in page-locked memory, from which copies to a GPU can overlap with
        computing."""
        return self._map(lambda tensor: tensor.pin_memory())

    def slice(self, start: int, stop: int) -> TaskBatch:
        """Tasks `start` to `stop - 1`, padding kept."""
        return self._map(lambda tensor: tensor[start:stop])

    def task(self, b: int) -> Task:
        """Task b without its padding."""
        rows, nodes = int(self.row_mask[b].sum()), int(self.node_mask[b].sum())
        truth = None if self.adjacency is None else self.adjacency[b, :nodes, :nodes]
        return Task(
            x=self.x[b, :rows, :nodes],
            adjacency=truth,
            intervened=self.intervened[b, :rows, :nodes],
            seed=int(self.seeds[b]),
        )

    def _map(self, change: Callable[[Tensor], Tensor]) -> TaskBatch:
        return TaskBatch(
            x=change(self.x),
            adjacency=None if self.adjacency is None else change(self.adjacency),
            intervened=change(self.intervened),
            node_mask=change(self.node_mask),
            row_mask=change(self.row_mask),
            seeds=change(self.seeds),
        )


def full_batch(
    x: Float[Tensor, "B N D"],
    adjacency: Float[Tensor, "B D D"] | None,
    seeds: Sequence[int],
) -> TaskBatch:
    """A batch of observational tables of one size, without padding."""
    tasks, rows, nodes = x.shape
    return TaskBatch(
        x=x,
        adjacency=adjacency,
        intervened=torch.zeros(tasks, rows, nodes, dtype=torch.bool),
        node_mask=torch.ones(tasks, nodes, dtype=torch.bool),
        row_mask=torch.ones(tasks, rows, dtype=torch.bool),
        seeds=torch.tensor(list(seeds), dtype=torch.int64),
    )


def standardise(
    x: Float[Tensor, "B N D"], node_mask: Bool[Tensor, "B D"], row_mask: Bool[Tensor, "B N"]
) -> Float[Tensor, "B N D"]:
    """Every column of every task with mean 0 and (population) standard deviation
    1 over its real rows; padded cells 0.

    z = (x - mean) / sd, per task and per column, never over the batch. A column that is constant to
    float rounding becomes 0. All finite values are allowed: where squares would overflow or vanish,
    columns are scaled by powers of two first, which changes no other bit.
    """
    padded = not bool(row_mask.all()) or not bool(node_mask.all())
    if padded:
        x = x.where(row_mask[:, :, None] & node_mask[:, None, :], 0.0)
    rows = row_mask.sum(dim=1).clamp_(min=1).to(x.dtype)[:, None, None]
    centred, mean, variance = _moments(x, rows, row_mask if padded else None)
    if not bool(((variance > 1e-20) & (variance < 1e36)).all()):
        exponent = torch.frexp(x.abs().amax(dim=1, keepdim=True)).exponent
        centred, mean, variance = _moments(
            torch.ldexp(x, -exponent), rows, row_mask if padded else None
        )
    deviation = variance.sqrt()
    return centred.mul_(torch.where(deviation > _ROUNDING * mean.abs(), 1.0 / deviation, 0.0))


def _moments(x: Tensor, rows: Tensor, row_mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """The centred columns, their means and variances, by sums whose bits do not depend on the other
    tasks.

    Centred twice: the first mean of a column far from 0 is rounded to steps that its spread may
    notice.
    """
    mean = column_sums(x) / rows
    centred = x - mean
    centred -= column_sums(centred if row_mask is None else centred * row_mask[:, :, None]) / rows
    if row_mask is not None:
        centred *= row_mask[:, :, None]
    return centred, mean, column_sums(centred.square()) / rows


def collate(
    tasks: Sequence[Task], *, with_adjacency: bool = True, standardise: bool = True
) -> TaskBatch | Tensor:
    """Pad tasks to a common size and standardise them per task and column; `with_adjacency=False`
    yields x [B, N, D] alone.

    The batch has no adjacency if any task has none. Raises ValueError on no tasks.
    """
    if not tasks:
        raise ValueError("There are no tasks to put into a batch; give at least one.")
    rows, nodes = max(len(task.x) for task in tasks), max(task.x.shape[1] for task in tasks)
    batch = full_batch(torch.zeros(len(tasks), rows, nodes), None, [task.seed for task in tasks])
    if all(task.adjacency is not None for task in tasks):
        batch.adjacency = torch.zeros(len(tasks), nodes, nodes)
    for b, task in enumerate(tasks):
        n, d = task.x.shape
        batch.x[b, :n, :d] = task.x
        batch.intervened[b, :n, :d] = task.intervened
        batch.node_mask[b, d:] = False
        batch.row_mask[b, n:] = False
        if batch.adjacency is not None and task.adjacency is not None:
            batch.adjacency[b, :d, :d] = task.adjacency
    if standardise:
        batch = batch.standardised()
    return batch if with_adjacency else batch.x
