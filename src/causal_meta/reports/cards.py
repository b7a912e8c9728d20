"""The parts of a report on how its models were made: training curves, model cards, provenance."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from causal_meta.conf import yaml_1_2
from causal_meta.conf.convert import default_of, to_plain
from causal_meta.conf.pre_training import ExperimentConfig
from causal_meta.conf.setting import Config
from causal_meta.reports import figures
from causal_meta.reports.evidence import Evidence
from causal_meta.reports.page import Html, Part, Picture, details, facts, html, section, table, tag
from causal_meta.reports.sections import shown
from causal_meta.reports.tables import number
from causal_meta.store import Artifact

LIMITS = (
    "Its answer is a probability for every ordered pair of variables, given the table alone and "
    "the worlds it was trained on. It knows "
    "nothing of hidden common causes, feedback, selection or time unless these worlds had them, "
    "and does not prove a causal effect. "
    "Samples draw edges independently and can have cycles."
)


def training(evidence: Evidence) -> list[Part]:
    """A part with the training curves of the models, where there are models."""
    if not evidence.models:
        return []
    parts: list[Html] = []
    images: list[Picture] = []
    for model in evidence.models:
        pictures = figures.training(model, evidence)
        images += pictures
        parts.append(tag("h3", evidence.name_of(model)))
        parts += [shown(image) for image in pictures[:1]] or [
            tag("p", "Its facts hold no curves.", class_="note")
        ]
        parts += [
            details("Parts of the loss, speed and further metrics", shown(image))
            for image in pictures[1:]
        ]
    return [Part("training", "Training", section("Training", *parts, anchor="training"), images)]


def model_cards(evidence: Evidence) -> list[Part]:
    """A part with a card for every model, where there are models."""
    if not evidence.models:
        return []
    cards = [_card(model, evidence) for model in evidence.models]
    return [Part("models", "Model cards", section("Model cards", *cards, anchor="models"))]


def _card(model: Artifact, evidence: Evidence) -> Html:
    card = described(model)
    metrics = table(
        ["metric", "value"], [[name, number(value, 4)] for name, value in card.metrics.items()]
    )
    return tag(
        "article",
        tag("h3", evidence.name_of(model)),
        facts(card.facts.items()),
        tag("p", LIMITS, class_="small"),
        details("Validation metrics of the published weights", metrics),
        details("Settings that differ from the defaults", tag("pre", card.settings)),
        details("Versions", tag("pre", card.versions)),
    )


@dataclass(frozen=True)
class Description:
    """The contents of a model card: short facts by name, validation metrics of the published
    weights, settings as YAML, versions as lines."""

    facts: dict[str, str]
    metrics: dict[str, float | None]
    settings: str
    versions: str


def described(model: Artifact) -> Description:
    """The card of an amortised target from its `meta.json` and configuration; raises ValueError for
    another kind."""
    meta, config = model.meta, model.config
    if not isinstance(config, ExperimentConfig):
        raise ValueError(
            f"{model.id} is of kind {model.kind!r}; only a pre-trained model has a card."
        )
    dims, hardware = meta.get("dims", {}), meta.get("hardware", {})
    began = (
        f"the weights of {meta['inputs']['init']['id']}"
        if "init" in meta["inputs"]
        else f"weights drawn from seed {config.seed}"
    )
    steps = config.trainer.max_steps
    lines = {
        "model": f"{config.model.kind.upper()}, {dims['p']:,} parameters"
        if "p" in dims
        else config.model.kind.upper(),
        "id": model.id,
        "trained on": _trained_on(config),
        "steps": f"{meta.get('steps', steps):,} of "
        f"{steps:,}; best.pt from {meta.get('best_step', '?')}",
        "tasks seen": f"{meta.get('tasks', steps * config.data.tasks_per_step):,}",
        "training time": f"{duration(meta.get('walltime_sec'))} ({duration(meta.get('cpu_sec'))} "
        "of processor)",
        "began from": began,
        "seed": str(config.seed),
        "precision": f"{config.trainer.precision}, {meta.get('threads', '?')} threads",
        "machine": str(hardware.get("processor", "not recorded")),
        "made": when(meta.get("created_at")),
        "code": str(meta.get("code_sha") or "an installation")[:10],
    }
    best = {
        key: value for key, value in sorted(meta.get("metrics", {}).items()) if key.count("/") == 1
    }
    changed = differences(config, ExperimentConfig())
    versions = [
        f"python {meta.get('python', '?')}",
        *(f"{key} {value}" for key, value in sorted(meta.get("pkg_versions", {}).items())),
    ]
    return Description(
        lines, best, yaml_1_2.dump(changed).rstrip() if changed else "none", "\n".join(versions)
    )


def model_card(model: Artifact, name: str = "") -> str:
    """The card of an amortised target as Markdown, to be published with its weights; raises
    ValueError for another kind."""
    card = described(model)
    lines = [
        f"# Model card: {name or model.id}",
        "",
        LIMITS,
        "",
        *(f"- **{key}**: {value}" for key, value in card.facts.items()),
    ]
    lines += [
        "",
        "## Validation metrics of the published weights",
        "",
        "| metric | value |",
        "|---|---|",
    ]
    lines += [f"| {key} | {number(value, 4)} |" for key, value in card.metrics.items()]
    for title, text in (
        ("Settings that differ from the defaults", card.settings),
        ("Versions", card.versions),
    ):
        lines += ["", f"## {title}", "", "```", text, "```"]
    return "\n".join(lines) + "\n"


def differences(config: Any, default: Any) -> Any:
    """The tree of the settings in which a configuration differs from another one, or from the
    defaults of its class where the classes differ, as an experiment file holds them.

    >>> from causal_meta.conf.data import FamilyConfig
    >>> from causal_meta.conf.graph_laws import ScaleFree
    >>> from causal_meta.conf.ranges import fixed
    >>> differences(FamilyConfig(graph=ScaleFree(power=2.0), n_rows=fixed(50)), FamilyConfig())
    {'graph': {'kind': 'scale_free', 'power': 2.0}, 'n_rows': {'low': 50, 'high': 50}}
    """
    if isinstance(config, Config):
        same = type(default) is type(config)
        fields = [item for item in dataclasses.fields(config) if item.metadata["identity"]]
        changes = {} if same else {"kind": config.kind}
        for item in fields:
            value, before = (
                getattr(config, item.name),
                getattr(default, item.name) if same else default_of(item),
            )
            if value != before:
                changes[item.name] = differences(value, before)
        return changes
    if isinstance(config, Mapping):
        before = default if isinstance(default, Mapping) else {}
        return {key: differences(value, before.get(key)) for key, value in config.items()}
    return to_plain(config)


def _trained_on(config: ExperimentConfig) -> str:
    train = config.data.train
    nodes, rows = (
        f"{r.low}" if r.is_fixed else f"{r.low}–{r.high}" for r in (train.n_nodes, train.n_rows)
    )
    mechanisms = ", ".join(train.mechanisms)
    return (
        f"{nodes} variables, {rows} rows; {train.graph.kind} graphs; mechanisms {mechanisms}; "
        f"{train.noise.kind} noise"
    )


def duration(seconds: Any) -> str:
    """A duration in words.

    >>> [duration(s) for s in (0.4, 75, 7260, None)]
    ['0.4 s', '1 min 15 s', '2 h 1 min', 'unknown']
    """
    if not isinstance(seconds, int | float):
        return "unknown"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def when(timestamp: Any) -> str:
    """Seconds since 1970 as a date and time in UTC."""
    if not isinstance(timestamp, int | float):
        return "unknown"
    return datetime.datetime.fromtimestamp(timestamp, datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")


def provenance(evidence: Evidence) -> list[Part]:
    """A part that lists every artifact that the report is made from, with its digest."""
    rows = [_provenance_row(item, evidence) for item in evidence.artifacts]
    header = [
        "artifact",
        "kind",
        "name",
        "made",
        "seed",
        "inputs",
        "time",
        "code",
        "digest of the results",
    ]
    words = (
        "Everything on this page is made from these artifacts; building the same configuration "
        "again gives the same id."
    )
    key = tag("p", "Key of this report: ", tag("code", evidence.key), class_="small")
    body = tag("p", words), table(header, rows, words=range(9)), key
    title = "Provenance"
    return [Part("provenance", title, section(title, *body, anchor="provenance"))]


def _provenance_row(item: Artifact, evidence: Evidence) -> list[Any]:
    inputs: Iterable[str] = (f"{role}={artifact_id}" for role, artifact_id in item.inputs.items())
    sha = item.meta.get("code_sha")
    return [
        tag("span", item.id, class_="id"),
        item.kind,
        evidence.names.get(item.id, ""),
        when(item.meta.get("created_at")),
        item.seed,
        html([tag("span", word, class_="id"), tag("br")] for word in inputs),
        duration(item.meta.get("walltime_sec")),
        tag("span", str(sha)[:10], class_="id") if sha else "installed",
        tag("span", item.digest[:16], class_="id", title=item.digest),
    ]
