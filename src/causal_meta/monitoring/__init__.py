"""Pictures of a run while it happens, drawn from its facts alone."""

from causal_meta.monitoring.events import FAMILIES, handle_event, subscriber

__all__ = ["FAMILIES", "handle_event", "subscriber"]
