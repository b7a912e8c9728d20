"""The estimates of a study's samplers as a table, and a sentence for each run with failed
chains."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


def print_estimates(table: pd.DataFrame) -> None:
    """A line for every sampler's run of the results of a study, if there are any."""
    if "llc_mean" not in table:
        return
    from rich.console import Console
    from rich.table import Table

    out = Table(title="learning coefficients ± standard error")
    for column in (
        "sampler",
        "of",
        "λ̂",
        "exact λ",
        "ESS",
        "R-hat",
        "gradients",
        "seconds",
        "flags",
    ):
        out.add_column(
            column,
            justify="left" if column in ("sampler", "of", "flags") else "right",
            no_wrap=column != "flags",
        )
    for row in table[table["total_fges"].notna()].to_dict("records"):
        seconds = sum(
            float(row[name]) for name in ("warmup_sec", "sampling_sec") if _there(row[name])
        )
        estimate = (
            f"{row['llc_mean']:.4g} ± {row['llc_error']:.2g}"
            if _there(row["llc_mean"])
            else "no usable chain"
        )
        numbers = [
            _text(row["exact_lambda"], ".4g"),
            _text(row["ess"], ".0f"),
            _text(row["rhat"], ".3f"),
            _text(row["total_fges"], ",.0f"),
        ]
        out.add_row(
            row["name"] or row["kind"],
            row["of"],
            estimate,
            *numbers,
            f"{seconds:.3g}",
            row["flags"],
        )
    Console(width=None if sys.stdout.isatty() else 160).print(out)


def failed_chains(table: pd.DataFrame) -> list[str]:
    """A sentence for every run with failed chains; its estimate uses the other chains."""
    if "failed_chains" not in table:
        return []
    rows = table[table["failed_chains"].fillna(0) > 0].to_dict("records")
    return [
        f"Failed: {row['failed_chains']:.0f} of the chains of {row['name'] or row['kind']} "
        f"{row['id']}; see its analysis.json."
        for row in rows
    ]


def _there(value: Any) -> bool:
    return value is not None and value == value


def _text(value: Any, form: str) -> str:
    return format(value, form) if _there(value) else "—"
