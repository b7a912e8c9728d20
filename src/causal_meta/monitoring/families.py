"""The plot families: the pictures of an artifact and the events after which they are drawn, from
the files in its folder alone.

A new family needs a function `(folder, event) -> figures` in a module of this package, its entry in
`FAMILIES`, its name in the field `pictures` of the configuration class of every kind that it is
for, and a test.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from causal_meta.monitoring import chains, curves, searches

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Draw = Callable[[Path, Mapping[str, Any]], "dict[str, Figure]"]


@dataclass(frozen=True)
class Family:
    """How a family of plots is drawn.

    `draw` takes the folder of an artifact or attempt and the event after which it is called (empty
    where there was none), and returns figures by name; none where the folder has nothing to show.
    A figure is kept as `<subfolder>/<name>.png`. `moments` are the events after which the family is
    drawn while the artifact is made.
    """

    draw: Draw
    moments: tuple[str, ...]
    subfolder: str = "figures"


_TRAINING = ("on_validation_end", "on_epoch_end", "on_train_end")

#: Every plot family by its name.
FAMILIES: dict[str, Family] = {
    "losses": Family(curves.losses, _TRAINING),
    "metrics": Family(curves.metrics, _TRAINING),
    "chains": Family(chains.diagnostics, ("on_test_end",), "diagnostics"),
    "search": Family(searches.search, ("on_test_end",), "diagnostics"),
}


def family(name: str) -> Family:
    """The family called `name`; raises ValueError where there is none."""
    if name not in FAMILIES:
        raise ValueError(
            f"There is no plot family called {name!r}; allowed are {', '.join(FAMILIES)}."
        )
    return FAMILIES[name]
