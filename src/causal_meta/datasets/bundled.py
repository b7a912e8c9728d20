"""The small tables that scikit-learn brings along."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

#: The tables, each with a name for the column that scikit-learn calls target.
_TARGETS: dict[str, str | None] = {
    "diabetes": "progression",
    "iris": "species",
    "wine": "cultivar",
    "breast_cancer": "benign",
    "linnerud": None,
}
BUNDLED = tuple(f"sklearn:{name}" for name in _TARGETS)
_DIABETES = ("age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6")


def bundled_frame(title: str) -> pd.DataFrame:
    """The table `title`, such as diabetes, in its own units."""
    frame = _diabetes() if title == "diabetes" else None
    if frame is None:
        from sklearn import datasets

        more = {"scaled": False} if title == "diabetes" else {}
        frame = getattr(datasets, f"load_{title}")(as_frame=True, **more).frame
    return frame.rename(columns={"target": _TARGETS[title]}) if _TARGETS[title] else frame


def _diabetes() -> pd.DataFrame | None:
    """The diabetes table from scikit-learn's files, without importing scikit-learn, which takes two
    seconds; None where its files lie elsewhere."""
    import pandas as pd

    package = importlib.util.find_spec("sklearn")
    if package is None or package.origin is None:
        return None
    folder = Path(package.origin).parent / "datasets" / "data"
    try:
        table = pd.read_csv(folder / "diabetes_data_raw.csv.gz", sep=" ", header=None)
        target = pd.read_csv(folder / "diabetes_target.csv.gz", sep=" ", header=None)
    except (OSError, ValueError):
        return None
    if table.shape[1] != len(_DIABETES) or target.shape != (len(table), 1):
        return None
    table.columns = pd.Index(_DIABETES)
    return table.astype(float).assign(target=target[0].astype(float))
