"""The PC algorithm, bootstrapped."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int8

from causal_meta.conf.inference import PCConfig
from causal_meta.models.classical.bootstrap import Bootstrap
from causal_meta.models.classical.causal_learn import from_endpoints, load, quiet_globals


class PC(Bootstrap[PCConfig]):
    """The PC algorithm with Fisher's z (Spirtes et al. 2000), stable variant, conflicting colliders
    resolved for the first one.

    Conditioning sets grow to at most N - 4 variables, where the test ends. What PC returns on
    finite rows may have no consistent extension.
    """

    def fit(
        self, rows: Float[np.ndarray, "N D"], generator: np.random.Generator
    ) -> Int8[np.ndarray, "D D"]:
        """The partially directed graph of the rows."""
        n_rows, n_nodes = rows.shape
        limit = {} if n_nodes - 2 <= n_rows - 4 else {"max_k": max(0, n_rows - 4)}
        with quiet_globals(generator):
            search = load("causallearn.search.ConstraintBased.PC").pc
            result = search(
                rows,
                alpha=self.config.alpha,
                indep_test="fisherz",
                stable=True,
                uc_rule=0,
                uc_priority=2,
                show_progress=False,
                **limit,
            )
        return from_endpoints(result.G.graph)
