"""From events to files: the plot families that an event calls for, drawn into the artifact's
folder, and a subscriber that bounds the time spent on drawing.

An error in a drawing is not hidden: `Facts` records it as an event, and the run continues without
further pictures.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from causal_meta.monitoring.families import FAMILIES, family
from causal_meta.store import attempts

if TYPE_CHECKING:
    from causal_meta.facts import Subscriber
    from causal_meta.store import Store

#: Moments after which no other event calls for the same pictures.
_LAST = ("on_train_end", "on_test_end")


def draw(
    folder: str | Path, families: Sequence[str], event: Mapping[str, Any] | None = None
) -> list[Path]:
    """Draw these plot families from the files in an artifact's `folder`; returns the files written.

    Raises ValueError for an unknown family and for files that cannot be read.
    """
    from causal_meta import drawing

    place = Path(folder)
    return [
        drawing.save(figure, place / chosen.subfolder / f"{name}.png")
        for chosen in map(family, families)
        for name, figure in chosen.draw(place, event or {}).items()
    ]


def handle_event(
    event: Mapping[str, Any], folder: str | Path, families: Sequence[str] = tuple(FAMILIES)
) -> list[Path]:
    """Draw those of the `families` that an event calls for from the files in `folder` (an
    artifact's); returns the files written, none at most moments."""
    moment = event.get("moment")
    return draw(folder, [name for name in families if moment in family(name).moments], event)


def folder_of(where: str | Path | Store, event: Mapping[str, Any]) -> Path:
    """The folder whose facts an event belongs to: `where` itself, or the folder of the event's
    attempt in a store."""
    if isinstance(where, str | Path):
        return Path(where)
    for number, folder in attempts.folders(where.staging, str(event.get("run_id"))):
        if number == event.get("attempt"):
            return folder
    raise FileNotFoundError(
        f"The attempt {event.get('attempt')} at {event.get('run_id')} has no folder in "
        f"{where.staging}."
    )


def subscriber(
    where: str | Path | Store,
    families: Sequence[str] = tuple(FAMILIES),
    *,
    every_seconds: float = 60.0,
    share: float = 0.01,
) -> Subscriber:
    """A subscriber of facts that draws plot families and bounds the time spent on it.

    Args:
        where: the store in which an attempt is being made, or the folder of an artifact.
        families: names of plot families, as in the field `pictures` of a configuration class.
        every_seconds: least time between two drawings.
        share: largest share of the time that drawing may take; on_train_end and
            on_test_end are always drawn.

    Raises:
        ValueError: for an unknown family.
    """
    moments = {moment for name in families for moment in family(name).moments}
    not_before = -float("inf")

    def draw_figures(event: dict[str, Any]) -> None:
        nonlocal not_before
        if event["moment"] not in moments:
            return
        begin = time.monotonic()
        if begin < not_before and event["moment"] not in _LAST:
            return
        handle_event(event, folder_of(where, event), families)
        end = time.monotonic()
        not_before = end + max(every_seconds, (end - begin) / share)

    return draw_figures
