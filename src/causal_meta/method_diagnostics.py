"""What a method reports about its own work, as one record for all methods."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

#: The counts of `MethodDiagnostics.mended` in words.
_MENDED = {
    "redrawn": "bootstrap replicates drawn again because a column was constant",
    "jittered": "bootstrap replicates with noise added because their correlations were singular",
    "without_consistent_extension": "graphs without a consistent extension, directed as far as "
    "possible",
    "parents_at_bound": "graphs with a variable that has as many direct causes as the rows allow, "
    "one for every five",
    "work_bound": "searches ended early at the bound of their work",
}


@dataclass(frozen=True)
class MethodDiagnostics:
    """Counts over the tasks that a method answered.

    Args:
        interventional_rows_left_out: rows under interventions that the method did not read.
        mended: how often each kind of degenerate intermediate result was repaired, by its name.
        chains: Markov chains (or particles' trajectories) that were run; 0 for other methods.
        acceptance: share of accepted proposals, averaged over chains; None where nothing is
            proposed.
        restarts: runs of a search or chain that were begun anew.
        r_hat: potential scale reduction of the log posterior over chains, the largest of all tasks;
            None where it cannot be computed.
        r_hat_edges: the largest one of an edge, of all tasks.
        edge_error: the largest Monte Carlo standard error of an edge probability, of all tasks.
        chains_left_out: chains that ended in a worse mode and do not count, each with its number
            and how many nats its best graph is below the best of all.
        searches: searches for a best score, each of one start and some restarts.
        best_reached: starts that ended at the best score of their search.
        members: the names of the members of a pooled posterior, in its order; equal names are of
            one set of assumptions on different rows.
        prior_scale: the scale t of the prior of effects, the smallest of all tasks; None where the
            method has no such prior.
    """

    interventional_rows_left_out: int = 0
    mended: Mapping[str, int] = field(default_factory=dict)
    chains: int = 0
    acceptance: float | None = None
    restarts: int = 0
    r_hat: float | None = None
    chains_left_out: tuple[str, ...] = ()
    searches: int = 0
    best_reached: int = 0
    members: tuple[str, ...] = ()
    r_hat_edges: float | None = None
    edge_error: float | None = None
    prior_scale: float | None = None

    @classmethod
    def total(cls, records: Iterable[MethodDiagnostics]) -> MethodDiagnostics:
        """The record of all tasks together: counts are added, acceptance is averaged with the
        number of chains as weights."""
        records = list(records)
        mended: Counter[str] = Counter()
        for record in records:
            mended.update(record.mended)
        rated = [
            (record.acceptance, max(record.chains, 1))
            for record in records
            if record.acceptance is not None
        ]
        weight = sum(chains for _, chains in rated)
        return cls(
            sum(record.interventional_rows_left_out for record in records),
            dict(sorted(mended.items())),
            sum(record.chains for record in records),
            sum(rate * chains for rate, chains in rated) / weight if rated else None,
            sum(record.restarts for record in records),
            _largest(record.r_hat for record in records),
            tuple(chain for record in records for chain in record.chains_left_out),
            sum(record.searches for record in records),
            sum(record.best_reached for record in records),
            members=next((record.members for record in records if record.members), ()),
            r_hat_edges=_largest(record.r_hat_edges for record in records),
            edge_error=_largest(record.edge_error for record in records),
            prior_scale=min(
                (record.prior_scale for record in records if record.prior_scale), default=None
            ),
        )

    def entries(self) -> dict[str, Any]:
        """The entries of `meta.json`: rows left out and repairs always, the rest under
        `diagnostics` where a method reports it."""
        always = {
            "interventional_rows_left_out": self.interventional_rows_left_out,
            "mended": {name: int(count) for name, count in sorted(self.mended.items())},
        }
        rest = {
            item.name: getattr(self, item.name)
            for item in fields(self)
            if item.name not in always and getattr(self, item.name) != item.default
        }
        return always | ({"diagnostics": rest} if rest else {})

    @classmethod
    def from_entries(cls, meta: Mapping[str, Any]) -> MethodDiagnostics:
        """The record that `entries` wrote; keys of other origin are ignored."""
        known = {item.name for item in fields(cls)}
        every = {**meta, **meta.get("diagnostics", {})}
        values = {name: every[name] for name in known & set(every)}
        lists = {name: tuple(values.get(name, ())) for name in ("chains_left_out", "members")}
        return cls(**values | lists)

    def in_words(self) -> list[str]:
        """One sentence for each entry that is not at its default."""
        lines = []
        if self.interventional_rows_left_out:
            lines.append(f"{self.interventional_rows_left_out} rows under interventions left out")
        lines += [
            f"{count} {_MENDED.get(name, name)}" for name, count in self.mended.items() if count
        ]
        if self.chains:
            lines.append(f"{self.chains} chains")
        if self.acceptance is not None:
            lines.append(f"{100 * self.acceptance:.3g} % of the proposals accepted")
        if self.restarts:
            lines.append(f"{self.restarts} restarts")
        if self.r_hat is not None:
            lines.append(f"R-hat of the log posterior {self.r_hat:.3f}")
        if self.edge_error is not None:
            lines.append(
                f"Monte Carlo errors of edge probabilities of at most {self.edge_error:.3f}"
            )
        if self.r_hat_edges is not None:
            lines.append(f"R-hat of an edge at most {self.r_hat_edges:.2f}")
        if self.prior_scale is not None:
            lines.append(f"scale t = {self.prior_scale:g} of the prior of linear effects")
        if self.chains_left_out:
            lines.append(
                f"{len(self.chains_left_out)} chains in a worse mode left out: "
                + ", ".join(self.chains_left_out)
            )
        if self.searches:
            lines.append(
                f"the best score reached by {self.best_reached} of {self.searches + self.restarts} "
                f"starts in {self.searches} searches"
            )
        return lines


def _largest(values: Iterable[float | None]) -> float | None:
    """The largest of the values that there are."""
    return max((value for value in values if value is not None), default=None)
