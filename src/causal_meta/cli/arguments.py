"""What verbs share: flags, settings of the form key=value, and roles of the form of=NAME."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from causal_meta.conf.artifacts import ArtifactConfig
    from causal_meta.store import Artifact, Store


class UsageError(ValueError):
    """An invalid command line, described in one sentence."""


class Parser(argparse.ArgumentParser):
    """An argument parser that keeps the layout of its examples, takes no abbreviated flags, and
    raises `UsageError`."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **options
        )

    def error(self, message: str) -> NoReturn:
        """Raise what argparse would print."""
        raise UsageError(f"{message[:1].upper()}{message[1:].rstrip('.')}; see {self.prog} --help.")


Verbs = Any  # argparse's _SubParsersAction, which has no public name


def add_verb(verbs: Verbs, name: str, help: str, examples: str, run: Any, **options: Any) -> Parser:
    """A verb with its help, examples and the function that carries it out."""
    description = f"{help[:1].upper()}{help[1:]}."
    verb: Parser = verbs.add_parser(
        name, help=help, description=description, epilog=f"examples:\n{examples}", **options
    )
    verb.set_defaults(run=run)
    return verb


def add_words(verb: Parser, help: str) -> None:
    """The settings key=value of a verb."""
    verb.add_argument("words", nargs="*", metavar="key=value", help=help)


def add_flags(verb: Parser, *, making: bool = False, training: bool = False) -> None:
    """--store; for verbs that make artifacts also --name, --force, --threads, --quiet; for those
    that train --device and --workers."""
    verb.add_argument(
        "--store",
        metavar="DIR",
        help="folder of the store (default: $CAUSAL_META_STORE, else ./runs)",
    )
    if making:
        verb.add_argument(
            "--name",
            metavar="NAME",
            default="",
            help="a name for the result: a letter, then letters, digits, _ or -",
        )
        verb.add_argument(
            "--force", action="store_true", help="take the name from another artifact"
        )
        verb.add_argument(
            "--threads",
            type=_count,
            metavar="N",
            default=0,
            help="threads for the computation (default: the library's choice)",
        )
        verb.add_argument("--quiet", action="store_true", help="print only the result")
    if training:
        verb.add_argument(
            "--device", metavar="NAME", help="auto, cpu, cuda, cuda:1, … (default: auto)"
        )
        verb.add_argument(
            "--workers",
            type=_count,
            metavar="N",
            help="processes that draw tasks during training (default: 0)",
        )
        verb.add_argument(
            "--no-plots", action="store_true", help="do not plot curves during training"
        )


def _count(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 0")
    return int(text)


def whole(low: int) -> Any:
    """An argument type: a whole number of at least `low`."""

    def parse(text: str) -> int:
        number = int(text) if text.lstrip("-").isdigit() else None
        if number is None or number < low:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least {low}")
        return number

    return parse


def open_store(args: argparse.Namespace) -> Store:
    """The store that --store, the environment or the default names."""
    from causal_meta.store import Store

    return Store(args.store)


# ---------------------------------------------------------------------------------------- key=value


@dataclasses.dataclass(frozen=True)
class Words:
    """The key=value words of a command: `settings` for the configuration, `roles` naming inputs,
    and the `name` for the result."""

    settings: tuple[str, ...]
    roles: dict[str, str]
    name: str


def split(words: Sequence[str], cls: type[ArtifactConfig], name: str = "") -> Words:
    """Split the words of a command into the roles of a kind, the name and the settings.

    A name is checked on its raw text, before anything reads `2024_01` as a number. Raises
    ConfigError or StoreError.
    """
    from causal_meta.conf.setting import ConfigError
    from causal_meta.conf.spelling import nearest
    from causal_meta.store import check_name

    known = [role.removesuffix("?") for role in cls.inputs]
    settings, roles = [], {}
    for word in words:
        key, equals, value = word.partition("=")
        if key in known and equals:
            if not value:
                raise ConfigError(f"{word!r} is empty; give a name or an id, {key}=ID.")
            roles[key] = value
        elif key == "name" and equals:
            name = name or check_name(value)
        else:
            top = key.lstrip("+~").partition(".")[0]
            fields = [item.name for item in dataclasses.fields(cls)]
            if equals and top.isidentifier() and top not in fields:
                raise ConfigError(
                    f"{cls.kind} has no setting or input {top!r}{nearest(top, [*fields, *known])}"
                )
            settings.append(word)
    missing = [role for role in cls.inputs if not role.endswith("?") and role not in roles]
    if missing:
        raise ConfigError(
            f"{cls.kind} needs the input {missing[0]}; give {missing[0]}=NAME or an id."
        )
    return Words(tuple(settings), roles, check_name(name) if name else "")


def inputs_of(roles: dict[str, str], store: Store) -> dict[str, Artifact]:
    """The artifacts that the roles name; `default` is the model inside the package."""
    from causal_meta.runners.inference.named_models import DEFAULT, installed_model

    return {
        role: installed_model(token, store) if token == DEFAULT else store.find(token)
        for role, token in roles.items()
    }
