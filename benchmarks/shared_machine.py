"""Seconds by the clock of training and inference, alone and beside busy processes, by how the
OpenMP threads wait for each other.

    python benchmarks/shared_machine.py [--steps 30] [--busy 0 1] [--rounds 1]

`spin` is the default of the OpenMP runtime, `as set` what commands of this package set
(`causal_meta.threads`): to spin briefly, or to sleep (`sleep`) beside others; `one thread` needs no
waiting. Training: `--steps` steps of the model of
experiments/demo.yaml, without the first three and the last. Inference: eight tables, by the shipped
model, of 20 variables and 300 rows. The policies take turns; the least of the rounds counts.
"""

import argparse
import contextlib
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
CHOICES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "OMP_NUM_THREADS")
POLICIES = {
    "spin": {"GOMP_SPINCOUNT": "300000"},  # libgomp's own default, by name
    "as set": {},
    "sleep": {"OMP_WAIT_POLICY": "PASSIVE"},
    "one thread": {"OMP_NUM_THREADS": "1"},
}


@contextlib.contextmanager
def busy(count):
    """`count` other processes that never wait."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def measured(words, policy):
    """What a command prints, with the policy in its environment."""
    kept = {name: value for name, value in os.environ.items() if name not in CHOICES}
    done = subprocess.run(
        [sys.executable, *words],
        env=kept | policy,
        check=True,
        text=True,
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    return done.stdout


def training(steps, policy):
    """Seconds of `steps` training steps, from the training's own records."""
    from causal_meta.facts import read_scalars
    from causal_meta.store import Store

    with tempfile.TemporaryDirectory() as root:
        words = ["-m", "causal_meta", "build", "amortised", "--experiment", "experiments/demo.yaml"]
        words += [f"trainer.max_steps={steps + 6}", "trainer.log_every_n_steps=3"]
        words += ["trainer.val_check_interval=100000", "--no-plots", "--quiet", "--store", root]
        measured(words, policy)
        scalars = read_scalars(Store(root).artifacts()[-1].folder)
    rows = scalars[scalars["name"] == "train/tasks_per_second"]
    walls = rows.set_index("step")["wall_s"]
    return float(walls.loc[steps + 3] - walls.loc[3])


def infer():
    """Print the seconds of eight inferences of the shipped model, after a first one."""
    from causal_meta.threads import wait_as_the_machine_allows

    wait_as_the_machine_allows()
    import numpy as np

    from causal_meta import load_model

    tables = np.random.default_rng(0).normal(size=(9, 300, 20))
    model = load_model()
    model.posterior(tables[0])
    begin = time.perf_counter()
    for table in tables[1:]:
        model.posterior(table)
    print(time.perf_counter() - begin)


def main():
    parser = argparse.ArgumentParser(description="Training and inference beside busy processes")
    parser.add_argument(
        "--steps", type=int, default=30, help="training steps, rounded up to a multiple of 3"
    )
    parser.add_argument("--busy", type=int, nargs="+", default=[0, 1], metavar="N")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--infer", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.infer:
        return infer()
    args.steps = 3 * math.ceil(args.steps / 3)  # of every third step there is a record
    print(f"{'busy':>14} {'threads':>12} {'training s':>11} {'inference s':>12}", flush=True)
    for count in args.busy:
        seconds = {name: ([], []) for name in POLICIES}
        for _ in range(args.rounds):
            for name, policy in POLICIES.items():
                with busy(count):
                    seconds[name][0].append(training(args.steps, policy))
                    seconds[name][1].append(float(measured([__file__, "--infer"], policy)))
        for name, (train, inference) in seconds.items():
            print(f"{count:>14} {name:>12} {min(train):>11.1f} {min(inference):>12.2f}", flush=True)


if __name__ == "__main__":
    main()
