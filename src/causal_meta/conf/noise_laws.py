"""Configuration of the laws of exogenous noise (room `datasets`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from causal_meta.conf.setting import Config, ConfigError, setting


@dataclass(frozen=True, kw_only=True)
class NoiseConfig(Config):
    """Base of the laws of the exogenous noise e_j: mean 0 and variance 1 wherever these exist (not
    for Cauchy); mechanisms give it its scale."""


@dataclass(frozen=True, kw_only=True)
class GaussianNoise(NoiseConfig):
    """e ~ N(0, 1)."""

    kind: ClassVar[str] = "gaussian"


@dataclass(frozen=True, kw_only=True)
class LaplaceNoise(NoiseConfig):
    """e ~ Laplace with scale 1/sqrt(2): unit variance."""

    kind: ClassVar[str] = "laplace"


@dataclass(frozen=True, kw_only=True)
class UniformNoise(NoiseConfig):
    """e ~ U(-sqrt 3, sqrt 3): unit variance."""

    kind: ClassVar[str] = "uniform"


@dataclass(frozen=True, kw_only=True)
class StudentTNoise(NoiseConfig):
    """e ~ Student's t with `df` degrees of freedom, divided by its standard deviation sqrt(df / (df
    - 2)): unit variance."""

    kind: ClassVar[str] = "student_t"
    df: float = setting(
        5.0,
        above=2,
        high=1e6,
        unit="degrees of freedom (the variance is infinite up to 2; see cauchy)",
    )


@dataclass(frozen=True, kw_only=True)
class GumbelNoise(NoiseConfig):
    """e ~ Gumbel (the law of maxima, skewed to the right), less its mean and divided by its
    standard deviation: unit variance."""

    kind: ClassVar[str] = "gumbel"


@dataclass(frozen=True, kw_only=True)
class CauchyNoise(NoiseConfig):
    """e ~ Cauchy with median 0 and scale 1 (quartiles at ±1): it has neither mean nor variance, so
    1 is its scale, not its standard deviation."""

    kind: ClassVar[str] = "cauchy"


@dataclass(frozen=True, kw_only=True)
class NoisePart(Config):
    """A named part of a mixture of noise laws."""

    kind: ClassVar[str] = "noise_part"
    weight: float = setting(1.0, above=0)
    noise: NoiseConfig = setting()


@dataclass(frozen=True, kw_only=True)
class NoiseMixture(NoiseConfig):
    """One of the named parts is drawn per task and holds for all its nodes."""

    kind: ClassVar[str] = "noise_mixture"
    parts: dict[str, NoisePart] = setting()

    def validate(self) -> None:
        if not self.parts:
            raise ConfigError("noise_mixture.parts is empty; name at least one part.")
