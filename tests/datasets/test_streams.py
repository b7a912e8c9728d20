"""Streams: one sequence of global batches, whatever the ranks, the workers and the restarts;
reserved graphs never drawn."""

import itertools
import math

import pytest
import torch
from torch.utils.data import DataLoader

from causal_meta import graph_classes, graphs, randomness
from causal_meta.conf.data import FamilyConfig
from causal_meta.conf.graph_laws import ErdosRenyi
from causal_meta.conf.mechanism_laws import MLP, LinearHeteroskedastic, MechanismPart
from causal_meta.conf.ranges import IntRange, fixed
from causal_meta.datasets.reserved import Reserved
from causal_meta.datasets.scm import SCMFamily
from causal_meta.datasets.streams import MetaFixedDataset, MetaIterableDataset
from causal_meta.tasks import collate

BOTH = {
    "linear": MechanismPart(mechanism=LinearHeteroskedastic()),
    "mlp": MechanismPart(mechanism=MLP()),
}
WIDE = SCMFamily(
    FamilyConfig(mechanisms=BOTH, n_nodes=IntRange(low=3, high=9), n_rows=IntRange(low=10, high=40))
)
LINEAR = SCMFamily(FamilyConfig(n_nodes=fixed(7), n_rows=fixed(25)))
TINY = SCMFamily(FamilyConfig(n_nodes=fixed(3), n_rows=fixed(4)))


def stream(family=WIDE, seed=5, tasks_per_step=6, **options):
    return MetaIterableDataset(family, seed, tasks_per_step=tasks_per_step, **options)


def first(source, count):
    return list(itertools.islice(iter(source), count))


def same(batch, other):
    """To the last bit: rows, graphs, masks, seeds."""
    return all(
        torch.equal(getattr(batch, name), getattr(other, name))
        for name in ("x", "adjacency", "intervened", "node_mask", "row_mask", "seeds")
    )


def all_same(batches, others):
    return len(batches) == len(others) and all(
        same(a, b) for a, b in zip(batches, others, strict=True)
    )


def joined(parts):
    """One global batch from the slices of its ranks."""
    first_part = parts[0]
    return type(first_part)(
        **{name: torch.cat([getattr(part, name) for part in parts]) for name in vars(first_part)}
    )


def test_the_same_seed_gives_the_same_stream_and_another_does_not():
    batches = first(stream(), 5)
    assert all_same(batches, first(stream(), 5))
    for other in (stream(seed=6), stream(split="other")):
        assert not any(
            set(a.seeds.tolist()) & set(b.seeds.tolist())
            for a, b in zip(batches, first(other, 5), strict=True)
        )


def test_every_task_has_a_different_seed():
    seeds = [seed for batch in first(stream(), 50) for seed in batch.seeds.tolist()]
    assert len(set(seeds)) == len(seeds) == 300


def test_step_s_is_tasks_sG_to_sG_plus_G():
    batch = first(stream(), 4)[3]
    assert batch.seeds.tolist() == randomness.seeds_of(5, "train", "task", start=18, count=6)
    nodes, rows = stream().shape(3)
    assert same(
        batch, WIDE.sample_tasks(batch.seeds.tolist(), n_rows=rows, n_nodes=nodes).standardised()
    )


def test_sizes_change_from_step_to_step():
    shapes = {batch.x.shape[1:] for batch in first(stream(), 30)}
    assert len(shapes) > 20
    assert {shape[1] for shape in shapes} == set(range(3, 10))


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("start", [0, 4])
def test_workers_change_nothing(workers, start):
    loader = DataLoader(stream(start_step=start), batch_size=None, num_workers=workers)
    assert all_same(first(loader, 7), first(stream(), start + 7)[start:])


@pytest.mark.parametrize("family", [WIDE, LINEAR], ids=["wide", "linear"])
@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_share_the_global_batch(family, world_size):
    whole = first(stream(family), 8)
    slices = [
        first(stream(family, rank=rank, world_size=world_size), 8) for rank in range(world_size)
    ]
    for step, batch in enumerate(whole):
        assert same(joined([slices[rank][step] for rank in range(world_size)]), batch)
    assert not same(
        joined([slices[1][0], slices[0][0]] + [slices[rank][0] for rank in range(2, world_size)]),
        whole[0],
    ), "the order counts"


def test_a_resumed_stream_continues():
    whole = first(stream(), 9)
    for start in (1, 8):
        assert all_same(first(stream(start_step=start), 9 - start), whole[start:])


def test_uneven_ranks_and_impossible_ranks_are_refused():
    with pytest.raises(ValueError, match="multiple of 4"):
        stream(rank=0, world_size=4)
    with pytest.raises(ValueError, match="rank is 2 of 2"):
        stream(rank=2, world_size=2)


def test_without_adjacency_the_stream_is_x_alone():
    assert torch.equal(first(stream(with_adjacency=False), 2)[1], first(stream(), 2)[1].x)


def test_batches_are_standardised_per_task_and_column():
    for batch in first(stream(), 10):
        assert batch.x.mean(dim=1).abs().max() < 1e-5
        assert (batch.x.std(dim=1, correction=0) - 1).abs().max() < 1e-4


def test_iterating_leaves_the_global_generators_alone():
    before = torch.get_rng_state()
    first(stream(), 2)
    assert torch.equal(torch.get_rng_state(), before)


# ---------------------------------------------------------------------------------- reserved graphs


def all_hashes_of_three_nodes():
    drawn = TINY.sample_graphs(randomness.seeds_of(9, start=0, count=3000), 3)
    return sorted({graphs.graph_hash(graph) for graph in torch.unique(drawn, dim=0)})


@pytest.fixture(scope="module")
def hashes():
    """At two edges per node three nodes are always fully connected: the 6 orders."""
    all_hashes = all_hashes_of_three_nodes()
    assert len(all_hashes) == 6
    return all_hashes


def test_reserved_graphs_are_never_drawn_and_others_stay(hashes):
    reserved = frozenset(hashes[:4])
    free, held = (
        first(stream(TINY, tasks_per_step=20), 20),
        stream(TINY, tasks_per_step=20, reserved=reserved),
    )
    redrawn = 0
    for batch, expected in zip(first(held, 20), free, strict=True):
        collided = torch.tensor(
            [digest in reserved for digest in graphs.graph_hashes(expected.adjacency)]
        )
        assert not reserved & set(graphs.graph_hashes(batch.adjacency))
        assert torch.equal(batch.x[~collided], expected.x[~collided]), (
            "a task without a collision keeps its place and its bits"
        )
        assert torch.equal(batch.seeds == expected.seeds, ~collided)
        redrawn += int(collided.sum())
        task = TINY.sample_tasks(batch.seeds.tolist(), n_rows=4, n_nodes=3)
        assert torch.equal(task.standardised().x, batch.x), (
            "a redrawn task too depends on its seed alone"
        )
    assert held.collisions >= redrawn > 0
    assert abs(redrawn / 400 - 2 / 3) < 5 * math.sqrt(2 / 9 / 400)


def test_redraws_do_not_depend_on_workers_or_ranks(hashes):
    reserved = frozenset(hashes[:3])
    expected = first(stream(TINY, reserved=reserved), 6)
    split = [first(stream(TINY, reserved=reserved, rank=rank, world_size=2), 6) for rank in (0, 1)]
    assert all(same(joined([a, b]), batch) for a, b, batch in zip(*split, expected, strict=True))
    dataset = stream(TINY, reserved=reserved)
    assert all_same(first(DataLoader(dataset, batch_size=None, num_workers=2), 6), expected)
    assert dataset.collisions > 0, "workers report to the process that asked"


def test_an_exhausted_family_is_an_error(hashes):
    with pytest.raises(ValueError, match="100 draws for one task with 3 nodes"):
        first(stream(TINY, reserved=frozenset(hashes)), 1)


SPARSE = SCMFamily(
    FamilyConfig(graph=ErdosRenyi(edges_per_node=0.5), n_nodes=fixed(3), n_rows=fixed(4))
)
LEVELS = ("graph", "isomorphism", "equivalence")


@pytest.mark.parametrize("level", LEVELS)
def test_no_member_of_a_reserved_class_is_drawn(level):
    """Reserved by one chain; the other levels keep out renumbered or equivalent graphs that the
    level of labelled graphs lets through."""
    chain = torch.tensor([[[0.0, 1, 0], [0, 0, 1], [0, 0, 0]]])
    reserved = Reserved.of(level, [chain])
    held = stream(SPARSE, tasks_per_step=20, reserved=reserved)
    drawn = torch.cat([batch.adjacency for batch in first(held, 20)])
    occurs = {
        other: graph_classes.class_hashes(chain, other)[0]
        in graph_classes.class_hashes(drawn, other)
        for other in LEVELS
    }
    assert occurs == {
        "graph": False,
        "isomorphism": level != "isomorphism",
        "equivalence": level != "equivalence",
    }
    free = torch.cat([batch.adjacency for batch in first(stream(SPARSE, tasks_per_step=20), 20)])
    assert held.collisions >= len(reserved.collisions(free)) > 0


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("n_nodes", [2, 3])
def test_an_exhausted_space_is_an_error_at_every_level(level, n_nodes):
    family = SCMFamily(
        FamilyConfig(graph=ErdosRenyi(edges_per_node=0.4), n_nodes=fixed(n_nodes), n_rows=fixed(4))
    )
    all_graphs = family.sample_graphs(randomness.seeds_of(8, start=0, count=2000), n_nodes)
    reserved = Reserved.of(level, [all_graphs])
    assert (
        len(reserved)
        == {"graph": (3, 25), "isomorphism": (2, 6), "equivalence": (2, 11)}[level][n_nodes - 2]
    )
    with pytest.raises(
        ValueError,
        match=f"100 draws for one task with {n_nodes} nodes all gave {reserved.words} reserved",
    ):
        first(stream(family, reserved=reserved), 1)


def test_models_that_overflow_are_counted(monkeypatch):
    family = SCMFamily(LINEAR.config)
    source = stream(family)
    draw = family.sample_tasks

    def wild(*args, **options):
        family.models.redraws += 3
        return draw(*args, **options)

    monkeypatch.setattr(family, "sample_tasks", wild)
    first(source, 2)
    assert source.overflows == 6
    assert source.collisions == 0


# --------------------------------------------------------------------------------------- fixed sets


@pytest.mark.parametrize("cache", [True, False])
def test_fixed_sets_are_reproducible(cache):
    seeds = randomness.seeds_of(1, "test", start=0, count=8)
    dataset = MetaFixedDataset(WIDE, seeds, cache_instances=cache)
    assert len(dataset) == 8
    for index in (3, 0, 3):
        task = dataset[index]
        instance = WIDE.sample_task(seeds[index])
        assert torch.equal(task.x, instance.sample(instance.n_rows))
        assert torch.equal(task.adjacency, instance.adjacency_matrix)
    assert (dataset[3] is dataset[3]) == cache
    assert dataset.hashes() == [graphs.graph_hash(dataset[index].adjacency) for index in range(8)]


def test_a_loader_over_a_fixed_set_pads():
    seeds = randomness.seeds_of(1, "test", start=0, count=8)
    dataset = MetaFixedDataset(WIDE, seeds)
    batches = list(
        DataLoader(dataset, batch_size=5, collate_fn=collate, generator=torch.Generator())
    )
    assert [len(batch) for batch in batches] == [5, 3]
    assert same(batches[1], collate([dataset[index] for index in (5, 6, 7)]))
