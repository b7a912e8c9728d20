"""Reports made from artifacts: one self-contained HTML page, and the tables in it."""

from causal_meta.reports.cards import model_card
from causal_meta.reports.report import run_report
from causal_meta.reports.tables import markdown, metric_table, write_csv

__all__ = ["markdown", "metric_table", "model_card", "run_report", "write_csv"]
