"""The running estimate: the last point is the estimate, the others are estimates from fewer draws,
failed chains are excluded."""

import dataclasses

import numpy as np
import pytest

from causal_meta.llc.estimates.estimators import chosen, estimate
from causal_meta.llc.estimates.running import settling


def first(draws, t):
    arrays = {
        name: getattr(draws, name)
        for name in (
            "loss",
            "distance",
            "projection",
            "gradients",
            "energy",
            "acceptance",
            "divergent",
            "virial",
        )
    }
    return dataclasses.replace(
        draws, **{name: None if a is None else a[:, :t] for name, a in arrays.items()}
    )


@pytest.mark.parametrize("with_virial", [False, True])
def test_every_point_is_the_estimate_from_its_draws(made_up, with_virial):
    draws = made_up(length=300)
    if with_virial:
        draws = dataclasses.replace(
            draws, virial=(101 * draws.distance**2)[:, :, None], virial_sizes=(made_up.p,)
        )
    running = settling(draws, points=5)
    assert running.draws.tolist() == [60, 120, 180, 240, 300]
    for t, mean, error in zip(running.draws, running.mean, running.error, strict=True):
        analysis = estimate(first(draws, t), n=1000, n_parameters=made_up.p)
        assert mean == pytest.approx(analysis["llc_mean"], rel=1e-12)
        assert error == pytest.approx(analysis["llc_mcse"], rel=1e-12)
    assert running.gradients[-1] == draws.gradients[:, -1].sum()


def test_weights_count_at_every_point(made_up):
    draws = dataclasses.replace(made_up(length=300), independent=True)
    draws = dataclasses.replace(draws, weights=-draws.llc / 5)
    running, analysis = settling(draws, points=5), estimate(draws, n=1000, n_parameters=made_up.p)
    assert (running.mean[-1], running.error[-1]) == pytest.approx(
        (analysis["llc_mean"], analysis["llc_mcse"]), rel=1e-12
    )
    assert (running.mean < draws.llc.mean() - 4 * running.error).all()


def test_a_failed_chain_is_left_out_and_none_gives_no_points(made_up):
    draws = made_up(bad_chain=2)
    running = settling(draws)
    assert running.mean[-1] == settling(chosen(draws, [0, 1, 3])).mean[-1]
    assert np.isfinite(running.mean).all()
    assert (
        len(settling(dataclasses.replace(draws, loss=np.full_like(draws.loss, np.nan))).draws) == 0
    )
