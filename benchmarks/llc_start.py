"""From the command to the analysis with its plots, `build network` and `infer hmc` on small/small:
`python benchmarks/llc_start.py [REPEATS]`.

Every repeat begins with an empty store and an empty cache of compiled programs. lambda_hat took 7.3
CPU seconds to build this target and 13.3 to sample it (4 chains of 1,000 draws, effective sample
size 864), as the reference measured on such a machine.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

THEIRS = {"build": 7.3, "first run": 13.3}


def seconds(environment: dict[str, str], *words: str) -> tuple[float, str]:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-m", "causal_meta", *words, "--threads", "1"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout.split()[
        -1
    ]


def once(folder: Path) -> tuple[dict[str, float], dict]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("JAX_")}
    environment |= {
        "CAUSAL_META_STORE": str(folder / "runs"),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "OMP_NUM_THREADS": "1",
    }
    build, target = seconds(environment, "build", "network", "model=small", "data=small", "seed=42")
    first, run = seconds(environment, "infer", "hmc", f"of={target}")
    analysis = json.loads(
        (folder / "runs" / "targets" / target / run / "analysis.json").read_text()
    )
    assert (
        len(list((folder / "runs" / "targets" / target / run / "diagnostics").glob("*.png"))) == 5
    )
    second, _ = seconds(environment, "infer", "hmc", f"of={target}", "seed=1")
    again, _ = seconds(environment, "infer", "hmc", f"of={target}")
    return {
        "build": build,
        "first run": first,
        "another seed": second,
        "the same again": again,
    }, analysis


def main() -> None:
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    repeated = []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder:
            repeated.append(once(Path(folder)))
    for name in repeated[0][0]:
        values = [times[name] for times, _ in repeated]
        ratio = (
            f", {statistics.median(values) / THEIRS[name]:.2f} of lambda_hat's {THEIRS[name]}"
            if name in THEIRS
            else ""
        )
        print(
            f"{name}: median {statistics.median(values):.2f} CPU s of {repeats} (least "
            f"{min(values):.2f}, most {max(values):.2f}){ratio}"
        )
    analysis = repeated[0][1]
    print(
        f"llc {analysis['llc_mean']:.3f} ± {analysis['llc_error']:.3f}, ESS "
        f"{analysis['ess']:.0f}, R-hat {analysis['rhat']:.3f}, flags {analysis['flags']}"
    )


if __name__ == "__main__":
    main()
