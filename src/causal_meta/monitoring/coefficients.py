"""Pictures of several estimates of one learning coefficient: samplers side by side, and limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from causal_meta.records.analyses import exact_level

if TYPE_CHECKING:
    from causal_meta.drawing.limits import Fitted

_AXES = {"gamma": "localisation γ", "beta": "tempered rows nβ", "step": "step size ε"}


def draw_comparison(
    analyses: Mapping[str, Mapping[str, Any]],
    target: str,
    exact: Mapping[str, float],
    path: Path,
) -> Path:
    """Draw the running estimates of runs over gradients and over seconds into the file `path`.

    Args:
        analyses: the analysis of every run, by its label.
        target: the id of the target of the runs.
        exact: the exact values, as far as they are known.
        path: the file.

    Raises:
        ValueError: no run has an estimate.
    """
    from causal_meta.drawing import canvas, chains

    drawn = {
        label: chains.Running(**analysis["running"])
        for label, analysis in analyses.items()
        if analysis["running"]["draws"]
    }
    if not drawn:
        raise ValueError(
            f"None of the runs on {target} has an estimate to draw; see their failed chains in "
            "analysis.json."
        )
    title = f"Learning coefficient of {target}"
    note = (
        "running estimate with its 95 % band; the seconds are those of warm-up and sampling, "
        "without compiling"
    )
    figure = chains.compare(drawn, exact=exact_level(dict(exact)), title=title, note=note)
    return canvas.save(figure, path)


def draw_limit(
    by: str,
    points: Sequence[tuple[float, float, float]],
    fitted: Fitted,
    exact: float | None,
    note: str,
    path: Path,
) -> Path:
    """Draw estimates over the setting in which their runs differ, and their limit, into `path`.

    Args:
        by: the setting: gamma, beta or step.
        points: setting, estimate and standard error of every run.
        fitted: the limit and the fitted curve.
        exact: the exact coefficient where it is known.
        note: stands under the title.
        path: the file.
    """
    from causal_meta.drawing import canvas, limits

    x, y, e = (list(column) for column in zip(*points, strict=True))
    figure = limits.limit(
        x,
        y,
        e,
        fitted,
        exact=exact,
        label=_AXES[by],
        title="Learning coefficient in the limit",
        note=note,
    )
    return canvas.save(figure, path)
