"""The common parts of all pictures: one style, one palette, no global state, and PNG files that are
equal byte for byte.

Every drawing function works inside `style()`, which sets matplotlib's defaults and ours until it
ends, so that neither a user's matplotlibrc nor another library changes a picture. Figures are made
by the object interface on an Agg canvas; pyplot is never used.
"""

from __future__ import annotations

import io
import os
import uuid
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

DPI = 150

#: Properties of an artist by matplotlib's names (colour, line width, …).
Properties = dict[str, Any]

INK = "#1d2730"
MUTED = "#64707b"
FAINT = "#aab4bd"
GRID = "#e4e8ec"

# Okabe and Ito's colours for all kinds of colour vision, darkened where thin lines on white need
# it; the first is ours.
PALETTE = ("#0b5fa5", "#d55e00", "#00875f", "#b2599a", "#b58900", "#3fa0d6", "#5c6670", "#7a4a12")
PROBABILITY = LinearSegmentedColormap.from_list(
    "probability", ["#ffffff", "#d3e4f2", "#8dbfe0", "#3a8cc4", "#0b5fa5", "#08335e"]
)
EDGE_RIGHT = LinearSegmentedColormap.from_list("edge", ["#a8cbe6", "#3a8cc4", "#0b5fa5", "#08335e"])
EDGE_WRONG = LinearSegmentedColormap.from_list(
    "edge_wrong", ["#f3c8a3", "#e88b45", "#d55e00", "#8a3a00"]
)

# fmt: off
_GROUPS = {
    "agg", "axes", "errorbar", "figure", "font", "grid", "hatch", "hist", "image", "legend",
    "lines", "markers", "mathtext", "patch", "path", "pcolor", "savefig", "scatter", "text",
    "xtick", "ytick",
}
# fmt: on
_STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.6,
    "lines.solid_capstyle": "round",
    "figure.facecolor": "white",
}


@contextmanager
def style() -> Iterator[None]:
    """Matplotlib's defaults with our differences while the context lasts; characters without a
    glyph are drawn as boxes, without a warning."""
    defaults = {
        key: value
        for key, value in matplotlib.rcParamsDefault.items()
        if key.split(".")[0] in _GROUPS
    }
    with matplotlib.rc_context(defaults | _STYLE), warnings.catch_warnings():  # type: ignore[arg-type]
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        warnings.filterwarnings(
            "ignore", message="Matplotlib currently does not support .* natively"
        )
        yield


def new_figure(
    width: float,
    height: float,
    *,
    layout: Literal["constrained", "compressed"] | None = "constrained",
) -> Figure:
    """An empty figure of `width` x `height` inches on a new Agg canvas; `compressed` is for axes of
    fixed aspect."""
    figure = Figure(figsize=(width, height), dpi=DPI, layout=layout)
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.set(w_pad=0.1, h_pad=0.1)  # type: ignore[call-arg]
    FigureCanvasAgg(figure)
    return figure


def plain(text: object, longest: int = 0) -> str:
    """`text` as a label: blanks and control characters become single spaces, dollars stay dollars,
    an ellipsis beyond `longest` characters.

    >>> plain("price in $", 0)
    'price in \\\\$'
    >>> plain("a very long name", 8)
    'a very …'
    """
    words = "".join(c if c.isprintable() else " " for c in str(text)).split()
    label = " ".join(words) or "(no name)"
    if longest and len(label) > longest:
        label = label[: longest - 1] + "…"
    return label.replace("$", r"\$")


def heading(axes: Axes, title: str, note: str = "") -> None:
    """A bold title at the left edge and, below it, a note in grey."""
    if title:
        axes.set_title(plain(title), pad=22 if note else 8)
    if note:
        axes.annotate(
            plain(note),
            (0, 1),
            (0, 8),
            xycoords="axes fraction",
            textcoords="offset points",
            color=MUTED,
            fontsize=8.5,
            va="bottom",
        )


def super_heading(figure: Figure, title: str, note: str = "") -> None:
    """A bold title over all panels and a grey note under them."""
    if title:
        figure.suptitle(plain(title), x=0.012, ha="left", fontsize=11.5, fontweight="bold")
    if note:
        figure.supxlabel(plain(note), x=0.012, ha="left", fontsize=8.5, color=MUTED)


def check_square(matrix: Any, columns: Sequence[str], subject: str) -> None:
    """Raise `ValueError` unless `matrix` is [D, D] with one column name per variable."""
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or len(columns) != matrix.shape[0]:
        raise ValueError(
            f"{subject} has shape {tuple(matrix.shape)} for {len(columns)} names; give a square "
            "matrix with one name per variable."
        )


def png(figure: Figure) -> bytes:
    """The picture as PNG bytes at 150 dots per inch, without date or program: equal figures give
    equal bytes."""
    buffer = io.BytesIO()
    with style():
        figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()


def save(figure: Figure, path: str | Path) -> Path:
    """Write `figure` as PNG to `path`, complete or not at all (temporary file, flush, rename);
    folders are made."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        with draft.open("wb") as file:
            file.write(png(figure))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)
    return target
