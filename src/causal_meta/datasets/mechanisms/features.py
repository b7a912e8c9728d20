"""Random Fourier features: functions that are sums of cosines, drawn for all nodes of all tasks and
evaluated in pieces that fit the caches.

Frequencies are kept packed: a task has one row of M for every edge of its graph, not one for every
slot of every node, so that they take B x edges x M numbers. A stationary kernel is a mixture of
Gaussians: its frequencies are normal vectors times a random number, the `multiplier`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from causal_meta import randomness
from causal_meta.datasets.mechanisms.law import Names, Parameters
from causal_meta.fixed_order import layer, row_sums, weighted_sum

_CELLS = 1 << 18  # cosines made at once: few calls, and still in the caches
_FAR = 70_000.0  # radians beyond which NumPy's vectorised cosine gives way to a slow one


def draw_features(
    seeds: Sequence[int], names: Names, inputs: Tensor, n_features: int, n_uniforms: int
) -> tuple[Parameters, Tensor]:
    """Packed normal frequencies, phases and normal weights of a function at every node, and float32
    [B, D, n_uniforms] uniforms beside them.

    `inputs` int64 [B, D] is how many inputs each function has. A task's normals are the weights of
    its D nodes, then the frequencies of the inputs of node 0, of node 1, and so on: what is drawn
    for a task depends on nothing else. The caller adds `multiplier` and `scale`, [B, D, M] or [B,
    D, 1], the factors of a node's frequencies and weights.
    """
    tasks, nodes = inputs.shape
    edges = int(inputs.sum(dim=1).max()) if tasks else 0
    uniforms = randomness.uniforms(seeds, (*names, "uniforms"), (nodes, n_features + n_uniforms))
    features = {
        "normals": randomness.normals(
            seeds, (*names, "normals"), (nodes + edges, n_features)
        ).contiguous(),
        "start": inputs.cumsum(dim=1) - inputs + nodes,
        "inputs": inputs,
        "phase": uniforms[..., :n_features] * (2 * math.pi),
    }
    return features, uniforms[..., n_features:]


def pick_features(
    parameters: Parameters, row: Int64[Tensor, " b"], node: Int64[Tensor, " b"], width: int
) -> Parameters:
    """The functions of some nodes: frequency float32 [b, width, M] (0 in empty slots), inputs int64
    [b], phase and weight float32 [b, M]."""
    nodes, rows = parameters["inputs"].shape[1], parameters["normals"].shape[1]
    place = row * nodes + node
    inputs, multiplier, scale, phase = (
        parameters[name].flatten(0, 1)[place] for name in ("inputs", "multiplier", "scale", "phase")
    )
    slots, normals = torch.arange(width), parameters["normals"].flatten(0, 1)
    used = slots < inputs[:, None]
    start = parameters["start"].flatten()[place] + row * rows
    frequency = normals.index_select(
        0, torch.where(used, start[:, None] + slots, 0).flatten()
    ).view(len(row), width, -1)
    frequency *= multiplier[:, None] * used[..., None]
    return {
        "frequency": frequency,
        "inputs": inputs,
        "phase": phase,
        "weight": normals.index_select(0, row * rows + node).mul_(scale),
    }


def value_at_a_point(features: Parameters) -> Float[Tensor, "B D"]:
    """The value of every node's function where all its angles are their phases."""
    nodes = features["phase"].shape[1]
    terms = features["normals"][:, :nodes] * features["phase"].cos()
    return row_sums(terms) * features["scale"][..., 0]


def sum_of_cosines(picked: Parameters, inputs: Float[Tensor, "b k N"]) -> Float[Tensor, "b N"]:
    """Sum_m weight_m cos(frequency_m . x + phase_m) of b functions at their inputs;
    0 for a function without inputs.

    Fastest where functions of as many inputs are neighbours.
    """
    nodes, width, columns = inputs.shape
    out = inputs.new_zeros(nodes, columns)
    counts, features = picked["inputs"].clamp(max=width), picked["phase"].shape[1]
    if not int(counts.sum()):
        return out
    rows = min(columns, max(64, _CELLS // features // 16 * 16))
    step = max(1, _CELLS // (features * rows))
    buffer, far, numbers = (
        inputs.new_empty(step * features * rows),
        _far_rows(picked["frequency"][:, :width], inputs),
        counts.tolist(),
    )
    parts = picked["frequency"], picked["phase"], picked["weight"], inputs, out
    for first, f, p, w, x, y in zip(
        range(0, nodes, step), *(torch.split(part, step) for part in parts), strict=True
    ):
        used = max(numbers[first : first + step])
        for left in range(0, columns, rows) if used else ():
            some = x[:, :used, left : left + rows]
            size = some.shape[0], features, some.shape[2]
            angles = buffer[: math.prod(size)].view(size)
            layer(p, f[:, :used].mT, some, out=angles)
            _cosines(angles, None if far is None else far[first : first + step, left : left + rows])
            y[:, left : left + rows] = weighted_sum(w, angles)
    return out if int(counts.min()) else out.mul_((counts > 0)[:, None])


def _far_rows(frequency: Tensor, inputs: Tensor) -> Tensor | None:
    """Bool [b, N]: the rows at which a function may have angles too large for the vectorised
    cosine; None if there are none at all."""
    low, high = torch.aminmax(inputs)
    largest = torch.maximum(-low, high) * frequency.shape[1] * frequency.abs().amax() + 2 * math.pi
    if bool(largest < 0.99 * _FAR):
        return None
    reach = weighted_sum(frequency.abs().amax(dim=2), inputs.abs()) + 2 * math.pi
    return ~(reach < _FAR)


def _cosines(angles: Tensor, far: Tensor | None = None) -> None:
    """The cosine of float32 angles [b, M, N], in place. On the CPU by NumPy, whose vectorised one
    is 2.4 times as fast as torch's.

    Those of the rows bool [b, N] that are `far`, and of no others, are brought near 0 first: what
    is done to a row of a function must not depend on its neighbours, for a rough function makes
    much of a rounding.
    """
    if far is not None and bool(far.any()):
        turns = (angles / (2 * math.pi)).round_().mul_(far[:, None])
        angles.sub_(turns, alpha=2 * math.pi)
    if angles.device.type == "cpu":
        values = angles.numpy()
        np.cos(values, out=values)
    else:
        angles.cos_()
