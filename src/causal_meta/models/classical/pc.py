"""The PC algorithm, bootstrapped or plain."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from jaxtyping import Float, Int8

from causal_meta.conf.inference import PCConfig
from causal_meta.conf.setting import ConfigError
from causal_meta.knowledge import Knowledge
from causal_meta.models.classical.bootstrap import Bootstrap
from causal_meta.models.classical.causal_learn import from_endpoints, load, quiet_globals
from causal_meta.tasks import Task


class PC(Bootstrap[PCConfig]):
    """The PC algorithm with Fisher's z (Spirtes et al. 2000), stable variant, conflicting colliders
    resolved for the first one.

    Conditioning sets grow to at most N - 4 variables, where the test ends. What PC returns on
    finite rows may have no consistent extension. Forbidden and required edges orient what the tests
    leave (background knowledge of causal-learn); a required edge that they removed is put back.
    """

    def check(self, task: Task) -> None:
        """As of the base; also raises `ConfigError` for a bound on the number of parents."""
        super().check(task)
        if task.knowledge is not None and task.knowledge.max_parents is not None:
            raise ConfigError(
                "PC cannot bound the number of direct causes; leave max_parents out, or use boss."
            )

    def fit(
        self,
        rows: Float[np.ndarray, "N D"],
        generator: np.random.Generator,
        knowledge: Knowledge,
        record: Counter[str],
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
                background_knowledge=_background(knowledge),
                **limit,
            )
        return from_endpoints(result.G.graph)


def _background(knowledge: Knowledge) -> Any:
    """The forbidden and required edges in causal-learn's form; its variables are X1, X2, …"""
    forbidden = knowledge.forbidden & ~np.eye(knowledge.n_nodes, dtype=bool)
    if not forbidden.any() and not knowledge.required.any():
        return None
    background = load("causallearn.utils.PCUtils.BackgroundKnowledge").BackgroundKnowledge()
    node = load("causallearn.graph.GraphNode").GraphNode
    nodes = [node(f"X{i + 1}") for i in range(knowledge.n_nodes)]
    for i, j in np.argwhere(forbidden):
        background.add_forbidden_by_node(nodes[i], nodes[j])
    for i, j in np.argwhere(knowledge.required):
        background.add_required_by_node(nodes[i], nodes[j])
    return background
