"""CPU seconds and memory of one AVICI training step: forward with dropout, loss with penalty,
backward, clipping, LAMB.

    python benchmarks/avici_step.py                     # the paper's size: D=20, N=200, B=8, one
    thread, bf16 products python benchmarks/avici_step.py --precision fp32 python
    benchmarks/avici_step.py --small             # three shapes of the small model that ships with
    the package

Prediction, written before tuning. A step of 32,000 tokens (cells) at 4.27 M parameters takes 6 x
32,000 x 4.19 M = 0.81 TFLOP in the linear maps and 0.18 TFLOP in the attention, together 0.98. A
core with AMX reaches 1.5-2 TFLOP/s in bf16 and could do that in 0.6 s; one with AVX-512 bf16 alone
reaches about 0.2 TFLOP/s, which makes 5 s, and 0.08 in fp32, which makes 13 s. All else (3 x 51 M
exponentials per row block, normalisation, dropout, casts) is memory traffic of a few hundred MB per
block: 0.2 s per block if it goes to memory, 0.1 s if it stays in the cache, so 1.5-3 s. Expected on
such a core: 7-8 s in bf16, 16 s in fp32, and 4 GB (8 blocks of attention weights at 0.1 GB, 32 half
blocks of about 80 MB).

The limit is measured in the same run: every matrix product of the step, in the shapes in which the
step asks for it, and nothing else. The JAX original's 61 CPU-seconds and 12 GB are quoted from the
authors' code run on another machine (fp32, one core).
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable

import torch

from causal_meta.conf.models import AviciConfig
from causal_meta.conf.training import LambConfig
from causal_meta.layers import pieces
from causal_meta.models import ModelFactory
from causal_meta.runners.training.optimizers import Lamb
from causal_meta.tasks import TaskBatch, full_batch

ORIGINAL_SECONDS, ORIGINAL_GIGABYTES = 61.0, 12.0
SMALL = AviciConfig(dim=64, n_pairs=4, n_heads=4, key_size=16, dropout=0.0)
SMALL_SHAPES = ((32, 12, 100), (32, 12, 300), (32, 20, 1000))


def example(tasks: int, nodes: int, rows: int) -> TaskBatch:
    """A batch of noise with acyclic graphs of density 0.2."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(tasks, rows, nodes, generator=generator)
    adjacency = (torch.rand(tasks, nodes, nodes, generator=generator) < 0.2).float().triu(1)
    return full_batch(x, adjacency, range(tasks))


def stepper(config: AviciConfig, batch: TaskBatch, precision: str) -> Callable[[], None]:
    """One training step as the training loop makes it."""
    model = ModelFactory.build(config, 0).train()
    optimizer = Lamb(LambConfig(), model.parameters())
    done = 0

    def step() -> None:
        nonlocal done
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            loss, _ = model.calculate_loss(model(batch), batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        done += 1
        model.after_step(done)

    return step


def products(
    config: AviciConfig, tasks: int, nodes: int, rows: int
) -> list[tuple[int, int, int, int, float]]:
    """The matrix products of one step: (batch, M, K, N, how many), in the pieces in which the step
    works."""
    tokens, c, inner, wide = (
        tasks * nodes * rows,
        config.dim,
        config.n_heads * config.key_size,
        config.widening * config.dim,
    )
    piece = min(pieces.TOKENS, tokens)
    found = []
    # forward, gradient of the input, gradient of the weight
    for k, n in ((c, 3 * inner), (inner, c), (c, wide), (wide, c)):
        often = 2 * config.n_pairs * tokens / piece
        found += [(1, piece, k, n, often), (1, piece, n, k, often), (1, k, piece, n, often)]
    for length, sequences in ((nodes, tasks * rows), (rows, tasks * nodes)):
        groups = max(1, min(sequences * config.n_heads, pieces.SCORES // length**2))
        query = min(length, max(1, pieces.SCORES // length))
        often = config.n_pairs * sequences * config.n_heads / groups * length / query
        key = config.key_size
        # scores computed a second time in the backward pass
        again = config.n_heads * sequences * length**2 * 2 > pieces.KEPT_BYTES
        found += [
            (groups, query, key, length, often * (3 if again else 2)),
            (groups, query, length, key, 2 * often),
        ]
        found += [(groups, length, query, key, 2 * often)]
    return found


def cpu_seconds(work: Callable[[], object], repeats: int = 1) -> float:
    """CPU seconds of one call, the least of `repeats`."""
    best = float("inf")
    for _ in range(repeats):
        begin = time.process_time()
        work()
        best = min(best, time.process_time() - begin)
    return best


def limit(config: AviciConfig, shape: tuple[int, int, int], precision: str) -> tuple[float, float]:
    """CPU seconds of the step's matrix products alone, and their floating-point operations."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    seconds = operations = 0.0
    for batch, m, k, n, often in products(config, *shape):
        a, b, out = (torch.randn(batch, p, q).to(dtype) for p, q in ((m, k), (k, n), (m, n)))
        again = max(1, int(2e9 / (2 * batch * m * k * n)))  # at least 2 GFLOP a measurement

        def work(a=a, b=b, out=out, again=again):
            for _ in range(again):
                torch.bmm(a, b, out=out)

        work()
        seconds += cpu_seconds(work, 3) / again * often
        operations += 2.0 * batch * m * k * n * often
    return seconds, operations


def report(
    title: str, config: AviciConfig, shape: tuple[int, int, int], precision: str, steps: int
) -> float:
    """Measure one shape and print a line; the CPU seconds of the best step after the first."""
    step = stepper(config, example(*shape), precision)
    step()
    wall = time.perf_counter()
    seconds = cpu_seconds(step, steps)
    wall = (time.perf_counter() - wall) / steps
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    least, operations = limit(config, shape, precision)
    print(
        f"{title} {precision}, {torch.get_num_threads()} thread(s): {seconds:.2f} CPU-s a step "
        f"({wall:.2f} s by the clock), peak {memory:.2f} GB; "
        f"matrix products alone {least:.2f} CPU-s ({operations / least / 1e9:.0f} GFLOP/s), ratio "
        f"{seconds / least:.2f}",
        flush=True,
    )
    return seconds


def main() -> None:
    """Parse the command line and print."""
    parser = argparse.ArgumentParser(
        description="CPU seconds and memory of one AVICI training step"
    )
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="bf16")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--steps", type=int, default=3, help="steps measured after a first one; the best counts"
    )
    parser.add_argument(
        "--small",
        action="store_true",
        help="the small model in three shapes in place of the paper's size",
    )
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.small:
        for shape in SMALL_SHAPES:
            report(
                "dim 64, 4 pairs, B={} D={} N={},".format(*shape),
                SMALL,
                shape,
                arguments.precision,
                arguments.steps,
            )
        return
    seconds = report(
        "AVICI, paper size, B=8 D=20 N=200,",
        AviciConfig(),
        (8, 20, 200),
        arguments.precision,
        arguments.steps,
    )
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"the JAX original, quoted, on another machine: {ORIGINAL_SECONDS:.0f} CPU-s and "
        f"{ORIGINAL_GIGABYTES:.0f} GB;",
        end=" ",
    )
    print(
        f"ratio {seconds / ORIGINAL_SECONDS:.3f} in time (target 0.1), "
        f"{memory / ORIGINAL_GIGABYTES:.2f} in memory (target 0.67)"
    )


if __name__ == "__main__":
    main()
