"""Ordered edges: a distribution over orders of the variables, and independent edges along an order.
Every graph is acyclic by construction."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from typing import ClassVar, Self

import torch
from jaxtyping import Bool, Float, Int8, Shaped
from torch import Tensor
from torch.nn import functional

from causal_meta.graphs import is_acyclic
from causal_meta.posteriors.graph_posterior import (
    ENTRIES_AT_ONCE,
    GraphPosterior,
    check_one_graph_per_task,
    check_shapes,
    or_fixed,
    pair_mask,
)

#: The entropy is summed over all acyclic graphs up to this many variables (543 graphs of 4).
ENUMERATED = 4


class OrderedEdges(GraphPosterior):
    """A mixture of K orders per task, each with independent edges from earlier to later variables.

    p(A) = sum_k w_k 1[A respects order k] prod over i before j in order k of
    Bernoulli(A_ij; sigmoid(logits_kij)).

    Marginals and `log_prob` are exact; both cost O(K D^2) per task. Edges are correlated through
    the order. A graph that respects none of the K orders has probability 0. Several components
    may hold the same order. K orders drawn from another law of orders (`from_plackett_luce`, draws
    of a chain over potentials) stand for that law only up to their sampling error, about
    1 / sqrt(K) in a marginal; the quantities here are those of the mixture itself.

    Args:
        logits: log odds of an edge in each order, or with one entry in the second dimension for
            all of them; read only where the first variable comes before the second.
        positions: numbers by which the variables of an order are sorted, causes first; of equal
            numbers the variable with the smaller index comes first.
        log_weights: logarithms of unnormalised weights of the orders.
        node_mask: True at real variables.

    Raises:
        ValueError: other shapes, NaN, or a task all of whose weights are 0.

    >>> order = torch.tensor([[[0, 1], [1, 0]]])  # 0 before 1, and 1 before 0
    >>> mask = torch.ones(1, 2, dtype=torch.bool)
    >>> posterior = OrderedEdges(torch.zeros(1, 1, 2, 2), order, torch.zeros(1, 2), mask)
    >>> posterior.edge_probabilities.tolist()
    [[[0.0, 0.25], [0.25, 0.0]]]
    """

    type_name = "ordered_edges"
    shapes: ClassVar = {"logits": "B L D D", "positions": "B K D", "log_weights": "B K"}
    padding: ClassVar = {"logits": -torch.inf, "positions": 0, "log_weights": -torch.inf}
    ragged = frozenset("DKL")

    def __init__(
        self,
        logits: Float[Tensor, "B L D D"],
        positions: Shaped[Tensor, "B K D"],
        log_weights: Float[Tensor, "B K"],
        node_mask: Bool[Tensor, "B D"],
    ) -> None:
        check_shapes(logits, node_mask, "logits", self.shapes["logits"])
        check_shapes(positions, node_mask, "positions", self.shapes["positions"])
        orders = positions.shape[1]
        if logits.shape[1] not in (1, orders) or log_weights.shape != positions.shape[:2]:
            raise ValueError(
                f"{orders} orders came with logits for {logits.shape[1]} and weights of shape "
                f"{tuple(log_weights.shape)}; give logits for one or all orders and a weight each."
            )
        self.node_mask = node_mask.to(torch.bool)
        pairs = pair_mask(self.node_mask)
        if torch.isnan(logits.transpose(0, 1)[:, pairs]).any() or torch.isnan(positions).any():
            raise ValueError(
                "The logits or positions hold NaN; the model that gave them has diverged."
            )
        total = log_weights.logsumexp(dim=1, keepdim=True)
        if not bool(torch.isfinite(total).all()):
            raise ValueError("Each task needs at least one order with a positive, finite weight.")
        self.logits = torch.where(pairs[:, None], logits, torch.full_like(logits, -torch.inf))
        self.log_weights = log_weights - total
        last = positions.to(torch.float64).masked_fill(~self.node_mask[:, None], torch.inf)
        self.positions = last.argsort(dim=2, stable=True).argsort(dim=2).to(torch.int16)

    @classmethod
    def from_plackett_luce(
        cls,
        scores: Float[Tensor, "B D"],
        logits: Float[Tensor, "B D D"],
        node_mask: Bool[Tensor, "B D"],
        n_orders: int,
        generator: torch.Generator | None = None,
    ) -> Self:
        """`n_orders` equally weighted orders drawn from the Plackett-Luce law: the first variable
        is i with probability exp(scores_i) / sum_j exp(scores_j), the next so among those left.

        Drawn exactly, by sorting scores with Gumbel noise. Under the law itself i precedes j with
        probability sigmoid(scores_i - scores_j), to which the share of the orders converges.
        """
        generator = or_fixed(generator)
        shape = (len(scores), n_orders, scores.shape[1])
        noise = torch.rand(shape, generator=generator, dtype=torch.float64).clamp(min=1e-300)
        gumbel = -torch.log(-torch.log(noise))
        weights = torch.zeros(shape[:2], dtype=torch.float64)
        return cls(logits[:, None], -(scores[:, None] + gumbel), weights, node_mask)

    def _pieces(self) -> list[slice]:
        """The tasks in pieces of bounded size of [piece, K, D, D]."""
        _, orders, nodes = self.positions.shape
        at_once = max(1, ENTRIES_AT_ONCE // max(1, orders * nodes**2))
        return [slice(start, start + at_once) for start in range(0, len(self), at_once)]

    def _before(self, tasks: slice) -> Bool[Tensor, "b K D D"]:
        """Entry (k, i, j): real variable i comes before real variable j in order k."""
        position = self.positions[tasks]
        before = position.unsqueeze(-1) < position.unsqueeze(-2)
        return before & pair_mask(self.node_mask[tasks])[:, None]

    @property
    def edge_probabilities(self) -> Float[Tensor, "B D D"]:
        """sum_k w_k 1[i before j in order k] sigmoid(logits_kij), exact."""
        pieces = [
            torch.einsum(
                "bk,bkij->bij",
                self.log_weights[tasks].exp().to(self.logits.dtype),
                torch.sigmoid(self.logits[tasks]) * self._before(tasks),
            )
            for tasks in self._pieces()
        ]
        return torch.cat(pieces).clamp(max=1)

    def sample(self, n: int, generator: torch.Generator | None = None) -> Int8[Tensor, "B n D D"]:
        """An order by its weight, then every edge along it."""
        generator = or_fixed(generator)
        device, (tasks, nodes) = generator.device, self.node_mask.shape
        weights = self.log_weights.exp().to(device)
        drawn = torch.multinomial(weights, n, replacement=True, generator=generator)
        uniform = torch.rand((tasks, n, nodes, nodes), generator=generator, device=device)
        each = torch.arange(tasks, device=device).unsqueeze(1)
        position = self.positions.to(device)[each, drawn]
        before = position.unsqueeze(-1) < position.unsqueeze(-2)
        logits = self.logits.to(device)[each, drawn if self.logits.shape[1] > 1 else 0]
        return ((uniform < torch.sigmoid(logits)) & before).to(torch.int8)

    def log_prob(self, adjacency: Float[Tensor, "B D D"]) -> Float[Tensor, " B"]:
        """log p(A) in nats, float64, exact; -inf for a graph that respects none of the orders."""
        check_one_graph_per_task(adjacency, pair_mask(self.node_mask))
        looped = torch.diagonal(adjacency > 0.5, dim1=-2, dim2=-1).any(dim=-1)
        pieces = []
        for tasks in self._pieces():
            pairs, before = pair_mask(self.node_mask[tasks])[:, None], self._before(tasks)
            edge = (adjacency[tasks] > 0.5)[:, None] & pairs
            logits = self.logits[tasks].double()
            terms = functional.logsigmoid(torch.where(edge, logits, -logits))
            log_prob = torch.where(before, terms, 0.0).sum(dim=(-2, -1))
            respected = ~(edge & ~before).any(dim=-1).any(dim=-1)
            log_prob = torch.where(respected, log_prob, -torch.inf)
            pieces.append((self.log_weights[tasks].double() + log_prob).logsumexp(dim=1))
        return torch.cat(pieces).masked_fill(looped, -torch.inf)

    def entropy(self) -> Float[Tensor, " B"]:
        """Entropy in nats, float64, summed over all acyclic graphs of at most `ENUMERATED` real
        variables.

        Raises:
            ValueError: a task has more variables; `entropy_estimate` has no such limit.
        """
        if int(self.node_mask.sum(1).max()) > ENUMERATED:
            raise ValueError(
                f"The entropy of ordered edges is exact for at most {ENUMERATED} variables; use "
                "entropy_estimate, which also states its standard error."
            )
        values = []
        for b in range(len(self)):
            alone = self.task(b)
            graphs = _acyclic_graphs(alone.node_mask.shape[1])
            tensors = {
                name: getattr(alone, name).expand(len(graphs), *getattr(alone, name).shape[1:])
                for name in self.shapes
            }
            many = self.from_tensors(tensors, alone.node_mask.expand(len(graphs), -1))
            values.append(torch.special.entr(many.log_prob(graphs).exp()).sum())
        return torch.stack(values)

    def entropy_estimate(
        self, n: int, generator: torch.Generator | None = None
    ) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
        """The mean of -log p over `n` draws per task, an unbiased estimate of the entropy in nats,
        and its standard error."""
        graphs = self.sample(n, generator)
        surprise = -torch.stack([self.log_prob(graphs[:, s].float()) for s in range(n)])
        return surprise.mean(dim=0), surprise.std(dim=0) / n**0.5

    @classmethod
    def stack(cls, posteriors: Sequence[Self]) -> Self:
        """The posterior of all tasks; orders that a task lacks are added with weight 0."""
        if len({one.logits.shape[1] for one in posteriors}) > 1:
            posteriors = [one._with_logits_of_each_order() for one in posteriors]
        return super().stack(posteriors)

    def _with_logits_of_each_order(self) -> Self:
        logits = self.logits.expand(-1, self.positions.shape[1], -1, -1)
        result = type(self)(logits, self.positions, self.log_weights, self.node_mask)
        result.diagnostics = self.diagnostics
        return result


@functools.cache
def _acyclic_graphs(n_nodes: int) -> Float[Tensor, "G D D"]:
    """All directed acyclic graphs of `n_nodes` variables."""
    pairs = [(i, j) for i in range(n_nodes) for j in range(n_nodes) if i != j]
    graphs = torch.zeros(2 ** len(pairs), n_nodes, n_nodes)
    if pairs:
        cause, effect = torch.tensor(pairs).T
        graphs[:, cause, effect] = torch.tensor(
            list(itertools.product((0.0, 1.0), repeat=len(pairs)))
        )
    return graphs[is_acyclic(graphs)]
