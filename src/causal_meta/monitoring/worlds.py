"""The picture of a distance between two families of worlds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped


def draw_distance(
    distances: Mapping[str, Any],
    arrays: Mapping[str, Shaped[np.ndarray, ...]],
    names: tuple[str, str],
    path: Path,
) -> Path:
    """Draw the distances, spectra and degrees of two families, called by `names`, into the file
    `path`.

    Args:
        distances: name -> {value, se, null}.
        arrays: first_spectra and second_spectra, first_degrees_KIND and second_degrees_KIND.
        names: the names of the first and the second family.
        path: the file.
    """
    from causal_meta import drawing

    labels = dict(zip(("first", "second"), names, strict=True))
    if names[0] == names[1]:
        labels["second"] += " (again)"
    kinds = [
        name.removeprefix("first_degrees_") for name in arrays if name.startswith("first_degrees_")
    ]
    degrees = {
        kind: {labels[role]: arrays[f"{role}_degrees_{kind}"] for role in labels} for kind in kinds
    }
    spectra = {labels[role]: arrays[f"{role}_spectra"] for role in labels}
    note = f"{len(arrays['first_spectra'])} tasks of each family"
    return drawing.save(
        drawing.comparison(
            distances, spectra, degrees, title=" and ".join(labels.values()), note=note
        ),
        path,
    )
