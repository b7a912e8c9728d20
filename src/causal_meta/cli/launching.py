"""`build … --processes N`: the same command in N processes that train one model together, restarted
when one of them dies."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from typing import NoReturn

UNSHARED = (
    # with a shared store, restarts after a kill hung in 5 of 8 trials (torch 2.13, gloo), without
    # in 0 of 6
    "TORCH_DISABLE_SHARE_RDZV_TCP_STORE"
)


def is_launched() -> bool:
    """Whether torchrun started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


def is_first() -> bool:
    """Whether this is the only process, or the first of those that torchrun started."""
    return not is_launched() or os.environ.get("RANK", "0") == "0"


def launch(args: argparse.Namespace) -> NoReturn:
    """Replace this process by torchrun, which runs the same command."""
    words, environment = launcher(args, os.environ)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(words[0], words, environment)


def launcher(
    args: argparse.Namespace, environment: Mapping[str, str]
) -> tuple[list[str], dict[str, str]]:
    """The words and the environment of torchrun: `args.processes` processes on loopback, restarted
    together up to `args.max_restarts` times.

    Each computes with `--threads`, else with OMP_NUM_THREADS, else with its share of the cores.
    """
    share = args.threads or max(1, (os.cpu_count() or 1) // args.processes)
    words = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        f"--nproc-per-node={args.processes}",
        f"--max-restarts={args.max_restarts}",
    ]
    return [*words, "-m", "causal_meta", *args.argv], {
        "OMP_NUM_THREADS": str(share),
        **environment,
        UNSHARED: "1",
    }


def warn_of_restarts() -> None:
    """Warn if torchrun was started directly, without the setting that keeps its restarts from
    hanging."""
    restarts, shared = (
        os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0"),
        os.environ.get("TORCHELASTIC_USE_AGENT_STORE"),
    )
    if is_launched() and is_first() and restarts != "0" and shared == "True":
        print(
            f"Set {UNSHARED}=1 for torchrun: without it a restart after a process was killed may "
            "hang (or use --processes N).",
            file=sys.stderr,
        )
