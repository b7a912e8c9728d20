"""Knowledge: what it forbids and requires, and knowledge that no graph satisfies."""

import itertools

import numpy as np
import pytest

from causal_meta.knowledge import Knowledge, KnowledgeError


def all_graphs(n):
    pairs = [(i, j) for i in range(n) for j in range(n) if i != j]
    for edges in itertools.product((0, 1), repeat=len(pairs)):
        graph = np.zeros((n, n), dtype=int)
        for (i, j), edge in zip(pairs, edges, strict=True):
            graph[i, j] = edge
        yield graph


def test_allowed_graphs_are_those_that_obey_every_rule():
    known = Knowledge.none(3).forbid(0, 1).require(2, 1)
    for graph in all_graphs(3):
        assert known.allows(graph) == (not graph[0, 1] and bool(graph[2, 1]))
    assert known.allows(np.stack([g for g in all_graphs(3) if not g[0, 1] and g[2, 1]]))
    bounded = Knowledge(known.forbidden, known.required, max_parents=1)
    for graph in all_graphs(3):
        assert bounded.allows(graph) == (known.allows(graph) and graph.sum(0).max() <= 1)


def test_tiers_forbid_only_what_runs_back():
    known = Knowledge.none(4).with_tiers([[2], [0, 1]])
    expected = np.eye(4, dtype=bool)
    expected[[0, 1], 2] = True
    assert (known.forbidden == expected).all()
    contexts = Knowledge.none(4).with_exogenous([3])
    assert contexts.forbidden[:, 3].all()
    assert not contexts.forbidden[3, :3].any()
    assert Knowledge.none(4).is_empty
    assert not contexts.is_empty


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda k: k.forbid(0, 1).require(0, 1), "age -> bmi is both required and forbidden"),
        (lambda k: k.require(0, 1).require(1, 2).require(2, 0), "cycle, .* -> .* -> .* -> "),
        (lambda k: k.with_tiers([[0, 1], [1]]), "bmi stands in two tiers"),
        (lambda k: k.require(2, 0).with_tiers([[0], [2]]), "bp -> age is both"),
        (
            lambda k: Knowledge(
                k.forbidden, k.require(0, 2).require(1, 2).required, 1, ("age", "bmi", "bp")
            ),
            "bp has 2 required direct causes, and at most 1",
        ),
        (lambda k: Knowledge(k.forbidden, np.zeros((2, 2), bool)), "must be D by D"),
        (lambda k: Knowledge(k.forbidden, k.required, -1), "give 0 or more"),
    ],
)
def test_knowledge_that_no_graph_satisfies_is_named(make, message):
    known = Knowledge.none(3, ("age", "bmi", "bp"))
    with pytest.raises(KnowledgeError, match=message):
        make(known)


def test_a_cycle_is_reported_in_the_direction_of_its_edges():
    required = np.zeros((5, 5), dtype=bool)
    required[[0, 1, 2, 3, 0], [1, 2, 3, 1, 4]] = True
    with pytest.raises(KnowledgeError) as error:
        Knowledge(np.zeros((5, 5), dtype=bool), required)
    path = str(error.value).split("cycle, ")[1].split(";")[0].split(" -> ")
    steps = [int(name.removeprefix("variable ")) for name in path]
    assert steps[0] == steps[-1]
    assert sorted(steps[1:]) == [1, 2, 3]
    assert all(required[a, b] for a, b in itertools.pairwise(steps))
