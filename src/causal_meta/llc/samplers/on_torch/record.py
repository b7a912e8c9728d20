"""Records of the draws of chains in torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from causal_meta.conf.samplers import ChainConfig
from causal_meta.draws import Draws, virial_groups
from causal_meta.llc.landscapes.torch_landscape import TorchLandscape
from causal_meta.llc.samplers.checkpoint import Arrays
from causal_meta.llc.samplers.on_torch.posterior import TorchPosterior
from causal_meta.randomness import generator


@dataclass
class Observation:
    """The chains at a draw: positions w [C, P], the loss over all rows [C] and its gradient [C, P],
    and further statistics of the transition, [C] each (None where the sampler has none).

    `alive` is False for good once a chain is no longer finite.
    """

    w: Tensor
    loss: Tensor
    gradient: Tensor
    alive: Tensor
    energy: Tensor | None = None
    acceptance: Tensor | None = None
    divergent: Tensor | None = None


@dataclass
class Record:
    """The records of the draws: `arrays` with chains and draws first, filled up to draw `done`, and
    the moments of rows.

    `reported` names the fields of `Observation` that the sampler fills.
    """

    arrays: Arrays
    directions: Tensor
    groups: Tensor
    done: int = 0
    reported: set[str] = field(default_factory=set)
    seconds: dict[str, float] = field(
        default_factory=lambda: {"compile": 0.0, "warmup": 0.0, "sampling": 0.0}
    )

    @property
    def length(self) -> int:
        """Draws of each chain that the arrays hold when full."""
        return self.arrays["loss"].shape[1]

    def lengthen(self, more: int) -> None:
        """Extend the arrays by `more` draws of each chain."""
        for name, values in self.arrays.items():
            if name not in ("row_moments", "row_count"):
                self.arrays[name] = np.concatenate(
                    [values, np.resize(values[:, -1:], (len(values), more, *values.shape[2:]))],
                    axis=1,
                )

    @classmethod
    def empty(cls, config: ChainConfig, landscape: TorchLandscape) -> Record:
        """An empty record of the size that `config` sets."""
        size = (config.chains, config.draws or config.first_draws)
        width = str(landscape.dtype).removeprefix("torch.")
        groups = virial_groups(landscape.n_parameters)
        arrays: Arrays = {
            name: np.full(size, np.nan, width)
            for name in ("loss", "distance", "energy", "acceptance")
        }
        arrays["gradients"] = np.zeros(size)
        arrays["divergent"] = np.zeros(size, bool)
        arrays["projection"] = np.full((*size, config.projections), np.nan, width)
        arrays["virial"] = np.full((*size, int(groups[-1]) + 1), np.nan, width)
        if config.keep_parameters:
            arrays["parameters"] = np.full((*size, landscape.n_parameters), np.nan, width)
        if config.row_moments:
            arrays["row_moments"], arrays["row_count"] = np.zeros((2, landscape.n)), np.zeros(())
        directions = generator(0, "llc", "projections").standard_normal(
            (config.projections, landscape.n_parameters)
        )
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        return cls(
            arrays,
            torch.from_numpy(directions).to(landscape.centre),
            torch.from_numpy(groups).to(landscape.device),
        )

    def add(self, draw: Observation, posterior: TorchPosterior, gradients: Tensor) -> None:
        """Add a draw of every chain; NaN for a chain that is no longer finite."""
        away = draw.w - posterior.landscape.centre
        pulled = away * posterior.slope(draw.gradient, draw.w)
        virial = torch.zeros(
            len(away), self.arrays["virial"].shape[2], dtype=away.dtype, device=away.device
        )
        optional = ("energy", "acceptance", "divergent")
        self.reported = {name for name in optional if getattr(draw, name) is not None}
        columns = {
            "loss": draw.loss,
            "distance": away.norm(dim=1),
            "projection": away @ self.directions.T,
            "virial": virial.index_add_(1, self.groups, pulled),
            "parameters": draw.w,
            "energy": draw.energy,
            "acceptance": draw.acceptance,
        }
        for name, values in columns.items():
            if values is not None and name in self.arrays:
                kept = values.masked_fill(
                    ~draw.alive.reshape(-1, *[1] * (values.dim() - 1)), torch.nan
                )
                self.arrays[name][:, self.done] = kept.cpu().numpy()
        self.arrays["gradients"][:, self.done] = gradients.cpu().numpy()
        if draw.divergent is not None:
            self.arrays["divergent"][:, self.done] = draw.divergent.cpu().numpy()
        if "row_moments" in self.arrays:
            self._add_rows(draw, posterior.landscape)
        self.done += 1

    def _add_rows(self, draw: Observation, landscape: TorchLandscape) -> None:
        """Welford's update of mean and sum of squares of every row's loss."""
        mean, squares = self.arrays["row_moments"]
        for w in draw.w[draw.alive]:
            pieces = torch.arange(landscape.n, device=landscape.device).split(landscape.at_once)
            with torch.no_grad():
                losses = (
                    torch.cat([landscape.item_losses(w, piece) for piece in pieces])
                    .double()
                    .cpu()
                    .numpy()
                )
            self.arrays["row_count"] += 1
            gap = losses - mean
            mean += gap / self.arrays["row_count"]
            squares += gap * (losses - mean)

    def draws(
        self, posterior: TorchPosterior, adapted: dict[str, Any], statistics: dict[str, Any]
    ) -> Draws:
        """The records as `Draws`; None for what the sampler does not report."""
        kept: dict[str, Any] = {
            name: values
            for name, values in self.arrays.items()
            if name in self.reported or name not in ("energy", "acceptance", "divergent")
        }
        moments, count = kept.pop("row_moments", None), kept.pop("row_count", np.ones(()))
        sizes = np.bincount(virial_groups(posterior.landscape.n_parameters))
        return Draws(
            **{
                name: kept[name]
                for name in ("loss", "distance", "projection", "gradients", "virial")
            },
            centre_loss=float(posterior.centre_loss),
            n_beta=posterior.n_beta,
            gamma=posterior.gamma,
            energy=kept.get("energy"),
            acceptance=kept.get("acceptance"),
            divergent=kept.get("divergent"),
            parameters=kept.get("parameters"),
            row_moments=None
            if moments is None
            else np.stack([moments[0], moments[1] / max(float(count) - 1, 1)]),
            virial_sizes=tuple(int(size) for size in sizes),
            seconds=self.seconds,
            adapted=adapted,
            statistics=statistics,
        )
