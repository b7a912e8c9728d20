"""Configuration of the laws of exogenous noise (room `datasets`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from causal_meta.conf.setting import Config, ConfigError, setting


@dataclass(frozen=True, kw_only=True)
class NoiseConfig(Config):
    """Base of the laws of the exogenous noise e_j: mean zero, unit variance."""


@dataclass(frozen=True, kw_only=True)
class GaussianNoise(NoiseConfig):
    """e ~ N(0, 1)."""

    kind: ClassVar[str] = "gaussian"


@dataclass(frozen=True, kw_only=True)
class LaplaceNoise(NoiseConfig):
    """e ~ Laplace with scale 1/sqrt(2): unit variance."""

    kind: ClassVar[str] = "laplace"


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
