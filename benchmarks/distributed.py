"""Tasks per second of two processes that train one model together, against one alone, one thread
each.

    python benchmarks/distributed.py [--rounds 4] [--steps 80] [--family wide] [--dim 64]

Both variants carry out the same training (same stream, same global batch), taken in turn so that
what else runs on the machine falls on both. The numbers come from the training's own records, those
of the first quarter of its steps left out. Beside tasks per second by the wall stands the time of
the CPU per task (of the first process, times their number): on a machine whose cores others use
too, the ratio of these tells what splitting costs, and what two free cores would give.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from causal_meta.facts import read_scalars
from causal_meta.store import Store


def words(args, seed):
    stream = [
        f"data.train={args.family}",
        f"data.train.n_nodes={args.nodes}",
        f"data.train.n_rows={args.rows}",
        f"data.tasks_per_step={args.tasks}",
    ]
    model = [
        f"model.dim={args.dim}",
        "model.n_pairs=2",
        "model.n_heads=4",
        "model.key_size=16",
        "model.dropout=0.0",
    ]
    every = max(1, args.steps // 8)
    loop = [
        f"trainer.max_steps={args.steps}",
        f"trainer.log_every_n_steps={every}",
        "trainer.checkpoint_every_n_steps=100000",
        f"seed={seed}",
    ]
    return ["build", "amortised", *stream, *model, *loop, "--threads", "1", "--no-plots", "--quiet"]


def trained(root, args, seed, processes):
    """Tasks per second by the wall, and CPU seconds per task, of one training."""
    command = [
        sys.executable,
        "-m",
        "causal_meta",
        *words(args, seed),
        "--processes",
        str(processes),
        "--store",
        str(root),
    ]
    subprocess.run(
        command,
        check=True,
        capture_output=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        timeout=900,
    )
    scalars = read_scalars(Store(root).artifacts()[-1].folder)
    records = scalars[
        (scalars["name"] == "train/tasks_per_second") & (scalars["step"] >= args.steps // 4)
    ]
    first, last = records.iloc[0], records.iloc[-1]
    tasks = (last["step"] - first["step"]) * args.tasks
    return tasks / (last["wall_s"] - first["wall_s"]), processes * (
        last["cpu_s"] - first["cpu_s"]
    ) / tasks


def main():
    """Print a line per round and the medians."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--family", default="wide")
    parser.add_argument("--tasks", type=int, default=16, help="the global batch")
    for name, default in (("nodes", 10), ("rows", 200), ("dim", 64)):
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    ratios, speeds, costs = [], {1: [], 2: []}, {1: [], 2: []}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(args.rounds):
            for processes in (1, 2) if number % 2 else (2, 1):
                root = Path(folder) / f"{number}-{processes}"
                speed, cost = trained(root, args, number, processes)
                speeds[processes].append(speed)
                costs[processes].append(cost)
            ratios.append(speeds[2][-1] / speeds[1][-1])
            load = os.getloadavg()[0]
            told = ", ".join(
                f"{n} process: {speeds[n][-1]:.1f} tasks/s, {1000 * costs[n][-1]:.2f} CPU ms a task"
                for n in (1, 2)
            )
            print(
                f"{time.strftime('%H:%M:%S')} load {load:.1f}: {told}; {ratios[-1]:.2f} x",
                flush=True,
            )
    one, two = (statistics.median(costs[n]) for n in (1, 2))
    print(
        f"two against one, wall: median {statistics.median(ratios):.2f}, best {max(ratios):.2f}; "
        f"{os.cpu_count()} cores"
    )
    print(
        f"CPU of a task, two against one: {two / one:.3f}, so {2 * one / two:.2f} x on two free "
        "cores"
    )


if __name__ == "__main__":
    main()
