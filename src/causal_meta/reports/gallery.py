"""Plots and tables copied out of the store into a gallery folder, with Markdown to show them.

<gallery>/<title>/ holds the copies under names that stay the same whenever they are copied again
(`<kind>_<plot>.png`), `snippet.md`, and `promoted.json`, which records the artifact of each file.
The title is the name of the promoted artifact, or its id.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from causal_meta.conf.convert import leaves
from causal_meta.records.files import read_json
from causal_meta.store import Artifact, Store, StoreError, disk

PLOT_FOLDERS = ("figures", "diagnostics", "training/figures", "inference/figures")
PICTURES = (".png", ".svg", ".pdf")
TABLES = (
    "analysis.json",
    "metrics.json",
    "training/summary.csv",
    "training/summary.json",
    "inference/summary.json",
    "inference/scores.csv",
)
RECORD, SNIPPET = "promoted.json", "snippet.md"
# The numbers shown beside pictures and in the table, where a result has them, and their names
# there.
NUMBERS = {
    "llc_mean": "LLC", "llc_std": "± between chains", "rhat": "R-hat", "r_hat": "R-hat",
    "ess": "ESS", "summary.auroc.mean": "AUROC",
    "summary.auprc.mean": "AUPRC", "summary.e_shd.mean": "E-SHD", "summary.shd.mean": "SHD",
    "summary.ece.mean": "ECE", "metrics.L0": "L0",
    "metrics.val/loss": "validation loss", "metrics.val/auroc": "validation AUROC",
}  # fmt: skip


@dataclass
class Piece:
    """The files of one artifact or report: their names begin with `label`, and `numbers` are shown
    beside the pictures."""

    label: str
    source: str
    pictures: list[Path]
    tables: list[Path]
    numbers: dict[str, float] = field(default_factory=dict)


def promote(
    store: Store, token: str, gallery: Path, *, mode: str = "gallery", plot: str = ""
) -> Path:
    """Copy the plots and tables of a target, run or report to `gallery`/<title>/; returns the
    Markdown snippet there.

    `mode` "gallery": everything of the artifact itself and, of a target, of the newest run of each
    kind; "single": one picture of the artifact itself (`plot` names it; needed where it has
    several) and no tables. `token` is a name, an id, the beginning of one, or the name of a
    report's folder. Raises `StoreError` in one sentence if there is nothing to copy, or the place
    cannot be written.
    """
    if mode not in ("single", "gallery"):
        raise ValueError(f"The mode of a promotion is {mode!r}; give single or gallery.")
    title, pieces = _pieces(store, token)
    if mode == "single":
        pieces = [_single(title, pieces[0], plot)]
    elif plot:
        for piece in pieces:
            piece.pictures = [path for path in piece.pictures if path.stem == plot]
    if not any(piece.pictures or piece.tables for piece in pieces):
        raise StoreError(
            f"{title} has no plots or tables{f' called {plot}' if plot else ''} to promote; draw "
            f"some with causal-meta report {title}."
        )
    return _written(gallery, title, pieces)


def promote_study(
    title: str,
    artifacts: Mapping[str, Artifact],
    tables: Sequence[Path],
    gallery: Path,
    *,
    lines: Sequence[str] = (),
) -> Path:
    """Copy the plots and analyses of a study's artifacts (by label, which begins their files'
    names) and its `tables` to `gallery`/<title>/.

    The metrics of single runs are left out, since the study's table holds them all. `lines`: lines
    of Markdown put before the pictures. Returns the snippet there; raises `StoreError` in one
    sentence if the place cannot be written or what is to be copied cannot be read.
    """
    pieces = [Piece("study", title, [], list(tables))]
    for label, artifact in artifacts.items():
        piece = _of(artifact, label)
        piece.tables = [path for path in piece.tables if path.name != "metrics.json"]
        if piece.pictures or piece.tables:
            pieces.append(piece)
    return _written(gallery, title, pieces, lines)


def _written(gallery: Path, title: str, pieces: Sequence[Piece], lines: Sequence[str] = ()) -> Path:
    try:
        return _write(gallery / title, title, pieces, lines)
    except OSError as error:
        raise StoreError(
            f"The gallery {gallery} cannot be written: {(error.strerror or str(error)).lower()}; "
            "give another folder."
        ) from error


def _pieces(store: Store, token: str) -> tuple[str, list[Piece]]:
    if re.fullmatch(r"report_[A-Za-z0-9_-]+", token):
        folder = store.root / "reports" / token
        store.refuse_links(folder)
        if not (folder / "manifest.yaml").is_file():
            raise StoreError(
                f"The store {store.root} holds no report {token}; a report is named by its folder "
                "in reports/."
            )
        return token, [_piece("report", token, folder)]
    artifact = store.find(token)
    title = next(
        (name for name, artifact_id in sorted(store.names().items()) if artifact_id == artifact.id),
        artifact.id,
    )
    # oldest first, so the newest stays
    newest = {run.kind: run for run in store.runs_of(artifact)} if artifact.is_target else {}
    return title, [_of(artifact), *(_of(run) for _, run in sorted(newest.items()))]


def _of(artifact: Artifact, label: str = "") -> Piece:
    piece = _piece(label or artifact.kind, artifact.id, artifact.folder)
    known = dict(leaves({"metrics": artifact.meta.get("metrics", {})}))
    for path in piece.tables:
        with contextlib.suppress(ValueError):
            known |= dict(leaves(read_json(path)))
    piece.numbers = {
        word: float(known[key])
        for key, word in NUMBERS.items()
        if type(known.get(key)) in (int, float)
    }
    return piece


def _piece(label: str, source: str, folder: Path) -> Piece:
    pictures = [
        path
        for name in PLOT_FOLDERS
        for path in _files(folder / name, folder)
        if path.suffix.lower() in PICTURES
    ]
    tables = [
        folder / name
        for name in TABLES
        if (folder / name) in _files((folder / name).parent, folder)
    ]
    return Piece(label, source, pictures, tables)


def _files(folder: Path, top: Path) -> list[Path]:
    """The plain files in a folder below `top`, without links and what they point to."""
    if not folder.is_dir() or any(
        part.is_symlink()
        for part in (folder, *folder.parents)
        if part != top and top in part.parents
    ):
        return []
    return sorted(path for path in folder.iterdir() if path.is_file() and not path.is_symlink())


def _single(title: str, piece: Piece, plot: str) -> Piece:
    chosen = [path for path in piece.pictures if not plot or path.stem == plot]
    known = ", ".join(dict.fromkeys(path.stem for path in piece.pictures))
    if not piece.pictures:
        raise StoreError(
            f"{title} has no plots; give a run that has some, or promote the gallery of its target."
        )
    if not chosen:
        raise StoreError(f"{title} has no plot {plot!r}; it has {known}.")
    if len({path.stem for path in chosen}) > 1:
        raise StoreError(f"{title} has several plots; say which one with --plot: {known}.")
    return Piece(piece.label, piece.source, chosen[:1], [], piece.numbers)


# ------------------------------------------------------------------------------------------ writing


def _write(folder: Path, title: str, pieces: Sequence[Piece], head: Sequence[str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    before = _promoted(folder)
    record: dict[str, dict[str, Any]] = {}
    lines = [f"### {_plain(title)}", "", *head]
    for piece in pieces:
        for path in (*piece.pictures, *piece.tables):
            name = _name(piece.label, path, record)
            _copy(path, folder / name)
            record[name] = {"from": piece.source, "sha256": disk.sha256(folder / name)}
            words = ", ".join(
                [
                    f"{path.stem} of {piece.label} {piece.source}",
                    *(f"{word} {value:.4g}" for word, value in piece.numbers.items()),
                ]
            )
            lines.append(
                f"![{_plain(words)}]({name})"
                if path in piece.pictures
                else f"- [{path.name} of {piece.label} {piece.source}]({name})"
            )
    lines += ["", *_table(pieces)]
    disk.write_atomic(
        folder / RECORD, json.dumps({**before, **record}, indent=1, sort_keys=True) + "\n"
    )
    disk.write_atomic(folder / SNIPPET, "\n".join(lines).rstrip() + "\n")
    return folder / SNIPPET


def _promoted(folder: Path) -> dict[str, Any]:
    """The entries of an earlier promotion's record whose files still exist."""
    try:
        tree = read_json(folder / RECORD)
    except ValueError:
        return {}
    return (
        {name: entry for name, entry in tree.items() if (folder / Path(name).name).is_file()}
        if isinstance(tree, dict)
        else {}
    )


def _name(label: str, path: Path, taken: Iterable[str]) -> str:
    stem = re.sub(r"[^A-Za-z0-9_-]", "_", f"{label}_{path.stem}")
    candidates = (
        f"{stem}{'' if number == 1 else f'_{number}'}{path.suffix.lower()}"
        for number in range(1, 1000)
    )
    return next(name for name in candidates if name not in taken)


def _copy(source: Path, place: Path) -> None:
    temporary = place.with_name(f".{place.name}.{uuid.uuid4().hex}.tmp")
    try:
        shutil.copyfile(source, temporary, follow_symlinks=False)
        disk.sync_file(temporary)
        os.replace(temporary, place)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _plain(text: str) -> str:
    """Text with the special characters of Markdown escaped."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", " ".join(text.split()))


def _table(pieces: Sequence[Piece]) -> list[str]:
    shown = [piece for piece in pieces if piece.numbers]
    words = list(dict.fromkeys(word for piece in shown for word in piece.numbers))
    if not shown:
        return []
    rows = [["kind", "id", *words], ["---"] * (2 + len(words))]
    rows += [
        [
            piece.label,
            f"`{piece.source}`",
            *(f"{piece.numbers[word]:.4g}" if word in piece.numbers else "" for word in words),
        ]
        for piece in shown
    ]
    return [f"| {' | '.join(row)} |" for row in rows]
