"""Greedy equivalence search, bootstrapped."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int8

from causal_meta.conf.inference import GESConfig
from causal_meta.models.classical.bootstrap import Bootstrap
from causal_meta.models.classical.causal_learn import from_endpoints, load, quiet_globals


class GES(Bootstrap[GESConfig]):
    """Greedy equivalence search (Chickering 2002) with BIC, `penalty` log N per parameter: 0.5 is
    plain BIC."""

    def fit(
        self, rows: Float[np.ndarray, "N D"], generator: np.random.Generator
    ) -> Int8[np.ndarray, "D D"]:
        """The completed partially directed graph of the rows."""
        with quiet_globals(generator):
            search = load("causallearn.search.ScoreBased.GES").ges
            result = search(
                rows,
                score_func="local_score_BIC_from_cov",
                parameters={"lambda_value": self.config.penalty},
            )
        return from_endpoints(result["G"].graph)
