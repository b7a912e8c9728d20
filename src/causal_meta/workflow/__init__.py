"""Workflows: a study of many artifacts described in one file, of which the missing ones are made.
Loads neither torch nor JAX nor pandas, and no module before something of it is used: the processes
between a study and its workers are started often and need none of them."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from causal_meta.workflow.cells import Cell, Study, load_study
    from causal_meta.workflow.execute import Outcome, carry_out
    from causal_meta.workflow.plan import Plan, plan_of

_PLACES = {
    "Cell": "cells",
    "Outcome": "execute",
    "Plan": "plan",
    "Study": "cells",
    "carry_out": "execute",
    "load_study": "cells",
    "plan_of": "plan",
}
__all__ = ["Cell", "Outcome", "Plan", "Study", "carry_out", "load_study", "plan_of"]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
