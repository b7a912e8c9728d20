"""Reserved classes of graphs are recognised at every level: all graphs of 3 nodes, and against
hashing every graph."""

from typing import get_args

import pytest
import torch

from causal_meta import graph_classes, graphs, randomness
from causal_meta.conf.graph_laws import ErdosRenyi
from causal_meta.datasets.graph_families import make_generator
from causal_meta.datasets.reserved import Reserved
from causal_meta.graph_classes import Level

LEVELS = get_args(Level)


def every_dag_of_three():
    codes = torch.arange(64)
    adjacency = torch.zeros(64, 3, 3)
    for k, (i, j) in enumerate((i, j) for i in range(3) for j in range(3) if i != j):
        adjacency[:, i, j] = (codes >> k) & 1
    return adjacency[graphs.is_acyclic(adjacency)]


@pytest.mark.parametrize(
    ("level", "members"), [("graph", 1), ("isomorphism", 6), ("equivalence", 3)]
)
def test_a_chain_reserves_its_class(level, members):
    """0 -> 1 -> 2 alone; all six numberings of a chain; both chains and the fork through 1."""
    chain = torch.tensor([[[0.0, 1, 0], [0, 0, 1], [0, 0, 0]]])
    dags = every_dag_of_three()
    places = Reserved.of(level, [chain]).collisions(dags)
    assert len(places) == members
    assert graph_classes.class_hashes(chain, level)[0] in graph_classes.class_hashes(
        dags[places], level
    )


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("count", [0, 1, 40])
def test_the_same_as_hashing_every_graph(level, count):
    drawn = make_generator(ErdosRenyi(edges_per_node=0.7))(
        randomness.seeds_of(0, start=0, count=300), 5
    )
    held = drawn[:count]
    expected = set(graph_classes.class_hashes(held, level))
    hashed = graph_classes.class_hashes(drawn, level)
    places = [b for b in range(300) if hashed[b] in expected]
    assert Reserved.of(level, [held] if count else []).collisions(drawn) == places
    assert Reserved(level, expected).collisions(drawn) == places, "without signatures"
    assert len(places) > count or count < 40


def test_only_graphs_that_can_collide_are_hashed(monkeypatch):
    drawn = make_generator(ErdosRenyi())(randomness.seeds_of(0, start=0, count=300), 12)
    taken = Reserved.of("isomorphism", [drawn[:5]])
    hashed = []
    monkeypatch.setattr(
        "causal_meta.datasets.reserved.class_hashes",
        lambda batch, level: hashed.append(len(batch)) or [""] * len(batch),
    )
    assert taken.collisions(drawn[5:]) == []
    assert hashed == []
    taken.collisions(drawn)
    assert hashed == [5]


def test_graphs_of_another_size_never_collide():
    empty = Reserved.of("isomorphism", [torch.zeros(1, 3, 3)])
    assert empty.collisions(torch.zeros(2, 4, 4)) == []
    assert empty.collisions(torch.zeros(2, 3, 3)) == [0, 1]
