"""The executor that a word names, and checks before the first job that it can carry out a plan from
this machine; errors name the line of the card."""

from __future__ import annotations

import importlib.util
import ipaddress
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from causal_meta.conf import yaml_1_2
from causal_meta.conf.artifacts import ArtifactConfig
from causal_meta.conf.clusters import CardConfig, JobNeeds, KubernetesCard, LocalCard, SlurmCard
from causal_meta.conf.convert import from_plain
from causal_meta.conf.registry import by_tag, nearest, tags
from causal_meta.conf.setting import ConfigError
from causal_meta.store import Store
from causal_meta.workflow.cells import Cell
from causal_meta.workflow.plan import Plan
from causal_meta.workflow.study_file import Place

HERE = ("local", "threads", "processes", "parsl")
_NEEDS_PARSL = ("threads", "parsl")
_COMMANDS = {
    "slurm": ("sbatch", "squeue", "scancel"),
    "htcondor": ("condor_submit", "condor_q", "condor_rm"),
    "kubernetes": (),
    "local": (),
}
_NAMES = {
    "slurm": "Slurm",
    "htcondor": "HTCondor",
    "kubernetes": "Kubernetes",
    "local": "this machine",
}
_PLAIN_PATH = re.compile(r"[A-Za-z0-9_@%+=:,./-]+")
_PATIENCE = 60  # seconds to wait for a scheduler to say whether it would accept a block


@dataclass(frozen=True)
class Executor:
    """An executor: the `word` that names it, the number of workers if no card sets it, and the card
    with the lines of its file."""

    word: str
    workers: int
    card: CardConfig | None = None
    file: str = ""
    lines: Mapping[tuple[Any, ...], int] = field(default_factory=dict)

    def error(self, path: tuple[Any, ...], sentence: str) -> ConfigError:
        """The error for a place in the card, with its line or that of the enclosing entry."""
        while path and path not in self.lines:
            path = path[:-1]
        return (
            Place(self.file, self.lines.get(path, 1)).error(sentence)
            if self.file
            else ConfigError(f"--executor {self.word}: {sentence}")
        )


def executor_of(word: str, workers: int) -> Executor:
    """The executor that a word means: `local`, `threads`, `processes`, `parsl`, the name of a card
    of this package or the file of one.

    Raises `ConfigError` for any other word, an invalid card, or a missing scheduler or package.
    """
    if word in (*_NEEDS_PARSL, "local", "processes"):
        executor = Executor(
            word, workers, LocalCard(jobs=JobNeeds(per_block=workers)) if word == "parsl" else None
        )
    else:
        executor = _read(word, workers)
    if (word in _NEEDS_PARSL or executor.card is not None) and importlib.util.find_spec(
        "parsl"
    ) is None:
        raise ConfigError(
            f"--executor {word} needs the Python package parsl; install it with pip install "
            "'causal-meta[workflow]'."
        )
    if executor.file:
        _check_scheduler(executor)
    return executor


def card_names() -> list[str]:
    """The cards that come with the package."""
    folder = resources.files("causal_meta.conf") / "cards"
    return sorted(
        item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml")
    )


def _read(word: str, workers: int) -> Executor:
    shipped = word in card_names()
    path = Path(word)
    if shipped:
        file = f"the card {word}"
        text = (resources.files("causal_meta.conf") / "cards" / f"{word}.yaml").read_text("utf-8")
    elif path.is_file():
        file = word
        try:
            text = path.read_text("utf-8")
        except UnicodeDecodeError:
            raise ConfigError(f"{word} is not a text file; give the YAML file of a card.") from None
    else:
        raise ConfigError(
            "There is no executor, card or file called "
            f"{word!r}{nearest(word, [*HERE, *card_names()])}"
        )
    tree, lines = yaml_1_2.load_with_lines(text, file)
    executor = Executor(word, workers, None, file, lines)
    if not isinstance(tree, dict) or "kind" not in tree:
        raise executor.error(
            (),
            "a card begins with its scheduler: 'kind: KIND', one of "
            f"{', '.join(tags(CardConfig))}.",
        )
    return Executor(word, workers, _card(executor, tree), file, lines)


def _card(executor: Executor, tree: dict[str, Any]) -> CardConfig:
    """The card of a tree; raises `ConfigError` with the line of a mistake."""
    jobs, kinds = tree.get("jobs", {}), tree.get("kinds", {})
    if not isinstance(kinds, dict):
        raise executor.error(
            ("kinds",),
            f"kinds is {kinds!r}; give what each kind needs, such as 'amortised: {{cores: 8}}'.",
        )
    artifacts = {tag for tag, cls in by_tag().items() if issubclass(cls, ArtifactConfig)}
    for kind in kinds:
        if kind not in artifacts:
            raise executor.error(
                ("kinds", kind),
                f"there is no kind of artifact called {kind!r}{nearest(str(kind), artifacts)}",
            )
    parts: dict[tuple[Any, ...], JobNeeds] = {}
    for path, part in [
        (("jobs",), jobs),
        *((("kinds", kind), part) for kind, part in kinds.items()),
    ]:
        parts[path] = _checked(executor, path, JobNeeds, part)
    rest = {key: value for key, value in tree.items() if key not in ("jobs", "kinds")}
    card = _checked(
        executor,
        (),
        CardConfig,
        rest | {"jobs": parts["jobs",], "kinds": {kind: parts["kinds", kind] for kind in kinds}},
    )
    if card.address:
        try:
            ipaddress.ip_address(card.address)
        except ValueError:
            raise executor.error(
                ("address",),
                f"the address is {card.address!r}; give an IP address of this machine.",
            ) from None
    return card


def _checked(executor: Executor, path: tuple[Any, ...], base: type[Any], tree: Any) -> Any:
    """The configuration of a part of a card; an error gives the line of the key that it names."""
    try:
        return from_plain(base, tree, ".".join(str(word) for word in path))
    except ConfigError as error:
        named = re.search(
            r"has no setting '([^']*)'|^[\w.]*?\.?(\w+)(?:\[\d+\])? (?:is|holds|mounts) |called "
            r"'[^']*'",
            str(error),
        )
        key = (named.group(1) or named.group(2) or "kind") if named else ""
        raise executor.error((*path, key), str(error).replace("job_needs.", "", 1)) from None


# ------------------------------------------------------------------------------------------- checks


def _check_scheduler(executor: Executor) -> None:
    """Raise `ConfigError` unless the scheduler that a card names can be reached from here."""
    card = executor.card
    assert card is not None
    missing = [command for command in _COMMANDS[card.kind] if shutil.which(command) is None]
    if missing:
        sentence = (
            f"the card is for {_NAMES[card.kind]}, and there is no command {missing[0]} "
            "here; go to a machine of the cluster, or take another card."
        )
        raise executor.error(("kind",), sentence)
    if isinstance(card, KubernetesCard) and importlib.util.find_spec("kubernetes") is None:
        needed = (
            "which needs the Python package kubernetes; install it with pip install "
            "'causal-meta[kubernetes]'."
        )
        raise executor.error(("kind",), f"the card is for Kubernetes, {needed}")
    if isinstance(card, LocalCard) and card.python and shutil.which(card.python) is None:
        raise executor.error(
            ("python",),
            f"there is no interpreter {card.python!r}; leave python out to use the current one.",
        )


def check_plan(executor: Executor, plan: Plan, store: Store) -> None:
    """Check that the executor can make what a plan lacks; raises `ConfigError` in one sentence with
    the line."""
    if executor.word == "threads":
        for cell in plan.to_make:
            _check_thread(cell)
    if executor.card is None or not plan.to_make:
        return
    root = os.path.abspath(store.root)
    if not _PLAIN_PATH.fullmatch(root):
        raise ConfigError(
            f"The store {root} has characters in its path that Parsl's scripts cannot take; use "
            "another --store, or --executor processes."
        )
    if not executor.file:
        return
    from causal_meta.workflow.pools import high_throughput

    for kind in dict.fromkeys(cell.kind for cell in plan.to_make):
        needs = executor.card.needs_of(kind)
        path = ("kinds", kind) if kind in executor.card.kinds else ("jobs",)
        if isinstance(executor.card, LocalCard):
            _check_machine(executor, path, kind, needs, store)
        if isinstance(executor.card, SlurmCard):
            _ask_slurm(executor, executor.card, path, kind, needs)
        high_throughput(kind, executor.card, needs)


def _check_thread(cell: Cell) -> None:
    if not type(cell.config).thread_safe:
        why = "it uses generators or modes that a whole process shares"
        raise cell.place.error(
            f"{cell.kind} cannot be made in threads, since {why}; use --executor processes."
        )


def _check_machine(
    executor: Executor, path: tuple[Any, ...], kind: str, needs: JobNeeds, store: Store
) -> None:
    """Check that a block fits this machine."""
    place = store.root.absolute()
    while not place.exists():
        place = place.parent
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    for key, needed, there, unit in (
        ("cores", needs.cores * needs.per_block, os.cpu_count() or 1, "cores"),
        ("memory_gb", needs.memory_gb * needs.per_block, memory, "GB of memory"),
        (
            "storage_gb",
            needs.storage_gb * needs.per_block,
            shutil.disk_usage(place).free / 2**30,
            "GB of free disk",
        ),
    ):
        if needed > there:
            sentence = (
                f"{needs.per_block} jobs of kind {kind} at once need {needed} {unit}, but this "
                f"machine has {there:.4g}; request less."
            )
            raise executor.error((*path, key), sentence)
    if needs.gpus and shutil.which("nvidia-smi") is None and shutil.which("rocm-smi") is None:
        raise executor.error(
            (*path, "gpus"),
            f"jobs of kind {kind} are to use a GPU, but this machine has none; leave gpus out.",
        )


def _ask_slurm(
    executor: Executor, card: SlurmCard, path: tuple[Any, ...], kind: str, needs: JobNeeds
) -> None:
    """Raise `ConfigError` unless Slurm would accept a block."""
    words = ["sbatch", "--test-only", *slurm_words(card, needs), "--wrap", "true"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=_PATIENCE, check=False)
        lines = done.stderr.strip().splitlines() if done.returncode else []
    except subprocess.TimeoutExpired:
        lines = [f"it did not answer within {_PATIENCE} seconds"]
    if lines:
        reason = re.sub(r"^(sbatch: |error: |allocation failure: )+", "", lines[-1]).rstrip(".")
        raise executor.error(
            path,
            f"Slurm accepts no block for jobs of kind {kind} ({reason}); change what the card "
            "requests.",
        )


def slurm_words(card: SlurmCard, needs: JobNeeds) -> list[str]:
    """What a block asks of Slurm, as options of `sbatch`."""
    named = {
        "partition": card.partition,
        "account": card.account,
        "qos": card.qos,
        "constraint": card.constraint,
    }
    words = [f"--{key}={value}" for key, value in named.items() if value]
    words += [
        "--nodes=1",
        "--ntasks-per-node=1",
        f"--cpus-per-task={needs.cores * needs.per_block}",
        f"--mem={needs.memory_gb * needs.per_block}g",
    ]
    words += [f"--time={needs.walltime}"]
    words += [f"--gpus-per-node={needs.gpus * needs.per_block}"] if needs.gpus else []
    words += [f"--tmp={needs.storage_gb * needs.per_block}g"] if needs.storage_gb else []
    words += ["--exclusive"] if card.exclusive else []
    return words + [word for option in card.options for word in shlex.split(option)]
