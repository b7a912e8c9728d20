"""CPU seconds of `build network model=small data=small`: the first time, with compiled programs
kept, and found in the store.

    python benchmarks/network_targets.py

Each command is a process of its own, start to end, with one thread.
"""

import os
import resource
import subprocess
import sys
import tempfile

WORDS = ["build", "network", "model=small", "data=small", "--quiet"]


def seconds(words, env):
    """CPU seconds of a command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-m", "causal_meta", *words],
        env=env,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main():
    """Print the three figures."""
    with tempfile.TemporaryDirectory() as folder:
        flags = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
        env = os.environ | {
            "CAUSAL_META_STORE": f"{folder}/runs",
            "XDG_CACHE_HOME": f"{folder}/cache",
            "OMP_NUM_THREADS": "1",
            "XLA_FLAGS": flags,
        }
        env.pop("JAX_COMPILATION_CACHE_DIR", None)
        print(f"first build:                         {seconds([*WORDS, 'seed=42'], env):.2f} CPU s")
        print(f"next build (programs kept), seed 43: {seconds([*WORDS, 'seed=43'], env):.2f} CPU s")
        print(f"found in the store:                  {seconds([*WORDS, 'seed=42'], env):.2f} CPU s")


if __name__ == "__main__":
    main()
