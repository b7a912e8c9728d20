"""What a study costs beside its work, and what random kills do to it: `python benchmarks/studies.py
[cost | overhead | kills COUNT]`.

`cost`: a study of 1,000 runs of the cheapest kind: milliseconds per run, here and in worker
processes, and how fast it is recognised as finished. `overhead`: 200 jobs that sleep for 50 ms (a
kind of the tests), by two workers of every executor: what a job takes of a worker beside its sleep.
`kills`: a study of 40 cells in two worker processes, in which drivers and workers are killed at
random times, against an undisturbed one.
"""

import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

TARGETS = (
    "targets:\n  - {target: tasks, name: set, seed: 0..SEEDS, n_tasks: 4, overrides: "
    "{data.n_nodes: NODES, data.n_rows: 200}}\nruns:\n"
)
CHEAP = (
    TARGETS.replace("SEEDS", "9").replace("NODES", "3")
    + "  - {run: random, of: set, n_samples: 2, seed: 0..99}\n"
)
FORTY = TARGETS.replace("SEEDS", "3").replace("NODES", "8") + (
    "  - {run: [empty, random, sortnregress], of: set}\n  - {run: boss, of: set, n_samples: 5}\n"
    "  - {run: evaluate, of: set, posterior: '*'}\n  - {run: evaluate, of: default, tasks: set}\n"
)


def command(file: Path, store: Path, *flags: str) -> list[str]:
    return [
        sys.executable,
        "-m",
        "causal_meta",
        "study",
        str(file),
        "--store",
        str(store),
        "--quiet",
        *flags,
    ]


def cost(folder: Path) -> None:
    file = folder / "cheap.yaml"
    file.write_text(CHEAP)
    for name, flags in (
        ("here", []),
        ("two processes", ["--executor", "processes", "--workers", "2"]),
    ):
        begin = time.perf_counter()
        subprocess.run(command(file, folder / name, *flags), check=True)
        print(
            f"{name}: {1000 * (time.perf_counter() - begin) / 1010:.1f} ms per cell, start-up "
            "included"
        )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begin = time.perf_counter()
    peak = (
        "import sys; from causal_meta.cli import main; main(sys.argv[1:]); "
        "print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])"
    )
    words = [
        sys.executable,
        "-c",
        peak,
        "study",
        str(file),
        "--store",
        str(folder / "here"),
        "--dry-run",
    ]
    out = subprocess.run(words, check=True, capture_output=True, text=True).stdout.splitlines()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(
        f"finished study of 1,000 runs: {out[-2]} {time.perf_counter() - begin:.2f} s, {cpu:.2f} "
        f"CPU s, {float(out[-1]) / 1024:.0f} MB"
    )


def overhead(folder: Path) -> None:
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "workflow"))
    import sleeping

    from causal_meta.store import Store
    from causal_meta.workflow import carry_out, load_study, plan_of

    sleeping.register()
    os.environ["PYTHONPATH"] = sleeping.path_for_workers(folder / "site")
    file, count, seconds, workers = folder / "sleep.yaml", 200, 0.05, 2
    file.write_text(f"targets:\n  - {{target: sleep, seed: 0..{count - 1}, seconds: {seconds}}}\n")
    for executor in ("local", "threads", "processes", "parsl"):
        store, told = Store(folder / executor), []
        begin = time.perf_counter()

        def built(cell, state, told=told):
            told.append(time.perf_counter()) if state == "built" else None

        assert carry_out(
            plan_of(load_study(file, store), store),
            store,
            executor=executor,
            workers=workers,
            notify=built,
        ).ok
        several = 1 if executor == "local" else workers
        each = several * (told[-1] - told[0]) / (count - 1) - seconds
        ended = time.perf_counter() - told[-1]
        print(
            f"{executor}: first answer after {told[0] - begin:.2f} s, then {1000 * each:.1f} ms "
            f"per job beside its sleep, end {ended:.2f} s"
        )


def kills(folder: Path, count: int) -> None:
    draw = random.Random(count)
    file, store = folder / "forty.yaml", folder / "killed"
    file.write_text(FORTY)
    words = command(file, store, "--executor", "processes", "--workers", "2")
    done = {"drivers": 0, "workers": 0, "finished": 0}
    while done["drivers"] + done["workers"] < count:
        driver = subprocess.Popen(words)
        time.sleep(draw.uniform(0.3, 4.0))
        workers = (
            Path(f"/proc/{driver.pid}/task/{driver.pid}/children").read_text().split()
            if driver.poll() is None
            else []
        )
        if workers and draw.random() < 0.4:
            os.kill(int(draw.choice(workers)), signal.SIGKILL)
            done["workers"] += 1
            time.sleep(draw.uniform(0.0, 1.5))
        if driver.poll() is None:
            driver.kill()
            done["drivers"] += 1
        elif driver.wait() == 0:  # it was quicker: begin again
            done["finished"] += 1
            subprocess.run(["rm", "-rf", str(store)], check=True)
        driver.wait()
    subprocess.run(words, check=True)
    subprocess.run(command(file, folder / "calm"), check=True)
    tables = [
        pd.read_parquet(root / "experiments" / "forty" / "results.parquet").drop(
            columns="walltime_sec"
        )
        for root in (store, folder / "calm")
    ]
    subprocess.run(
        [sys.executable, "-m", "causal_meta", "store", "verify", "--store", str(store)], check=True
    )
    print(
        f"killed: {done}; {len(tables[0])} runs, table equal to an undisturbed study's: "
        f"{tables[0].equals(tables[1])}"
    )


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        if sys.argv[1:2] == ["kills"]:
            kills(Path(place), int(sys.argv[2]))
        elif sys.argv[1:2] == ["overhead"]:
            overhead(Path(place))
        else:
            cost(Path(place))
