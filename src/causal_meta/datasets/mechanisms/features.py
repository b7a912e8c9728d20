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

_CELLS = 1 << 17  # cosines made at once, for a second-level cache
_FAR = 70_000.0  # radians beyond which NumPy's vectorised cosine gives way to a slow one


def draw_features(seeds: Sequence[int], names: Names, inputs: Tensor, n_features: int) -> Parameters:
    """Packed normal frequencies, phases and normal weights of a function at every node; inputs int64 [B, D] says how many inputs each has.

    The inputs of node 0 come first in a task's packed rows, then those of node 1, and so on: what is drawn for a task depends on nothing else.
    """
    tasks, nodes = inputs.shape
    start = inputs.cumsum(dim=1) - inputs
    rows = max(1, int(inputs.sum(dim=1).max()) if tasks else 1)
    return {
        "frequency": randomness.normals(seeds, (*names, "frequency"), (rows, n_features)),
        "start": start,
        "inputs": inputs,
        "phase": randomness.uniforms(seeds, (*names, "phase"), (nodes, n_features)).mul_(2 * math.pi),
        "weight": randomness.normals(seeds, (*names, "weight"), (nodes, n_features)),
    }


def pick_features(parameters: Parameters, row: Tensor, node: Tensor, width: int) -> Parameters:
    """The functions of some nodes: frequency float32 [b, width, M] times multiplier (0 in empty slots), inputs int64 [b], phase, weight [b, M]."""
    slots = torch.arange(width)
    inputs = parameters["inputs"][row, node]
    place = (parameters["start"][row, node][:, None] + slots).clamp_(max=parameters["frequency"].shape[1] - 1)
    frequency = parameters["frequency"][row[:, None], place]
    frequency *= parameters["multiplier"][row, node][:, None]
    frequency *= (slots < inputs[:, None]).to(torch.float32)[..., None]
    return {"frequency": frequency, "inputs": inputs, "phase": parameters["phase"][row, node], "weight": parameters["weight"][row, node]}


def sum_of_cosines(picked: Parameters, inputs: Tensor) -> Tensor:
    """Float32 [b, N]: sum_m weight_m cos(frequency_m . x + phase_m) of b functions at their inputs float32 [b, k, N]; 0 for one without inputs."""
    nodes, width, columns = inputs.shape
    out = inputs.new_zeros(nodes, columns)
    if not width or not nodes:
        return out
    counts = picked["inputs"].clamp(max=width).tolist()
    reach = (picked["frequency"][:, :width].abs().amax(dim=2) * inputs.abs().amax(dim=2)).sum(dim=1) + 2 * math.pi
    far = (~(reach < _FAR)).tolist()
    features = picked["phase"].shape[1]
    step_columns = min(columns, max(64, _CELLS // features // 16 * 16))
    step = max(1, _CELLS // (features * step_columns))
    buffer = inputs.new_empty(step, features, step_columns)
    for first, last in _runs(list(zip(far, counts, strict=True)), step):
        used = max(counts[first:last])
        if not used:
            continue
        phase, weight = picked["phase"][first:last, :, None], picked["weight"][first:last, None]
        frequency = picked["frequency"][first:last, :used].mT
        for left in range(0, columns, step_columns):
            some = inputs[first:last, :used, left : left + step_columns]
            work = buffer[: last - first, :, : some.shape[2]]
            torch.baddbmm(phase, frequency, some, out=work)
            _cosines(work, far[first])
            torch.bmm(weight, work, out=out[first:last, None, left : left + step_columns])
    return out


def _runs(keys: list[tuple[bool, int]], step: int) -> list[tuple[int, int]]:
    """Stretches of at most `step` neighbours that are all near or all far, and all with inputs or all without."""
    found, first = [], 0
    for place in range(1, len(keys) + 1):
        if place == len(keys) or place - first == step or keys[place][0] != keys[first][0] or (keys[place][1] > 0) != (keys[first][1] > 0):
            found.append((first, place))
            first = place
    return found


def _cosines(angles: Tensor, far: bool) -> None:
    """The cosine of float32 angles, in place. On the CPU by NumPy, whose vectorised one is 2.4 times as fast as torch's."""
    if far:
        angles.sub_(torch.round(angles / (2 * math.pi)), alpha=2 * math.pi)
    if angles.device.type == "cpu":
        values = angles.numpy()
        np.cos(values, out=values)
    else:
        angles.cos_()
