"""Interventions on cells of tables: their rows, variables and values; and the law by which a family
draws them.

An intervened cell x_j becomes v ("do": the variable is cut off from its parents) or f_j(parents,
e_j) + v ("shift"). Its effects are computed from the new value with unchanged noise: row n of a
table is the same unit with and without the intervention.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from causal_meta import randomness
from causal_meta.conf.interventions import InterventionConfig
from causal_meta.conf.ranges import IntRange
from causal_meta.datasets.mixtures import draw_parts


@dataclass(frozen=True, eq=False)
class Interventions:
    """R intervened rows of a batch of tables, each with T slots. `task` and `row`: the table and
    the row, each pair at most once; `target`: the variables, different in all used slots; `hard`:
    set to `value`, otherwise shifted by it.

    An unused slot is a shift by 0 of variable 0.
    """

    task: Int64[Tensor, " R"]
    row: Int64[Tensor, " R"]
    target: Int64[Tensor, "R T"]
    value: Float[Tensor, "R T"]
    hard: Bool[Tensor, "R T"]
    used: Bool[Tensor, "R T"]

    def __len__(self) -> int:
        return len(self.row)

    def mask(self, n_tasks: int, n_rows: int, n_nodes: int) -> Bool[Tensor, "B N D"]:
        """The intervened cells."""
        mask = torch.zeros(n_tasks, n_rows, n_nodes, dtype=torch.bool)
        mask.view(-1)[self._cells(n_rows, n_nodes)[self.used]] = True
        return mask

    def _cells(self, n_rows: int, n_nodes: int) -> Tensor:
        """Int64 [R, T]: places in a flat table [B N D]."""
        return ((self.task * n_rows + self.row) * n_nodes)[:, None] + self.target

    def columns(self, n_tasks: int, n_nodes: int, n_columns: int) -> tuple[int, Tensor, Tensor]:
        """The first intervened row r (a multiple of 16 below it), then hard bool and value float32,
        both [B, D, C - r], with 0 where nothing is done: the cells of tables of C = `n_columns`
        rows that are stored by variable."""
        first = int(self.row.min()) // 16 * 16
        shape = (n_tasks, n_nodes, n_columns - first)
        hard, value = torch.zeros(shape, dtype=torch.bool), torch.zeros(shape)
        place = (
            (self.task[:, None] * n_nodes + self.target) * shape[2] + self.row[:, None] - first
        )[self.used]
        hard.view(-1)[place] = self.hard[self.used]
        value.view(-1)[place] = self.value[self.used]
        return first, hard, value

    def part(self, first: int, stop: int) -> Interventions:
        """The interventions in tasks `first` to `stop - 1`, numbered from 0; `task` must be
        sorted."""
        ends = torch.searchsorted(self.task.contiguous(), torch.tensor([first, stop])).tolist()
        rows = slice(*ends)
        return Interventions(
            self.task[rows] - first,
            self.row[rows],
            self.target[rows],
            self.value[rows],
            self.hard[rows],
            self.used[rows],
        )

    def select(self, tasks: Int64[Tensor, " b"]) -> Interventions:
        """The interventions in some of the tasks, renumbered in the order of `tasks`."""
        if not len(self):
            return self
        number = torch.full((int(torch.maximum(self.task.max(), tasks.max())) + 1,), -1)
        number[tasks] = torch.arange(len(tasks))
        task = number[self.task]
        kept = task >= 0
        return Interventions(
            task[kept],
            self.row[kept],
            self.target[kept],
            self.value[kept],
            self.hard[kept],
            self.used[kept],
        )

    def apply_to_affine(
        self,
        x: Float[Tensor, "B N D"],
        total: Float[Tensor, "B D D"],
        depth: Int64[Tensor, "B D"] | None = None,
    ) -> None:
        """Apply the interventions, in place, to rows x of affine models without interventions; x
        must be contiguous.

        `total` holds the total effects: entry (i, j) is the derivative of x_j by x_i, 1 on the
        diagonal. `depth` is smaller for a cause than for its effects (needed where T > 1). Setting
        variable t of a row to v moves every x_j by (v - x_t) total[t, j]: one product per row
        instead of a pass over the graph. Several targets of a row are set one after another, causes
        first. The rounding error is relative to the size of the values without the intervention.
        """
        n_rows, n_nodes = x.shape[1:]
        target, value, hard = self.target, self.value, self.hard
        if depth is not None and target.shape[1] > 1:
            order = torch.argsort(depth[self.task[:, None], target], dim=1)
            target, value, hard = (part.gather(1, order) for part in (target, value, hard))
        place = self.task * n_rows + self.row
        rows = x.view(-1, n_nodes).index_select(0, place)
        effects = total.view(-1, n_nodes)
        all_hard = bool(hard.all())
        slots = [
            (t[:, None], v[:, None], h[:, None])
            for t, v, h in zip(target.unbind(1), value.unbind(1), hard.unbind(1), strict=True)
        ]
        for t, v, h in slots:
            move = v - rows.gather(1, t)
            rows.addcmul_(
                move if all_hard else torch.where(h, move, v),
                effects.index_select(0, self.task * n_nodes + t[:, 0]),
            )
        for t, v, h in slots:  # rounding may have changed the last digit of a value that was set
            rows.scatter_(1, t, v if all_hard else torch.where(h, v, rows.gather(1, t)))
        x.view(-1, n_nodes).index_copy_(0, place, rows)


def no_interventions() -> Interventions:
    """Interventions with R = 0 rows."""
    whole, flags = torch.zeros(0, 1, dtype=torch.int64), torch.zeros(0, 1, dtype=torch.bool)
    return Interventions(whole[:, 0], whole[:, 0], whole, torch.zeros(0, 1), flags, flags)


class InterventionLaw:
    """How a family draws the interventions of its tasks: see `InterventionConfig`. Those of a
    task depend on its seed and sizes alone."""

    def __init__(self, config: InterventionConfig) -> None:
        self.config = config

    def rows(self, seeds: Sequence[int], n_rows: Sequence[int]) -> list[tuple[int, int]]:
        """(N, M) of each task: the rows of its table and how many of them may be interventional;
        `n_rows` are the requested rows."""
        if self.config.row_share is not None:
            return [(n, int(self.config.row_share * n + 0.5)) for n in n_rows]
        assert self.config.rows is not None
        added = _draw_whole(self.config.rows, seeds, ("interventions", "rows"), ()).tolist()
        return [(n + m, m) for n, m in zip(n_rows, added, strict=True)]

    def targets(
        self, seeds: Sequence[int], n_nodes: int
    ) -> tuple[Int64[Tensor, "B K"], Int64[Tensor, " B"]]:
        """The lists of possible targets and their lengths; of row b only the first lengths[b]
        numbers are used.

        The list of a task without interventions has length 0.
        """
        length = self._list_lengths(seeds, n_nodes)
        order = randomness.permutations(seeds, ("interventions", "list"), n_nodes)[
            :, : int(length.max())
        ]
        if self.config.observational_share > 0:
            none = (
                randomness.uniforms(seeds, ("interventions", "observational"), ())
                < self.config.observational_share
            )
            length = torch.where(none, 0, length)
        return order, length

    def _list_lengths(self, seeds: Sequence[int], n_nodes: int) -> Tensor:
        """Int64 [B]."""
        laws, names = self.config.n_targets(n_nodes), ("interventions", "list length")
        lengths = torch.stack([_draw_whole(law, seeds, names, ()) for law in laws])
        if len(laws) == 1:
            return lengths[0]
        which = draw_parts(seeds, ("interventions", "list length law"), [1.0] * len(laws), ())
        return lengths.gather(0, which[None])[0]

    def draw(
        self, seeds: Sequence[int], n_rows: int, n_interventional: int, n_nodes: int
    ) -> Interventions:
        """The interventions in tables [B, N, D] of `seeds`, in M = `n_interventional` rows of each
        task that has any."""
        lists, length = self.targets(seeds, n_nodes)
        tasks = torch.nonzero(length > 0)[:, 0]
        if not len(tasks) or not n_interventional:
            return no_interventions()
        chosen = [seeds[b] for b in tasks.tolist()]
        lists, length = lists[tasks], length[tasks, None]
        places, used = self._places(chosen, n_interventional, lists.shape[1], length)
        target = lists.gather(1, places.flatten(1)).view_as(places)
        value = self._values(chosen, target, n_nodes) * used
        return Interventions(
            task=tasks[:, None].expand(-1, n_interventional).flatten(),
            row=self._rows(chosen, n_rows, n_interventional).flatten(),
            target=torch.where(used, target, 0).flatten(0, 1),
            value=value.flatten(0, 1),
            hard=used.flatten(0, 1)
            if self.config.change == "do"
            else torch.zeros_like(used).flatten(0, 1),
            used=used.flatten(0, 1),
        )

    def _places(
        self, seeds: Sequence[int], n_rows: int, longest: int, length: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Positions in the target lists, int64 [b, M, T], the first of row r being r mod the list's
        length; and which of them are used."""
        first = torch.arange(n_rows) % length
        per_row = self.config.targets_per_row
        if per_row.high == 1:
            return first[..., None], torch.ones(*first.shape, 1, dtype=torch.bool)
        score = randomness.uniforms(seeds, ("interventions", "further targets"), (n_rows, longest))
        score = score + 2 * (torch.arange(longest) >= length)[:, None]  # beyond the list: last
        score.scatter_(2, first[..., None], -1.0)
        places = score.topk(per_row.high, dim=-1, largest=False, sorted=True).indices
        count = _draw_whole(per_row, seeds, ("interventions", "targets per row"), (n_rows,))
        return places, torch.arange(per_row.high) < count[..., None]

    def _values(self, seeds: Sequence[int], target: Tensor, n_nodes: int) -> Tensor:
        config, names = self.config, ("interventions", "value")
        if config.value_law == "constant":
            return torch.full(target.shape, config.value_mean)
        shape = tuple(target.shape[1:]) if config.value_per == "cell" else (n_nodes,)
        if config.value_law == "normal":
            value = config.value_mean + config.value_std * randomness.normals(seeds, names, shape)
        else:
            signed = 2 * randomness.uniforms(seeds, names, shape) - 1
            value = (
                signed * (config.value_high - config.value_low)
                + torch.sign(signed) * config.value_low
            )
        return (
            value
            if config.value_per == "cell"
            else value.gather(1, target.flatten(1)).view(target.shape)
        )

    def _rows(self, seeds: Sequence[int], n_rows: int, n_interventional: int) -> Tensor:
        """Int64 [b, M]: which rows of the tables are interventional."""
        if self.config.row_order == "observational_first":
            return torch.arange(n_rows - n_interventional, n_rows).expand(len(seeds), -1)
        return randomness.permutations(seeds, ("interventions", "order"), n_rows)[
            :, :n_interventional
        ]


def _draw_whole(
    config: IntRange, seeds: Sequence[int], names: tuple[str | int, ...], shape: tuple[int, ...]
) -> Tensor:
    """Int64 [B, *shape]: independent whole numbers of the law `config`."""
    if config.is_fixed:
        return torch.full((len(seeds), *shape), config.low)
    values = torch.arange(config.low, config.high + 1, dtype=torch.float64)
    mass = (values / config.low).pow(config.power).cumsum(0)
    u = randomness.uniforms(seeds, names, shape).to(torch.float64)
    return config.low + torch.searchsorted(mass / mass[-1], u, right=True).clamp_(
        max=len(values) - 1
    )
