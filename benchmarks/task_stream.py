"""Tasks per CPU-second of the training stream, beside the least it could take: the time to draw the same normals.

    python benchmarks/task_stream.py [--batch 64] [--tasks 2560] [--rounds 7]

End to end: every task has a seed of its own, from which its graph, mechanisms, noise and rows are made; batches come out standardised. One
thread, CPU time, D = 20, N = 200. The same run compares 20 of the timed tasks, graph and rows, with `sample_task` of their seeds. The
reference is AVICI's own generator on the same size (linear, Erdős–Rényi): 1,500 data sets per CPU-second on a quiet core.
"""

import argparse
import time

import numpy as np
import torch

from causal_meta import randomness
from causal_meta.conf.data import FamilyConfig
from causal_meta.conf.graph_laws import ScaleFree
from causal_meta.conf.mechanism_laws import MLP, LinearHeteroskedastic, MechanismPart
from causal_meta.datasets.scm import SCMFamily
from causal_meta.datasets.streams import MetaIterableDataset
from causal_meta.tasks import full_batch

REFERENCE = 1500.0  # AVICI's generator, linear data sets per CPU-second
FAMILIES = {
    "linear, Erdős–Rényi": FamilyConfig(),
    "linear, scale-free": FamilyConfig(graph=ScaleFree()),
    "MLP, Erdős–Rényi": FamilyConfig(mechanisms={"mlp": MechanismPart(mechanism=MLP())}),
    "linear and MLP by node": FamilyConfig(
        mechanisms={"linear": MechanismPart(mechanism=LinearHeteroskedastic()), "mlp": MechanismPart(mechanism=MLP())}
    ),
}


def rates(work, rounds, per_round):
    """Tasks per CPU-second of each round: `work(r)` makes the `per_round` tasks of round r."""
    found = []
    for number in range(rounds + 1):
        start = time.process_time()
        work(number)
        found.append(per_round / (time.process_time() - start))
    return found[1:]  # the first warms up


def verify(stream, batch):
    """Twenty tasks of a batch, drawn singly from their seeds: equal graphs; the largest difference of standardised rows."""
    worst, places = 0.0, np.linspace(0, len(batch) - 1, 20).astype(int)
    for b in places.tolist():
        instance = stream.family.sample_task(int(batch.seeds[b]))
        alone = full_batch(instance.sample(batch.n_rows)[None], None, [0]).standardised()
        assert torch.equal(instance.adjacency_matrix, batch.adjacency[b]), "a graph differs from that of its seed"
        worst = max(worst, float((alone.x[0] - batch.x[b]).abs().max()))
    assert worst < 1e-4, f"rows differ from those of their seed by {worst}"
    return worst


def main() -> None:
    """Print one line per family."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--batch", type=int, default=64, help="tasks per step")
    parser.add_argument("--tasks", type=int, default=2560, help="tasks per round")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(1)
    steps = max(1, options.tasks // options.batch)

    def draw_normals(number):
        for step in range(steps):
            first = (number * steps + step) * options.batch
            randomness.normals(randomness.seeds_of(0, "limit", start=first, count=options.batch), ("noise",), (200, 20))

    limit = np.array(rates(draw_normals, options.rounds, steps * options.batch))
    print(f"the normals alone ({200 * 20} per task): {np.median(limit):,.0f} tasks per CPU-second (best round {limit.max():,.0f})")
    for name, config in FAMILIES.items():
        stream = MetaIterableDataset(SCMFamily(config), 0, tasks_per_step=options.batch)
        seen = []

        def draw_batches(number, stream=stream, seen=seen):
            for step in range(steps):
                seen[:] = [stream.batch(number * steps + step)]

        rate = np.array(rates(draw_batches, options.rounds, steps * options.batch))
        worst = verify(stream, seen[0])
        beside = f", {np.median(rate) / REFERENCE:.1f} x AVICI's generator" if name == "linear, Erdős–Rényi" else ""
        print(
            f"{name}: {np.median(rate):,.0f} tasks per CPU-second (best round {rate.max():,.0f}), "
            f"{np.median(rate) / np.median(limit):.2f} of the limit{beside}; 20 tasks equal sample_task's to {worst:.0e}"
        )


if __name__ == "__main__":
    main()
