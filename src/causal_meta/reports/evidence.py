"""The evidence of a report: the artifacts that it is about, read once and put in order. Nothing
else is computed."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, Int8

from causal_meta.conf.convert import difference, to_plain
from causal_meta.conf.data import FamilyConfig, TableConfig
from causal_meta.conf.evaluation import EvaluateConfig
from causal_meta.conf.inference import MethodConfig
from causal_meta.conf.pre_training import ExperimentConfig
from causal_meta.records.metrics import read_metrics
from causal_meta.records.task_sets import read_columns, read_true_graphs
from causal_meta.store import Artifact, Store, StoreError


@dataclass
class Evaluation:
    """The scores of one method on one task set: `metrics` is what `metrics.json` holds."""

    run: Artifact
    method: Artifact
    label: str
    metrics: dict[str, Any]

    @property
    def is_model(self) -> bool:
        """Whether an amortised model was scored (and not a baseline)."""
        return self.method.kind == "amortised"

    def entry(self, metric: str) -> dict[str, Any]:
        """{mean, se, n} of a metric; None and 0 where it is missing."""
        return self.metrics.get("summary", {}).get(metric) or {"mean": None, "se": None, "n": 0}


@dataclass
class Answer:
    """A posterior over the graphs of the first task of a task set: edge probabilities and, of its
    sampled graphs, the share without a cycle."""

    run: Artifact
    method: Artifact
    label: str
    probabilities: Float[np.ndarray, "D D"]
    acyclic_share: float | None
    n_samples: int

    @property
    def is_model(self) -> bool:
        """Whether an amortised model answered."""
        return self.method.kind == "amortised"

    @property
    def warnings(self) -> list[str] | None:
        """The warnings that the run recorded about its answer; None if it made no checks."""
        sentences = self.run.meta.get("warnings")
        return None if sentences is None else [str(sentence) for sentence in sentences]


@dataclass
class TaskSet:
    """A tasks target with the scores and the answers on it."""

    artifact: Artifact
    title: str
    evaluations: list[Evaluation] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)

    @property
    def is_table(self) -> bool:
        """Whether this is one real table (and not draws of a family)."""
        return isinstance(getattr(self.artifact.config, "data", None), TableConfig)

    @functools.cached_property
    def columns(self) -> list[str]:
        """The names of the variables."""
        return read_columns(self.artifact)

    @functools.cached_property
    def truth(self) -> Int8[np.ndarray, "D D"] | None:
        """The true graph of the first task, if it is known."""
        graphs = read_true_graphs(self.artifact)
        return None if graphs is None else graphs[0]

    @property
    def size(self) -> str:
        """A text with the numbers of tasks, rows and variables."""
        dims, data = self.artifact.meta.get("dims", {}), getattr(self.artifact.config, "data", None)
        rows, nodes = dims.get("n_rows", "?"), dims.get("n_nodes", "?")
        if isinstance(data, FamilyConfig):
            nodes, rows = (
                _range(data.n_nodes.low, data.n_nodes.high),
                _range(data.n_rows.low, data.n_rows.high),
            )
        return f"{self.count}, {rows} rows, {nodes} variables"

    @property
    def count(self) -> str:
        """A text with the number of tasks."""
        tasks = self.artifact.meta.get("dims", {}).get("n_tasks", "?")
        return f"1 {'table' if self.is_table else 'task'}" if tasks == 1 else f"{tasks} tasks"

    def groups(self) -> list[list[Evaluation]]:
        """Evaluations that may share a table, that is with the same conventions, the largest group
        first."""
        by_conventions: dict[tuple[Any, ...], list[Evaluation]] = {}
        for item in self.evaluations:
            config = item.run.config
            key = (
                (config.shd_reversal, config.ece_bins) if isinstance(config, EvaluateConfig) else ()
            )
            by_conventions.setdefault(key, []).append(item)
        return sorted(by_conventions.values(), key=lambda group: -len(group))


def _range(low: int, high: int) -> str:
    return str(low) if low == high else f"{low}–{high}"


@dataclass
class Evidence:
    """Everything that a report shows: models, task sets, every artifact used, problems with some of
    them, and the `title` and `key` of the report."""

    artifacts: list[Artifact]
    models: list[Artifact]
    task_sets: list[TaskSet]
    names: dict[str, str]
    problems: list[str]
    title: str = ""
    key: str = ""

    def name_of(self, artifact: Artifact) -> str:
        """Its human name, else its kind with its id."""
        return self.names.get(artifact.id) or f"{_kind_word(artifact)} {artifact.id}"


def gather(store: Store, name: str = "", artifacts: Iterable[Artifact] | None = None) -> Evidence:
    """The evidence for a report on `name` (a target or run, by name, id or unique prefix), on the
    given artifacts, or on the whole store.

    A model comes with its evaluations and answers, the task sets they are on, and everything else
    that was scored or answered there; a task set with everything scored or answered on it; a run
    stands for its target. Raises `StoreError` if the name is unknown.
    """
    everything, problems = _readable(store.artifacts())
    by_id = {item.id: item for item in everything}
    if artifacts is not None:
        chosen = {item.id: item for item in artifacts}
        chosen |= {
            key: by_id[key]
            for item in list(chosen.values())
            for key in item.inputs.values()
            if key in by_id
        }
    elif name:
        chosen = _around(store.find(name), everything)
    else:
        chosen = by_id
    names: dict[str, str] = {}
    for word, artifact_id in sorted(store.names().items()):
        names.setdefault(artifact_id, word)
    problems += _stale(chosen.values(), by_id)
    used = [item for item in everything if item.id in chosen] + [
        item for key, item in chosen.items() if key not in by_id
    ]
    evidence = Evidence(
        used, [item for item in used if item.kind == "amortised"], [], names, problems
    )
    evidence.task_sets = [
        _task_set(item, used, by_id | chosen, evidence) for item in used if item.kind == "tasks"
    ]
    return evidence


def _readable(artifacts: list[Artifact]) -> tuple[list[Artifact], list[str]]:
    """The artifacts whose configuration this version understands, and a sentence about each of the
    others."""
    readable, problems = [], []
    for item in artifacts:
        try:
            assert item.config is not None
        except StoreError as error:
            problems.append(f"{error} It is left out.")
        else:
            readable.append(item)
    return readable, problems


def _around(start: Artifact, everything: list[Artifact]) -> dict[str, Artifact]:
    by_id = {item.id: item for item in everything}
    target = start if start.is_target else by_id.get(start.inputs["of"])
    if target is None:
        raise StoreError(
            f"{start.id} was computed on {start.inputs['of']}, which cannot be read; see "
            "causal-meta store verify."
        )
    if target.kind == "tasks":
        task_sets = {target.id}
    else:
        used = {
            key
            for item in everything
            if target.id in item.inputs.values()
            for key in item.inputs.values()
        }
        task_sets = {key for key in used if key in by_id and by_id[key].kind == "tasks"}
    runs = [
        item
        for item in everything
        if not item.is_target and (task_sets | {target.id}) & set(item.inputs.values())
    ]
    needed = [by_id[key] for run in runs for key in run.inputs.values() if key in by_id]
    return {item.id: item for item in (target, *runs, *needed)}


def _stale(chosen: Iterable[Artifact], by_id: dict[str, Artifact]) -> list[str]:
    sentences = []
    for item in chosen:
        for role, entry in item.meta["inputs"].items():
            now = by_id.get(entry["id"])
            if now is not None and now.digest != entry["digest"]:
                sentences.append(
                    f"{item.id} ({item.kind}) is stale: its input {role}, {entry['id']}, has "
                    "changed since."
                )
    return sentences


def _task_set(
    artifact: Artifact, used: Sequence[Artifact], by_id: dict[str, Artifact], evidence: Evidence
) -> TaskSet:
    described = getattr(artifact.config, "data", None)
    title = evidence.names.get(artifact.id) or getattr(described, "title", "") or artifact.id
    tasks = TaskSet(artifact, title)
    for run in used:
        if run.is_target or artifact.id not in run.inputs.values():
            continue
        try:
            if run.kind == "evaluate":
                method = by_id[run.inputs.get("posterior") or run.inputs["of"]]
                method = by_id[method.inputs["of"]] if method.config.needs_pretraining else method
                metrics = read_metrics(run)
                tasks.evaluations.append(
                    Evaluation(run, method, _label(method, run, by_id, evidence), metrics)
                )
            elif run.config.gives == "posterior" and tasks.is_table:
                method = by_id[run.inputs["of"]] if run.config.needs_pretraining else run
                tasks.answers.append(_answer(run, method, _label(method, run, by_id, evidence)))
        except (KeyError, OSError, ValueError) as error:
            evidence.problems.append(
                f"{run.id} ({run.kind}) could not be read and is left out: "
                f"{str(error).rstrip('.')}."
            )
    tasks.evaluations.sort(key=lambda item: _rank(item.method, item.label))
    tasks.answers.sort(key=lambda item: _rank(item.method, item.label))
    for group in tasks.groups():
        _make_unique(group)
    _make_unique(tasks.answers)
    return tasks


def _answer(run: Artifact, method: Artifact, label: str) -> Answer:
    import torch

    from causal_meta.graphs import is_acyclic
    from causal_meta.records.posteriors import read_graphs, read_posterior

    probabilities = read_posterior(run).edge_probabilities[0].double().numpy()
    graphs = read_graphs(run)
    if graphs is None:
        return Answer(run, method, label, probabilities, None, 0)
    share = is_acyclic(torch.from_numpy(graphs[0].astype(np.float32))).double().mean()
    return Answer(run, method, label, probabilities, float(share), len(graphs[0]))


def _rank(method: Artifact, label: str) -> tuple[int, str]:
    return method.config.table_rank, label


def _kind_word(artifact: Artifact) -> str:
    config = artifact.config
    if isinstance(config, ExperimentConfig):
        return config.model.title
    return config.title or artifact.kind


def _label(method: Artifact, run: Artifact, by_id: dict[str, Artifact], evidence: Evidence) -> str:
    """The name of a method in the tables: a model's name, or a baseline's kind and its settings
    that are not the default."""
    if method.kind == "amortised":
        return evidence.name_of(method)
    config = method.config
    if not isinstance(config, MethodConfig):
        return _kind_word(method)
    changed = (
        line.split(": ", 1) for line in difference(to_plain(type(config)()), to_plain(config))
    )
    left_out = ("seed", *config.named)
    settings = {key: values.split("-> ")[-1] for key, values in changed if key not in left_out}
    count = f" ×{settings.pop('n_samples')}" if "n_samples" in settings else ""
    others = "".join(f", {key} {value}" for key, value in settings.items())
    return config.name_in_tables + count + others


def _make_unique(group: Sequence[Any]) -> None:
    """Rows of a table with equal names get the settings in which their runs differ, or their
    ids."""
    for label in {item.label for item in group}:
        same = [item for item in group if item.label == label]
        if len(same) < 2:
            continue
        plain = [to_plain(item.run.config) | {"method seed": item.method.seed} for item in same]
        keys = [key for key in plain[0] if len({repr(tree.get(key)) for tree in plain}) > 1]
        for item, tree in zip(same, plain, strict=True):
            settings = ", ".join(f"{key} {tree[key]}" for key in keys)
            item.label = f"{label} ({settings or item.run.id})"
        if len({item.label for item in same}) < len(same):
            for item in same:
                item.label = f"{label} ({item.run.id})"


def require_something(evidence: Evidence, name: str) -> None:
    """Raise `StoreError` if there is nothing to report."""
    if not evidence.artifacts:
        raise StoreError(
            f"There is nothing to report{f' on {name!r}' if name else ': the store is empty'}; "
            "build a target first."
        )
