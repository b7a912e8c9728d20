"""Tables with an intervention on every variable: tasks per CPU-second in one pass, in a pass per
target, and the least it could take.

    python benchmarks/interventions.py [--tasks 960] [--rounds 5]

D = 30, 600 observational and 200 interventional rows, single hard targets, all 30 variables in
turn, each row its own value, as in AVICI's training worlds (Erdős–Rényi, 2 edges per node). End to
end: every task has a seed of its own, from which its graph, mechanisms, noise, interventions and
rows are made. One thread, CPU time. "A pass per target" makes the same tables as AVICI's generator
goes about it: the observational rows, then, for each variable, the rows in which it is set, through
the whole graph (by our own code, which pads these 6 or 7 rows to 64). The limit is the same normals
alone, and for random features also the same cosines. The same run compares 20 of the timed tasks
with `sample_task(seed).table()`.
"""

import argparse
import time

import numpy as np
import torch

from causal_meta import randomness
from causal_meta.conf.data import FamilyConfig
from causal_meta.conf.interventions import InterventionConfig
from causal_meta.conf.mechanism_laws import RFF, LinearHeteroskedastic, MechanismPart
from causal_meta.conf.ranges import fixed
from causal_meta.datasets.interventions import Interventions
from causal_meta.datasets.scm import SCMFamily

NODES, ROWS, SET = 30, 600, 200
BATCH = 32
FEATURES = 100
# AVICI's generator on a quiet core, data sets per CPU-second
REFERENCE = {"linear": 150.0, "random features": 24.0}
LINEAR = LinearHeteroskedastic(
    weight_law="uniform_sign",
    weight_low=1,
    weight_high=3,
    bias_bound=3,
    noise_std_law="uniform",
    noise_std_a=0.2,
    noise_std_b=2,
)
MECHANISMS = {"linear": LINEAR, "random features": RFF(n_features=FEATURES)}


def family_of(mechanism):
    """The family of one mechanism, with its interventions."""
    law = InterventionConfig(rows=fixed(SET), row_share=None)
    return SCMFamily(
        FamilyConfig(
            mechanisms={"m": MechanismPart(mechanism=mechanism)},
            n_nodes=fixed(NODES),
            n_rows=fixed(ROWS),
            interventions=law,
        )
    )


def seeds_of(number, tasks):
    """The seeds of a round, in batches."""
    return [
        randomness.seeds_of(number, "benchmark", start=first, count=BATCH)
        for first in range(0, tasks, BATCH)
    ]


def pass_per_target(family, seeds):
    """The same tables: the observational rows at once, then one pass for each target over its rows;
    10 tasks at a time as `sample_tasks` does."""
    out = []
    for first in range(0, len(seeds), 10):
        some = seeds[first : first + 10]
        batch = family.mechanism_factory.draw(some, family.generator(some, NODES))
        noise = family.noise.sample(some, ROWS + SET, NODES)
        drawn = family.interventions.draw(some, ROWS + SET, SET, NODES)
        x = torch.empty_like(noise)
        x[:, :ROWS] = batch.rows(noise[:, :ROWS])
        order = drawn.target.view(len(some), SET)
        value = drawn.value.view(len(some), SET)
        for turn in range(NODES):  # the turn's target differs between tasks; its rows are the same
            rows = torch.arange(turn, SET, NODES)
            shape = (len(some), len(rows))
            cells = Interventions(
                task=torch.arange(len(some))[:, None].expand(shape).flatten(),
                row=torch.arange(len(rows)).expand(shape).flatten(),
                target=order[:, rows].reshape(-1, 1),
                value=value[:, rows].reshape(-1, 1),
                hard=torch.ones(len(some) * len(rows), 1, dtype=torch.bool),
                used=torch.ones(len(some) * len(rows), 1, dtype=torch.bool),
            )
            x[:, ROWS + rows] = batch.rows(noise[:, ROWS + rows], cells, by_level=True)
        out.append(x)
    return torch.cat(out)


def rate(work, tasks, rounds):
    """Tasks per CPU-second: the median round, after one that warms up."""
    found = []
    for number in range(rounds + 1):
        batches = seeds_of(number, tasks)
        start = time.process_time()
        for seeds in batches:
            work(seeds)
        found.append(tasks / (time.process_time() - start))
    return float(np.median(found[1:]))


def least(name):
    """The normals that no table can do without, and the cosines of random features, one for each
    row, feature and variable with parents."""
    angles = np.linspace(-40, 40, FEATURES * (ROWS + SET), dtype=np.float32)
    buffer = np.empty_like(angles)

    def work(seeds):
        randomness.normals(seeds, ("noise",), (ROWS + SET, NODES))
        if name == "random features":
            for _ in range(len(seeds) * 24):  # about 24 of 30 variables have parents
                np.cos(angles, out=buffer)

    return work


def main() -> None:
    """Print one line per mechanism."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tasks", type=int, default=960, help="tasks per round")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for name, mechanism in MECHANISMS.items():
        family = family_of(mechanism)
        tasks = (
            options.tasks if name == "linear" else max(BATCH, options.tasks // 6 // BATCH * BATCH)
        )
        at_once = rate(family.sample_tasks, tasks, options.rounds)
        passes = rate(
            lambda seeds, family=family: pass_per_target(family, seeds),
            max(BATCH, tasks // 4 // BATCH * BATCH),
            3,
        )
        limit = rate(least(name), tasks, options.rounds)
        seeds = seeds_of(1, tasks)[0]
        batch, by_hand = family.sample_tasks(seeds), pass_per_target(family, seeds)
        for b in range(20):
            alone = family.sample_task(seeds[b]).table()
            assert torch.equal(alone.x, batch.x[b]), "a table differs from that of its seed"
            assert torch.equal(alone.intervened, batch.intervened[b]), (
                "a mask differs from that of its seed"
            )
        worst = float(((by_hand - batch.x) / batch.x.abs().amax(dim=1, keepdim=True)).abs().max())
        assert worst < 1e-4, f"a pass per target gives other rows, by {worst}"
        print(
            f"{name}: {at_once:,.0f} tasks per CPU-second, {at_once / limit:.2f} of the limit, "
            f"{at_once / passes:.1f} x a pass per target "
            f"({passes:,.0f}), {at_once / REFERENCE[name]:.1f} x AVICI's generator; 20 tables "
            "equal sample_task's bit for bit, "
            f"all equal a pass per target to {worst:.0e} of a column's largest value"
        )


if __name__ == "__main__":
    main()
