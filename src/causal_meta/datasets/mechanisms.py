"""Laws over the functions that make a variable from its parents and its noise, drawn for all nodes of all tasks at once.

A law draws parameters with leading dimensions [B, D] (one entry per node) and applies them to any selection of nodes. The parents of a
node sit in K slots, by rising number, K the largest number of parents in the batch; an empty slot has weight 0 everywhere. What is drawn for
slot k does not depend on K, so a task has the same functions in every batch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from scipy.special import gammaincinv
from torch import Tensor

from causal_meta import graphs, randomness
from causal_meta.conf.data import MLP, LinearHeteroskedastic, MechanismConfig, MechanismPart
from causal_meta.conf.registry import implementation
from causal_meta.datasets.mixtures import draw_parts

_CELLS = 1 << 15  # values computed at once by mechanisms that are no sums: what fits a second-level cache with their hidden units
Parameters = dict[str, Tensor]
Names = tuple[str | int, ...]


@dataclass(frozen=True, eq=False)
class Parents:
    """The parents of every node in K slots: index int64 [B, D, K] (0 in empty slots), mask float32 [B, D, K], count int64 [B, D]."""

    index: Tensor
    mask: Tensor
    count: Tensor

    def select(self, tasks: Tensor) -> Parents:
        """The parents in some of the tasks."""
        return Parents(self.index[tasks], self.mask[tasks], self.count[tasks])


def parents_of(adjacency: Tensor) -> Parents:
    """The parents in graphs [B, D, D], by rising number; K is at least 1."""
    effects = adjacency.mT != 0  # [b, j, i]: i causes j
    count = effects.sum(dim=-1)
    width = max(1, int(count.max()) if count.numel() else 1)
    b, j, i = torch.nonzero(effects, as_tuple=True)
    slot = effects.cumsum(dim=-1)[b, j, i] - 1
    index = torch.zeros(*count.shape, width, dtype=torch.int64)
    index[b, j, slot] = i
    return Parents(index, (torch.arange(width) < count[..., None]).to(torch.float32), count)


class MechanismLaw(ABC):
    """A law over mechanisms (seed 001 §4.2). A new law is a file with a subclass, its dataclass and its line in the registry."""

    affine: ClassVar[bool] = False  # x = weight . parents + bias + noise_std e with parameters of these names: tables are then solved at once

    def __init__(self, config: MechanismConfig) -> None:
        self.config = config

    @abstractmethod
    def draw(self, seeds: Sequence[int], names: Names, parents: Parents) -> Parameters:
        """The parameters of all nodes, each [B, D, ...]; task b depends on seeds[b] and its own graph alone."""

    @abstractmethod
    def apply(self, parameters: Parameters, inputs: Tensor, noise: Tensor) -> Tensor:
        """Float32 [b, N]: the values of b nodes from parameters [b, ...], their parents [b, K, N] in slots, and their noise [b, N]."""


class LinearFactory(MechanismLaw):
    """x_j = w_j . x_pa(j) + b_j + s_j e_j; the laws of w, b and s are in the docstring of the configuration."""

    affine: ClassVar[bool] = True
    config: LinearHeteroskedastic

    def draw(self, seeds: Sequence[int], names: Names, parents: Parents) -> Parameters:
        nodes, width = parents.index.shape[1:]
        weight = self._weights(seeds, (*names, "weight"), (width, nodes)).mT * parents.mask
        bias = torch.zeros(len(seeds), nodes)
        if self.config.bias_bound > 0:
            bias = (2 * randomness.uniforms(seeds, (*names, "bias"), (nodes,)) - 1) * self.config.bias_bound
        return {"weight": weight, "bias": bias, "noise_std": self._noise_std(seeds, (*names, "noise_std"), nodes)}

    def _weights(self, seeds: Sequence[int], names: Names, shape: tuple[int, ...]) -> Tensor:
        if self.config.weight_law == "normal":
            return randomness.normals(seeds, names, shape) * self.config.weight_scale
        signed = 2 * randomness.uniforms(seeds, names, shape) - 1
        return signed * (self.config.weight_high - self.config.weight_low) + torch.sign(signed) * self.config.weight_low

    def _noise_std(self, seeds: Sequence[int], names: Names, nodes: int) -> Tensor:
        a, b = self.config.noise_std_a, self.config.noise_std_b
        if self.config.noise_std_law == "uniform":
            return a + (b - a) * randomness.uniforms(seeds, names, (nodes,))
        if a == int(a) and a <= 16:  # a sum of exponentials
            return -randomness.uniforms(seeds, names, (int(a), nodes)).log().sum(dim=1) / b
        u = randomness.uniforms(seeds, names, (nodes,)).to(torch.float64)
        return (torch.from_numpy(gammaincinv(a, u.numpy())) / b).to(torch.float32)

    def apply(self, parameters: Parameters, inputs: Tensor, noise: Tensor) -> Tensor:
        explained = (parameters["weight"][:, None, : inputs.shape[1]] @ inputs)[:, 0]
        return explained + parameters["bias"][:, None] + parameters["noise_std"][:, None] * noise


class MLPFactory(MechanismLaw):
    """x_j = v_j . phi(V_j (x_pa(j), noise_gain e_j) + c_j), phi the leaky ReLU; the noise goes through the network (not additive).

    V ~ N(0, weight_scale² / fan-in), fan-in the number of parents + 1; c ~ N(0, 1), so that the kinks do not all pass through 0 and
    weight_scale sets how sharp they are. v ~ N(0, 1 / (hidden m)), m = (1 + negative_slope²)/2 (1 + weight_scale² (parents + noise_gain²) / fan-in)
    the mean square of a hidden unit whose inputs have mean square 1: then so has the output, and values neither grow nor fade
    along a chain. A root is a function of its noise alone.
    """

    config: MLP

    def draw(self, seeds: Sequence[int], names: Names, parents: Parents) -> Parameters:
        nodes, width = parents.index.shape[1:]
        hidden, config = self.config.hidden, self.config
        scale = config.weight_scale / (parents.count + 1.0).sqrt()  # [B, D]
        weight = randomness.normals(seeds, (*names, "weight"), (width, nodes, hidden)).permute(0, 2, 3, 1)
        others = randomness.normals(seeds, (*names, "noise"), (3, nodes, hidden))
        square = (parents.count + config.noise_gain**2) * scale**2 + 1
        output_scale = (2 / ((1 + config.negative_slope**2) * hidden * square)).sqrt()
        return {
            "weight": weight * (scale[..., None] * parents.mask)[:, :, None, :],  # [B, D, hidden, K]
            "noise_weight": others[:, 0] * (scale * config.noise_gain)[..., None],
            "bias": others[:, 1],
            "output": others[:, 2] * output_scale[..., None],
        }

    def apply(self, parameters: Parameters, inputs: Tensor, noise: Tensor) -> Tensor:
        hidden = torch.baddbmm(parameters["bias"][:, :, None], parameters["noise_weight"][:, :, None], noise[:, None])
        hidden.baddbmm_(parameters["weight"][:, :, : inputs.shape[1]], inputs)
        torch.nn.functional.leaky_relu_(hidden, self.config.negative_slope)
        return (parameters["output"][:, None] @ hidden)[:, 0]


@dataclass(frozen=True, eq=False)
class Mechanism:
    """The function of one node: `mechanism(parents [N, k], noise [N]) -> [N]`, the k parents by rising number."""

    name: str
    law: MechanismLaw
    parameters: Parameters  # of this node alone, without batch dimension

    def __call__(self, parents: Tensor, noise: Tensor) -> Tensor:
        single = {name: value[None] for name, value in self.parameters.items()}
        return self.law.apply(single, parents.mT[None].to(torch.float32), noise[None])[0]


class MechanismFactory:
    """A named mixture of laws over mechanisms; each node (`mixing="node"`) or each task (`"task"`) draws its part by weight.

    The numbers of a part belong to its name: renaming a part draws others, reordering parts changes nothing but the choice.
    """

    def __init__(self, parts: Mapping[str, MechanismPart], mixing: Literal["node", "task"] = "node") -> None:
        self.names = list(parts)
        self.weights = [part.weight for part in parts.values()]
        self.laws: list[MechanismLaw] = [implementation(part.mechanism)(part.mechanism) for part in parts.values()]
        self.mixing = mixing

    @property
    def proportions(self) -> dict[str, float]:
        """The probability of each part."""
        return {name: weight / sum(self.weights) for name, weight in zip(self.names, self.weights, strict=True)}

    def draw(self, seeds: Sequence[int], adjacency: Tensor) -> MechanismBatch:
        """The mechanisms of all nodes of graphs [B, D, D]; task b depends on seeds[b] and its graph alone."""
        parents = parents_of(adjacency)
        shape = (adjacency.shape[-1],) if self.mixing == "node" else (1,)
        choice = draw_parts(seeds, ("mechanism part",), self.weights, shape).expand(len(seeds), adjacency.shape[-1])
        parameters: list[Parameters] = []
        position = torch.arange(len(seeds)).expand(len(self.laws), -1).clone()
        for part, (name, law) in enumerate(zip(self.names, self.laws, strict=True)):
            tasks = torch.nonzero((choice == part).any(dim=-1))[:, 0]
            if len(tasks) == len(seeds):
                parameters.append(law.draw(seeds, ("mechanism", name), parents))
            else:
                position[part] = 0
                position[part, tasks] = torch.arange(len(tasks))
                chosen = [seeds[b] for b in tasks.tolist()]
                parameters.append(law.draw(chosen, ("mechanism", name), parents.select(tasks)) if chosen else {})
        return MechanismBatch(self, adjacency, parents, choice, parameters, position)


@dataclass(frozen=True, eq=False)
class MechanismBatch:
    """The mechanisms of all nodes of B tasks: choice int64 [B, D] is each node's part; task b's parameters of part p are row position[p, b]."""

    factory: MechanismFactory
    adjacency: Tensor
    parents: Parents
    choice: Tensor
    parameters: list[Parameters]
    position: Tensor

    def mechanism(self, b: int, j: int) -> Mechanism:
        """The function of node j of task b."""
        part = int(self.choice[b, j])
        row = int(self.position[part, b])
        return Mechanism(self.factory.names[part], self.factory.laws[part], {name: value[row, j] for name, value in self.parameters[part].items()})

    def rows(self, noise: Tensor) -> Tensor:
        """Float32 [B, N, D]: the tables that the noise [B, N, D] makes, causes before effects."""
        affine = [law.affine for law in self.factory.laws]
        if all(affine):
            return self._solve(noise)
        if not any(affine):
            return self._propagate(noise)
        solvable = torch.tensor(affine)[self.choice].all(dim=-1)
        out = torch.empty_like(noise)
        for flag, method in ((True, MechanismBatch._solve), (False, MechanismBatch._propagate)):
            tasks = torch.nonzero(solvable == flag)[:, 0]
            if len(tasks):
                out[tasks] = method(self.select(tasks), noise[tasks])
        return out

    def select(self, tasks: Tensor) -> MechanismBatch:
        """Some of the tasks."""
        return MechanismBatch(
            self.factory, self.adjacency[tasks], self.parents.select(tasks), self.choice[tasks], self.parameters, self.position[:, tasks]
        )

    def _solve(self, noise: Tensor) -> Tensor:
        """x = (b + s e) (I - W)^-1 for tasks all of whose mechanisms are affine.

        W is nilpotent, so (I - W)^-1 = (I + W)(I + W²)(I + W⁴)… with at most log2 D factors, exact in the zeros. Rows and columns are
        padded to multiples of 4 (aligned memory), so that the bits of a value do not depend on the other tasks.
        """
        tasks, rows, nodes = noise.shape
        size = -(-nodes // 4) * 4
        noise = torch.nn.functional.pad(noise, (0, size - nodes, 0, -rows % 4)) if nodes % 4 or rows % 4 else noise
        weights = torch.zeros(tasks, size, size)  # [b, j, i]
        bias, scale = torch.zeros(tasks, 1, size), torch.zeros(tasks, 1, size)
        for part, values in enumerate(self.parameters):
            if values and self.factory.laws[part].affine:
                place, chosen = self.position[part], (self.choice == part).to(torch.float32)
                weights[:, :nodes].scatter_add_(2, self.parents.index, values["weight"][place] * chosen[..., None])
                bias[:, 0, :nodes] += values["bias"][place] * chosen
                scale[:, 0, :nodes] += values["noise_std"][place] * chosen
        power = weights.mT.contiguous()
        total = torch.eye(size) + power
        for _ in range(max(0, (nodes - 1).bit_length() - 1)):
            power = power @ power
            total = torch.baddbmm(total, total, power)
        return torch.baddbmm(bias @ total, noise, scale.mT * total)[:, :rows, :nodes]

    def _propagate(self, noise: Tensor) -> Tensor:
        """Depth after depth of the graphs: all nodes of one depth and one part together, over all tasks.

        Columns are padded to whole vector registers, so that the bits of a value do not depend on the other tasks.
        """
        tasks, rows, size = noise.shape
        columns = noise.new_zeros(tasks, size, max(64, -(-rows // 16) * 16))  # [B, D, N], noise that the values replace
        columns[..., :rows] = noise.mT
        depth, piece = graphs.depths(self.adjacency), max(1, _CELLS // columns.shape[2])
        for level in range(int(depth.max()) + 1):
            for part in range(len(self.parameters)):
                for some in torch.nonzero((depth == level) & (self.choice == part)).split(piece):
                    if len(some):
                        self._fill(columns, part, *some.unbind(dim=1))
        return columns[..., :rows].mT

    def _fill(self, columns: Tensor, part: int, b: Tensor, j: Tensor) -> None:
        """Turn the noise of nodes (b, j), all of one part, into their values; their parents' values are there."""
        width = max(1, int(self.parents.count[b, j].max()))
        inputs = columns[b[:, None], self.parents.index[b, j, :width]]
        place = self.position[part, b]
        parameters = {name: value[place, j] for name, value in self.parameters[part].items()}
        columns[b, j] = self.factory.laws[part].apply(parameters, inputs, columns[b, j])
