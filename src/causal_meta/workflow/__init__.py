"""Workflows: a study of many artifacts described in one file, of which the missing ones are made.
Loads neither torch nor JAX nor pandas."""

from causal_meta.workflow.cells import Cell, Study, load_study
from causal_meta.workflow.execute import Outcome, carry_out
from causal_meta.workflow.plan import Plan, plan_of

__all__ = ["Cell", "Outcome", "Plan", "Study", "carry_out", "load_study", "plan_of"]
