"""The mechanisms of a family's tasks, conditional on their graphs: standardised inside where the
configuration says so, and drawn again where values overflow.

Deep graphs of steep mechanisms and heavy-tailed noise can overflow every float type. In tables a
value beyond ±LARGEST becomes ±LARGEST. A model is called wild if that happens in its first
`checked_rows` observational rows, which every table of the family has; so it depends on the task's
seed alone, not on how many rows are drawn. The mechanisms and the noise of a wild task are drawn
again, for the same graph, from the seed (seed, "overflow", 1), then 2, …, and `redraws` counts
these draws.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from causal_meta import graphs, randomness
from causal_meta.conf.data import FamilyConfig
from causal_meta.datasets.mechanisms.mixture import LARGEST, MechanismBatch, MechanismFactory
from causal_meta.datasets.mechanisms.standardising import REFERENCE_ROWS, mode_of, standardised
from causal_meta.datasets.noise import NoiseLaw

MOST_DRAWS = 100
# rows checked where interventions may be in any row of a table, so that extra rows must be made
_FEW_ROWS = 64


class ModelLaw:
    """Mechanisms and noise of tasks, conditional on their graphs. Attribute `redraws`: how many
    models were drawn again because they overflowed."""

    def __init__(self, config: FamilyConfig, factory: MechanismFactory, noise: NoiseLaw) -> None:
        self.config, self.factory, self.noise = config, factory, noise
        self.mode = mode_of(config)
        self.redraws = 0
        rows, interventions = config.n_rows.low, config.interventions
        self.check_is_in_table = interventions is None or (
            interventions.rows is not None and interventions.row_order == "observational_first"
        )
        self.checked_rows = rows if self.check_is_in_table else min(rows, _FEW_ROWS)

    def draw(self, seeds: Sequence[int], adjacency: Float[Tensor, "B D D"]) -> MechanismBatch:
        """The mechanisms of the graphs, as drawn from these seeds."""
        return self.sample(seeds, adjacency, 1)[0]

    def sample(
        self, seeds: Sequence[int], adjacency: Float[Tensor, "B D D"], n_rows: int
    ) -> tuple[MechanismBatch, Float[Tensor, "B N D *numbers"]]:
        """The mechanisms of the graphs and the noise of their first N = `n_rows` rows."""
        nodes, batch = adjacency.shape[-1], self.factory.draw(seeds, adjacency)
        if self.mode is None:
            return batch, self.noise.sample(seeds, n_rows, nodes)
        noise = self.noise.sample(seeds, max(n_rows, REFERENCE_ROWS), nodes)
        return standardised(batch, noise[:, :REFERENCE_ROWS], self.mode), noise[:, :n_rows]

    def wild(
        self,
        batch: MechanismBatch,
        seeds: Sequence[int],
        table: Float[Tensor, "B N D"] | None = None,
    ) -> Int64[Tensor, " b"]:
        """The positions of the tasks that overflow. `table`: rows made before; if the rows to check
        are among them, they are not made again."""
        if self.factory.whole_table:
            return torch.empty(0, dtype=torch.int64)
        if table is None or not self.check_is_in_table or table.shape[1] < self.checked_rows:
            table = batch.rows(
                self.noise.sample(seeds, self.checked_rows, batch.adjacency.shape[-1])
            )
        table = table[:, : self.checked_rows]
        low, high = torch.aminmax(table)
        if low > -LARGEST and high < LARGEST:
            return torch.empty(0, dtype=torch.int64)
        return torch.nonzero(table.abs().amax(dim=(1, 2)) >= LARGEST)[:, 0]

    def settle(self, seeds: Sequence[int], adjacency: Float[Tensor, "B D D"]) -> list[int]:
        """For each wild task the first further seed whose mechanisms and noise do not overflow.

        Raises ValueError if MOST_DRAWS models of one task all overflow.
        """
        settled, left = list(seeds), torch.arange(len(seeds))
        for draw in range(1, MOST_DRAWS + 1):
            self.redraws += len(left)
            tried = [
                randomness.seeds_of(seeds[b], "overflow", start=draw, count=1)[0]
                for b in left.tolist()
            ]
            for b, seed in zip(left.tolist(), tried, strict=True):
                settled[b] = seed
            left = left[self.wild(self.draw(tried, adjacency[left]), tried)]
            if not len(left):
                return settled
        deepest = int(graphs.depths(adjacency[left[:1]]).max())
        raise ValueError(
            f"{MOST_DRAWS} draws of the mechanisms of task {seeds[int(left[0])]} all gave values "
            f"beyond {LARGEST:g} (its graph has paths of "
            f"{deepest} edges); give the family internal_standardising=inputs, smaller weights or "
            "fewer edges."
        )
