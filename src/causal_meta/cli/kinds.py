"""The help of verbs that take a kind, generated from the configuration classes: the kinds that a
verb makes, and the settings of one of them (`infer hmc --help`)."""

from __future__ import annotations

import argparse
import shutil
import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from causal_meta.cli.arguments import Parser, UsageError

if TYPE_CHECKING:
    from causal_meta.conf.artifacts import ArtifactConfig

_GIVES = {"posterior": "posteriors over graphs", "llc": "local learning coefficients"}
_COLUMN = 30  # of the meaning of a setting
_WIDEST = 110


class KindHelp(argparse.Action):
    """--help of a verb: its own, with the kinds that it makes; after a kind, that kind's settings.

    `const`: whether the verb makes runs rather than targets.
    """

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Print the help and exit."""
        kind = getattr(namespace, "kind", None)
        if kind and "=" not in kind:
            words = getattr(namespace, "words", None) or []
            print(kind_help(parser.prog, _class_of(kind, bool(self.const)), words))
        else:
            print(f"{parser.format_help()}\n{list_of_kinds(bool(self.const))}")
        parser.exit()


def add_help(verb: Parser, *, runs: bool) -> None:
    """--help, also for each kind."""
    help = "show this help; after a KIND, show its settings"
    verb.add_argument("-h", "--help", action=KindHelp, nargs=0, const=runs, help=help)


def list_of_kinds(runs: bool) -> str:
    """The kinds of runs or of targets that `infer` or `build` makes, with titles and inputs."""
    groups: dict[str, list[type[ArtifactConfig]]] = {}
    for cls in _classes(runs):
        if not cls.verb:
            groups.setdefault(_GIVES.get(cls.gives, cls.gives), []).append(cls)
    lines = []
    for title, members in groups.items():
        lines.append(f"kinds{f', {title}' if title else ''}:")
        lines += [f"  {cls.kind:13} {cls.title:42} {_inputs(cls)}".rstrip() for cls in members]
    others = [f"{cls.kind} ({cls.verb})" for cls in _classes(runs) if cls.verb]
    lines.append(f"  made by other commands: {', '.join(others)}")
    return "\n".join(lines)


def kind_help(program: str, cls: type[ArtifactConfig], words: Iterable[str] = ()) -> str:
    """What a kind is, what it needs, and all its settings with defaults, bounds and units.

    Words such as model=reduced_rank among `words` choose the nested configurations whose settings
    are listed.
    """
    from causal_meta.conf.compose import compose, groups
    from causal_meta.conf.describe import setting_lines, summary

    choices = groups(cls.kind)
    config = compose(cls.kind, [word for word in words if word.partition("=")[0] in choices])
    width = min(_WIDEST, shutil.get_terminal_size().columns)
    lines = [f"usage: {program} {cls.kind} {_inputs(cls)} [key=value …] [flags]".replace("  ", " ")]
    lines += ["", f"{cls.title[:1].upper()}{cls.title[1:]}."]
    for paragraph in summary(cls).splitlines():
        lines += ["", *textwrap.wrap(paragraph, width)]
    lines += ["", f"backend: {cls.backend}, on {' or '.join(cls.devices)}"]
    lines += [f"needs: pip install 'causal-meta[{cls.extra}]'"] if cls.extra else []
    lines += ["", "settings:"]
    for setting in setting_lines(config):
        lines += _columns(setting.word, setting.meaning, width)
    return "\n".join([*lines, "", f"For flags and examples see {program} --help."])


def _columns(word: str, meaning: str, width: int) -> list[str]:
    """A word on the left and its meaning on the right, or below it where the word is long."""
    indent = " " * _COLUMN
    text = textwrap.wrap(meaning, width, initial_indent=indent, subsequent_indent=indent)
    start = f"  {word}"
    if len(start) < _COLUMN and text:
        return [start.ljust(_COLUMN) + text[0][_COLUMN:], *text[1:]]
    return [start, *text]


def _inputs(cls: type[ArtifactConfig]) -> str:
    """The inputs of a kind as they are typed, those that may be missing in brackets."""
    words = []
    for role in cls.inputs:
        name = role.removesuffix("?")
        word = f"{name}={'|'.join(cls.takes.get(name, ('any',))).upper()}"
        words.append(f"[{word}]" if role.endswith("?") else word)
    return " ".join(words)


def _classes(runs: bool) -> list[type[ArtifactConfig]]:
    from causal_meta.conf.artifacts import RunConfig, TargetConfig
    from causal_meta.conf.registry import kinds

    return list(kinds(RunConfig)) if runs else list(kinds(TargetConfig))


def _class_of(kind: str, runs: bool) -> type[ArtifactConfig]:
    from causal_meta.conf.spelling import nearest

    classes = {cls.kind: cls for cls in _classes(runs)}
    if kind not in classes:
        raise UsageError(f"There is no kind called {kind!r}{nearest(kind, classes)}")
    return classes[kind]
