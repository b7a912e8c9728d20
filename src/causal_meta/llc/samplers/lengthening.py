"""How many more draws chains need whose number of draws is left open.

Monte Carlo error (squared), 1 / effective draws and R-hat - 1 are all proportional to 1 / T in the
number T of draws, so that each forecasts the length at which it is good. Chains whose flags say
that they have not explored the whole posterior yet are only made twice as long. Stopping by an
error that is itself estimated favours errors that came out too small; the aim is therefore below
the error that raises a flag, and `benchmarks/llc_calibration.py` compares the result with exact
values.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from causal_meta.conf.samplers import MOST_DRAWS
from causal_meta.draws import Draws
from causal_meta.llc.estimates import flags
from causal_meta.llc.estimates.estimators import estimate

LEAST_GROWTH: Final = 1.25
"""The smallest factor by which a run is made longer."""
MOST_GROWTH: Final = 4.0
"""The largest, before the estimate is made again."""
SPARE: Final = 1.2
"""The factor by which a forecast is exceeded, as the numbers that it is made from are noisy."""
MARGIN: Final = 1.5
"""The factor between effective draws or R-hat and the values that raise a flag."""
HOPELESS: Final = 16.0
"""The largest forecast, in terms of MOST_DRAWS, for which a run is continued all the same: its
error may be due to rare excursions, and the forecast far too long."""
UNSETTLED: Final = frozenset({"drift", "slow_directions", "law_violated"})
"""Flags of chains that have not explored the whole posterior yet."""


def further(draws: Draws, aim: float) -> int:
    """The number of draws that each chain still needs for an error of `aim` times λ̂; 0 where the
    error is small enough, or cannot become so.

    With a forecast of more than HOPELESS times MOST_DRAWS the run ends: its flags say what is
    wrong.
    """
    length = draws.loss.shape[1]
    times = times_longer(estimate(draws, n=2, n_parameters=sum(draws.virial_sizes)), aim)
    if times <= 1 or length >= MOST_DRAWS or times * length > HOPELESS * MOST_DRAWS:
        return 0
    return (
        min(int(length * min(max(SPARE * times, LEAST_GROWTH), MOST_GROWTH)), MOST_DRAWS) - length
    )


def times_longer(analysis: Mapping[str, Any], aim: float) -> float:
    """How many times longer chains must be for an error of `aim` times λ̂, for effective draws and
    R-hat that raise no flag, and to have explored the whole posterior.

    Infinite where the analysis has no estimate or no R-hat.
    """
    mean, rhat = analysis["llc_mean"], analysis["rhat"]
    if mean is None or rhat is None or mean <= 0:
        return math.inf
    mixing = max(flags.LEAST_ESS / analysis["ess"], (rhat - 1) / (flags.HIGHEST_RHAT - 1))
    settled = not UNSETTLED & set(analysis["flags"])
    return float(
        max((analysis["llc_mcse"] / (aim * mean)) ** 2, MARGIN * mixing, 0.0 if settled else 2.0)
    )
