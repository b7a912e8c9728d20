"""`store …`: list, show and verify artifacts (`store_moves` moves, removes and queries them). Loads
neither torch nor JAX."""

from __future__ import annotations

import argparse
import datetime
import json
from typing import TYPE_CHECKING, Any

from causal_meta.cli import store_moves
from causal_meta.cli.arguments import Verbs, add_flags, add_verb, open_store

if TYPE_CHECKING:
    from causal_meta.store import Artifact, Store


def add(verbs: Verbs) -> None:
    """The verb and its actions."""
    verb = verbs.add_parser(
        "store",
        help="list, show, verify, query, copy and remove artifacts",
        description="List, show, verify, query, copy and remove artifacts.",
    )
    inner = verb.add_subparsers(
        dest="action", metavar="ACTION", required=True, parser_class=type(verb)
    )
    listing = add_verb(
        inner, "ls", "list targets and their runs", "  causal-meta store ls --kind tasks", list_all
    )
    listing.add_argument("--kind", metavar="KIND", default="", help="list only this kind")
    for name, help, run in (
        ("show", "print the record and the configuration of an artifact", show),
        ("path", "print the folder of an artifact", path),
    ):
        one = add_verb(inner, name, help, f"  causal-meta store {name} first", run)
        one.add_argument("token", metavar="ID", help="a name, an id or the beginning of one")
        add_flags(one)
    check = add_verb(
        inner,
        "verify",
        "check that files, ids and inputs are as they were published",
        "  causal-meta store verify first",
        verify,
    )
    check.add_argument(
        "token", metavar="ID", nargs="?", help="one artifact and its runs (default: everything)"
    )
    label = add_verb(
        inner,
        "name",
        "give an artifact a name",
        "  causal-meta store name tgt_12ab best_so_far",
        rename,
    )
    label.add_argument("token", metavar="ID", help="a name, an id or the beginning of one")
    label.add_argument("name", metavar="NAME", help="the new name")
    label.add_argument("--force", action="store_true", help="take the name from another artifact")
    again = add_verb(
        inner,
        "rebuild-catalog",
        "rebuild the catalog and the lists of runs from the folders",
        "  causal-meta store rebuild-catalog",
        rebuild,
    )
    for one in (listing, check, label, again):
        add_flags(one)
    store_moves.add(inner)


def list_all(args: argparse.Namespace) -> int:
    """A line per artifact: id, kind, name, model, data, seed, date; runs are indented under their
    target."""
    store = open_store(args)
    names: dict[str, list[str]] = {}
    for name, artifact_id in store.names().items():
        names.setdefault(artifact_id, []).append(name)
    lines = {line["target_id"]: line for line in store.catalog()}
    rows = []
    for artifact in store.artifacts():
        if args.kind and artifact.kind != args.kind:
            continue
        line = lines.get(artifact.id, {})
        others = [
            f"{role}={artifact_id}" for role, artifact_id in artifact.inputs.items() if role != "of"
        ]
        description = " ".join(
            [*(str(line[key]) for key in ("model", "data") if line.get(key)), *others]
        )
        indent = "" if artifact.is_target else "  "
        rows.append(
            (
                indent + artifact.id,
                artifact.kind,
                ", ".join(names.get(artifact.id, [])),
                description,
                str(artifact.seed),
                _date(artifact.meta["created_at"]),
            )
        )
    if not rows:
        print(
            f"The store {store.root} holds nothing{f' of kind {args.kind}' if args.kind else ''} "
            "yet."
        )
        return 0
    header = ("id", "kind", "name", "of", "seed", "made")
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    for row in (header, *rows):
        print(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        )
    return 0


def _date(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M")


def show(args: argparse.Namespace) -> int:
    """The record without digests and versions, then the configuration."""
    from causal_meta.conf import yaml_1_2

    store = open_store(args)
    artifact = store.find(args.token)
    print(yaml_1_2.dump(_record(artifact, store)), end="")
    print(f"\n# {artifact.folder / 'config.yaml'}")
    print(yaml_1_2.dump(artifact.stored_tree()), end="")
    return 0


def _record(artifact: Artifact, store: Store) -> dict[str, Any]:
    meta = artifact.meta
    picked: dict[str, Any] = {
        "id": artifact.id,
        "kind": artifact.kind,
        "names": sorted(
            name for name, artifact_id in store.names().items() if artifact_id == artifact.id
        ),
        "made": _date(meta["created_at"]),
        "code": meta.get("code_sha"),
        "walltime_sec": meta.get("walltime_sec"),
        "cpu_sec": meta.get("cpu_sec"),
        "inputs": artifact.inputs,
        "overrides": meta.get("overrides"),
        "dims": meta.get("dims"),
        "metrics": meta.get("metrics"),
        "runs": [run.id for run in store.runs_of(artifact)] if artifact.is_target else None,
        "files": sorted(meta["digests"]),
    }
    return json.loads(
        json.dumps({key: value for key, value in picked.items() if value not in (None, [], {})})
    )  # type: ignore[no-any-return]


def path(args: argparse.Namespace) -> int:
    """The folder."""
    print(open_store(args).locate(args.token))
    return 0


def verify(args: argparse.Namespace) -> int:
    """A line per problem and status 1, or one line saying that all is well."""
    store = open_store(args)
    problems = store.verify(args.token)
    if problems:
        print("\n".join(problems))
        return 1
    print(f"{args.token or f'The store {store.root}'} is as it was published.")
    return 0


def rename(args: argparse.Namespace) -> int:
    """Give the artifact its new name."""
    store = open_store(args)
    store.name(store.find(args.token), args.name, force=args.force)
    return 0


def rebuild(args: argparse.Namespace) -> int:
    """Print how many artifacts the lists hold now; returns 1 if some could not be read."""
    store = open_store(args)
    store.rebuild_catalog()
    readable, folders = len(store.artifacts()), len(store.folders())
    lost = (
        f", and {folders - readable} cannot be read (store verify names them)"
        if readable != folders
        else ""
    )
    print(f"The lists hold {readable} artifacts{lost}.")
    return int(readable != folders)
