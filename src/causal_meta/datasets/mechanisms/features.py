"""Random Fourier features: functions that are sums of cosines, drawn for all nodes of all tasks and evaluated in pieces that fit the caches.

Frequencies are kept packed: a task has one row of M for every edge of its graph, not one for every slot of every node, so that they take
B x edges x M numbers. A stationary kernel is a mixture of Gaussians: its frequencies are normal vectors times a random number, the `multiplier`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from causal_meta import randomness
from causal_meta.datasets.mechanisms.law import Names, Parameters

_CELLS = 1 << 19  # cosines made at once: few calls, and still in the caches
_WIDTHS = torch.tensor([0, 1, 2, 4, 8, 16, 32, 64, 1 << 30])  # functions of about as many inputs are evaluated together
_FAR = 70_000.0  # radians beyond which NumPy's vectorised cosine gives way to a slow one


def draw_features(seeds: Sequence[int], names: Names, inputs: Tensor, n_features: int, n_uniforms: int) -> tuple[Parameters, Tensor]:
    """Packed normal frequencies, phases and normal weights of a function at every node, and float32 [B, D, n_uniforms] uniforms beside them.

    `inputs` int64 [B, D] is how many inputs each function has. A task's normals are the weights of its D nodes, then the frequencies of the
    inputs of node 0, of node 1, and so on: what is drawn for a task depends on nothing else. The caller adds `multiplier` and `scale`,
    [B, D, M] or [B, D, 1], the factors of a node's frequencies and weights.
    """
    tasks, nodes = inputs.shape
    edges = int(inputs.sum(dim=1).max()) if tasks else 0
    uniforms = randomness.uniforms(seeds, (*names, "uniforms"), (nodes, n_features + n_uniforms))
    features = {
        "normals": randomness.normals(seeds, (*names, "normals"), (nodes + edges, n_features)).contiguous(),
        "start": inputs.cumsum(dim=1) - inputs + nodes,
        "inputs": inputs,
        "phase": uniforms[..., :n_features] * (2 * math.pi),
    }
    return features, uniforms[..., n_features:]


def pick_features(parameters: Parameters, row: Tensor, node: Tensor, width: int) -> Parameters:
    """The functions of some nodes: frequency float32 [b, width, M] (0 in empty slots), inputs int64 [b], phase and weight float32 [b, M]."""
    nodes, rows = parameters["inputs"].shape[1], parameters["normals"].shape[1]
    place = row * nodes + node
    inputs, multiplier, scale, phase = (parameters[name].flatten(0, 1)[place] for name in ("inputs", "multiplier", "scale", "phase"))
    slots, normals = torch.arange(width), parameters["normals"].flatten(0, 1)
    used = slots < inputs[:, None]
    start = parameters["start"].flatten()[place] + row * rows
    frequency = normals.index_select(0, torch.where(used, start[:, None] + slots, 0).flatten()).view(len(row), width, -1)
    frequency *= multiplier[:, None] * used[..., None]
    return {"frequency": frequency, "inputs": inputs, "phase": phase, "weight": normals.index_select(0, row * rows + node).mul_(scale)}


def sum_of_cosines(picked: Parameters, inputs: Tensor) -> Tensor:
    """Float32 [b, N]: sum_m weight_m cos(frequency_m . x + phase_m) of b functions at their inputs float32 [b, k, N]; 0 for one without inputs."""
    nodes, width, columns = inputs.shape
    out = inputs.new_zeros(nodes, columns)
    if not width or not nodes:
        return out
    frequency, phase, weight = picked["frequency"][:, :width], picked["phase"][..., None], picked["weight"][:, None]
    group = torch.bucketize(picked["inputs"], _WIDTHS) * 2 + _are_far(frequency, inputs)
    buffer = inputs.new_empty(max(_CELLS, phase.shape[1] * 64))
    numbers, sizes = torch.unique_consecutive(group, return_counts=True)  # functions of about as many inputs together, near and far ones apart
    first = 0
    for number, size in zip(numbers.tolist(), sizes.tolist(), strict=True):
        used, some = min(width, int(_WIDTHS[number // 2])), slice(first, first + size)
        first += size
        if used:
            _add_up(frequency[some, :used].mT, phase[some], weight[some], inputs[some, :used], out[some, None], buffer, far=number % 2 == 1)
    return out


def _are_far(frequency: Tensor, inputs: Tensor) -> Tensor:
    """Int64 [b]: 1 for functions whose angles may be too large for the vectorised cosine."""
    low, high = torch.aminmax(inputs)
    largest = torch.maximum(-low, high) * frequency.shape[1] * frequency.abs().amax() + 2 * math.pi
    if bool(largest < _FAR):
        return torch.zeros(len(frequency), dtype=torch.int64)
    reach = (frequency.abs().amax(dim=2) * inputs.abs().amax(dim=2)).sum(dim=1) + 2 * math.pi
    return (~(reach < _FAR)).to(torch.int64)


def _add_up(frequency: Tensor, phase: Tensor, weight: Tensor, inputs: Tensor, out: Tensor, buffer: Tensor, *, far: bool) -> None:
    """Write the sums of functions of at most k inputs into `out` [b, 1, N], as many functions and rows at once as the buffer holds."""
    features, columns = phase.shape[1], inputs.shape[2]
    rows = len(buffer) // features // 16 * 16
    if columns > rows:
        for x, y in zip(inputs.split(rows, dim=2), out.split(rows, dim=2), strict=True):
            _add_up(frequency, phase, weight, x, y, buffer, far=far)
        return
    step = max(1, len(buffer) // (features * columns))
    whole = buffer[: step * features * columns].view(step, features, columns)
    sizes = [step] * (len(inputs) // step) + [len(inputs) % step] * (len(inputs) % step > 0)
    pieces = zip(sizes, *(torch.split(part, step) for part in (frequency, phase, weight, inputs, out)), strict=True)
    for size, f, p, w, x, y in pieces:
        angles = whole if size == step else whole[:size]
        torch.baddbmm(p, f, x, out=angles)
        _cosines(angles, far)
        torch.bmm(w, angles, out=y)


def _cosines(angles: Tensor, far: bool) -> None:
    """The cosine of float32 angles, in place. On the CPU by NumPy, whose vectorised one is 2.4 times as fast as torch's."""
    if far:
        angles.sub_(torch.round(angles / (2 * math.pi)), alpha=2 * math.pi)
    if angles.device.type == "cpu":
        values = angles.numpy()
        np.cos(values, out=values)
    else:
        angles.cos_()
