"""From concentrations of genes in cells to the counts of a sequencer: outlier genes, library sizes,
dropout, counts.

Everything is a function of standard normal numbers that the caller passes, so that two tables with
the same numbers are the same experiment. Arrays are stored by gene: [B, D, N], genes before cells.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from causal_meta import randomness
from causal_meta.conf.gene_laws import TechnicalNoiseConfig
from causal_meta.datasets.mechanisms.law import Names, Parameters
from causal_meta.fixed_order import row_sums

_SMALL = 12.0  # up to this mean the Poisson law is inverted by adding its probabilities
_TERMS = 120  # far more of them than float32 can distinguish


def draw_experiment(
    config: TechnicalNoiseConfig, seeds: Sequence[int], names: Names, n_nodes: int
) -> Parameters:
    """The settings of each task's experiment, each [B, D]: the `outlier` factors of genes, and
    others that are equal for all genes."""

    def chosen(name: str) -> Tensor:
        values = torch.tensor(getattr(config, name))
        if len(values) == 1:
            return values.expand(len(seeds))
        u = randomness.uniforms(seeds, (*names, name), ())
        return values[(u * len(values)).long()]

    numbers = randomness.normals(seeds, (*names, "outliers"), (2, n_nodes))
    factor = torch.exp(
        chosen("outlier_log_mean")[:, None] + chosen("outlier_log_std")[:, None] * numbers[:, 0]
    )
    is_outlier = torch.special.ndtr(numbers[:, 1]) < chosen("outlier_probability")[:, None]
    shared = ("library_log_mean", "library_log_std", "dropout_shape", "dropout_percentile")
    settings = {name: chosen(name)[:, None].expand(-1, n_nodes).contiguous() for name in shared}
    return settings | {"outlier": torch.where(is_outlier, factor, 1.0)}


def scaled_to_library(
    experiment: Parameters, x: Float[Tensor, "B D N"], library: Float[Tensor, "B N"]
) -> Float[Tensor, "B D N"]:
    """Concentrations after outliers and library sizes: every cell sums to exp(mean + std
    z), z = `library`.

    An empty cell stays so.
    """
    x = x * experiment["outlier"][..., None]
    total = x[:, 0].clone()
    # one after another: the bits of a sum must not depend on the layout
    for gene in range(1, x.shape[1]):
        total += x[:, gene]
    size = torch.exp(
        experiment["library_log_mean"][:, :1] + experiment["library_log_std"][:, :1] * library
    )
    return x * (size / total.clamp_(min=1e-30))[:, None]


def dropout_midpoint(
    experiment: Parameters, scaled: Float[Tensor, "B D N"]
) -> Float[Tensor, "B D"]:
    """The dropout percentile of ln(x + 1) over all genes and cells of `scaled` [B, D, N],
    equal for all genes."""
    values = torch.log1p(scaled).flatten(1).to(torch.float64).sort(dim=1).values
    place = experiment["dropout_percentile"][:, :1].to(torch.float64) / 100 * (values.shape[1] - 1)
    below = place.floor().long()
    low, high = (
        values.gather(1, below),
        values.gather(1, (below + 1).clamp_(max=values.shape[1] - 1)),
    )
    return (
        (low + (place - below) * (high - low))
        .to(torch.float32)
        .expand(-1, scaled.shape[1])
        .contiguous()
    )


def counts(
    experiment: Parameters,
    scaled: Float[Tensor, "B D N"],
    dropout: Float[Tensor, "B D N"],
    count: Float[Tensor, "B D N"],
) -> Float[Tensor, "B D N"]:
    """Whole numbers from scaled concentrations and two standard normal numbers each:
    which value survives, and the Poisson draw."""
    chance = torch.sigmoid(
        experiment["dropout_shape"][..., None]
        * (torch.log1p(scaled) - experiment["midpoint"][..., None])
    )
    return poisson_at(torch.where(torch.special.ndtr(dropout) < chance, scaled, 0.0), count)


def poisson_at(
    mean: Float[Tensor, "*shape"], z: Float[Tensor, "*shape"]
) -> Float[Tensor, "*shape"]:
    """The quantile of the Poisson law with `mean` at the probability Phi(z): Poisson distributed
    when z is standard normal, and rising with z.

    Small means: probabilities are added up. Above 12: the first four terms of the Cornish-Fisher
    expansion in 1/sqrt(mean) (Giles 2016), which is off by one in less than one draw of a thousand.

    >>> poisson_at(torch.tensor([0.0, 1.0, 100.0]), torch.zeros(3))
    tensor([  0.,   1., 100.])
    """
    root = mean.clamp(min=_SMALL).sqrt()
    square = z * z
    large = (
        mean
        + root * z
        + (square + 2) / 6
        - z * (square + 2) / (72 * root)
        + ((3 * square + 7) * square - 16) / (810 * mean.clamp(min=_SMALL))
    )
    quantile = large.floor_().clamp_(min=0)
    small = (mean <= _SMALL) & (mean > 0)
    chosen = mean[small].to(torch.float64)
    if len(chosen):
        above = torch.special.ndtr(-z[small].to(torch.float64))
        quantile[small] = _by_summation(chosen, above).to(torch.float32)
    return quantile.masked_fill_(mean <= 0, 0.0)


def _by_summation(mean: Tensor, above: Tensor) -> Tensor:
    """The least k with P(X > k) <= `above`, for X of the Poisson law with `mean`."""
    number, term = torch.zeros_like(mean), torch.exp(-mean)
    left = 1 - term - above  # P(X > k) - above
    for k in range(1, _TERMS):
        further = left > 0
        if not bool(further.any()):
            break
        number += further
        term = term * mean / k
        left -= term
    return number


def log_cpm(table: Float[Tensor, "B N D"]) -> Float[Tensor, "B N D"]:
    """Counts as log2 of counts per million of their row, less the table's minimum, over
    the table's standard deviation; no count: 0.

    Minimum and (population) standard deviation are those of the cells with a count; a table whose
    counts are all equal becomes 0.
    """
    present = table > 0
    value = torch.log2(table / table.sum(dim=-1, keepdim=True).clamp(min=1) * 1e6)
    value = torch.where(present, value, 0.0).to(torch.float64)
    lowest = torch.where(present, value, torch.inf).amin(dim=(1, 2), keepdim=True)
    number = present.sum(dim=(1, 2), keepdim=True).clamp(min=1)
    mean = row_sums(value.flatten(1))[:, None, None] / number
    squares = torch.where(present, value - mean, 0.0).square()
    spread = (row_sums(squares.flatten(1))[:, None, None] / number).sqrt()
    moved = torch.where(present, value - torch.where(torch.isfinite(lowest), lowest, 0.0), 0.0)
    return torch.where(spread > 0, moved / spread, 0.0).to(torch.float32)
