"""How a store of thousands of artifacts is read: seconds and peak memory of each way of reading it.

    python benchmarks/store_scale.py [--runs 1000] [--artifacts 10000] [--steps 20] [--each 100]

Two stores of synthetic artifacts are made in a temporary folder: targets (task sets) with `--each`
runs (`empty`) each, whose ids, configurations and digests are those that building them would have
given. In the first, `--runs` runs are recognised as finished by `Store.lookup` over their keys, as
a study does when it is started again, and read into tables. In the second, the catalog of
`--artifacts` artifacts is rebuilt. Every figure is taken in a process of its own, whose start and
imports count.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from causal_meta.conf import yaml_1_2
from causal_meta.conf.convert import to_plain
from causal_meta.conf.inference import EmptyConfig
from causal_meta.conf.task_sets import TasksConfig
from causal_meta.store import Store, disk

EACH = 100  # runs of a target
RESULT = {
    "kind": "empty",
    "summary": {
        name: {"mean": 0.5, "se": 0.01, "n": 25} for name in ("shd", "auroc", "auprc", "ece")
    },
}
RESULT["per_task"] = {name: [0.5] * 25 for name in RESULT["summary"]}


def template(store, config, inputs, steps):
    """An artifact that was really built."""

    def builder(config, attempt):
        for step in range(steps):
            attempt.facts.scalars(step, "train", {"loss": 1.0 / (step + 1)})
        attempt.facts.event("on_train_end", step=steps)
        (attempt.folder / "metrics.json").write_text(json.dumps(RESULT))
        return {"dims": {"n": 25}, "metrics": {"L0": 0.5}}

    return store.build(config, inputs, builder)


def copy_as(store, model, config, inputs):
    """Another artifact like `model`: its files, with another seed's configuration, id and
    digests."""
    key = store.key(config, inputs)
    folder = store.place_of(config, key.id, inputs)
    folder.mkdir(parents=True)
    disk.copy_files(model.folder / "facts", folder / "facts")
    (folder / "metrics.json").write_bytes((model.folder / "metrics.json").read_bytes())
    text = (
        (model.folder / "config.yaml")
        .read_text()
        .replace(f"seed: {model.seed}\n", f"seed: {config.seed}\n")
    )
    (folder / "config.yaml").write_text(text)
    meta = model.meta | {
        "seed": config.seed,
        ("target_id" if model.is_target else "run_id"): key.id,
    }
    meta["digests"] = meta["digests"] | {"config.yaml": disk.sha256(folder / "config.yaml")}
    meta["inputs"] = {
        role: {"id": artifact.id, "digest": artifact.digest} for role, artifact in inputs.items()
    }
    (folder / "meta.json").write_text(json.dumps(meta, indent=1))
    return store.read(folder)


def fill(root, n_runs, steps):
    """A store of `n_runs` runs and the targets that they belong to."""
    store = Store(root)
    first = template(store, TasksConfig(seed=100_000), {}, steps)
    run = template(store, EmptyConfig(seed=100_000), {"of": first}, steps)
    for number in range(-(-n_runs // EACH)):
        target = copy_as(store, first, TasksConfig(seed=number), {})
        for seed in range(min(EACH, n_runs - EACH * number)):
            copy_as(store, run, EmptyConfig(seed=seed), {"of": target})
    for made in (run, first):
        disk.remove_tree(made.folder)
    assert yaml_1_2.load((target.folder / "config.yaml").read_text()) == to_plain(target.config)
    return store


def lookup(root, n_runs):
    """Recognise every run by its key."""
    store = Store(root)
    targets = [store.lookup(TasksConfig(seed=number)) for number in range(-(-n_runs // EACH))]
    seeds = [(target, seed) for target in targets for seed in range(EACH)][:n_runs]
    found = [store.lookup(EmptyConfig(seed=seed), {"of": target}) for target, seed in seeds]
    assert None not in found
    return f"{len(found)} runs recognised as finished"


def rebuild(root, n_runs):
    """Write the catalog and the lists of runs again."""
    Store(root).rebuild_catalog()
    lines = len((Path(root) / "targets" / "_catalog.jsonl").read_text().splitlines())
    assert lines == -(-n_runs // EACH)
    return f"catalog of {lines} targets and {n_runs} runs rebuilt"


def load(root, n_runs):
    """Read the facts of everything."""
    from causal_meta.facts import load_runs

    table, curves, _ = load_runs(root)
    assert len(table) == n_runs + -(-n_runs // EACH)
    return f"load_runs: {len(table)} runs, {len(curves)} points of curves"


def aggregate(root, n_runs):
    """Read the results of every run."""
    from causal_meta.facts import aggregate_results

    assert len(aggregate_results(root)) == n_runs
    return f"aggregate_results: {n_runs} runs"


def query(root, n_runs):
    """Ask DuckDB."""
    from causal_meta.store.query import ask

    answer = ask(
        Store(root), 'select count(*), avg("result.summary.shd.mean") from runs where seed < 50'
    )
    assert answer.rows[0][1] == 0.5
    return f"store query over {n_runs} runs"


def verify(root, n_runs):
    """Check every digest."""
    assert Store(root).verify() == []
    return f"verify of {n_runs} runs and their targets"


STEPS = {
    function.__name__: function for function in (lookup, rebuild, load, aggregate, query, verify)
}


def measured(root, n_runs, name):
    """One line: what was done, wall and CPU seconds, peak memory of the process that did it."""
    begin = time.perf_counter()
    code = [
        sys.executable,
        __file__,
        "--step",
        name,
        "--root",
        str(root),
        "--runs",
        str(n_runs),
        "--each",
        str(EACH),
    ]
    done = subprocess.run(code, capture_output=True, text=True, check=True)
    print(
        f"{done.stdout.strip()}: {time.perf_counter() - begin:.2f} s wall with the start of Python",
        flush=True,
    )


def main():
    """Make the stores and print the figures."""
    global EACH
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--artifacts", type=int, default=10_000)
    parser.add_argument("--steps", type=int, default=20, help="points of each run's curve")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    parser.add_argument("--root", help=argparse.SUPPRESS)
    parser.add_argument("--each", type=int, default=100, help="runs of each target")
    args = parser.parse_args()
    EACH = args.each
    if args.step:
        cpu = time.process_time()
        told = STEPS[args.step](args.root, args.runs)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{told}: {time.process_time() - cpu:.2f} CPU s, {peak:.0f} MB")
        return
    with tempfile.TemporaryDirectory() as folder:
        fill(Path(folder) / "small", args.runs, args.steps)
        for name in STEPS:
            if name != "rebuild":
                measured(Path(folder) / "small", args.runs, name)
        n_runs = args.artifacts * EACH // (EACH + 1)
        fill(Path(folder) / "large", n_runs, 1)
        for name in ("rebuild", "lookup"):
            measured(Path(folder) / "large", n_runs, name)


if __name__ == "__main__":
    main()
