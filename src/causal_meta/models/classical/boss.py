"""Best order score search, bootstrapped."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int8

from causal_meta.conf.inference import BOSSConfig
from causal_meta.models.classical.bootstrap import Bootstrap
from causal_meta.models.classical.causal_learn import from_endpoints, load, quiet_globals


class BOSS(Bootstrap[BOSSConfig]):
    """Best order score search (Andrews et al. 2023) with BIC, `penalty` log N per parameter:
    causal-learn's default is 2, four times plain BIC."""

    def fit(
        self, rows: Float[np.ndarray, "N D"], generator: np.random.Generator
    ) -> Int8[np.ndarray, "D D"]:
        """The completed partially directed graph of the rows."""
        with quiet_globals(generator):
            search = load("causallearn.search.PermutationBased.BOSS").boss
            result = search(
                rows,
                score_func="local_score_BIC_from_cov",
                parameters={"lambda_value": self.config.penalty},
                verbose=False,
            )
        return from_endpoints(result.graph)
