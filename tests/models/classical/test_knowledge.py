"""Knowledge about the graph: obeyed by every answer of PC and BOSS, refused by the others."""

import numpy as np
import pytest
import torch

from causal_meta.conf import registry
from causal_meta.conf.inference import (
    BOSSConfig,
    CorrelationConfig,
    EmptyConfig,
    GESConfig,
    PartialCorrelationConfig,
    PCConfig,
    RandomConfig,
    SortnregressConfig,
)
from causal_meta.conf.setting import ConfigError
from causal_meta.knowledge import Knowledge
from causal_meta.models.classical.bootstrap import consistent_extension, obeying
from causal_meta.tasks import Task

from .linear_tables import drawn

OBEYING = [BOSSConfig, PCConfig]
REFUSING = [
    CorrelationConfig,
    EmptyConfig,
    GESConfig,
    PartialCorrelationConfig,
    RandomConfig,
    SortnregressConfig,
]


def method(config):
    return registry.implementation(config)(config)


def some_knowledge(seed, n_nodes, truth, max_parents=None):
    """Forbidden and required edges at random, without regard to the true graph, and so that some
    graph obeys: what is required follows an order."""
    draws = np.random.default_rng(seed)
    order = draws.permutation(n_nodes)
    place = np.argsort(order)
    required = (place[:, None] < place) & (draws.random((n_nodes, n_nodes)) < 0.1)
    if max_parents is not None:
        required[:, required.sum(axis=0) > max_parents] = False
    forbidden = ~required & (draws.random((n_nodes, n_nodes)) < 0.3)
    forbidden |= truth.astype(bool) & ~required & (draws.random((n_nodes, n_nodes)) < 0.5)
    return Knowledge(forbidden, required, max_parents)


def task(x, knowledge):
    rows = torch.from_numpy(x).float()
    no_cell = torch.zeros(rows.shape, dtype=torch.bool)
    return Task(x=rows, adjacency=None, intervened=no_cell, knowledge=knowledge)


def is_dag(graph):
    return not np.linalg.matrix_power(np.eye(len(graph)) + graph, len(graph)).trace() > len(graph)


@pytest.mark.parametrize("bootstrap", [True, False])
@pytest.mark.parametrize("cls", OBEYING)
@pytest.mark.parametrize("seed", range(4))
def test_every_graph_obeys(cls, bootstrap, seed):
    x, truth = drawn(seed, 6, 120)
    bound = 2 if cls is BOSSConfig and seed % 2 else None
    known = some_knowledge(seed, 6, truth, bound)
    answering = method(cls(n_samples=8, bootstrap=bootstrap))
    informed = task(x, known)
    answering.check(informed)
    graphs = answering.answer(informed, np.random.default_rng(seed)).graphs[0].numpy()
    assert known.allows(graphs)
    assert all(is_dag(graph) for graph in graphs)


@pytest.mark.parametrize("cls", OBEYING)
def test_without_the_knowledge_the_same_table_disobeys(cls):
    """The check above can fail."""
    broken = 0
    for seed in range(4):
        x, truth = drawn(seed, 6, 120)
        known = some_knowledge(seed, 6, truth)
        graphs = method(cls(n_samples=2)).particles(x, np.random.default_rng(seed))[0]
        broken += not known.allows(graphs)
    assert broken == 4


@pytest.mark.parametrize("cls", OBEYING)
def test_a_tier_directs_an_edge_that_rows_cannot(cls):
    x, _ = drawn(0, 2, 300, edges_per_node=5)
    free = method(cls(n_samples=30)).particles(x, np.random.default_rng(0))[0]
    assert 0 < free[:, 0, 1].sum() < 30
    known = Knowledge.none(2).with_tiers([[1], [0]])
    graphs = method(cls(n_samples=30)).particles(x, np.random.default_rng(0), known)[0]
    assert (graphs[:, 1, 0] == 1).all()


@pytest.mark.parametrize("cls", REFUSING)
def test_the_others_refuse_in_one_sentence(cls):
    x, _ = drawn(0, 3, 50)
    answering = method(cls())
    with pytest.raises(ConfigError, match=f"^{cls.kind} cannot use knowledge about the graph; "):
        answering.check(task(x, Knowledge.none(3).forbid(0, 1)))
    answering.check(task(x, None))


def test_pc_refuses_a_bound_on_direct_causes():
    x, _ = drawn(0, 3, 50)
    known = Knowledge.none(3).forbid(0, 1)
    method(PCConfig()).check(task(x, known))
    bounded = Knowledge(known.forbidden, known.required, 2)
    with pytest.raises(ConfigError, match="PC cannot bound the number of direct causes"):
        method(PCConfig()).check(task(x, bounded))


@pytest.mark.parametrize("seed", range(5))
def test_extensions_obey_whatever_partially_directed_graph_comes(seed):
    """Random mixtures of directed and undirected edges, cycles and all."""
    draws = np.random.default_rng(seed)
    pdags = (draws.random((60, 6, 6)) < 0.5) & ~np.eye(6, dtype=bool)
    known = some_knowledge(seed, 6, np.zeros((6, 6)))
    graphs, _ = consistent_extension(pdags.astype(np.int8), draws, known)
    assert known.allows(graphs)
    assert all(is_dag(graph) for graph in graphs)
    skeleton, wanted = graphs | graphs.swapaxes(1, 2), obeying(pdags, known)
    wanted = wanted | wanted.swapaxes(1, 2)
    assert not (skeleton & ~wanted).any()
    ignorant = consistent_extension(pdags.astype(np.int8), draws)[0]
    assert not known.allows(ignorant)


def test_an_edge_that_may_point_neither_way_without_a_cycle_is_left_out():
    """0 -> 1 -> 2 -> 0 is the only way that is not forbidden."""
    triangle = ~np.eye(3, dtype=bool)
    forbidden = np.eye(3, dtype=bool)
    forbidden[[1, 2, 0], [0, 1, 2]] = True
    known = Knowledge(forbidden, np.zeros((3, 3), dtype=bool))
    graphs, inconsistent = consistent_extension(
        np.broadcast_to(triangle, (20, 3, 3)).astype(np.int8), np.random.default_rng(0), known
    )
    assert inconsistent.all()
    assert (graphs.sum(axis=(1, 2)) == 2).all()
    assert known.allows(graphs)
