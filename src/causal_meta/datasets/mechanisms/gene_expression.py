"""Gene expression: cells at the steady state of chemical Langevin dynamics on a regulatory network,
all tasks, cells and genes of one depth at once.

Every row is a cell with a separate path, not a later moment of one long path: rows are
independent, and a few steps suffice. A step of length h solves dx = (P - l x) dt exactly for a
production P that is linear in between (known at both ends, since causes come first), adds normal
noise of the variance that the linear equation has, and reflects at 0 (Bossy, Gobet & Talay 2004).
For a constant P mean and variance at the steady state are then those of the dynamics for any h but
for the reflection.

Differences from SERGIO and from AVICI's use of it: a cell's concentration below 0 is
reflected, not set to 0 (the exact law has no mass at 0); half-responses and the dropout midpoint
are numbers of the model, computed from reference cells, and do not change when a gene is
knocked out; the type of a cell is random, not in fixed proportions; decay, noise amplitude and Hill
exponents are drawn for every gene or edge.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from scipy.special import betaincinv
from torch import Tensor
from torch.nn.functional import pad

from causal_meta import randomness
from causal_meta.conf.gene_laws import GeneExpression
from causal_meta.datasets.mechanisms import technical_noise
from causal_meta.datasets.mechanisms.law import Names, Parameters, Parents, WholeTableLaw
from causal_meta.datasets.ranges import draw_floats
from causal_meta.fixed_order import in_order, row_sums

# numbers per cell and gene beside the path's: dropout, count, and one for the cell (gene 0: its
# type, gene 1: its library)
_EXTRA = 3
# cells are padded to whole vector registers, so that the bits of a value do not depend on the other
# tasks
_WIDTH = 64
_REFERENCE = 128  # reference cells per model, at most
_NUMBERS = 1 << 21  # concentrations of paths held at once


def step_lengths(config: GeneExpression) -> list[float]:
    """The steps of a path, in time: each a tenth shorter than the one before, from at most half a
    lifetime down to `step` lifetimes.

    >>> from causal_meta.conf.ranges import constant
    >>> [round(h, 2) for h in step_lengths(GeneExpression(step=0.3, lifetimes=1.5, decay=constant(
    ... 1)))]
    [0.44, 0.4, 0.36, 0.33, 0.3]
    """
    step, longest, total = (
        config.step / config.decay.high,
        0.5 / config.decay.high,
        config.lifetimes / config.decay.low,
    )
    steps: list[float] = []
    while sum(steps) < total:
        steps.append(min(step * 1.1 ** len(steps), longest))
    return steps[::-1]


class GeneExpressionFactory(WholeTableLaw):
    """Regulatory networks; see the configuration for the laws of their numbers."""

    config: GeneExpression

    def __init__(self, config: GeneExpression) -> None:
        super().__init__(config)
        self.steps = step_lengths(config)

    @property
    def numbers_per_value(self) -> int:
        return len(self.steps) + _EXTRA

    # ----------------------------------------------------------------------------------- parameters

    def draw(self, seeds: Sequence[int], names: Names, parents: Parents) -> Parameters:
        nodes, width = parents.index.shape[1:]
        config = self.config

        def per_edge(name: str) -> Tensor:
            return randomness.uniforms(seeds, (*names, name), (width, nodes)).mT

        def numbers(name: str, shape: tuple[int, ...]) -> Tensor:
            return draw_floats(getattr(config, name), seeds, (*names, name), shape)

        chance = self._activator_chance(seeds, names, nodes)
        activates = per_edge("sign") < chance.gather(1, parents.index.flatten(1)).view_as(
            parents.mask
        )
        hill = numbers("hill", (width, nodes)).mT
        parameters = {
            "basal_rate": numbers("basal_rate", (nodes, config.cell_types))
            * (parents.count == 0)[..., None],
            "interaction": numbers("interaction", (width, nodes)).mT * parents.mask,
            "hill": torch.where(activates, hill, -hill),  # negative: represses
            "decay": numbers("decay", (nodes,)),
            "noise_amplitude": numbers("noise_amplitude", (nodes,)),
        }
        if config.technical_noise is not None:
            parameters |= technical_noise.draw_experiment(
                config.technical_noise, seeds, (*names, "experiment"), nodes
            )
        return parameters | self._reference(seeds, names, parameters, parents)

    def _activator_chance(self, seeds: Sequence[int], names: Names, nodes: int) -> Tensor:
        u = randomness.uniforms(seeds, (*names, "activator"), (nodes,))
        if self.config.activator_a == self.config.activator_b == 1:
            return u
        return torch.from_numpy(
            betaincinv(
                self.config.activator_a, self.config.activator_b, u.numpy().astype(np.float64)
            )
        ).to(torch.float32)

    def _reference(
        self, seeds: Sequence[int], names: Names, parameters: Parameters, parents: Parents
    ) -> Parameters:
        """`half` [B, D, K], the mean concentration of each cause, and `midpoint` [B, D] of the
        dropout, from cells of all types in equal numbers."""
        types = self.config.cell_types
        cells, nodes = max(1, _REFERENCE // types) * types, parents.count.shape[1]
        half = torch.ones_like(parents.mask)
        midpoint = torch.empty(len(seeds), nodes)
        for some in self._pieces(len(seeds), nodes, cells):
            noise = randomness.normals(
                [seeds[b] for b in some.tolist()],
                (*names, "reference cells"),
                (cells, nodes, self.numbers_per_value),
            )
            part = {name: value[some] for name, value in parameters.items()} | {"half": half[some]}
            numbers = _by_gene(noise.permute(3, 0, 2, 1))
            cell_type = (torch.arange(numbers.shape[-1]) % types).expand(len(some), -1)
            x = self._concentrations(
                part, parents.select(some), numbers, cell_type, reference=cells
            )[..., :cells]
            half[some] = part["half"]
            if self.config.technical_noise is not None:
                scaled = technical_noise.scaled_to_library(part, x, numbers[-1, :, 1, :cells])
                midpoint[some] = technical_noise.dropout_midpoint(part, scaled)
        return {"half": half} | (
            {} if self.config.technical_noise is None else {"midpoint": midpoint}
        )

    # --------------------------------------------------------------------------------------- tables

    def tables(
        self,
        parameters: Parameters,
        parents: Parents,
        noise: Tensor,
        changes: tuple[int, Tensor, Tensor] | None = None,
    ) -> Tensor:
        """As in the base class; the noise is standard normal.

        A concentration is set to the value of an intervention (0: knock-out), or decay times the
        value is added to the production.
        """
        tasks, rows, nodes = noise.shape[:3]
        out = torch.empty(tasks, rows, nodes)
        for some in self._pieces(tasks, nodes, rows):
            part = {name: number[some] for name, number in parameters.items()}
            numbers = _by_gene(noise[some].permute(3, 0, 2, 1))
            done = (
                None
                if changes is None
                else (
                    _by_gene(changes[1][some], changes[0]),
                    _by_gene(changes[2][some], changes[0]),
                )
            )
            cell_type = (
                (torch.special.ndtr(numbers[-1, :, 0]) * self.config.cell_types)
                .long()
                .clamp_(max=self.config.cell_types - 1)
            )
            x = self._concentrations(part, parents.select(some), numbers, cell_type, done)
            if self.config.technical_noise is not None:
                scaled = technical_noise.scaled_to_library(part, x, numbers[-1, :, 1])
                x = technical_noise.counts(part, scaled, numbers[-3], numbers[-2])
            x = x[..., :rows].mT
            out[some] = technical_noise.log_cpm(x) if self.config.output == "log_cpm" else x
        return out

    def _pieces(self, tasks: int, nodes: int, rows: int) -> tuple[Tensor, ...]:
        return torch.arange(tasks).split(
            max(1, _NUMBERS // (nodes * (-(-rows // _WIDTH) * _WIDTH) * len(self.steps)))
        )

    def _concentrations(
        self,
        parameters: Parameters,
        parents: Parents,
        numbers: Tensor,
        cell_type: Tensor,
        done: tuple[Tensor, Tensor] | None = None,
        reference: int = 0,
    ) -> Tensor:
        """[B, D, N] at the end of the paths that numbers [S, B, D, N] drive; `half` is
        computed from `reference` cells on the way, if there are any."""
        tasks, nodes, columns = numbers.shape[1:]
        times = len(self.steps)
        kick = numbers[:times].reshape(times, -1, columns)  # [T, B D, N]
        logs, mean = torch.empty(times + 1, tasks * nodes, columns), torch.ones(tasks, nodes)
        depth = depths_of(parents)
        for level in range(int(depth.max()) + 1):
            b, j = torch.nonzero(depth == level, as_tuple=True)
            genes = b * nodes + j
            if reference:
                parameters["half"][b, j] = torch.where(
                    parents.mask[b, j] > 0, mean[b[:, None], parents.index[b, j]], 1.0
                )
            picked = {name: number[b, j] for name, number in parameters.items()}
            if level == 0:
                production = (
                    picked["basal_rate"].gather(1, cell_type[b])[None].expand(times + 1, -1, -1)
                )
            else:
                production = self._production(picked, parents, logs, b, j)
            hard, value = (None, None) if done is None else (done[0][b, j], done[1][b, j])
            if (
                hard is not None
                and value is not None
                and bool((value != 0).logical_and_(~hard).any())
            ):
                production = (
                    production + picked["decay"][:, None] * value.masked_fill(hard, 0.0)
                ).clamp_(min=0)
            path = self._path(picked, production, kick.index_select(1, genes))
            if hard is not None and value is not None and bool(hard.any()):
                path = torch.where(hard, value.clamp(min=0), path)
            if reference:
                late = path[-(-2 * times // 3) :, :, :reference].to(torch.float64)
                total = in_order(row_sums(late), dim=0)
                mean[b, j] = (total / (len(late) * reference)).to(torch.float32)
            logs.index_copy_(1, genes, path.log_())
        return logs[-1].exp().view(tasks, nodes, columns)

    @staticmethod
    def _production(
        picked: Parameters, parents: Parents, logs: Tensor, b: Tensor, j: Tensor
    ) -> Tensor:
        """[T + 1, M, N]: rates at the ends of all steps from the logarithms of the causes'
        concentrations [T + 1, B D, N]."""
        nodes = parents.count.shape[1]
        rate = logs.new_zeros(len(logs), len(b), logs.shape[2])
        for slot in range(int(parents.count[b, j].max())):
            some = torch.nonzero(parents.count[b, j] > slot)[:, 0]
            cause = parents.index[b[some], j[some], slot]
            effect = logs.index_select(1, b[some] * nodes + cause)
            effect.sub_(picked["half"][some, slot, None].log()).mul_(
                picked["hill"][some, slot, None]
            ).sigmoid_().mul_(picked["interaction"][some, slot, None])
            rate.index_add_(1, some, effect)
        return rate

    def _path(self, picked: Parameters, production: Tensor, kick: Tensor) -> Tensor:
        """[T + 1, M, N]: the concentrations of M genes along time, from the steady state of the
        rates at the start."""
        decay, amplitude = picked["decay"][:, None], picked["noise_amplitude"][:, None]
        length = decay * torch.tensor(self.steps)[:, None, None]  # [T, M, 1]
        kept = torch.exp(-length)
        even = (1 - kept) / length
        # the weights of the rates at both ends
        first, last = (even - kept) / decay, (1 - even) / decay
        kick = kick.mul_(amplitude * ((1 - kept * kept) / (2 * decay)).sqrt())
        path = torch.empty(len(self.steps) + 1, *kick.shape[1:])
        torch.div(production[0], decay, out=path[0])
        for x, then, now, end, a, b, c, z in zip(
            path, path[1:], production, production[1:], kept, first, last, kick, strict=False
        ):
            size = torch.add(now, end).mul_(0.5).addcmul_(x, decay).sqrt_()
            torch.mul(x, a, out=then)
            then.addcmul_(now, b).addcmul_(end, c).addcmul_(size, z).abs_()
        return path

    def apply(
        self,
        parameters: Parameters,
        inputs: Float[Tensor, "b K N"],
        noise: Float[Tensor, "b N"],
    ) -> Float[Tensor, "b N"]:
        """The concentration under causes held at `inputs`, in a cell of the average type: P / l + q
        sqrt(P / l) e, reflected at 0.

        For pictures and single questions: whole tables are made by `tables`, where causes move and
        a concentration remembers what they were.
        """
        strength, hill, half = (
            parameters[name][:, : inputs.shape[1], None] for name in ("interaction", "hill", "half")
        )
        regulated = strength * torch.sigmoid(hill * (inputs.clamp(min=1e-30) / half).log())
        basal = in_order(parameters["basal_rate"], dim=1) / parameters["basal_rate"].shape[1]
        production = basal[:, None] + in_order(regulated, dim=1)
        mean = production / parameters["decay"][:, None]
        return (
            mean
            + parameters["noise_amplitude"][:, None]
            * mean.sqrt()
            * noise.reshape(*mean.shape, -1)[..., 0]
        ).abs()


def _by_gene(table: Tensor, before: int = 0) -> Tensor:
    """[..., N] with zeros for the `before` cells that are missing in front, and for as many behind
    as fill whole vector registers."""
    return pad(table, (before, -(before + table.shape[-1]) % _WIDTH))


def depths_of(parents: Parents) -> Tensor:
    """Int64 [B, D]: the number of edges of the longest directed path that ends at each node."""
    depth = torch.zeros_like(parents.count)
    while True:
        above = depth.gather(1, parents.index.flatten(1)).view_as(parents.index)
        deeper = torch.where(parents.mask > 0, above + 1, 0).amax(dim=2)
        if torch.equal(deeper, depth):
            return depth
        depth = deeper
