"""What a sequencer reports: each distortion against its law, in closed form or by independent code.

Bounds are 5 standard errors: false alarms below 1e-6 per bound and change of the seeds.
"""

import math

import numpy as np
import pytest
import scipy.stats
import torch

from causal_meta import randomness
from causal_meta.conf.gene_laws import TechnicalNoiseConfig
from causal_meta.conf.setting import ConfigError
from causal_meta.datasets.mechanisms import technical_noise
from causal_meta.datasets.mechanisms.technical_noise import (
    dropout_midpoint,
    log_cpm,
    poisson_at,
    scaled_to_library,
)

SEEDS = randomness.seeds_of(0, "experiments", start=0, count=400)


def normals(name, *shape):
    return randomness.normals([3], (name,), shape)[0]


@pytest.mark.parametrize("mean", [1e-3, 0.5, 3.0, 11.9, 12.1, 40.0, 400.0, 50_000.0])
def test_counts_are_the_quantiles_of_the_poisson_law(mean):
    """scipy's quantile function at the same probabilities; a difference of one in at most one draw
    of a thousand."""
    z = normals("count", 20_000)
    found = poisson_at(torch.full_like(z, mean), z).numpy()
    expected = scipy.stats.poisson.ppf(scipy.stats.norm.cdf(z.double().numpy()), mean)
    assert np.abs(found - expected).max() <= 1
    assert (found != expected).mean() <= (1e-3 if mean < 1000 else 0.02), (
        "above, float32 holds three decimals"
    )
    assert (
        found != scipy.stats.poisson.ppf(scipy.stats.norm.cdf(z.double().numpy()), mean * 1.05)
    ).mean() > 1e-3 or mean < 0.1


def test_counts_have_the_poisson_mean_and_variance():
    z = normals("moments", 400_000)
    for mean in (0.5, 8.0, 30.0):
        x = poisson_at(torch.full_like(z, mean), z).double()
        assert abs(float(x.mean()) - mean) < 5 * math.sqrt(mean / len(z))
        assert abs(float(x.var()) - mean) < 5 * math.sqrt((mean + 2 * mean**2) / len(z))
    assert bool((poisson_at(torch.zeros(100), z[:100]) == 0).all())


def test_counts_rise_with_mean_and_chance():
    mean, z = torch.linspace(0, 40, 400), torch.linspace(-5, 5, 401)
    table = poisson_at(
        mean[:, None].expand(400, 401).contiguous(), z[None].expand(400, 401).contiguous()
    )
    assert bool((table.diff(dim=1) >= 0).all())
    assert float(table.diff(dim=0).min()) >= -1, "a step of one where the two methods meet"
    assert float((table.diff(dim=0) < 0).double().mean()) < 1e-3


def test_outlier_genes_are_as_frequent_and_as_large_as_said():
    config = TechnicalNoiseConfig(
        outlier_probability=(0.2,), outlier_log_mean=(1.5,), outlier_log_std=(0.5,)
    )
    factor = technical_noise.draw_experiment(config, SEEDS, ("a",), 20)["outlier"].double()
    outlier = factor != 1
    count = outlier.numel()
    assert abs(float(outlier.double().mean()) - 0.2) < 5 * math.sqrt(0.16 / count)
    logs = factor[outlier].log()
    assert abs(float(logs.mean()) - 1.5) < 5 * 0.5 / math.sqrt(len(logs))
    assert abs(float(logs.std()) - 0.5) < 5 * 0.5 / math.sqrt(2 * len(logs))


def test_each_task_draws_one_of_the_settings():
    config = TechnicalNoiseConfig(
        library_log_mean=(6.0, 6.0, 4.5), dropout_percentile=(74.0, 82.0, 45.0)
    )
    experiment = technical_noise.draw_experiment(config, SEEDS, ("a",), 3)
    low = experiment["library_log_mean"][:, 0] == 4.5
    assert abs(float(low.double().mean()) - 1 / 3) < 5 * math.sqrt(2 / 9 / len(SEEDS))
    assert set(experiment["dropout_percentile"].unique().tolist()) == {45.0, 74.0, 82.0}
    both = float((low & (experiment["dropout_percentile"][:, 0] == 45)).double().mean())
    assert abs(both - 1 / 9) < 5 * math.sqrt(8 / 81 / len(SEEDS)), "each field by itself"


def test_a_cell_sums_to_its_library_size():
    config = TechnicalNoiseConfig(library_log_mean=(6.0,), library_log_std=(0.4,))
    experiment = technical_noise.draw_experiment(config, SEEDS[:4], ("a",), 7)
    x, z = normals("x", 4, 7, 5000).abs(), normals("library", 4, 5000)
    x[0, :, 0] = 0
    sums = scaled_to_library(experiment, x, z).sum(dim=1).double()
    assert float(sums[0, 0]) == 0, "an empty cell stays empty"
    logs = torch.cat([sums[0, 1:], sums[1:].flatten()]).log()
    assert abs(float(logs.mean()) - 6) < 5 * 0.4 / math.sqrt(len(logs))
    assert abs(float(logs.std()) - 0.4) < 5 * 0.4 / math.sqrt(2 * len(logs))
    ratio = scaled_to_library(experiment, x, z)[1] / (x * experiment["outlier"][..., None])[1]
    assert float((ratio / ratio[:1] - 1).abs().max()) < 1e-5, "shares are kept"


def test_dropout_follows_the_logistic_law():
    """Survival against 1 / (1 + exp(-shape (ln(x + 1) - m))), where survivors are seen by a count
    above 0 at large means."""
    experiment = {
        "dropout_shape": torch.full((1, 1), 8.0),
        "midpoint": torch.full((1, 1), math.log(151.0)),
    }
    n = 20_000
    for mean in (130.0, 150.0, 170.0):
        x = technical_noise.counts(
            experiment,
            torch.full((1, 1, n), mean),
            normals("drop", 1, 1, n),
            normals("count", 1, 1, n),
        )
        expected = 1 / (1 + math.exp(-8 * (math.log(mean + 1) - math.log(151))))
        assert abs(float((x > 0).double().mean()) - expected) < 5 * math.sqrt(
            expected * (1 - expected) / n
        )


def test_the_midpoint_is_the_percentile_over_genes_and_cells():
    x = normals("scaled", 2, 6, 50).abs() * 30
    for share in (0.0, 45.0, 82.0, 100.0):
        found = dropout_midpoint({"dropout_percentile": torch.full((2, 6), share)}, x)
        expected = [
            np.percentile(np.log1p(x[b].numpy().astype(np.float64)), share) for b in range(2)
        ]
        np.testing.assert_allclose(found[:, 0].numpy(), expected, rtol=1e-5)
        assert bool((found == found[:, :1]).all())


def test_log_cpm_by_hand():
    table = torch.tensor([[[0.0, 10.0, 30.0], [5.0, 0.0, 5.0], [0.0, 0.0, 0.0]]])
    cpm = np.array([[np.nan, 0.25e6, 0.75e6], [0.5e6, np.nan, 0.5e6], [np.nan] * 3])
    logs = np.log2(cpm)
    expected = np.nan_to_num((logs - np.nanmin(logs)) / np.nanstd(logs), nan=0.0)
    np.testing.assert_allclose(log_cpm(table)[0].numpy(), expected, rtol=1e-5)
    assert bool((log_cpm(torch.zeros(1, 4, 3)) == 0).all())


def test_settings_that_make_no_sense():
    with pytest.raises(ConfigError, match="at most 1"):
        TechnicalNoiseConfig(outlier_probability=(0.1, 1.5))
    with pytest.raises(ConfigError, match="library_log_mean is empty"):
        TechnicalNoiseConfig(library_log_mean=())
