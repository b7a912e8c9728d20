"""Configuration of what is known about a graph beforehand, by the names of the variables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from causal_meta.conf.setting import Config, ConfigError, setting
from causal_meta.conf.spelling import nearest

if TYPE_CHECKING:
    from causal_meta.knowledge import Knowledge

EVERY = "*"
_ARROWS = ("->", "→")


@dataclass(frozen=True, kw_only=True)
class KnowledgeConfig(Config):
    """Forbidden and required edges, and tiers: `forbid=['bmi -> age']`, `tiers=['age, sex', '*']`.

    On either side of a forbidden edge `*` stands for every variable; in the tiers it stands once,
    for all variables that no tier names.
    """

    kind: ClassVar[str] = "knowledge"
    forbid: tuple[str, ...] = setting((), help="edges that do not exist, such as 'bmi -> age'")
    require: tuple[str, ...] = setting((), help="edges that exist, such as 'age -> bmi'")
    tiers: tuple[str, ...] = setting(
        (), help="variables with commas between them; no later tier causes an earlier one"
    )
    max_parents: int = setting(0, low=0, help="most direct causes of a variable; 0: no bound")

    def validate(self) -> None:
        for edge in (*self.forbid, *self.require):
            if not any(arrow in edge for arrow in _ARROWS):
                raise ConfigError(f"{edge!r} is no edge; write 'cause -> effect'.")

    @property
    def is_empty(self) -> bool:
        """Whether every graph is allowed."""
        return self == KnowledgeConfig()

    def resolved(self, columns: Sequence[str]) -> Knowledge:
        """The knowledge about variables of these names.

        Raises:
            ConfigError: a name that is no variable, or knowledge that no graph satisfies.
        """
        # Imported here, since facts and configuration are read without numpy.
        from causal_meta.knowledge import Knowledge, KnowledgeError

        none = Knowledge.none(len(columns), columns)
        forbidden, required = none.forbidden.copy(), none.required.copy()
        for edge in self.forbid:
            causes, effects = _ends(edge, columns)
            forbidden[[[cause] for cause in causes], effects] = True
        for edge in self.require:
            causes, effects = _ends(edge, columns)
            if len(causes) * len(effects) != 1:
                raise ConfigError(
                    f"The required edge {edge!r} names every variable at once; write one edge for "
                    "each."
                )
            required[causes, effects] = True
        try:
            known = Knowledge(forbidden, required, self.max_parents or None, tuple(columns))
            return known.with_tiers(self._tiers(columns)) if self.tiers else known
        except KnowledgeError as error:
            raise ConfigError(str(error)) from None

    def _tiers(self, columns: Sequence[str]) -> list[list[int]]:
        named = [[name.strip() for name in tier.split(",")] for tier in self.tiers]
        places = {
            name: _place(name, columns, f"The tier {tier!r}")
            for tier, names in zip(self.tiers, named, strict=True)
            for name in names
            if name != EVERY
        }
        rest = [i for i in range(len(columns)) if i not in places.values()]
        if sum(names.count(EVERY) for names in named) > 1:
            raise ConfigError("The tiers hold * more than once; write it in one tier.")
        return [
            [i for name in names for i in (rest if name == EVERY else [places[name]])]
            for names in named
        ]


def _ends(edge: str, columns: Sequence[str]) -> tuple[list[int], list[int]]:
    """The causes and effects of an edge in words; a name may itself hold an arrow."""
    splits = [
        (edge[:at].strip(), edge[at + len(arrow) :].strip())
        for arrow in _ARROWS
        for at in range(len(edge))
        if edge.startswith(arrow, at)
    ]
    known = [split for split in splits if all(e == EVERY or e in columns for e in split)]
    cause, effect = (known or splits)[0]
    every = list(range(len(columns)))
    where = f"The edge {edge!r}"
    causes = every if cause == EVERY else [_place(cause, columns, where)]
    effects = every if effect == EVERY else [_place(effect, columns, where)]
    if causes == effects and cause != EVERY:
        raise ConfigError(f"The edge {edge!r} joins a variable to itself; name two variables.")
    return causes, effects


def _place(name: str, columns: Sequence[str], where: str) -> int:
    if name not in columns:
        raise ConfigError(
            f"{where} names {name!r}, which is no variable of the table{nearest(name, columns)}"
        )
    return list(columns).index(name)
