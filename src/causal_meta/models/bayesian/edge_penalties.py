"""The edge penalty under which a prior over directed acyclic graphs expects a number of edges."""

from __future__ import annotations

import decimal
import math
from decimal import Decimal

from causal_meta.scores.graph_prior import GraphPrior

#: The largest number of variables: the recursion needs as many digits, some seconds at 100.
LARGEST = 100
_STEP = Decimal(10) ** -15  # of the derivative; all sums have D + 60 digits


def expected_edges(prior: GraphPrior, max_parents: int | None = None) -> float:
    """The mean number of edges of the directed acyclic graphs of D variables when each has the
    weight of `prior` and no variable more than `max_parents` parents.

    With m(k) the weight of the parent sets within k variables and z(n) that of the graphs of n,

        z(n) = sum over j = 1..n: (-1)^(j+1) C(n, j) m(n - j)^j z(n - j)

    (Robinson 1973), in D^2 steps, in decimal numbers with enough digits for the differences; the
    mean is -d log z(D) / d theta.

    >>> round(expected_edges(GraphPrior(n_nodes=2, kind="uniform")), 6)  # 2 of 3 graphs have one
    0.666667
    """
    with decimal.localcontext() as context:
        context.prec = prior.n_nodes + 60
        low, high = (_log_total(prior, max_parents, shift) for shift in (-_STEP, _STEP))
        return float((low - high) / (2 * _STEP))


def edge_penalty(n_nodes: int, kind: str, edges: float, max_parents: int | None = None) -> float:
    """The penalty theta in nats under which the prior `kind` expects this number of edges.

    Raises:
        ValueError: no penalty does, or more than `LARGEST` variables.
    """
    if n_nodes > LARGEST:
        raise ValueError(
            f"The expected number of edges can be set for at most {LARGEST} variables, and there "
            f"are {n_nodes}; set edge_penalty instead."
        )
    bound = n_nodes - 1 if max_parents is None else min(max_parents, n_nodes - 1)
    most = sum(min(k, bound) for k in range(n_nodes))
    if not 0 < edges < most:
        raise ValueError(
            f"{edges} edges are expected; acyclic graphs of {n_nodes} variables can expect "
            f"between 0 and {most} edges."
        )

    from scipy.optimize import brentq  # takes a fifth of a second to load

    def excess(theta: float) -> float:
        prior = GraphPrior(n_nodes=n_nodes, kind=kind, edge_penalty=theta)
        return math.log(expected_edges(prior, max_parents)) - math.log(edges)

    low, high = -1.0, 1.0
    while excess(low) < 0:
        low *= 2
    while excess(high) > 0:
        high *= 2
    return float(brentq(excess, low, high, xtol=1e-9))


def _log_total(prior: GraphPrior, max_parents: int | None, shift: Decimal) -> Decimal:
    """log z(D) with the penalty increased by `shift`."""
    n = prior.n_nodes
    bound = n - 1 if max_parents is None else min(max_parents, n - 1)
    theta = Decimal(prior.edge_penalty) + shift
    weights = [(-theta * p).exp() for p in range(bound + 1)]
    if prior.kind == "fair":
        weights = [weight / math.comb(n - 1, p) for p, weight in enumerate(weights)]
    within = [
        sum((math.comb(k, p) * weights[p] for p in range(min(k, bound) + 1)), Decimal(0))
        for k in range(n)
    ]
    total = [Decimal(1)]
    for k in range(1, n + 1):
        terms = (
            (-1) ** (j + 1) * math.comb(k, j) * within[k - j] ** j * total[k - j]
            for j in range(1, k + 1)
        )
        total.append(sum(terms, Decimal(0)))
    return total[n].ln()
