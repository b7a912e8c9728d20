"""Sampling around torch modules: steps per CPU-second against a plain loop, and when chains should
go through the module together.

    python benchmarks/llc_torch.py [--steps 1000]

One thread, CPU time, four chains. "A plain loop" is SGLD as it is usually written: a copy of the
module for each chain, `backward`, and an update of every parameter in turn. Ours records loss,
distance, projections, virial and gradients of every tenth step besides. Targets: linear regression
on 10 columns and 1,000 rows, all rows in every step (on a core like this devinterp 2.0.1 made
740-910 steps of a chain per CPU-second there), and perceptrons.
"""

import argparse
import copy
import functools
import itertools
import math
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

import causal_meta.llc.landscapes.torch_landscape as torch_module
from causal_meta.conf.samplers import SGLDConfig
from causal_meta.llc.landscapes.torch_landscape import TorchLandscape, torch_landscape
from causal_meta.llc.samplers.on_torch import sample_torch

CHAINS, GAMMA, STEP = 4, 1.0, 1e-4


def squares(net: nn.Module, rows: dict[str, Tensor]) -> Tensor:
    """Half the squared residual of each row."""
    return 0.5 * (net(rows["x"])[:, 0] - rows["y"]).square()


def target(widths: tuple[int, ...], rows: int) -> tuple[nn.Module, dict[str, Tensor]]:
    """A perceptron (linear without hidden layers) and rows of normal numbers."""
    generator = torch.Generator().manual_seed(0)
    layers: list[nn.Module] = []
    for fan_in, fan_out in itertools.pairwise(widths):
        layers += [nn.Linear(fan_in, fan_out), nn.Tanh()]
    return nn.Sequential(*layers[:-1]), {
        "x": torch.randn(rows, widths[0], generator=generator),
        "y": torch.randn(rows, generator=generator),
    }


def plain(module: nn.Module, data: dict[str, Tensor], steps: int) -> None:
    """Four chains of SGLD, one after the other, parameter by parameter."""
    n_beta = len(data["y"]) / math.log(len(data["y"]))
    for chain in range(CHAINS):
        net, generator = copy.deepcopy(module), torch.Generator().manual_seed(chain)
        start = [parameter.detach().clone() for parameter in net.parameters()]
        for _ in range(steps):
            net.zero_grad()
            loss = squares(net, data).mean()
            loss.backward()
            with torch.no_grad():
                for parameter, centre in zip(net.parameters(), start, strict=True):
                    assert parameter.grad is not None
                    drift = GAMMA * (parameter - centre) + n_beta * parameter.grad
                    parameter -= 0.5 * STEP * drift
                    parameter += math.sqrt(STEP) * torch.randn(parameter.shape, generator=generator)


def ours(landscape: TorchLandscape, steps: int) -> None:
    """The same chains by `sample_torch`."""
    config = SGLDConfig(
        warmup=0,
        draws=steps // 10,
        thin=10,
        chains=CHAINS,
        step_rule="fixed",
        step_size=STEP,
        precision="float32",
        check_every=10**6,
    )
    sample_torch(landscape, config)


def seconds(work: Callable[[], object], rounds: int = 3) -> float:
    """CPU-seconds of the fastest of some rounds."""
    times = []
    for _ in range(rounds):
        begin = time.process_time()
        work()
        times.append(time.process_time() - begin)
    return min(times)


def speeds(widths: tuple[int, ...], rows: int, steps: int) -> str:
    """A row of the first table: steps of a chain per CPU-second."""
    module, data = target(widths, rows)
    landscape = torch_landscape(module, data, squares, width="float32")
    ours(landscape, 100)
    times = [seconds(lambda: plain(module, data, steps)), seconds(lambda: ours(landscape, steps))]
    cells = [f"{CHAINS * steps / spent:,.0f}" for spent in times]
    return (
        f"| {'-'.join(map(str, widths))} | {landscape.n_parameters:,} | {rows} | "
        f"{' | '.join(cells)} | {times[0] / times[1]:.1f} |"
    )


def repeated(landscape: TorchLandscape, w: Tensor, times: int) -> None:
    """The same gradients several times."""
    for _ in range(times):
        landscape.value_and_gradient(w)


def together(widths: tuple[int, ...], rows: int) -> str:
    """A row of the second table: milliseconds of a gradient for all chains."""
    module, data = target(widths, rows)
    times = []
    for batched in (True, False):
        landscape = torch_landscape(module, data, squares, width="float32")
        landscape.__dict__["batched"] = batched
        w = landscape.centre.expand(CHAINS, -1).clone()
        landscape.value_and_gradient(w)
        ten = functools.partial(repeated, landscape, w, 10)
        times.append(seconds(ten) / 10)
    size = f"{landscape.n_parameters * rows:,}"
    return (
        f"| {'-'.join(map(str, widths))} | {rows} | {size} | {1e3 * times[0]:.2f} | "
        f"{1e3 * times[1]:.2f} |"
    )


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=1000)
    steps = parser.parse_args().steps
    torch.set_num_threads(1)
    print("| target | parameters | rows | plain loop | ours | ratio |\n|---|---|---|---|---|---|")
    for widths, rows in (((10, 1), 1000), ((4, 4, 4, 1), 100), ((10, 32, 32, 1), 100)):
        print(speeds(widths, rows, steps))
    limit = torch_module.BATCHED_WORK
    torch_module.BATCHED_WORK = math.inf
    print(
        "\n| network | rows | parameters times rows | four chains together, ms | one after the "
        "other, ms |\n|---|---|---|---|---|"
    )
    for widths, rows in (
        ((10, 32, 32, 1), 1000),
        ((32, 64, 64, 1), 1000),
        ((32, 128, 128, 1), 100),
        ((32, 128, 128, 1), 1000),
    ):
        print(together(widths, rows))
    torch_module.BATCHED_WORK = limit


if __name__ == "__main__":
    main()
