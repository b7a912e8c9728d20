"""Graphs written by a user: edges as texts "cause -> effect", checked and put into a canonical
order."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path

from causal_meta.conf.setting import ConfigError

ARROW = "->"


def parse_edge(text: str, where: str = "edge") -> tuple[str, str]:
    """(cause, effect) of one edge; raises `ConfigError`.

    >>> parse_edge("PKA->Raf"), parse_edge(" gene 1 -> gene 2 ")
    (('PKA', 'Raf'), ('gene 1', 'gene 2'))
    """
    names = [name.strip() for name in text.split(ARROW)]
    if len(names) != 2 or not all(names):
        raise ConfigError(
            f"{where} is {text!r}; write an edge as 'cause -> effect', one at a time."
        )
    return names[0], names[1]


def read_edges(path: str | Path) -> tuple[str, ...]:
    """The edges of a text file for `KnownGraph` and `NetworkSubgraph`: a line each, "cause ->
    effect" or the names with a tab or comma between.

    What follows a second tab or comma (a sign, a weight) is left out, as are empty lines, lines
    that begin with #, and repeated edges. Raises `ConfigError` naming the line.
    """
    edges: dict[str, None] = {}
    for number, line in enumerate(Path(path).read_text("utf-8-sig").splitlines(), start=1):
        text = line.strip()
        if text and not text.startswith("#"):
            names = [name.strip().strip('"') for name in text.split("\t" if "\t" in text else ",")]
            if ARROW not in text and len(names) < 2:
                raise ConfigError(
                    f"{path}, line {number} is {text!r}; write 'cause -> effect', or two names "
                    "separated by a tab or a comma."
                )
            cause, effect = parse_edge(
                text if ARROW in text else f" {ARROW} ".join(names[:2]), f"{path}, line {number}"
            )
            edges[f"{cause} {ARROW} {effect}"] = None
    return tuple(edges)


def canonical_edges(edges: Iterable[str], where: str) -> tuple[str, ...]:
    """The edges as "cause -> effect", sorted, so that equal graphs are equal configurations. Raises
    `ConfigError` for an edge given twice."""
    pairs = sorted(parse_edge(text, where) for text in edges)
    for pair, following in itertools.pairwise(pairs):
        if pair == following:
            raise ConfigError(f"{where} holds {' -> '.join(pair)!r} twice; give every edge once.")
    return tuple(f"{cause} {ARROW} {effect}" for cause, effect in pairs)


def node_names(
    edges: Iterable[str], nodes: Sequence[str] = (), where: str = "nodes"
) -> tuple[str, ...]:
    """The sorted names of all nodes. Where `nodes` are given they must hold every name of the
    edges, and may hold nodes without edges.

    Raises `ConfigError` for a name given twice and for an edge between unknown nodes.

    >>> node_names(["b -> a"]), node_names(["b -> a"], ["a", "b", "alone"])
    (('a', 'b'), ('a', 'alone', 'b'))
    """
    named = sorted({name for text in edges for name in parse_edge(text)})
    if not nodes:
        return tuple(named)
    if len(set(nodes)) != len(nodes):
        raise ConfigError(
            f"{where} names {next(name for name in nodes if list(nodes).count(name) > 1)!r} "
            "twice; give every node once."
        )
    unknown = [name for name in named if name not in set(nodes)]
    if unknown:
        raise ConfigError(
            f"{where} does not hold {unknown[0]!r}, which an edge names; add it, or leave {where} "
            "out to take the names of the edges."
        )
    return tuple(sorted(nodes))


def find_cycle(edges: Iterable[str]) -> list[str]:
    """The nodes of one directed cycle, the first repeated at the end; empty if there is none.

    >>> find_cycle(["a -> b", "b -> c", "c -> a", "a -> d"]), find_cycle(["a -> b"])
    (['a', 'b', 'c', 'a'], [])
    """
    effects: dict[str, list[str]] = {}
    for text in edges:
        cause, effect = parse_edge(text)
        effects.setdefault(cause, []).append(effect)
    done: set[str] = set()
    for start in sorted(effects):
        path, waiting = [start], [iter(effects[start])]
        while path and start not in done:
            following = next((node for node in waiting[-1] if node not in done), None)
            if following is None:
                done.add(path.pop())
                waiting.pop()
            elif following in path:
                return [*path[path.index(following) :], following]
            else:
                path.append(following)
                waiting.append(iter(effects.get(following, [])))
    return []


def largest_component(edges: Iterable[str]) -> int:
    """The number of nodes of the largest part that is connected when directions are forgotten.

    >>> largest_component(["a -> b", "c -> b", "d -> e"])
    3
    """
    neighbours: dict[str, set[str]] = {}
    for text in edges:
        cause, effect = parse_edge(text)
        neighbours.setdefault(cause, set()).add(effect)
        neighbours.setdefault(effect, set()).add(cause)
    largest, visited = 0, set[str]()
    for start in neighbours:
        if start in visited:
            continue
        part, waiting = {start}, [start]
        while waiting:
            fresh = neighbours[waiting.pop()] - part
            part |= fresh
            waiting.extend(fresh)
        visited |= part
        largest = max(largest, len(part))
    return largest
