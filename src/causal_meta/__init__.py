"""causal_meta: which causal graphs could have made this table, and how sure are we?

The public names are imported when they are first asked for, so that `import causal_meta` is light:

    from causal_meta import discover
    answer = discover("table.csv")      # or a pandas DataFrame
    answer.edges, answer.posterior, answer.to_networkx(threshold=0.5)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from causal_meta.conf.data import FamilyConfig as FamilyConfig
    from causal_meta.datasets.real import read_table as read_table
    from causal_meta.datasets.scm import SCMFamily as SCMFamily
    from causal_meta.posteriors import GraphPosterior as GraphPosterior
    from causal_meta.runners.inference.discovery import Discovery as Discovery
    from causal_meta.runners.inference.discovery import TrainedModel as TrainedModel
    from causal_meta.runners.inference.discovery import discover as discover
    from causal_meta.runners.inference.discovery import load_model as load_model
    from causal_meta.store import Store as Store

_HOMES = {
    "Discovery": "runners.inference.discovery",
    "FamilyConfig": "conf.data",
    "GraphPosterior": "posteriors",
    "SCMFamily": "datasets.scm",
    "Store": "store",
    "TrainedModel": "runners.inference.discovery",
    "discover": "runners.inference.discovery",
    "load_model": "runners.inference.discovery",
    "read_table": "datasets.real",
}

__all__ = [*_HOMES, "__version__"]


def __getattr__(name: str) -> Any:
    """Import a public name from its room."""
    if name not in _HOMES:
        raise AttributeError(f"module 'causal_meta' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(f"causal_meta.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
