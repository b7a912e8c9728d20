"""The loss landscape of a torch module around its weights, for the torch samplers
(`llc.landscapes.landscape` is the same for JAX).

The parameters of the module are one flat vector w [P], in the order of `named_parameters`; a shared
parameter counts once. The landscape works on a copy of the module in evaluation mode, without
dropout and with fixed running statistics; the module itself is not changed.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.fx.experimental.proxy_tensor import make_fx

from causal_meta.layers import AxialBlock
from causal_meta.llc.landscapes.masks import masked_parameters

Rows = Mapping[str, Tensor]
RowLoss = Callable[[Any, Rows], Tensor]
Program = Callable[[Tensor, Rows], tuple[Tensor, Tensor]]
Width = Literal["float32", "float64"]

# parameters times items above which evaluating the chains one by one is as fast as in one batch,
# and takes less memory
BATCHED_WORK = 1e7

_STEPS = {torch.float32: 1e-3, torch.float64: 1e-4}  # of central differences


@dataclass(frozen=True, eq=False)
class TorchLandscape:
    """The mean negative log-likelihood L_n(w) = (1/n) Σ_i loss_i(w) of `n` items (rows, tasks),
    around the point `centre` (w*) [P].

    Everything is computed on the device of `centre` (CPU or GPU) and in its float precision.

    Fields:
        data: tensors whose first axis runs over the n items.
        losses: the module with its row loss, [B] for B items.
        at_once: the largest number of items in one pass through the module, which bounds memory.
        names, shapes, heads: description of the entries of w, for masks.
        whole, chosen: after `restricted`, w holds the parameters `chosen` of `whole`, and all
            others are fixed at `whole`.
    """

    name: str
    centre: Float[Tensor, " P"]
    data: Rows
    losses: _Losses
    at_once: int
    names: Mapping[str, slice]
    shapes: Mapping[str, tuple[int, ...]]
    heads: Mapping[str, np.ndarray]
    whole: Tensor
    chosen: Tensor | None = None

    @property
    def n(self) -> int:
        """The number of items."""
        return len(next(iter(self.data.values())))

    @property
    def n_parameters(self) -> int:
        """P, of the restricted landscape if it is one."""
        return len(self.centre)

    @property
    def device(self) -> torch.device:
        """The device of all computations."""
        return self.centre.device

    @property
    def dtype(self) -> torch.dtype:
        """The float precision of all computations."""
        return self.centre.dtype

    def item_losses(
        self, w: Float[Tensor, " P"], index: Int[Tensor, " B"] | None = None
    ) -> Float[Tensor, " B"]:
        """The loss of each item of `index` (by default of all) at w, differentiable by w.

        All B items are in memory at once, unlike in `mean_loss` and `value_and_gradient`.
        """
        return self._row_losses(w, self.rows(index))

    def rows(self, index: Tensor | slice | None = None) -> Rows:
        """The items `index`, by default all."""
        return (
            self.data
            if index is None
            else {key: values[index] for key, values in self.data.items()}
        )

    def mean_loss(self, w: Float[Tensor, "*points P"]) -> Float[Tensor, "*points"]:
        """L_n at each point w, without gradient."""
        flat = w.reshape(-1, self.n_parameters)
        with torch.no_grad():
            total = sum(self._sums(flat, rows) for rows in self._chunks(None))
        return (torch.as_tensor(total) / self.n).reshape(w.shape[:-1])

    def value_and_gradient(
        self, w: Float[Tensor, "C P"], index: Int[Tensor, "C B"] | None = None
    ) -> tuple[Float[Tensor, " C"], Float[Tensor, "C P"]]:
        """Mean losses and their gradients at w, over all items or, for each chain, over its items
        `index`."""
        count = self.n if index is None else index.shape[1]
        value, gradient = w.new_zeros(len(w)), torch.zeros_like(w)
        for rows in self._chunks(index):
            if len(w) > 1 and self._together(rows, index is not None):
                sums, slope = self._program(w, rows, index is not None)(w, rows)
                value, gradient = value + sums, gradient + slope
                continue
            for c in range(len(w)):
                point = w[c].detach().requires_grad_()
                mine = rows if index is None else {key: values[c] for key, values in rows.items()}
                total = self._row_losses(point, mine).sum()
                value[c] += total.detach()
                gradient[c] += torch.autograd.grad(total, point)[0]
        return value / count, gradient / count

    def curvature(
        self,
        w: Float[Tensor, "*points P"],
        direction: Float[Tensor, "*points P"],
        index: Int[Tensor, "C B"] | None = None,
    ) -> Float[Tensor, "*points P"]:
        """The Hessian of L_n at w times directions, by central differences of two gradients.

        Differences work for any module: autograd has no second derivative of hand-written backward
        passes, and where a network has kinks (ReLU, maxima) the second derivative at a point says
        nothing about the loss around it. The step is 10⁻⁴ in float64 and 10⁻³ in float32, times
        max(1, |w| / sqrt P); the result is the mean curvature over that interval, with a relative
        error of about 1e-8 where the loss is smooth.

        Args:
            index: the items of each chain over which the mean is taken, by default all.
        """
        points, along = w.reshape(-1, self.n_parameters), direction.reshape(-1, self.n_parameters)
        length = along.norm(dim=1, keepdim=True)
        scale = (points.norm(dim=1, keepdim=True) / max(1, self.n_parameters) ** 0.5).clamp(min=1.0)
        step = _STEPS[self.dtype] * scale * along / length.clamp(min=torch.finfo(self.dtype).tiny)
        _, slopes = self.value_and_gradient(
            torch.cat((points + step, points - step)),
            None if index is None else torch.cat((index, index)),
        )
        change = slopes[: len(points)] - slopes[len(points) :]
        return (
            change
            * length
            / (2 * step.norm(dim=1, keepdim=True)).clamp(min=torch.finfo(self.dtype).tiny)
        ).reshape(w.shape)

    def restricted(self, mask: str) -> TorchLandscape:
        """The landscape of the parameters that `mask` selects (grammar: `llc.landscapes.masks`),
        all others fixed at w*; itself for an empty mask.

        Raises:
            ConfigError: for a mask that cannot be read or selects nothing.
        """
        if not mask.strip():
            return self
        if self.chosen is not None:
            raise ValueError(f"{self.name} is restricted already; restrict the whole landscape.")
        indices = masked_parameters(mask, self.names, self.shapes, self.heads)
        chosen = torch.from_numpy(indices).to(self.device)
        return dataclasses.replace(self, chosen=chosen, centre=self.whole[chosen])

    def at_width(self, width: Width) -> TorchLandscape:
        """The same landscape computed in float32 or float64."""
        dtype = getattr(torch, width)
        if dtype == self.dtype:
            return self
        return dataclasses.replace(
            self,
            centre=self.centre.to(dtype),
            whole=self.whole.to(dtype),
            losses=copy.deepcopy(self.losses).to(dtype),
            data=_floats_as(self.data, dtype),
        )

    def moved(self, centre: Float[Tensor, " P"]) -> TorchLandscape:
        """The same landscape around another point."""
        whole = centre if self.chosen is None else self.whole.scatter(0, self.chosen, centre)
        return dataclasses.replace(self, centre=centre, whole=whole)

    @cached_property
    def batched(self) -> bool:
        """Whether `torch.func.vmap` can evaluate the module for all chains in one batch; it cannot
        where hand-written functions lack a batching rule.

        Batches are used where parameters times items are at most `BATCHED_WORK` (measured by
        `benchmarks/llc_torch.py`): a step of a small module costs mainly the calls of operations,
        which a batch makes once for all chains.
        """
        pair, rows = (
            self.centre.detach().expand(2, -1).clone().requires_grad_(),
            self.rows(slice(0, 2)),
        )
        try:
            (slope,) = torch.autograd.grad(self._vmapped(pair, rows, each=False).sum(), pair)
        # torch raises these where an operation has no batching rule, or a branch depends on values
        except (RuntimeError, NotImplementedError):
            return False
        return bool(torch.equal(slope[0], slope[1]))

    def _together(self, rows: Rows, each: bool) -> bool:
        """Whether all chains are evaluated in one batch with these rows."""
        items = next(iter(rows.values())).shape[1 if each else 0]
        return items * self.n_parameters <= BATCHED_WORK and self.batched

    @cached_property
    def _programs(self) -> dict[tuple[object, ...], Program]:
        return {}

    def _program(self, w: Tensor, rows: Rows, each: bool) -> Program:
        """The sums of losses and their gradients for tensors of these shapes, traced to a list of
        tensor operations, which is a third faster on small modules."""
        key = (w.shape, each, *(values.shape for values in rows.values()))
        if key not in self._programs:

            def sums_and_slopes(w: Tensor, rows: Rows) -> tuple[Tensor, Tensor]:
                point = w.detach().requires_grad_()
                sums = self._vmapped(point, rows, each)
                return sums.detach(), torch.autograd.grad(sums.sum(), point)[0]

            traced = make_fx(sums_and_slopes)(w, dict(rows))
            traced.graph.eliminate_dead_code()
            traced.recompile()
            self._programs[key] = lambda w, rows: traced(w, dict(rows))
        return self._programs[key]

    def _chunks(self, index: Tensor | None) -> list[Rows]:
        count = self.n if index is None else index.shape[1]
        pieces = [slice(start, start + self.at_once) for start in range(0, count, self.at_once)]
        if index is None:
            return [self.data] if len(pieces) == 1 else [self.rows(piece) for piece in pieces]
        return [self.rows(index[:, piece]) for piece in pieces]

    def _sums(self, w: Tensor, rows: Rows, each: bool = False) -> Tensor:
        """Σ loss over `rows`, [C], at w [C, P]; with `each` every chain has rows of its own, [C, B,
        ...]."""
        if len(w) > 1 and self._together(rows, each):
            return self._vmapped(w, rows, each)
        by_chain = (
            {key: values[c] for key, values in rows.items()} if each else rows
            for c in range(len(w))
        )
        return torch.stack(
            [self._row_losses(point, mine).sum() for point, mine in zip(w, by_chain, strict=True)]
        )

    def _vmapped(self, w: Tensor, rows: Rows, each: bool) -> Tensor:
        return vmap(
            lambda point, mine: self._row_losses(point, mine).sum(),
            in_dims=(0, 0 if each else None),
        )(w, dict(rows))

    def _row_losses(self, w: Tensor, rows: Rows) -> Tensor:
        flat = w if self.chosen is None else self.whole.scatter(0, self.chosen, w)
        pieces = flat.split([where.stop - where.start for where in self.names.values()])
        weights = {
            f"module.{name}": piece.view(self.shapes[name])
            for name, piece in zip(self.names, pieces, strict=True)
        }
        losses: Tensor = functional_call(self.losses, weights, (rows,))
        return losses


class _Losses(nn.Module):
    """A module with its row loss, as one function of parameters and rows."""

    def __init__(self, module: nn.Module, row_loss: RowLoss) -> None:
        super().__init__()
        self.module, self.row_loss = module, row_loss

    def forward(self, rows: Rows) -> Tensor:
        return self.row_loss(self.module, rows)


def torch_landscape(
    module: nn.Module,
    data: Rows,
    row_loss: RowLoss,
    *,
    name: str = "module",
    width: Width = "float64",
    at_once: int | None = None,
) -> TorchLandscape:
    """The landscape of any torch module around its present weights.

    All floating-point parameters belong to w, frozen ones too; a mask restricts it. The landscape
    is computed on the device of the module's parameters, to which the data are moved. The module is
    not changed.

    Args:
        data: tensors whose first axis runs over n items.
        row_loss: `row_loss(module, rows) -> [B]`, the negative log-likelihood of each of the rows
            (a mean squared error is one only up to the factor 1/(2σ²)).
        at_once: the largest number of items in one pass through the module; by default all.

    Raises:
        ValueError: for data of unequal lengths or fewer than two items, a module without
            parameters, and losses that are not finite, not one per row, or not the same in two
            evaluations (dropout called by hand).

    >>> module = nn.Linear(1, 1)
    >>> _ = module.weight.data.fill_(2.0), module.bias.data.zero_()
    >>> x = torch.tensor([[1.0], [2.0], [3.0]])
    >>> squares = lambda net, rows: 0.5 * (net(rows["x"]) - rows["y"]).square().sum(-1)
    >>> landscape = torch_landscape(module, {"x": x, "y": 2 * x}, squares)
    >>> landscape.n, landscape.n_parameters, float(landscape.mean_loss(landscape.centre + 1.0))
    (3, 2, 4.833333333333333)
    """
    parameters = {
        key: value for key, value in module.named_parameters() if value.is_floating_point()
    }
    lengths = sorted({len(values) for values in data.values()})
    if not parameters or len(lengths) != 1 or lengths[0] < 2:
        fault = (
            "a module without parameters"
            if not parameters
            else f"data of {' and '.join(map(str, lengths)) or 'no'} items"
        )
        raise ValueError(
            f"{name} came with {fault}; give a module with parameters and at least 2 items, as "
            "many in every tensor."
        )
    device, dtype = next(iter(parameters.values())).device, getattr(torch, width)
    frozen = copy.deepcopy(module).eval().to(dtype).requires_grad_(False)
    names, start = {}, 0
    for key, value in parameters.items():
        names[key], start = slice(start, start + value.numel()), start + value.numel()
    centre = torch.cat([value.detach().reshape(-1).to(dtype) for value in parameters.values()])
    moved = _floats_as({key: values.to(device) for key, values in data.items()}, dtype)
    landscape = TorchLandscape(
        name=name,
        centre=centre,
        data=moved,
        losses=_Losses(frozen, row_loss),
        at_once=at_once or lengths[0],
        names=names,
        shapes={key: tuple(value.shape) for key, value in parameters.items()},
        heads=heads_of(module),
        whole=centre,
    )
    _check(landscape)
    return landscape


def _floats_as(data: Rows, dtype: torch.dtype) -> Rows:
    return {
        key: values.to(dtype) if values.is_floating_point() else values
        for key, values in data.items()
    }


def _check(landscape: TorchLandscape) -> None:
    """Check that there is one finite loss per row, and the same in a second evaluation; the global
    generator is not advanced."""
    index = torch.arange(min(landscape.n, landscape.at_once), device=landscape.device)
    with torch.no_grad(), torch.random.fork_rng():
        losses, again = (
            landscape.item_losses(landscape.centre, index),
            landscape.item_losses(landscape.centre, index),
        )
    if losses.shape != index.shape:
        raise ValueError(
            f"{landscape.name}: row_loss gave shape {tuple(losses.shape)} for {len(index)} rows; "
            f"give one loss for each, [{len(index)}]."
        )
    if not bool(torch.isfinite(losses).all()):
        raise ValueError(
            f"{landscape.name}: {int((~torch.isfinite(losses)).sum())} of the losses at w* are "
            "not finite; there is no LLC of such a point."
        )
    if not torch.equal(losses, again):
        raise ValueError(
            f"{landscape.name}: two evaluations give different losses; remove what is random "
            "(dropout called by hand) from the module."
        )


def heads_of(module: nn.Module) -> dict[str, np.ndarray]:
    """The attention head (-1: none) of each entry of a parameter, by the parameter's name; for
    `@head:h` in masks.

    Covers the blocks of this package and `torch.nn.MultiheadAttention`: the rows of queries, keys
    and values (fused or separate) with their biases, and the columns of the output projection.
    """
    heads: dict[str, np.ndarray] = {}
    for prefix, part in module.named_modules():
        if isinstance(part, AxialBlock):
            sizes, inward, back = (
                (part.n_heads, part.key_size),
                ("query", "key", "value"),
                "attended.weight",
            )
            names = [f"{name}.{kind}" for name in inward for kind in ("weight", "bias")]
        elif isinstance(part, nn.MultiheadAttention):
            sizes, back = (part.num_heads, part.head_dim), "out_proj.weight"
            names = [
                "in_proj_weight",
                "in_proj_bias",
                "q_proj_weight",
                "k_proj_weight",
                "v_proj_weight",
            ]
        else:
            continue
        head = np.repeat(np.arange(sizes[0]), sizes[1])
        shapes = {name: tuple(value.shape) for name, value in part.named_parameters()}
        for name in [*names, back]:
            if name in shapes:
                shape, along = shapes[name], head
                if name != back:
                    repeated = np.tile(head, shape[0] // len(head))
                    along = repeated.reshape(-1, *[1] * (len(shape) - 1))
                heads[f"{prefix}.{name}" if prefix else name] = np.broadcast_to(along, shape)
    return heads
