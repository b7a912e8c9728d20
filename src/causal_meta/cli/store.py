"""`store …`: what is there, whether it is whole, and what comes and goes. Loads neither torch nor JAX, except for `import`."""

from __future__ import annotations

import argparse
import datetime
import json
from typing import TYPE_CHECKING, Any

from causal_meta.cli.arguments import Verbs, add_flags, add_verb, add_words, open_store, split

if TYPE_CHECKING:
    from causal_meta.store import Artifact, Store


def add(verbs: Verbs) -> None:
    """The verb and its actions."""
    verb = verbs.add_parser("store", help="list, show, verify, import and export artifacts", description="What is in the store.")
    inner = verb.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=type(verb))
    listing = add_verb(inner, "ls", "list targets and their runs", "  causal-meta store ls --kind tasks", list_all)
    listing.add_argument("--kind", metavar="KIND", default="", help="list this kind only")
    for name, help, run in (("show", "print what an artifact is and how it came to be", show), ("path", "print the folder of an artifact", path)):
        one = add_verb(inner, name, help, f"  causal-meta store {name} first", run)
        one.add_argument("token", metavar="ID", help="a name, an id or the beginning of one")
        add_flags(one)
    check = add_verb(inner, "verify", "check that files, ids and inputs are those that were published", "  causal-meta store verify first", verify)
    check.add_argument("token", metavar="ID", nargs="?", help="one artifact and its runs (default: everything)")
    label = add_verb(inner, "name", "give an artifact a name", "  causal-meta store name tgt_12ab best_so_far", rename)
    label.add_argument("token", metavar="ID", help="a name, an id or the beginning of one")
    label.add_argument("name", metavar="NAME", help="the new name")
    label.add_argument("--force", action="store_true", help="take the name from another artifact")
    out = add_verb(inner, "export", "copy an artifact into a folder of its own", "  causal-meta store export first exported/", export)
    out.add_argument("token", metavar="ID", help="a name, an id or the beginning of one")
    out.add_argument("folder", metavar="DIR", help="a new or empty folder")
    into = add_verb(
        inner,
        "import",
        "bring a checkpoint or an exported artifact into the store",
        "  causal-meta store import best.pt data=wide_stream --name theirs\n  causal-meta store import exported/",
        import_file,
    )
    into.add_argument("file", metavar="FILE", help="a checkpoint FILE.pt of this package, or the folder of an exported artifact")
    add_words(into, "for a checkpoint: data=… and seed=…, what its owner says it was trained on")
    add_flags(into, making=True)
    for one in (listing, check, label, out):
        add_flags(one)


def list_all(args: argparse.Namespace) -> int:
    """A line per artifact: id, kind, name, model, data, seed, date; runs are indented under their target."""
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
        others = [f"{role}={found}" for role, found in artifact.inputs.items() if role != "of"]
        what = " ".join([*(str(line[key]) for key in ("model", "data") if line.get(key)), *others])
        indent = "" if artifact.is_target else "  "
        rows.append(
            (indent + artifact.id, artifact.kind, ", ".join(names.get(artifact.id, [])), what, str(artifact.seed), _date(artifact.meta["created_at"]))
        )
    if not rows:
        print(f"The store {store.root} holds nothing{f' of kind {args.kind}' if args.kind else ''} yet.")
        return 0
    header = ("id", "kind", "name", "of", "seed", "made")
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    for row in (header, *rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0


def _date(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M")


def show(args: argparse.Namespace) -> int:
    """The record without digests and versions, then the configuration."""
    from causal_meta.conf import yaml_1_2

    store = open_store(args)
    found = store.find(args.token)
    print(yaml_1_2.dump(_record(found, store)), end="")
    print(f"\n# {found.folder / 'config.yaml'}")
    print(yaml_1_2.dump(found.stored_tree()), end="")
    return 0


def _record(found: Artifact, store: Store) -> dict[str, Any]:
    meta = found.meta
    picked: dict[str, Any] = {
        "id": found.id,
        "kind": found.kind,
        "names": sorted(name for name, artifact_id in store.names().items() if artifact_id == found.id),
        "made": _date(meta["created_at"]),
        "code": meta.get("code_sha"),
        "walltime_sec": meta.get("walltime_sec"),
        "cpu_sec": meta.get("cpu_sec"),
        "inputs": found.inputs,
        "overrides": meta.get("overrides"),
        "dims": meta.get("dims"),
        "metrics": meta.get("metrics"),
        "runs": [run.id for run in store.runs_of(found)] if found.is_target else None,
        "files": sorted(meta["digests"]),
    }
    return json.loads(json.dumps({key: value for key, value in picked.items() if value not in (None, [], {})}))  # type: ignore[no-any-return]


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
    """Point the name."""
    store = open_store(args)
    store.name(store.find(args.token), args.name, force=args.force)
    return 0


def export(args: argparse.Namespace) -> int:
    """Print the folder."""
    store = open_store(args)
    print(store.export(store.find(args.token), args.folder))
    return 0


def import_file(args: argparse.Namespace) -> int:
    """Print the id of what was imported."""
    from causal_meta.cli.making import Watcher, watched
    from causal_meta.conf.artifacts import ExperimentConfig
    from causal_meta.conf.compose import compose
    from causal_meta.runners.importing import import_artifact, settings_words

    words = split(settings_words(args.words), ExperimentConfig, args.name)
    config: Any = compose(ExperimentConfig.kind, words.settings)
    store = open_store(args)
    watcher = Watcher(store)
    with watched(watcher):
        found = import_artifact(store, args.file, config, name=words.name, force=args.force, overrides=words.settings, subscribers=[watcher])
    print(found.id)
    return 0
