"""AVICI: amortised variational inference for causal discovery (Lorch et al., NeurIPS 2022,
arXiv:2205.12934).

A transformer reads a table [N, D] with attention in turn over its variables and over its rows,
pools each variable over the rows, and scores every ordered pair of variables: p(i -> j) =
sigmoid(exp(tau) cos(u_i, v_j) + b). It is equivariant to permutations
of the variables and invariant to permutations of the rows. Edges are independent and nothing
guarantees an acyclic graph.

The objective per task is the mean binary cross-entropy over ordered pairs plus lambda times the
spectral radius of the matrix of edge probabilities, where lambda grows by dual ascent.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from causal_meta.conf.models import AviciConfig
from causal_meta.layers import AxialBlock, Axis, empty_linear, variance_scaling
from causal_meta.models.base import BaseModel
from causal_meta.posteriors import IndependentEdges, pair_mask
from causal_meta.randomness import torch_generator
from causal_meta.tasks import TaskBatch

SHIFT = 0.1  # added to the diagonal in the power iterations, so that cycles of any length converge
# where u' v would fall below this, the matrix is acyclic to rounding and is not squared further
FAINT = 1e-200


class AviciModel(BaseModel):
    """The axial transformer of AVICI with its loss and its dual ascent.

    Input per cell: the standardised value and whether the variable was intervened on in that row.
    Any number of rows and variables; 4,269,442 parameters at the default (the paper's) size. Masks
    of the batch are applied: the answer for real variables and rows is that of the unpadded task.

    Source: Lorch et al. 2022 and the authors' released code. Ours differs in the estimate of the
    spectral radius (see `spectral_radius`), and in that padding is allowed.
    """

    penalty_weight: Tensor
    penalty_average: Tensor
    penalty_latest: Tensor
    penalty_steps: Tensor

    def __init__(self, config: AviciConfig) -> None:
        super().__init__(config)
        self.settings = config
        self.embed = empty_linear(2, config.dim)
        axes: tuple[Axis, Axis] = ("variables", "rows")
        self.blocks = nn.ModuleList(
            AxialBlock(
                config.dim, config.n_heads, config.key_size, config.widening, config.dropout, axis
            )
            for _ in range(config.n_pairs)
            for axis in axes
        )
        self.final_norm, self.cause_norm, self.effect_norm = (
            nn.LayerNorm(config.dim) for _ in range(3)
        )
        self.cause, self.effect = (
            empty_linear(config.dim, config.dim),
            empty_linear(config.dim, config.dim),
        )
        self.temperature = nn.Parameter(torch.tensor(config.temperature_init))
        self.bias = nn.Parameter(torch.tensor(config.bias_init))
        self.register_buffer("penalty_weight", torch.zeros(()))  # lambda
        self.register_buffer("penalty_average", torch.zeros(()))  # running average of the penalty h
        self.register_buffer("penalty_latest", torch.zeros(()))  # h of the last training loss
        self.register_buffer("penalty_steps", torch.zeros((), dtype=torch.int64))
        self.initialise(torch_generator(0, "initialisation"))

    def initialise(self, generator: torch.Generator) -> None:
        """Draw all weights: variance scaling as in the authors' code; temperature and bias at their
        configured start."""
        scale = self.settings.init_scale
        variance_scaling(self.embed, 1.0, "truncated_normal", generator)
        for block in self.blocks:
            block.initialise(scale, generator)  # type: ignore[operator]
        for head in (self.cause, self.effect):
            variance_scaling(head, scale, "uniform", generator)

    def forward(self, batch: TaskBatch) -> Float[Tensor, "B D D"]:
        """Edge logits of a standardised batch; entries of the diagonal and of padded variables have
        no meaning."""
        # [B, D, N, 2]
        features = torch.stack((batch.x, batch.intervened.to(batch.x.dtype)), dim=-1).transpose(
            1, 2
        )
        # the residual stream stays in full precision, whatever that of the products
        with torch.autocast(features.device.type, enabled=False):
            x = self.embed(features.to(self.embed.weight.dtype))
        node_mask = None if bool(batch.node_mask.all()) else batch.node_mask
        row_mask = None if bool(batch.row_mask.all()) else batch.row_mask
        recompute = self.settings.checkpoint_blocks and torch.is_grad_enabled()
        for block in self.blocks:
            mask = node_mask if block.axis == "variables" else row_mask
            x = checkpoint(block, x, mask, use_reentrant=False) if recompute else block(x, mask)
        return self._logits(self._pooled(x, row_mask))

    def _pooled(self, x: Tensor, row_mask: Tensor | None) -> Tensor:
        """The largest value over real rows of each normalised feature, [B, D, N, C] -> [B, D,
        C]."""
        x = self.final_norm(x)
        if row_mask is not None:
            x = x.masked_fill(~row_mask[:, None, :, None], -torch.inf)
        return x.max(dim=2).values

    def _logits(self, pooled: Tensor) -> Tensor:
        with torch.autocast(pooled.device.type, enabled=False):
            pooled = pooled.to(self.cause.weight.dtype)
            u = functional.normalize(self.cause(self.cause_norm(pooled)), dim=-1)
            v = functional.normalize(self.effect(self.effect_norm(pooled)), dim=-1)
            return torch.exp(self.temperature) * (u @ v.transpose(-1, -2)) + self.bias

    def calculate_loss(
        self, output: Float[Tensor, "B D D"], batch: TaskBatch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean over tasks of BCE(logits, adjacency) over real ordered pairs / (D (D - 1)), plus
        lambda times the mean spectral radius.

        In the first `dependence_steps` steps of training the absolute correlations of the columns
        replace the adjacency, and lambda h is left out. Correlations are information about every
        pair, edges about few: a network that has learned the correlations first learns the edges
        sooner than one trained on edges alone. This is ours, not the paper's,
        and off by default.

        Parts: `bce`, `penalty` (the radius h), `penalty_weight` (lambda). Raises ValueError for a
        batch without truth. In training mode the penalty is stored for `after_step`.
        """
        if batch.adjacency is None:
            raise ValueError("The batch holds no adjacency; a loss needs the true graphs.")
        pairs = pair_mask(batch.node_mask)
        warming = self.training and self._is_warming()
        truth = absolute_correlations(batch) if warming else batch.adjacency.to(output.dtype)
        per_edge = functional.binary_cross_entropy_with_logits(output, truth, reduction="none")
        per_task = torch.where(pairs, per_edge, 0).sum(dim=(1, 2)) / pairs.sum(dim=(1, 2)).clamp(
            min=1
        )
        likelihood = per_task.mean()
        # In float64 up to the logits: the radius of a nearly acyclic matrix has derivatives beyond
        # float32, times probabilities as small.
        probabilities = torch.where(pairs, torch.sigmoid(output.double()), 0)
        penalty = (
            spectral_radius(probabilities, self.settings.power_iterations).mean().to(output.dtype)
        )
        if self.training:
            self.penalty_latest.copy_(penalty.detach())
        loss = likelihood if warming else likelihood + self.penalty_weight * penalty
        return loss, {
            "bce": likelihood.detach(),
            "penalty": penalty.detach(),
            "penalty_weight": self.penalty_weight.clone(),
        }

    def posterior_of(self, output: Float[Tensor, "B D D"], batch: TaskBatch) -> IndependentEdges:
        """Independent edges with the output as logits, in float32 or better."""
        return IndependentEdges(
            output.to(torch.promote_types(output.dtype, torch.float32)), batch.node_mask
        )

    def _is_warming(self) -> bool:
        return (
            bool(self.settings.dependence_steps)
            and int(self.penalty_steps) < self.settings.dependence_steps
        )

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        """Dual ascent: h_avg is the running average of the penalty at rate r, which starts at its
        first value; every `penalty_every_n_steps` steps lambda += eta h_avg, with eta =
        `penalty_lr` min(1, step / `penalty_warmup_steps`).

        With several processes the penalty is averaged over them, so that lambda is the same in
        all of them. Steps are counted from the end of the first `dependence_steps`, which do not
        change lambda.
        """
        c = self.settings
        if self._is_warming():
            self.penalty_steps.add_(1)
            return
        step -= c.dependence_steps
        latest = self.penalty_latest.clone()
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(latest)
            latest /= torch.distributed.get_world_size()
        moved = self.penalty_average + c.penalty_average_rate * (latest - self.penalty_average)
        self.penalty_average.copy_(
            torch.where(self.penalty_steps == c.dependence_steps, latest, moved)
        )
        self.penalty_steps.add_(1)
        if step % c.penalty_every_n_steps == 0:
            eta = c.penalty_lr * min(
                1.0, step / c.penalty_warmup_steps if c.penalty_warmup_steps else 1.0
            )
            self.penalty_weight.add_(eta * self.penalty_average)


def absolute_correlations(batch: TaskBatch) -> Float[Tensor, "B D D"]:
    """|corr(x_i, x_j)| over the real rows of a standardised batch; 0 where a variable is padding.

    >>> from causal_meta.tasks import full_batch
    >>> x = torch.tensor([[[1.0, -2.0], [2.0, -4.0], [4.0, -8.0]]])
    >>> absolute_correlations(full_batch(x, None, [0]).standardised()).round(decimals=4).tolist()
    [[[1.0, 1.0], [1.0, 1.0]]]
    """
    x = torch.where(batch.row_mask[:, :, None] & batch.node_mask[:, None, :], batch.x, 0).float()
    with torch.autocast(x.device.type, enabled=False):
        return (
            (x.transpose(1, 2) @ x / batch.row_mask.sum(1).clamp(min=1)[:, None, None])
            .abs()
            .clamp(max=1)
        )


def spectral_radius(
    matrix: Float[Tensor, "B D D"], iterations: int, shift: float = SHIFT
) -> Float[Tensor, " B"]:
    """The largest absolute eigenvalue of nonnegative matrices, with gradient to the matrix.

    h = u' W v / (u' v), with v = M^n 1, u = M'^n 1, M = W + shift I and n = 2^iterations, reached
    by squaring `iterations` times; u and v carry no gradient. As all numbers are nonnegative
    nothing cancels, and the start needs no random numbers. Bounds, for any W:

    * 0 <= h <= the largest row sum of W (the Collatz-Wielandt quotients of M^k 1 never grow), at
      most D - 1 for edge probabilities;
    * for an acyclic W (radius 0), whose longest path has l edges: h <= shift l / (2n - l + 1);
    * the gradients to log W are nonnegative and sum to h (Euler: h is homogeneous in W), so those
      to the logits of W sum to at most h.

    Source: Lee et al. 2019 (NO BEARS) and Lorch et al. 2022, with normally distributed starts, no
    shift and 10 multiplications. Without positive starts u' v can vanish; without the shift the
    vectors do not converge on a cycle; and ten multiplications underestimate the radius of nearly
    acyclic matrices.

    >>> cycle = torch.tensor([[[0.0, 0.5, 0.0], [0.0, 0.0, 0.5], [0.5, 0.0, 0.0]]])
    >>> round(float(spectral_radius(cycle, 10)[0]), 4)
    0.5
    """
    with torch.no_grad():
        power = matrix.detach().double() + shift * torch.eye(
            matrix.shape[-1], dtype=torch.float64, device=matrix.device
        )
        right, left, overlap = _perron(power)
        for _ in range(iterations):
            squared = power @ power
            squared = squared / squared.amax(dim=(-2, -1), keepdim=True)
            new_right, new_left, new_overlap = _perron(squared)
            sound = new_overlap > FAINT
            power, overlap = (
                torch.where(sound, squared, power),
                torch.where(sound, new_overlap, overlap),
            )
            right, left = torch.where(sound, new_right, right), torch.where(sound, new_left, left)
        weights = left * right / overlap
    return (matrix.double() * weights).sum(dim=(-2, -1)).to(matrix.dtype)


def _perron(power: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Row sums v [B, 1, D] and column sums u [B, D, 1] of nonnegative matrices, each with largest
    entry 1, and u' v [B, 1, 1]."""
    right, left = power.sum(dim=-1).unsqueeze(-2), power.sum(dim=-2).unsqueeze(-1)
    right, left = (
        right / right.amax(dim=(-2, -1), keepdim=True),
        left / left.amax(dim=(-2, -1), keepdim=True),
    )
    return right, left, right @ left
