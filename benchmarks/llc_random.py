"""Samplers with written-out random numbers and with JAX's own generator, alternating:
`python benchmarks/llc_random.py [SAMPLER…]`.

Both give the same draws to the last bit, which is checked. Microseconds of CPU per gradient of
sampling, 2,000 draws of the default sampler. Set OMP_NUM_THREADS=1.
"""

import dataclasses
import sys

import jax
import numpy as np

from causal_meta.llc.landscapes.forms import form_landscape
from causal_meta.llc.samplers import prepared, sample, threefry
from llc_calibration import SAMPLERS, TARGETS


def key_of_jax(word):
    return jax.random.wrap_key_data(jax.random.key_data(threefry.key_of(word)), impl="threefry2x32")


def timed(landscape, config, key_of):
    prepared.key_of = key_of
    draws = sample(landscape, config)
    gradients = (
        (draws.gradients[:, -1] - draws.gradients[:, 0]).sum() * config.draws / (config.draws - 1)
    )
    return 1e6 * draws.statistics["cpu_seconds"]["sampling"] / gradients, draws.loss


def main(names):
    for target in ("reduced_rank", "regression"):
        form, n = TARGETS[target]
        landscape = form_landscape(form, n, 0)
        for name in names or ("hmc", "mclmc", "sgld", "sgnht"):
            config = dataclasses.replace(SAMPLERS[name], draws=2000)
            (theirs, one), (ours, other) = (
                timed(landscape, config, key_of) for key_of in (key_of_jax, threefry.key_of)
            )
            assert np.array_equal(one, other)
            print(
                f"{target} {name}: JAX's own {theirs:.2f} µs a gradient, written out {ours:.2f}: "
                f"{theirs / ours:.2f} times as fast",
                flush=True,
            )


if __name__ == "__main__":
    main(sys.argv[1:])
