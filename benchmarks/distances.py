"""Are the errors of the distances between families honest, and what do the distances see?

    python benchmarks/distances.py [--repeats 100] [--n-tasks 40]

First a family against itself, over and over: the mean of z = (value - null) / se, its spread and
its largest size (an honest error gives a spread near 1; quadratic distances are skewed and lie
below). Then pairs of ready families in standard errors. A markdown table each, with CPU seconds.
"""

import argparse
import time

import numpy as np
import torch

from causal_meta.conf.convert import from_plain, preset
from causal_meta.conf.data import FamilyConfig
from causal_meta.datasets.distances import family_distances

ANCHOR = "id_linear_er20_d20_n500"
OTHERS = (
    "ood_samples_linear_er20_d20_n50",
    "id_linear_er40_d20_n500",
    "id_linear_sf1_d20_n500",
    "ood_noise_laplace_linear_er20_d20_n500",
    "id_neuralnet_er20_d20_n500",
    "id_gpcde_er20_d20_n500",
    "ood_mech_periodic_er20_d20_n500",
    "ood_nodes_linear_er20_d40_n500",
    "avici_train_grn",
)


def family(name: str, **changes) -> FamilyConfig:
    """A ready family with settings of its own."""
    return from_plain(FamilyConfig, preset(FamilyConfig, name) | changes)


def away(found) -> dict[str, float]:
    """Standard errors from what equal families have."""
    return {
        name: (entry["value"] - entry["null"]) / entry["se"] if entry["se"] else 0.0
        for name, entry in found.items()
    }


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--n-tasks", type=int, default=40)
    args = parser.parse_args()
    torch.set_num_threads(1)
    begin = time.process_time()
    wide = family("wide", n_nodes=8)
    null = [
        away(family_distances(wide, wide, args.n_tasks, seed, 100)) for seed in range(args.repeats)
    ]
    spent = (time.process_time() - begin) / args.repeats
    print(
        f"`wide` (D = 8) against itself, {args.repeats} times with {args.n_tasks} tasks of 100 "
        f"rows each, {spent:.2f} CPU seconds a time\n"
    )
    print("| distance | mean z | spread of z | smallest | largest |\n|---|---|---|---|---|")
    for name in null[0]:
        z = np.array([one[name] for one in null])
        print(
            f"| {name} | {np.nanmean(z):.2f} ± {np.nanstd(z) / np.sqrt(len(z)):.2f} | "
            f"{np.nanstd(z):.2f} | {np.nanmin(z):.1f} | {np.nanmax(z):.1f} |"
        )
    print(f"\n`{ANCHOR}` against others, 200 tasks of 200 rows each, in standard errors\n")
    print(f"| family | {' | '.join(null[0])} | CPU s |\n|---|{'---|' * (len(null[0]) + 1)}")
    for name in OTHERS:
        begin = time.process_time()
        z = away(family_distances(family(ANCHOR), family(name)))
        print(
            f"| {name} | {' | '.join(f'{value:.1f}' for value in z.values())} | "
            f"{time.process_time() - begin:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
