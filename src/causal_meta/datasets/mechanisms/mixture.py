"""The mechanisms of whole tasks: a named mixture of laws, drawn for every node and applied from
causes to effects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from causal_meta import graphs
from causal_meta.conf.mechanism_laws import MechanismConfig, MechanismPart
from causal_meta.conf.registry import implementation
from causal_meta.datasets.interventions import Interventions
from causal_meta.datasets.mechanisms.law import (
    AppliedLaw,
    MechanismLaw,
    Names,
    Parameters,
    Parents,
    WholeTableLaw,
    parents_of,
)
from causal_meta.datasets.mixtures import draw_parts

# values beyond ±LARGEST become ±LARGEST, so that their squares stay finite in single precision
LARGEST = 1e18


@dataclass(frozen=True, eq=False)
class Mechanism:
    """The function of one node, called as `mechanism(parents, noise)`; the k parents are sorted by
    their number."""

    name: str
    law: AppliedLaw
    parameters: Parameters  # of this node alone, without batch dimension

    def __call__(
        self, parents: Float[Tensor, "N k"], noise: Float[Tensor, " N"]
    ) -> Float[Tensor, " N"]:
        single = {name: value[None] for name, value in self.parameters.items()}
        return self.law.apply(single, parents.mT[None].to(torch.float32), noise[None])[0]


class MechanismFactory:
    """A named mixture of laws over mechanisms; each node (`mixing="node"`) or each task (`"task"`)
    draws its part by weight.

    The random numbers of a part depend on its name: renaming a part changes its parameters,
    reordering the parts changes only which part a node gets. If `root` is set, variables without
    parents have that law, under the name "root".
    """

    def __init__(
        self,
        parts: Mapping[str, MechanismPart],
        mixing: Literal["node", "task"] = "node",
        root: MechanismConfig | None = None,
    ) -> None:
        self.names = list(parts)
        self.weights = [part.weight for part in parts.values()]
        self.sources: list[MechanismLaw] = [
            implementation(part.mechanism)(part.mechanism) for part in parts.values()
        ]
        self.mixing = mixing
        self.streams: list[Names] = [("mechanism", name) for name in self.names]
        if root is not None:
            self.names.append("root")
            self.sources.append(implementation(root)(root))
            self.streams.append(("root mechanism",))
        # what turns the parameters that the sources draw into values; standardising changes it
        self.laws: list[AppliedLaw] = [*self.sources]

    @property
    def whole_table(self) -> bool:
        """Whether the laws make whole tables instead of one variable after another: then every task
        has one law."""
        return all(isinstance(law, WholeTableLaw) for law in self.sources)

    @property
    def numbers_per_value(self) -> int:
        """How many numbers of noise a value takes."""
        return max(
            law.numbers_per_value if isinstance(law, WholeTableLaw) else 1 for law in self.sources
        )

    @property
    def proportions(self) -> dict[str, float]:
        """The probability of each part."""
        # a law of roots has no weight
        return {
            name: weight / sum(self.weights)
            for name, weight in zip(self.names, self.weights, strict=False)
        }

    def draw(self, seeds: Sequence[int], adjacency: Float[Tensor, "B D D"]) -> MechanismBatch:
        """The mechanisms of all nodes of the graphs; task b depends on seeds[b] and its graph
        alone."""
        parents = parents_of(adjacency)
        shape = (adjacency.shape[-1],) if self.mixing == "node" else (1,)
        choice = draw_parts(seeds, ("mechanism part",), self.weights, shape).expand(
            len(seeds), adjacency.shape[-1]
        )
        if len(self.sources) > len(self.weights):
            choice = torch.where(parents.count == 0, len(self.weights), choice)
        parameters: list[Parameters] = []
        position = torch.arange(len(seeds)).expand(len(self.sources), -1).clone()
        for part, (stream, law) in enumerate(zip(self.streams, self.sources, strict=True)):
            tasks = torch.nonzero((choice == part).any(dim=-1))[:, 0]
            if len(tasks) == len(seeds):
                parameters.append(law.draw(seeds, stream, parents))
            else:
                position[part] = 0
                position[part, tasks] = torch.arange(len(tasks))
                chosen = [seeds[b] for b in tasks.tolist()]
                parameters.append(law.draw(chosen, stream, parents.select(tasks)) if chosen else {})
        return MechanismBatch(self, adjacency, parents, choice, parameters, position)


@dataclass(frozen=True, eq=False)
class MechanismBatch:
    """The mechanisms of all nodes of B tasks: `choice` is each node's part; the parameters of task
    b and part p are in row position[p, b]."""

    factory: MechanismFactory
    adjacency: Float[Tensor, "B D D"]
    parents: Parents
    choice: Int64[Tensor, "B D"]
    parameters: list[Parameters]
    position: Int64[Tensor, "parts B"]

    def mechanism(self, b: int, j: int) -> Mechanism:
        """The function of node j of task b."""
        part = int(self.choice[b, j])
        row = int(self.position[part, b])
        law, width = self.factory.laws[part], max(1, int(self.parents.count[b, j]))
        picked = law.pick(self.parameters[part], torch.tensor([row]), torch.tensor([j]), width)
        return Mechanism(
            self.factory.names[part], law, {name: value[0] for name, value in picked.items()}
        )

    def rows(
        self,
        noise: Float[Tensor, "B N D *numbers"],
        interventions: Interventions | None = None,
        *,
        by_level: bool = False,
    ) -> Float[Tensor, "B N D"]:
        """The tables that follow from the noise, causes before effects, with the `interventions` if
        there are any.

        All values are finite and at most LARGEST in size; larger ones are set to it before their
        effects are computed. With `by_level=True` affine models, too, are evaluated from causes to
        effects, instead of solved at once.
        """
        interventions = interventions if interventions is not None and len(interventions) else None
        if self.factory.whole_table:
            return self._whole_tables(noise, interventions)
        affine = [law.affine and not by_level for law in self.factory.laws]
        if all(affine):
            return self._bounded(self._solve(noise, interventions), noise, interventions)
        if not any(affine):
            return self._propagate(noise, interventions)
        solvable = torch.tensor(affine)[self.choice].all(dim=-1)
        out = torch.empty_like(noise)
        for flag in (True, False):
            tasks = torch.nonzero(solvable == flag)[:, 0]
            if len(tasks):
                some = None if interventions is None else interventions.select(tasks)
                batch, some = self.select(tasks), some if some else None
                method = batch._solve if flag else batch._propagate
                out[tasks] = method(noise[tasks], some)
        return self._bounded(out, noise, interventions) if solvable.any() else out

    def _whole_tables(self, noise: Tensor, interventions: Interventions | None) -> Tensor:
        """The tables of tasks each of which has one law that makes whole tables; noise [B, N, D,
        numbers]."""
        out = torch.empty(noise.shape[:3])
        for part, law in enumerate(self.factory.sources):
            tasks = torch.nonzero(self.choice[:, 0] == part)[:, 0]
            if not len(tasks) or not isinstance(law, WholeTableLaw):
                continue
            place = self.position[part, tasks]
            some = None if interventions is None else interventions.select(tasks)
            changes = some.columns(len(tasks), noise.shape[2], noise.shape[1]) if some else None
            parameters = {name: value[place] for name, value in self.parameters[part].items()}
            out[tasks] = law.tables(parameters, self.parents.select(tasks), noise[tasks], changes)
        return out

    def location_scale(
        self, rows: Float[Tensor, "B N D"]
    ) -> tuple[Float[Tensor, "B N D"], Float[Tensor, "B N D"]]:
        """m_j(parents) and s_j(parents) of every variable at the parents in `rows`, where x_j = m_j
        + s_j e_j.

        In the precision of the rows. Raises ValueError if a mechanism is not of that form.
        """
        columns = rows.mT.contiguous()
        mean, std = torch.empty_like(columns), torch.empty_like(columns)
        for part, law in enumerate(self.factory.laws):
            b, j = torch.nonzero(self.choice == part, as_tuple=True)
            if not len(b):
                continue
            width = max(1, int(self.parents.count[b, j].max()))
            picked = law.pick(self.parameters[part], self.position[part, b], j, width)
            picked = {
                name: value.to(rows.dtype) if value.is_floating_point() else value
                for name, value in picked.items()
            }
            moments = law.location_scale(
                picked, columns[b[:, None], self.parents.index[b, j, :width]]
            )
            if moments is None:
                raise ValueError(
                    f"The noise of the mechanism {self.factory.names[part]!r} ({law.config.kind}) "
                    "is not additive, so rows have neither a density in "
                    "closed form nor a noise that can be recovered; use a family of additive "
                    "mechanisms, or equal seeds for counterfactuals."
                )
            mean[b, j], std[b, j] = moments[0], moments[1].expand_as(moments[0])
        return mean.mT, std.mT

    def select(self, tasks: Tensor) -> MechanismBatch:
        """Some of the tasks."""
        return MechanismBatch(
            self.factory,
            self.adjacency[tasks],
            self.parents.select(tasks),
            self.choice[tasks],
            self.parameters,
            self.position[:, tasks],
        )

    def _solve(self, noise: Tensor, interventions: Interventions | None) -> Tensor:
        """x = (b + s e) (I - W)^-1 for tasks all of whose mechanisms are affine; interventions are
        set by the total effects (I - W)^-1.

        Forward substitution: with the variables in causal order, every variable is added to all
        later ones. The total effects are the values that unit noise at one variable makes: further
        columns.
        """
        tasks, rows, nodes = noise.shape
        depth = graphs.depths(self.adjacency)
        weights, bias, scale = self._coefficients()
        order = torch.argsort(depth, dim=1, stable=True)
        rank = torch.argsort(order, dim=1)
        start = torch.arange(tasks)[:, None] * nodes
        ordered, back = (start + order).flatten(), (start + rank).flatten()
        weights = weights.flatten(0, 1).index_select(0, ordered).view(tasks, nodes, nodes)
        weights = weights.gather(2, order[:, None].expand_as(weights))
        width = rows + (0 if interventions is None else nodes)
        columns = noise.new_zeros(tasks, nodes, -(-width // 16) * 16)  # whole vector registers
        torch.mul(noise.mT, scale[..., None], out=columns[..., :rows]).add_(bias[..., None])
        if interventions is not None:
            columns[..., rows:width] = torch.eye(nodes)
        x = columns.flatten(0, 1).index_select(0, ordered).view_as(columns)
        for i in range(nodes - 1):
            x[:, i + 1 :].addcmul_(weights[:, i, i + 1 :, None], x[:, i, None])
        x = x.flatten(0, 1).index_select(0, back).view_as(columns)
        if interventions is None:
            return x[..., :rows].mT
        table = x[..., :rows].mT.contiguous()
        interventions.apply_to_affine(table, x[..., rows:width].mT.contiguous(), depth)
        return table

    def _coefficients(self) -> tuple[Tensor, Tensor, Tensor]:
        """The effects W [B, D, D] (entry (i, j) of i on j), b and s [B, D] of tasks all of whose
        mechanisms are affine."""
        effects = torch.zeros(self.adjacency.shape)
        bias, scale = torch.zeros(self.choice.shape), torch.zeros(self.choice.shape)
        for part, values in enumerate(self.parameters):
            if values and self.factory.laws[part].affine:
                place, chosen = self.position[part], (self.choice == part).to(torch.float32)
                effects.mT.scatter_add_(
                    2, self.parents.index, values["weight"][place] * chosen[..., None]
                )
                bias += values["bias"][place] * chosen
                scale += values["noise_std"][place] * chosen
        return effects, bias, scale

    def _bounded(self, x: Tensor, noise: Tensor, interventions: Interventions | None) -> Tensor:
        """The solved tables x, those beyond LARGEST (or not finite) evaluated anew from causes to
        effects, where values are bounded."""
        low, high = torch.aminmax(x)
        if low >= -LARGEST and high <= LARGEST:  # false for NaN
            return x
        wild = torch.nonzero(~(x.abs().amax(dim=(1, 2)) <= LARGEST))[:, 0]
        some = None if interventions is None else interventions.select(wild)
        x = x.clone()
        x[wild] = self.select(wild)._propagate(noise[wild], some if some else None)
        return x

    def _propagate(self, noise: Tensor, interventions: Interventions | None) -> Tensor:
        """Depth after depth of the graphs: all nodes of one depth and one part together, over all
        tasks; intervened cells are set as they come.

        Columns are padded to whole vector registers, so that the bits of a value do not depend on
        the other tasks.
        """
        tasks, rows, size = noise.shape
        # [B, D, N], noise that the values replace
        columns = noise.new_zeros(tasks, size, max(64, -(-rows // 16) * 16))
        columns[..., :rows] = noise.mT
        changes = (
            None if interventions is None else interventions.columns(tasks, size, columns.shape[2])
        )
        for b, j, values in self.by_depth(columns):
            if changes is not None:
                first, hard, added = changes
                late = values[:, first:]
                torch.add(late.masked_fill(hard[b, j], 0.0), added[b, j], out=late)
            columns[b, j] = values
        return columns[..., :rows].mT

    def by_depth(self, columns: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """(b, j, values [n, N]) of all nodes, those of one depth and one part together, causes
        before effects.

        `columns` [B, D, N] holds the noise; the caller puts there the values that
        children are to read, before it takes the next.
        """
        # depth after depth, part after part
        place = graphs.depths(self.adjacency) * len(self.parameters) + self.choice
        for group in range(int(place.max()) + 1):
            b, j = torch.nonzero(place == group, as_tuple=True)
            if not len(b):
                continue
            part = group % len(self.parameters)
            # few parents first, so that few slots are empty
            order = torch.argsort(self.parents.count[b, j], stable=True)
            for some in order.split(max(1, self.factory.laws[part].cells // columns.shape[2])):
                yield b[some], j[some], self._values(columns, part, b[some], j[some])

    def _values(self, columns: Tensor, part: int, b: Tensor, j: Tensor) -> Tensor:
        """The values of nodes (b, j), all of one part, from the values of their parents and their
        own noise in `columns`."""
        law, width = self.factory.laws[part], max(1, int(self.parents.count[b, j].max()))
        # of one index each: much faster than indexing by two tensors
        first, flat = b * columns.shape[1], columns.flatten(0, 1)
        inputs = flat.index_select(
            0, (self.parents.index[b, j, :width] + first[:, None]).flatten()
        ).view(len(b), width, -1)
        noise = flat.index_select(0, first + j)
        return law.apply(
            law.pick(self.parameters[part], self.position[part, b], j, width), inputs, noise
        ).clamp_(-LARGEST, LARGEST)

    def owners(self, part: int) -> Tensor:
        """Int64: the tasks that the rows of `parameters[part]` belong to, in a batch as drawn."""
        tasks = torch.nonzero((self.choice == part).any(dim=-1))[:, 0]
        owners = torch.zeros(int(self.position[part].max()) + 1, dtype=torch.int64)
        owners[self.position[part, tasks]] = tasks
        return owners
