"""Which entries count as best, and tables that agree with the artifacts."""

import math

import numpy as np
import pandas as pd
import pytest

from causal_meta.conf.inference import EmptyConfig
from causal_meta.reports import markdown, metric_table, write_csv
from causal_meta.reports.tables import best_rows, number


def entry(mean, se=0.01):
    return {"mean": mean, "se": se, "n": 5}


def test_a_lead_within_one_standard_error_of_another_row_is_never_clear():
    generator = np.random.default_rng(0)
    verdicts = set()
    for _ in range(500):
        rows = [
            entry(float(m), float(s))
            for m, s in zip(generator.normal(size=4), generator.exponential(0.3, 4), strict=True)
        ]
        best, clear = best_rows(rows, 1)
        top = rows[min(best)]
        assert top["mean"] == max(row["mean"] for row in rows)
        near = any(
            abs(top["mean"] - row["mean"]) <= max(top["se"], row["se"])
            for row in rows
            if row is not top
        )
        assert not (clear and near)
        verdicts.add(clear)
    assert verdicts == {True, False}, "both verdicts must occur"


@pytest.mark.parametrize(
    ("rows", "better", "expected"),
    [
        ([entry(1.0), entry(0.5)], 1, ({0}, True)),
        ([entry(1.0), entry(0.5)], -1, ({1}, True)),
        ([entry(1.0), entry(0.5)], 0, (set(), False)),
        ([entry(1.0), entry(0.99)], 1, ({0}, False)),
        ([entry(1.0, None), entry(0.5, None)], 1, ({0}, False)),
        ([entry(1.0), entry(1.0), entry(0.1)], 1, ({0, 1}, False)),
        ([entry(0.5), entry(0.5)], 1, (set(), False)),
        ([entry(None), entry(0.5)], 1, (set(), False)),
        ([entry(math.inf), entry(0.5), entry(0.9)], -1, ({1}, True)),
        ([], 1, (set(), False)),
    ],
)
def test_the_best_of_a_column(rows, better, expected):
    assert best_rows(rows, better) == expected


def test_numbers_are_rounded_and_missing_ones_are_a_dash():
    assert [number(value, 2) for value in (1.005, -0.001, -2.5, None, float("nan"), -math.inf)] == [
        "1.00",
        "0.00",
        "−2.50",
        "—",
        "—",
        "−∞",
    ]


def test_the_table_agrees_with_the_artifacts(full):
    frame = metric_table(full.store, "bench")
    assert list(frame["method"]) == [
        "first",
        "second",
        "BOSS bootstrap",
        "sort-and-regress by variance",
        "empty graph",
    ]
    boss = frame[frame["kind"] == "boss"].iloc[0]
    assert (boss["e_shd"], boss["e_shd_se"], boss["e_shd_n"], boss["n_tasks"]) == (3.0, 0.01, 4, 4)
    assert np.isnan(frame[frame["kind"] == "sortnregress"].iloc[0]["auprc"])
    narrow = metric_table(full.store, metrics=["auroc"])
    assert list(narrow.columns[-4:]) == ["seconds_per_task", "auroc", "auroc_se", "auroc_n"]
    with pytest.raises(ValueError, match="no metric called 'auc'"):
        metric_table(full.store, metrics=["auc"])


def test_a_store_without_scores_has_an_empty_table(workshop):
    workshop.tasks()
    assert len(metric_table(workshop.store)) == 0


def test_markdown_escapes_names_and_shows_errors(workshop):
    bench = workshop.tasks(name="bench")
    workshop.evaluate({"auroc": 0.5}, of=bench, posterior=workshop.baseline(EmptyConfig(), bench))
    frame = metric_table(workshop.store)
    frame["tasks"] = "a|b<script>"
    lines = markdown(frame, ["auroc", "auprc"]).splitlines()
    assert lines[0] == "| tasks | method | n | AUROC | AUPRC |"
    assert lines[2] == r"| a\|b&lt;script> | empty graph | 4 | 0.500 ± 0.010 | — |"


def test_csv_keeps_numbers_and_disarms_formulas(tmp_path):
    frame = pd.DataFrame({"name": ["=HYPERLINK(1)", "plain"], "value": [1 / 3, -2.0]})
    back = pd.read_csv(write_csv(frame, tmp_path / "table.csv"))
    assert list(back["name"]) == ["'=HYPERLINK(1)", "plain"]
    assert list(back["value"]) == [1 / 3, -2.0]
