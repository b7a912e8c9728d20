"""Configuration of the interventions in the tables of a family (room `datasets`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from causal_meta.conf.ranges import IntRange, fixed
from causal_meta.conf.setting import Config, ConfigError, setting


@dataclass(frozen=True, kw_only=True)
class InterventionConfig(Config):
    """Some rows of every table are drawn under interventions on known variables (AVICI, Lorch et
    al. 2022, has single-target hard ones).

    A task draws its target list: `targets` different variables, or the share `target_share` of them
    (rounded, at least 1; 1 is all; of several shares one is drawn for each task, all equally
    likely). Of the table's n_rows rows the share `row_share` (rounded) is interventional; or else
    `rows` interventional rows come in addition to n_rows. With probability `observational_share` a
    task has none: then its table, of the same size, is observational throughout.

    Interventional row r has the target r mod (length of the list), so that targets differ by at
    most one row, and with `targets_per_row` above 1 further targets drawn from the list.
    `change="do"` sets the target to the value and cuts it off from its parents; `"shift"` adds the
    value to what the mechanism gives. The value is ± U(value_low, value_high) ("uniform_sign"),
    N(value_mean, value_std²) ("normal") or value_mean ("constant"), a new one in every cell or one
    for each target of a task (`value_per`). Interventional rows come last, or, with
    `row_order="shuffled"`, at random places. The true graph stays that of the observational model.
    """

    kind: ClassVar[str] = "interventions"
    targets: IntRange | None = setting(None, unit="variables")
    target_share: float | tuple[float, ...] | None = setting(1.0, above=0, high=1)
    rows: IntRange | None = setting(None, unit="rows")
    row_share: float | None = setting(0.25, above=0, high=1)
    observational_share: float = setting(
        0.0, low=0, high=1, help="probability that a task has no interventional row"
    )
    targets_per_row: IntRange = setting(fixed(1), unit="variables")
    change: Literal["do", "shift"] = setting("do")
    value_law: Literal["uniform_sign", "normal", "constant"] = setting("uniform_sign")
    value_low: float = setting(1.0, low=0)
    value_high: float = setting(3.0, low=0)
    value_mean: float = setting(0.0)
    value_std: float = setting(1.0, above=0)
    value_per: Literal["cell", "target"] = setting("cell")
    row_order: Literal["observational_first", "shuffled"] = setting("observational_first")

    def validate(self) -> None:
        if (self.targets is None) == (self.target_share is None):
            raise ConfigError(
                "interventions.targets and target_share must not both be given or both be null; "
                "set exactly one of them to null."
            )
        if (self.rows is None) == (self.row_share is None):
            raise ConfigError(
                "interventions.rows and row_share must not both be given or both be null; set "
                "exactly one of them to null."
            )
        if self.target_share == ():
            raise ConfigError(
                "interventions.target_share is an empty list; give one share or several."
            )
        if self.value_low > self.value_high:
            raise ConfigError(
                f"interventions.value_low is {self.value_low}, above "
                f"value_high={self.value_high}; swap them."
            )

    def n_targets(self, n_nodes: int) -> tuple[IntRange, ...]:
        """The laws of the length of the target list of a task with D variables, one of which is
        drawn."""
        if self.target_share is None:
            assert self.targets is not None
            return (self.targets,)
        shares = self.target_share if isinstance(self.target_share, tuple) else (self.target_share,)
        return tuple(fixed(max(1, min(n_nodes, int(share * n_nodes + 0.5)))) for share in shares)

    def check_nodes(self, n_nodes: IntRange) -> None:
        """Raise `ConfigError` if a task of some number of variables in the range cannot have so
        many targets."""
        laws = self.n_targets(n_nodes.low)
        most, fewest = max(law.high for law in laws), min(law.low for law in laws)
        if most > n_nodes.low:
            raise ConfigError(
                f"interventions.targets goes up to {most}, but a task may have {n_nodes.low} "
                "variables; give at most that."
            )
        if self.targets_per_row.high > fewest:
            raise ConfigError(
                f"interventions.targets_per_row goes up to {self.targets_per_row.high}, but a "
                f"task may have {fewest} targets; "
                "lower it, or raise targets or target_share."
            )
