"""Making an artifact from the command line: flags outside the identity, subscribers, progress
messages, and the place of the log after a failure."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from causal_meta.cli.failures import LOG

if TYPE_CHECKING:
    from causal_meta.conf.artifacts import ArtifactConfig, TargetConfig
    from causal_meta.store import Artifact, Store


def with_flags(config: TargetConfig, args: argparse.Namespace, name: str) -> TargetConfig:
    """The configuration with --device, --workers, --threads and the name in their fields, which are
    outside its identity."""
    placed = config.placed(device=args.device, threads=args.threads, workers=args.workers)
    return placed.renamed(name) if name else placed


def make(
    args: argparse.Namespace,
    store: Store,
    config: ArtifactConfig,
    inputs: Mapping[str, Artifact],
    *,
    name: str = "",
    overrides: Sequence[str] = (),
    options: Mapping[str, Any] | None = None,
) -> Artifact:
    """Find or build the artifact; reports on standard error which, and in how many seconds."""
    from causal_meta.runners.build import make as build

    watcher = Watcher(store)
    progress = "off" if args.quiet else "auto" if sys.stderr.isatty() else "lines"
    backend = config.backend_for({role: artifact.kind for role, artifact in inputs.items()})
    with watched(watcher), threads(args.threads, jax=backend == "jax"):
        artifact = build(
            store,
            config,
            inputs,
            name=name,
            force=args.force,
            overrides=overrides,
            subscribers=[watcher, *_pictures(args, store, config)],
            options={"progress": progress, **(options or {})},
        )
    if not args.quiet:
        print(watcher.sentence(artifact), file=sys.stderr)
    return artifact


def _pictures(args: argparse.Namespace, store: Store, config: ArtifactConfig) -> list[Any]:
    """The subscriber that draws the plot families of a kind, unless the user wants none."""
    if getattr(args, "no_plots", False) or not config.pictures:
        return []
    from causal_meta.monitoring import subscriber

    return [subscriber(store, config.pictures)]


class Watcher:
    """Listens to the facts of an attempt, so that a failure can say where they are."""

    def __init__(self, store: Store) -> None:
        self.staging = store.staging
        self.begin = time.monotonic()
        self.attempt: tuple[str, int] | None = None
        self.resumed = False

    def __call__(self, event: dict[str, Any]) -> None:
        """A subscriber of facts."""
        self.attempt = (str(event["run_id"]), int(event["attempt"]))
        self.resumed = self.resumed or event["moment"] == "on_resume"

    @property
    def log(self) -> Path | None:
        """The events of the attempt, while it lies in the staging area."""
        if self.attempt is None:
            return None
        identity, number = self.attempt
        return next(
            iter(sorted((self.staging / identity).glob(f"attempt-{number}-*/facts/events.jsonl"))),
            None,
        )

    def sentence(self, artifact: Artifact) -> str:
        """A line saying whether the artifact was found or built."""
        if self.attempt is None:
            return f"{artifact.kind} {artifact.id}: in the store already"
        how = "resumed and built" if self.resumed else "built"
        return f"{artifact.kind} {artifact.id}: {how} in {time.monotonic() - self.begin:.1f} s"


@contextlib.contextmanager
def watched(watcher: Watcher) -> Iterator[None]:
    """Note on a failure where its facts are."""
    try:
        yield
    except Exception as error:
        if watcher.log is not None:
            error.add_note(f"{LOG}{watcher.log}")
        raise


@contextlib.contextmanager
def threads(count: int, *, jax: bool = False) -> Iterator[None]:
    """Use `count` threads of torch or of JAX (for the rest of the process, if JAX is not loaded
    yet) inside; 0 changes nothing."""
    if not count:
        yield
        return
    if jax:
        eigen = "" if count > 1 else "--xla_cpu_multi_thread_eigen=false "
        os.environ["XLA_FLAGS"] = (
            f"{os.environ.get('XLA_FLAGS', '')} {eigen}intra_op_parallelism_threads={count}".strip()
        )
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
