"""Tasks and padded batches: standardising per task and column, padding without influence,
collating."""

import pytest
import torch

from causal_meta import randomness
from causal_meta.tasks import Task, TaskBatch, collate, full_batch, standardise


def make_task(seed, rows, nodes):
    x = randomness.normals([seed], ("x",), (rows, nodes))[0] * torch.logspace(
        -3, 3, nodes
    ) + torch.linspace(-50, 50, nodes)
    adjacency = torch.triu(
        (randomness.uniforms([seed], ("a",), (nodes, nodes))[0] < 0.5).float(), 1
    )
    return Task(
        x=x, adjacency=adjacency, intervened=torch.zeros(rows, nodes, dtype=torch.bool), seed=seed
    )


@pytest.fixture
def tasks():
    return [make_task(1, 30, 4), make_task(2, 12, 7), make_task(3, 50, 2)]


def is_standardised_per_task_and_column(batch, atol=2e-5):
    """Mean 0, population standard deviation 1 in every real column of every task."""
    for b in range(len(batch)):
        x = batch.task(b).x.double()
        if (
            not (x.mean(0).abs() < atol).all()
            or not ((x.std(0, correction=0) - 1).abs() < atol).all()
        ):
            return False
    return True


def test_collate_standardises_every_task_and_column(tasks):
    batch = collate(tasks)
    assert is_standardised_per_task_and_column(batch)
    for b, task in enumerate(tasks):
        x = task.x.double()
        torch.testing.assert_close(
            batch.task(b).x.double(), (x - x.mean(0)) / x.std(0, correction=0), atol=2e-4, rtol=0
        )


def test_the_check_refuses_standardising_over_the_batch(tasks):
    raw = collate(tasks, standardise=False)
    real = raw.row_mask[:, :, None] & raw.node_mask[:, None, :]
    jointly = (raw.x - raw.x[real].mean()) / raw.x[real].std()
    assert not is_standardised_per_task_and_column(TaskBatch(**{**vars(raw), "x": jointly}))


def test_padding_is_zero_and_masked(tasks):
    batch = collate(tasks)
    assert batch.x.shape == (3, 50, 7)
    assert (batch.n_rows, batch.n_nodes, len(batch)) == (50, 7, 3)
    for b, task in enumerate(tasks):
        n, d = task.x.shape
        assert batch.row_mask[b].tolist() == [True] * n + [False] * (50 - n)
        assert batch.node_mask[b].tolist() == [True] * d + [False] * (7 - d)
        assert not batch.x[b, n:].any()
        assert not batch.x[b, :, d:].any()
        assert not batch.adjacency[b, d:].any()
        assert not batch.adjacency[b, :, d:].any()


def test_values_in_the_padding_do_not_matter(tasks):
    raw = collate(tasks, standardise=False)
    poisoned = raw.x.masked_fill(
        ~(raw.row_mask[:, :, None] & raw.node_mask[:, None, :]), float("nan")
    )
    assert torch.equal(
        TaskBatch(**{**vars(raw), "x": poisoned}).standardised().x, raw.standardised().x
    )


def test_a_task_comes_back_from_the_batch(tasks):
    batch = collate(tasks, standardise=False)
    for b, task in enumerate(tasks):
        back = batch.task(b)
        assert torch.equal(back.x, task.x)
        assert torch.equal(back.adjacency, task.adjacency)
        assert torch.equal(back.intervened, task.intervened)
        assert back.seed == task.seed


def test_a_task_and_a_batch_unpack_to_x_and_adjacency(tasks):
    x, adjacency = tasks[0]
    assert x is tasks[0].x
    assert adjacency is tasks[0].adjacency
    batch = collate(tasks)
    x, adjacency = batch
    assert x is batch.x
    assert adjacency is batch.adjacency


def test_without_adjacency_the_batch_is_x_alone(tasks):
    assert torch.equal(collate(tasks, with_adjacency=False), collate(tasks).x)


def test_truth_may_be_absent(tasks):
    tasks[1].adjacency = None
    assert collate(tasks).adjacency is None
    assert collate(tasks[:1]).without_truth().adjacency is None
    assert collate(tasks[1:2]).task(0).adjacency is None
    with pytest.raises(ValueError, match="at least one"):
        collate([])


def test_slice_and_to(tasks):
    batch = collate(tasks).slice(1, 3).to("cpu")
    assert batch.seeds.tolist() == [2, 3]
    assert batch.x.shape == (2, 50, 7)
    assert batch.slice(0, 1).without_truth().to("cpu").adjacency is None


@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1.0, 1e12, 1e30])
@pytest.mark.parametrize("shift", [0.0, 3.0])
def test_standardising_forgets_shift_and_scale(scale, shift):
    x = randomness.normals(range(4), ("x",), (100, 5))
    batch = full_batch(x, None, range(4))
    moved = full_batch((x + shift) * scale, None, range(4))
    torch.testing.assert_close(moved.standardised().x, batch.standardised().x, atol=3e-5, rtol=0)


def test_standardising_follows_permuted_rows_columns_and_tasks():
    batch = full_batch(randomness.normals(range(6), ("x",), (50, 5)), None, range(6))
    z = batch.standardised().x
    rows, columns = (
        torch.randperm(50, generator=randomness.torch_generator(0)),
        torch.tensor([3, 1, 4, 0, 2]),
    )
    moved = full_batch(batch.x[:, rows][:, :, columns], None, range(6)).standardised().x
    torch.testing.assert_close(moved, z[:, rows][:, :, columns], atol=1e-6, rtol=0)
    assert torch.equal(batch.slice(2, 4).standardised().x, z[2:4])


@pytest.mark.parametrize("value", [0.0, 0.1, 1e6 / 3, -7e-25, 1e38])
@pytest.mark.parametrize("rows", [2, 200, 1001])
def test_a_constant_column_becomes_zero(value, rows):
    x = randomness.normals([0], ("x",), (rows, 3))
    x[:, :, 1] = value
    batch = full_batch(x, None, [0]).standardised()
    assert not batch.x[:, :, 1].any()
    assert torch.isfinite(batch.x).all()
    assert (batch.x[:, :, 0].std(correction=0) - 1).abs() < 1e-4


def test_one_extreme_task_leaves_the_others_bits_alone():
    x = randomness.normals(range(3), ("x",), (40, 4))
    wild = x.clone()
    wild[1] *= 1e30
    assert torch.equal(
        full_batch(wild, None, range(3)).standardised().x[[0, 2]],
        full_batch(x, None, range(3)).standardised().x[[0, 2]],
    )


def test_standardising_leaves_the_batch_itself_alone(tasks):
    raw = collate(tasks, standardise=False)
    before = raw.x.clone()
    standardise(raw.x, raw.node_mask, raw.row_mask)
    assert torch.equal(raw.x, before)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_pinned_memory_and_transfer(tasks):
    batch = collate(tasks).pin_memory()
    assert batch.x.is_pinned()
    assert batch.seeds.is_pinned()
    moved = batch.to("cuda", non_blocking=True)
    assert torch.equal(moved.x.cpu(), batch.x)
