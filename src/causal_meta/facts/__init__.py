"""Facts: events and curves that a run records while it happens, in plain files that are only
appended to. Loads neither torch, JAX nor pandas."""

from causal_meta.facts.read import (
    Events,
    FactsError,
    aggregate_results,
    discover_runs,
    load_runs,
    read_events,
    read_scalars,
)
from causal_meta.facts.write import (
    MOMENTS,
    ON_SCALARS,
    SCHEMA_VERSION,
    Facts,
    Subscriber,
    append_jsonl_event,
    append_scalars_csv,
    build_event_payload,
)

__all__ = [
    "MOMENTS",
    "ON_SCALARS",
    "SCHEMA_VERSION",
    "Events",
    "Facts",
    "FactsError",
    "Subscriber",
    "aggregate_results",
    "append_jsonl_event",
    "append_scalars_csv",
    "build_event_payload",
    "discover_runs",
    "load_runs",
    "read_events",
    "read_scalars",
]
