"""Pictures of artifacts, while they are made and afterwards, drawn from the files in their
folders alone."""

from causal_meta.monitoring.events import draw, handle_event, subscriber
from causal_meta.monitoring.families import FAMILIES, Family

__all__ = ["FAMILIES", "Family", "draw", "handle_event", "subscriber"]
