"""Graphs per CPU-second of every law, beside the time of a whole linear task; what it costs to keep
training graphs apart from test graphs.

    python benchmarks/graph_laws.py [--batch 64] [--rounds 15] [--nodes 20]

D = 20 unless said, distinct seeds, one thread, CPU time; a figure is the median of the rounds. The
last column is the share of the time of a linear task (200 rows, its Erdős–Rényi graph included)
drawn in the same round. The network of the last two lines has 1,500 nodes. A second table has the
microseconds per graph of hashing each class and of its signature, and the training stream with 192
reserved graphs at each level.
"""

import argparse
import statistics
import time

import torch

from causal_meta import graph_classes, randomness
from causal_meta.conf.convert import from_plain
from causal_meta.conf.data import DataModuleConfig, FamilyConfig, TaskSetConfig
from causal_meta.conf.graph_laws import (
    ErdosRenyi,
    ErdosRenyiM,
    ErdosRenyiP,
    Geometric,
    KnownGraph,
    Layered,
    NetworkSubgraph,
    ScaleFree,
    StochasticBlock,
    WattsStrogatz,
)
from causal_meta.conf.ranges import IntRange, fixed
from causal_meta.datasets.data_module import CausalMetaModule
from causal_meta.datasets.graph_families import make_generator
from causal_meta.datasets.scm import SCMFamily


def network(nodes: int = 1500) -> tuple[str, ...]:
    """Each node but the first is joined by three earlier ones, drawn with the first drawn most: a
    few hubs."""
    u = randomness.uniforms([0], ("network",), (nodes, 3))[0]
    return tuple(
        sorted({f"g{int(u[j, k] ** 3 * j)} -> g{j}" for j in range(1, nodes) for k in range(3)})
    )


def laws(nodes: int) -> dict[str, object]:
    """One of each."""
    edges = network()
    return {
        "erdos_renyi, 2 edges per node": ErdosRenyi(),
        "erdos_renyi_p, 0.2": ErdosRenyiP(edge_probability=0.2),
        "erdos_renyi_m, 20 to 60": ErdosRenyiM(n_edges=IntRange(low=20, high=60)),
        "scale_free, 2": ScaleFree(),
        "stochastic_block, 5": StochasticBlock(),
        "stochastic_block, 5 of random sizes": StochasticBlock(blocks="random"),
        "watts_strogatz, ring, 2": WattsStrogatz(),
        "watts_strogatz, dim 2, 1": WattsStrogatz(dim=2, neighbours=1),
        "watts_strogatz, dim 3, 1": WattsStrogatz(dim=3, neighbours=1),
        "geometric, 0.3": Geometric(),
        "layered, 4": Layered(),
        "known_graph": KnownGraph(
            edges=tuple(f"v{i} -> v{j}" for j in range(1, nodes) for i in {j // 2, j // 3})
        ),
        "graph_mixture of 9 (3 erdos_renyi, 6 sf)": from_plain(
            FamilyConfig, "avici_train_linear"
        ).graph,
        "network_subgraph": NetworkSubgraph(edges=edges),
        "network_subgraph, top 0.2": NetworkSubgraph(edges=edges, top=0.2),
    }


def seconds(work, *inputs) -> float:
    """CPU seconds of one call."""
    start = time.process_time()
    work(*inputs)
    return time.process_time() - start


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name, default in (("--batch", 64), ("--rounds", 15), ("--nodes", 20)):
        parser.add_argument(name, type=int, default=default)
    args = parser.parse_args()
    torch.set_num_threads(1)
    linear = SCMFamily(FamilyConfig(n_nodes=fixed(args.nodes)))
    generators = {name: make_generator(config) for name, config in laws(args.nodes).items()}
    times: dict[str, list[float]] = {name: [] for name in ("linear task", *generators)}
    for number in range(args.rounds + 1):
        seeds = randomness.seeds_of(number, "benchmark", start=0, count=args.batch)
        times["linear task"].append(seconds(linear.sample_tasks, seeds))
        for name, generator in generators.items():
            times[name].append(seconds(generator, seeds, args.nodes))
    whole = statistics.median(times["linear task"][1:])
    for name, found in times.items():
        middle = statistics.median(found[1:])
        print(f"{name:42} {args.batch / middle:10,.0f} per CPU second   {middle / whole:6.1%}")

    drawn = linear.sample_graphs(
        randomness.seeds_of(0, "hashed", start=0, count=args.batch), args.nodes
    )
    for level in ("graph", "isomorphism", "equivalence"):
        costs = [
            min(seconds(work, drawn, level) for _ in range(args.rounds))
            for work in (graph_classes.class_signatures, graph_classes.class_hashes)
        ]
        sets = {name: TaskSetConfig(family=linear.config, n_tasks=64) for name in "abc"}
        streams = [
            CausalMetaModule(
                DataModuleConfig(
                    train=linear.config, test=test, tasks_per_step=args.batch, disjoint=level
                ),
                0,
            ).train_stream()
            for test in ({}, sets)
        ]
        # side by side
        rounds = [
            [seconds(stream.batch, step) for stream in streams] for step in range(2 * args.rounds)
        ][1:]
        free, held = (statistics.median(found) for found in zip(*rounds, strict=True))
        signature, whole_hash = (f"{1e6 * cost / args.batch:.1f} µs" for cost in costs)
        print(
            f"{level:12} signature {signature}, hash {whole_hash}; "
            f"stream {args.batch / held:,.0f} tasks per CPU second, free {args.batch / free:,.0f}"
        )


if __name__ == "__main__":
    main()
