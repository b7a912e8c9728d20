"""Parts of a mixture: by weight, by seed. One 5-standard-error bound per part."""

import math

import torch

from causal_meta import randomness
from causal_meta.datasets.mixtures import draw_parts, tasks_by_part


def test_parts_are_drawn_by_weight():
    parts = draw_parts(randomness.seeds_of(0, start=0, count=5000), ("p",), [1.0, 2.0, 5.0], (4,))
    assert parts.shape == (5000, 4)
    for part, weight in enumerate([1.0, 2.0, 5.0]):
        p = weight / 8
        assert abs((parts == part).double().mean() - p) < 5 * math.sqrt(p * (1 - p) / 20_000)


def test_one_part_needs_no_number():
    assert not draw_parts([1, 2], ("p",), [0.3], (4,)).any()


def test_tasks_by_part_is_a_partition():
    parts = torch.tensor([2, 0, 2, 5])
    assert {part: tasks.tolist() for part, tasks in tasks_by_part(parts)} == {
        0: [1],
        2: [0, 2],
        5: [3],
    }
