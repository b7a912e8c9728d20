"""Laws of single numbers inside configurations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from causal_meta.conf.setting import Config, ConfigError, setting


@dataclass(frozen=True, kw_only=True)
class IntRange(Config):
    """A whole number between `low` and `high` inclusive, drawn with probability proportional to n^power.

    `power=0` is uniform, `power=-1` uniform on the logarithm. A bare number `n` stands for `low=high=n`.
    """

    kind: ClassVar[str] = "int_range"
    low: int = setting(low=1)
    high: int = setting(low=1)
    power: float = setting(0.0, low=-8, high=8)

    def validate(self) -> None:
        if self.high < self.low:
            raise ConfigError(f"int_range.high is {self.high}, below low={self.low}; give high at least as large as low.")

    @property
    def is_fixed(self) -> bool:
        return self.low == self.high


def fixed(n: int) -> IntRange:
    """The range that holds `n` alone."""
    return IntRange(low=n, high=n)
