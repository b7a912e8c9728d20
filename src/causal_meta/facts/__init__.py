"""Facts: what a run tells about itself while it happens, on plain files that are only appended.
Loads neither torch, JAX nor pandas."""

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
    SCHEMA_VERSION,
    Facts,
    append_jsonl_event,
    append_scalars_csv,
    build_event_payload,
)

__all__ = [
    "MOMENTS",
    "SCHEMA_VERSION",
    "Events",
    "Facts",
    "FactsError",
    "aggregate_results",
    "append_jsonl_event",
    "append_scalars_csv",
    "build_event_payload",
    "discover_runs",
    "load_runs",
    "read_events",
    "read_scalars",
]
