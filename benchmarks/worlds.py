"""Tasks per CPU-second of the training stream, family by family, each beside the least it could
take.

    python benchmarks/worlds.py [--seconds 2] [--rounds 7] [--only linear rff] [--plot cost.png]

End to end: every task has a seed of its own, from which its graph, mechanisms, noise and rows are
made; batches come out standardised. One thread, CPU time, medians over rounds. The limit of a
family is measured in the same rounds: it draws as many normals and uniforms in the same streams and
evaluates as many cosines as a recorded batch of the family did, and does nothing else. The same run
compares 20 of the timed tasks, graph and rows, with `sample_task` of their seeds. The references
are AVICI's generator on a quiet core (1.0.7), for GPCDE and networks an earlier system's, which had
2,048 features for each function.
"""

import argparse
import contextlib
import time
from unittest import mock

import numpy as np
import torch

from causal_meta import randomness
from causal_meta.conf.data import FamilyConfig
from causal_meta.conf.gene_laws import GeneExpression
from causal_meta.conf.graph_laws import ScaleFree
from causal_meta.conf.interventions import InterventionConfig
from causal_meta.conf.mechanism_laws import GPCDE, MLP, RFF, LinearHeteroskedastic, MechanismPart
from causal_meta.conf.ranges import fixed
from causal_meta.datasets.mechanisms import features
from causal_meta.datasets.scm import SCMFamily
from causal_meta.datasets.streams import MetaIterableDataset
from causal_meta.tasks import collate

CELLS = 1 << 18  # of tables in a batch, about
LINEAR, RANDOM, NETWORK, LATENT = LinearHeteroskedastic(), RFF(), MLP(), GPCDE()


def family(mechanism, nodes=20, rows=200, **others):
    """A family of one mechanism."""
    parts = mechanism if isinstance(mechanism, dict) else {"m": MechanismPart(mechanism=mechanism)}
    return FamilyConfig(mechanisms=parts, n_nodes=fixed(nodes), n_rows=fixed(rows), **others)


ALL_TARGETS = InterventionConfig(rows=fixed(200), row_share=None)
BY_NODE = {"linear": MechanismPart(mechanism=LINEAR), "mlp": MechanismPart(mechanism=NETWORK)}
# name: configuration, tasks per CPU-second of the reference, tasks per CPU-second aimed at
FAMILIES = {
    "linear D=20 N=200": (family(LINEAR), 1500, 10_000),
    "linear, scale-free D=20 N=200": (family(LINEAR, graph=ScaleFree()), None, None),
    "rff D=20 N=200": (family(RANDOM), 185, 1800),
    "rff, heteroskedastic D=20 N=200": (family(RFF(heteroskedastic=True)), None, None),
    "mlp D=20 N=200": (family(NETWORK), 81, 2000),
    "linear and mlp by node D=20 N=200": (family(BY_NODE), None, None),
    "gpcde, 256 features D=20 N=200": (family(LATENT), 38, 400),
    "gpcde, 1000 features D=20 N=200": (family(GPCDE(n_features=1000)), 38, None),
    "gpcde, exponential_gamma D=20 N=200": (
        family(GPCDE(kernels=("exponential_gamma",) * 2)),
        None,
        None,
    ),
    "linear D=50 N=1000": (family(LINEAR, 50, 1000), 316, 1500),
    "rff D=50 N=1000": (family(RANDOM, 50, 1000), 18, 180),
    "gpcde, 256 features D=50 N=1000": (family(LATENT, 50, 1000), None, None),
    "linear D=30 N=600+200, all targets": (
        family(LINEAR, 30, 600, interventions=ALL_TARGETS),
        150,
        1500,
    ),
    "rff D=30 N=600+200, all targets": (
        family(RANDOM, 30, 600, interventions=ALL_TARGETS),
        24,
        240,
    ),
    "genes D=10 N=600+200, all targets": (
        family(GeneExpression(), 10, 600, interventions=ALL_TARGETS),
        0.78,
        40,
    ),
}


class Record:
    """The numbers drawn and cosines evaluated while it is on."""

    def __init__(self):
        self.draws, self.cosines = [], []

    @contextlib.contextmanager
    def on(self):
        """Record what happens inside."""
        with contextlib.ExitStack() as stack:
            for name in ("normals", "laplaces", "uniforms"):
                stack.enter_context(mock.patch.object(randomness, name, self.noting(name)))
            cosines = features._cosines

            def noted(angles, far=None):
                self.cosines.append(angles.numel())
                return cosines(angles, far)

            stack.enter_context(mock.patch.object(features, "_cosines", noted))
            yield

    def noting(self, name):
        """The function of `randomness` of this name, noted; its own use of torch is not."""
        function = getattr(randomness, name)

        def noted(seeds, names, shape):
            self.draws.append((name, len(seeds), shape))
            return function(seeds, names, shape)

        return noted

    def replay(self, seeds):
        """Do the same again, in memory that is there already: what the family cannot do without."""
        for name, count, shape in self.draws:
            getattr(randomness, name)(seeds[:count], ("limit",), shape)
        buffer = np.ones(1 << 16, dtype=np.float32)
        whole, rest = divmod(sum(self.cosines), buffer.size)
        for _ in range(whole):
            np.cos(buffer, out=buffer)
        np.cos(buffer[:rest], out=buffer[:rest])


def cpu(work):
    """CPU seconds of a call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def verify(stream, batch):
    """Twenty tasks of a batch, drawn singly from their seeds: equal graphs and rows; the largest
    difference of standardised rows."""
    worst, places = 0.0, np.linspace(0, len(batch) - 1, 20).astype(int)
    for b in dict.fromkeys(places.tolist()):
        instance = stream.family.sample_task(int(batch.seeds[b]))
        alone = collate([instance.table()], with_adjacency=False)
        assert torch.equal(instance.adjacency_matrix, batch.adjacency[b]), (
            "a graph differs from that of its seed"
        )
        worst = max(worst, float((alone[0] - batch.x[b]).abs().max()))
    assert worst == 0, f"rows differ from those of their seed by {worst}"
    return worst


def measure(config, seconds, rounds):
    """Tasks per CPU-second of the stream and of its limit, medians over rounds, and the largest
    difference from single tasks."""
    rows = config.n_rows.low + (config.interventions.rows.low if config.interventions else 0)
    size = int(np.clip(CELLS // (config.n_nodes.low * rows), 20, 64))
    stream = MetaIterableDataset(SCMFamily(config), 0, tasks_per_step=size)
    record, step = Record(), 1
    stream.batch(0)
    with record.on():
        batch = stream.batch(0)
    each = cpu(lambda: stream.batch(1))
    steps = max(1, round(seconds / rounds / 2 / each))
    times, least = [], []
    for _ in range(rounds):
        for _ in range(steps):
            step += 1
            seeds = randomness.seeds_of(0, "limit", start=step * size, count=size)
            times.append(cpu(lambda number=step: stream.batch(number)))
            least.append(cpu(lambda some=seeds: record.replay(some)))
    return size / np.median(times), size / np.median(least), verify(stream, batch)


def plot(path, seconds):
    """CPU microseconds per task against D and against N."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    laws = {
        "linear": LINEAR,
        "mlp": NETWORK,
        "rff, 100 features": RANDOM,
        "gpcde, 256 features": LATENT,
    }
    sizes = {
        "variables D (N = 200)": [(d, 200) for d in (5, 10, 20, 50, 100)],
        "rows N (D = 20)": [(20, n) for n in (50, 100, 200, 500, 1000, 2000)],
    }
    figure, axes = pyplot.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
    for axis, (label, points) in zip(axes, sizes.items(), strict=True):
        place = [d if label[0] == "v" else n for d, n in points]
        for name, law in laws.items():
            rates = [measure(family(law, d, n), seconds, 3)[0] for d, n in points]
            axis.loglog(place, [1e6 / rate for rate in rates], marker="o", label=name)
            print(
                f"{name}, {label}: "
                + ", ".join(
                    f"{p}: {1e6 / rate:,.0f} µs" for p, rate in zip(place, rates, strict=True)
                ),
                flush=True,
            )
        axis.loglog(
            place,
            [30 * p / place[0] for p in place],
            color="0.7",
            linestyle=":",
            label="proportional",
        )
        axis.set_xlabel(label)
        axis.grid(color="0.9")
    axes[0].set_ylabel("CPU µs per task")
    axes[1].legend(frameon=False)
    figure.savefig(path, dpi=120)


def main() -> None:
    """Print one line per family."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=2.0, help="CPU seconds per family, about")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", nargs="*", default=[], help="families whose name begins so")
    parser.add_argument("--plot", default="", help="draw cost against D and N to this file instead")
    options = parser.parse_args()
    torch.set_num_threads(1)
    angles = np.linspace(-20, 20, 1 << 15, dtype=np.float32)
    cosine = (
        np.median([cpu(lambda: [np.cos(angles, out=angles) for _ in range(64)]) for _ in range(9)])
        / (64 << 15)
        * 1e9
    )
    normal = (
        np.median(
            [cpu(lambda: randomness.normals(range(64), ("limit",), (200, 20))) for _ in range(9)]
        )
        / (64 * 4000)
        * 1e9
    )
    print(f"a cosine {cosine:.2f} ns, a normal {normal:.2f} ns; tasks per CPU-second:")
    if options.plot:
        plot(options.plot, options.seconds)
        return
    for name, (config, reference, aim) in FAMILIES.items():
        if options.only and not any(name.startswith(word) for word in options.only):
            continue
        rate, limit, worst = measure(config, options.seconds, options.rounds)
        aimed = f" (aim {aim:,})" if aim else ""
        beside = f", {rate / reference:.1f} x the reference's {reference:,}" if reference else ""
        print(
            f"{name}: {rate:,.0f}{aimed}, {rate / limit:.2f} of the limit {limit:,.0f}{beside}; "
            f"sample_task's to {worst:.0e}",
            flush=True,
        )


if __name__ == "__main__":
    main()
