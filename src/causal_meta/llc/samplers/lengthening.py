"""How much longer chains must be whose number of draws is left open.

Monte Carlo error (squared), effective draws and R-hat - 1 all go as 1 / T in the number T of draws,
so that each forecasts the length at which it is good. Chains that say that they have not been
everywhere yet are only made twice as long. Stopping by an error that is itself estimated favours
errors that came out too small; the aim is therefore below what is flagged, and
`benchmarks/llc_calibration.py` holds what comes of it to exact values.
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
"""By how much a run is made longer at the least."""
MOST_GROWTH: Final = 4.0
"""And at the most, before it is looked at again."""
SPARE: Final = 1.2
"""What a forecast is made longer by: the numbers that it is made from are noisy themselves."""
MARGIN: Final = 1.5
"""How far effective draws and R-hat are to be from what raises a flag."""
HOPELESS: Final = 16.0
"""How many times MOST_DRAWS a forecast may be that is begun all the same: its error may be one of
rare excursions, and the forecast far too long."""
UNSETTLED: Final = frozenset({"drift", "slow_directions", "law_violated"})
"""What chains say that have not been everywhere yet."""


def further(draws: Draws, aim: float) -> int:
    """How many draws each chain still needs where their number is left open: none where the
    estimate is known well enough, or never will be.

    A forecast of more than HOPELESS times MOST_DRAWS is not begun: the flags of the run as it is
    say what is wrong.
    """
    length = draws.loss.shape[1]
    found = wanting(estimate(draws, n=2, n_parameters=sum(draws.virial_sizes)), aim)
    if found <= 1 or length >= MOST_DRAWS or found * length > HOPELESS * MOST_DRAWS:
        return 0
    return (
        min(int(length * min(max(SPARE * found, LEAST_GROWTH), MOST_GROWTH)), MOST_DRAWS) - length
    )


def wanting(analysis: Mapping[str, Any], aim: float) -> float:
    """How many times longer chains must be for an error of `aim` λ̂, for effective draws and R-hat
    that raise no flag, and to have been everywhere.

    Infinite where nothing can be said.
    """
    mean, rhat = analysis["llc_mean"], analysis["rhat"]
    if mean is None or rhat is None or mean <= 0:
        return math.inf
    mixing = max(flags.LEAST_ESS / analysis["ess"], (rhat - 1) / (flags.HIGHEST_RHAT - 1))
    settled = not UNSETTLED & set(analysis["flags"])
    return float(
        max((analysis["llc_mcse"] / (aim * mean)) ** 2, MARGIN * mixing, 0.0 if settled else 2.0)
    )
