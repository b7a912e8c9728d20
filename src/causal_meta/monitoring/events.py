"""Event -> plot families: which pictures an event asks for, and a subscriber that keeps them cheap.

A family turns the scalars of a run into a figure; `figures/<family>.png` in the artifact's folder
is replaced whenever it is drawn. Adding a family is one function and one line in `FAMILIES`. An
error is not hidden: `Facts` records it as an event and goes on without the pictures.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from causal_meta.facts import read_scalars
from causal_meta.monitoring.curves import Panels, loss_panels, metric_panels
from causal_meta.store import attempts

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from causal_meta.store import Store

#: Plot family -> its panels from the scalars.
FAMILIES: dict[str, Callable[[pd.DataFrame], Panels]] = {
    "losses": loss_panels,
    "metrics": metric_panels,
}
MOMENTS = ("on_validation_end", "on_epoch_end", "on_train_end")


def draw(family: str, scalars: pd.DataFrame, title: str = "") -> Figure | None:
    """The figure of a family, or None where the scalars hold nothing for it; raises ValueError for
    an unknown family."""
    if family not in FAMILIES:
        raise ValueError(
            f"There is no plot family called {family!r}; allowed are {', '.join(FAMILIES)}."
        )
    from causal_meta import drawing

    panels = FAMILIES[family](scalars)
    return drawing.curves(panels, title=title, smooth=0.9) if panels else None


def handle_event(
    event: dict[str, Any], folder: str | Path, families: Sequence[str] = ("losses", "metrics")
) -> list[Path]:
    """Draw what an event asks for from the facts in `folder` (an artifact's), into its `figures/`;
    returns the files written.

    Pictures are drawn at on_validation_end, on_epoch_end and on_train_end; other moments ask for
    none.
    """
    if event.get("moment") not in MOMENTS:
        return []
    from causal_meta import drawing

    scalars = read_scalars(folder)
    title = (
        f"{event.get('run_id') or ''} after {event['step']} steps"
        if event.get("step") is not None
        else str(event.get("run_id") or "")
    )
    figures = {family: draw(family, scalars, title) for family in families}
    return [
        drawing.save(figure, Path(folder) / "figures" / f"{family}.png")
        for family, figure in figures.items()
        if figure is not None
    ]


def folder_of(where: str | Path | Store, event: dict[str, Any]) -> Path:
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
    families: Sequence[str] = ("losses", "metrics"),
    *,
    every_seconds: float = 60.0,
    share: float = 0.01,
) -> Callable[[dict[str, Any]], None]:
    """A function for `Store.build(subscribers=…)` that calls `handle_event`, rarely enough to cost
    nothing.

    `where` is the store in which an attempt is at work, or the folder of an artifact. Between two
    drawings lie at least `every_seconds`, and so long that drawing takes at most the `share` of the
    time; on_train_end is always drawn.
    """
    not_before = -float("inf")

    def draw_figures(event: dict[str, Any]) -> None:
        nonlocal not_before
        begin = time.monotonic()
        if event.get("moment") not in MOMENTS or (
            begin < not_before and event["moment"] != "on_train_end"
        ):
            return
        handle_event(event, folder_of(where, event), families)
        end = time.monotonic()
        not_before = end + max(every_seconds, (end - begin) / share)

    return draw_figures
