"""A family of worlds in numbers and pictures, as an artifact: `summary.json` and the pictures of
`datasets.diagnostics.show_family`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from causal_meta.conf.task_sets import PortraitConfig
from causal_meta.records.files import read_json

if TYPE_CHECKING:
    from causal_meta.store import Artifact, Attempt


def build_portrait(config: PortraitConfig, attempt: Attempt) -> dict[str, Any]:
    """Draw the family into `figures/` and write its numbers, mean and standard error over the
    tasks; the builder of kind `portrait`."""
    from causal_meta.datasets.diagnostics import show_family
    from causal_meta.datasets.scm import SCMFamily

    numbers = show_family(
        SCMFamily(config.data), attempt.folder / "figures", seed=config.seed, n_tasks=config.n_tasks
    )
    tree = {name: _plain(value) for name, value in numbers.items() if name != "files"}
    (attempt.folder / "summary.json").write_text(
        json.dumps(tree, indent=1, allow_nan=False) + "\n", "utf-8"
    )
    means = {name: value["mean"] for name, value in tree.items() if "mean" in value}
    return {"dims": {"n_tasks": config.n_tasks}, "metrics": means}


def _plain(values: dict[str, float]) -> dict[str, float | None]:
    return {key: value if value == value else None for key, value in values.items()}


def load_portrait(artifact: Artifact) -> dict[str, Any]:
    """The numbers of a `portrait` target. Raises ValueError for another kind."""
    if artifact.kind != "portrait":
        raise ValueError(
            f"{artifact.id} is of kind {artifact.kind!r}; give a portrait (causal-meta data show "
            "data=FAMILY)."
        )
    return dict(read_json(artifact.folder / "summary.json"))


def portrait_files(artifact: Artifact) -> list[Path]:
    """The pictures of a `portrait` target; they are drawn again if somebody deleted them."""
    folder = artifact.folder / "figures"
    if not folder.is_dir() or not any(folder.iterdir()):
        from causal_meta.datasets.diagnostics import show_family
        from causal_meta.datasets.scm import SCMFamily

        config = cast(PortraitConfig, artifact.config)
        show_family(SCMFamily(config.data), folder, seed=config.seed, n_tasks=config.n_tasks)
    return sorted(folder.glob("*.png"))
