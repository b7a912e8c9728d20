"""Distributions of single numbers in configurations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from causal_meta.conf.setting import Config, ConfigError, setting


@dataclass(frozen=True, kw_only=True)
class IntRange(Config):
    """A whole number between `low` and `high` inclusive, drawn with probability proportional to
    n^power.

    `power=0` is uniform, `power=-1` uniform on the logarithm. A bare number `n` stands for
    `low=high=n`.
    """

    kind: ClassVar[str] = "int_range"
    low: int = setting(low=1)
    high: int = setting(low=1)
    power: float = setting(0.0, low=-8, high=8)

    def validate(self) -> None:
        if self.high < self.low:
            raise ConfigError(
                f"int_range.high is {self.high}, below low={self.low}; give high at least as "
                "large as low."
            )

    @property
    def is_fixed(self) -> bool:
        return self.low == self.high


def fixed(n: int) -> IntRange:
    """The range that holds `n` alone."""
    return IntRange(low=n, high=n)


@dataclass(frozen=True, kw_only=True)
class FloatRange(Config):
    """A number between `low` and `high`, drawn anew wherever it is needed. A bare number stands for
    `low=high`.

    `law`: "uniform"; "log_uniform", uniform on the logarithm (low above 0); "log_normal", exp of
    N(log_mean, log_std²), values beyond `low` and `high` are clipped to them.
    """

    kind: ClassVar[str] = "float_range"
    low: float = setting(1.0)
    high: float = setting(1.0)
    law: Literal["uniform", "log_uniform", "log_normal"] = setting("uniform")
    log_mean: float = setting(0.0, low=-50, high=50)
    log_std: float = setting(1.0, above=0, high=50)

    def validate(self) -> None:
        if self.high < self.low:
            raise ConfigError(
                f"float_range.high is {self.high}, below low={self.low}; give high at least as "
                "large as low."
            )
        if self.law != "uniform" and self.low <= 0:
            raise ConfigError(
                f"float_range.low is {self.low}; the law {self.law!r} needs a low above 0."
            )

    @property
    def is_fixed(self) -> bool:
        return self.low == self.high

    def check(
        self,
        where: str,
        *,
        low: float | None = None,
        above: float | None = None,
        high: float | None = None,
    ) -> None:
        """Raise `ConfigError` unless all values lie at or over `low`, over `above` and at or below
        `high`."""
        if low is not None and self.low < low:
            raise ConfigError(f"{where}.low is {self.low}; it must be at least {low}.")
        if above is not None and self.low <= above:
            raise ConfigError(f"{where}.low is {self.low}; it must be above {above}.")
        if high is not None and self.high > high:
            raise ConfigError(f"{where}.high is {self.high}; it must be at most {high}.")


def constant(value: float) -> FloatRange:
    """The range that holds `value` alone."""
    return FloatRange(low=value, high=value)
