"""Configured laws of graphs: what cannot be drawn is refused in one sentence, and equal graphs are
equal configurations."""

import networkx as nx
import pytest

from causal_meta.conf import edge_lists
from causal_meta.conf.convert import from_plain, to_plain
from causal_meta.conf.data import FamilyConfig
from causal_meta.conf.graph_laws import GraphConfig, KnownGraph, StochasticBlock
from causal_meta.conf.setting import ConfigError


@pytest.mark.parametrize(
    ("graph", "n_nodes", "says"),
    [
        ({"kind": "erdos_renyi_p", "edge_probability": 1.01}, 5, "at least 0 and at most 1"),
        ({"kind": "erdos_renyi_p", "edge_probability": -0.1}, 5, "at least 0 and at most 1"),
        ({"kind": "erdos_renyi_m", "n_edges": 11}, 5, "11, but 5 nodes have 10 pairs"),
        (
            {"kind": "erdos_renyi_m", "n_edges": {"low": 3, "high": 5}},
            {"low": 3, "high": 9},
            "5, but 3 nodes have 3 pairs",
        ),
        ({"kind": "stochastic_block", "p_within": 2}, 5, "p_within is 2"),
        ({"kind": "stochastic_block", "damp": -1}, 5, "damp is -1"),
        (
            {"kind": "stochastic_block", "p_within": 0.5, "edges_per_node": 2},
            5,
            "give one of the two",
        ),
        ({"kind": "watts_strogatz", "rewire": 1.5}, 5, "rewire is 1.5"),
        ({"kind": "geometric", "radius": 0}, 5, "radius is 0"),
        ({"kind": "layered", "n_layers": 1}, 5, "n_layers is 1"),
        (
            {"kind": "known_graph", "edges": ["a -> b", "b -> c", "c -> a"]},
            3,
            "cycle a -> b -> c -> a",
        ),
        ({"kind": "known_graph", "edges": ["a -> a"]}, 2, "cycle a -> a"),
        ({"kind": "known_graph", "edges": ["a -> b"]}, 3, "has 2 nodes, but n_nodes is 3"),
        ({"kind": "known_graph", "edges": ["a -> b"]}, {"low": 2, "high": 4}, "n_nodes is 2 to 4"),
        ({"kind": "known_graph", "edges": ["a -> b"], "nodes": ["a", "c"]}, 2, "does not hold 'b'"),
        (
            {"kind": "known_graph", "edges": ["a -> b"], "nodes": ["a", "b", "b"]},
            2,
            "names 'b' twice",
        ),
        ({"kind": "known_graph", "edges": ["a -> b", "a->b"]}, 2, "'a -> b' twice"),
        ({"kind": "known_graph", "edges": ["a b"]}, 2, "write an edge as 'cause -> effect'"),
        ({"kind": "known_graph", "edges": ["a -> b -> c"]}, 3, "one at a time"),
        ({"kind": "network_subgraph", "edges": []}, 3, "is empty"),
        ({"kind": "network_subgraph", "edges": ["a -> b", "c -> d"]}, 3, "its largest has 2"),
        ({"kind": "erdos_renyi_p"}, 1, "at least 2 nodes"),
    ],
)
def test_what_cannot_be_drawn_is_refused(graph, n_nodes, says):
    with pytest.raises(ConfigError, match=says):
        from_plain(FamilyConfig, {"graph": graph, "n_nodes": n_nodes})


def test_a_part_of_a_mixture_is_checked_too():
    graph = {
        "kind": "graph_mixture",
        "parts": {"a": {"graph": {"kind": "erdos_renyi_m", "n_edges": 11}}},
    }
    with pytest.raises(ConfigError, match="5 nodes have 10 pairs"):
        from_plain(FamilyConfig, {"graph": graph, "n_nodes": 5})


def test_writing_a_graph_in_another_order_changes_nothing():
    one = KnownGraph(edges=("b->a", "c -> a"), nodes=("c", "b", "a", "alone"))
    two = KnownGraph(edges=("c   ->   a", "b -> a"), nodes=("alone", "a", "b", "c"))
    assert to_plain(one) == to_plain(two)
    assert from_plain(GraphConfig, to_plain(one)) == one
    assert KnownGraph(edges=("b->a",)).nodes == ("a", "b")


def test_neither_of_two_settings_is_a_default():
    assert StochasticBlock() == from_plain(GraphConfig, {"kind": "stochastic_block"})


def test_cycles_and_parts_against_networkx():
    for seed in range(60):
        graph = nx.relabel_nodes(nx.gnp_random_graph(8, 0.12, seed=seed, directed=True), str)
        edges = [f"{a} -> {b}" for a, b in graph.edges]
        cycle = edge_lists.find_cycle(edges)
        assert bool(cycle) != nx.is_directed_acyclic_graph(graph)
        if cycle:
            assert nx.is_simple_path(graph, cycle[:-1])
            assert graph.has_edge(cycle[-2], cycle[-1])
            assert cycle[0] == cycle[-1]
        if edges:
            assert edge_lists.largest_component(edges) == max(
                map(len, nx.weakly_connected_components(graph))
            )


def test_edges_from_a_file(tmp_path):
    file = tmp_path / "network.tsv"
    file.write_text(
        '# regulators\nlacI\tlacZ\t-\ncrp\tlacZ\t+\n\ncrp,lacI\ncrp -> lacI\n "a b" , c\n',
        encoding="utf-8",
    )
    edges = edge_lists.read_edges(file)
    assert edges == ("lacI -> lacZ", "crp -> lacZ", "crp -> lacI", "a b -> c")
    assert KnownGraph(edges=edges).nodes == ("a b", "c", "crp", "lacI", "lacZ")
    file.write_text("a\tb\nalone\n")
    with pytest.raises(ConfigError, match="line 2 is 'alone'"):
        edge_lists.read_edges(file)
    file.write_text("a\t\n")
    with pytest.raises(ConfigError, match="line 1"):
        edge_lists.read_edges(file)
