"""A sampler of three touches: this file, its configuration with its registry line, and its test
(both in `test_toy_sampler.py`)."""

import math

import jax
import numpy as np

from causal_meta.draws import Draws
from causal_meta.llc.landscapes.landscape import float_width
from causal_meta.randomness import generator


def draw(landscape, config, *, checkpoint=None, progress=None):
    """Independent draws of N(w*, 1 / (nβ + γ)): exact for L(w) = |w - w*|² / 2."""
    n_beta, gamma = landscape.n / math.log(landscape.n), config.posterior.gamma
    shape = (config.chains, config.draws, landscape.n_parameters)
    source = generator(config.seed, "llc", config.kind)
    away = source.standard_normal(shape) / math.sqrt(n_beta + gamma)
    with float_width(config.precision):
        loss = jax.vmap(jax.vmap(landscape.population_loss))(landscape.centre + away)
        centre_loss = float(landscape.population_loss(landscape.centre))
    return Draws(
        loss=np.asarray(loss),
        centre_loss=centre_loss,
        n_beta=n_beta,
        gamma=gamma,
        distance=np.sqrt((away**2).sum(2)),
        projection=away[:, :, : config.projections],
        gradients=np.tile(np.arange(1.0, shape[1] + 1), (shape[0], 1)),
        independent=True,
        seconds={"compile": 0.0, "warmup": 0.0, "sampling": 1.0},
    )
