"""Configuration of the laws over mechanisms (room `datasets`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from causal_meta.conf.setting import Config, ConfigError, setting


@dataclass(frozen=True, kw_only=True)
class MechanismConfig(Config):
    """Base of the laws over the function that makes a variable from its parents and its noise."""


@dataclass(frozen=True, kw_only=True)
class LinearHeteroskedastic(MechanismConfig):
    """x_j = w_j . x_pa(j) + b_j + s_j e_j with a noise standard deviation s_j of its own at every node (roots included).

    `weight_law`: "normal" N(0, weight_scale²), or "uniform_sign" ± U(weight_low, weight_high) (AVICI). `noise_std_law`: "gamma"
    Gamma(shape noise_std_a, rate noise_std_b), or "uniform" U(noise_std_a, noise_std_b). Bias b_j ~ U(-bias_bound, bias_bound).
    """

    kind: ClassVar[str] = "linear"
    weight_law: Literal["normal", "uniform_sign"] = setting("normal")
    weight_scale: float = setting(1.0, above=0)
    weight_low: float = setting(0.5, low=0)
    weight_high: float = setting(2.0, above=0)
    bias_bound: float = setting(0.0, low=0)
    noise_std_law: Literal["gamma", "uniform"] = setting("gamma")
    noise_std_a: float = setting(2.0, above=0)
    noise_std_b: float = setting(2.0, above=0)

    def validate(self) -> None:
        if self.weight_low > self.weight_high:
            raise ConfigError(f"linear.weight_low is {self.weight_low}, above weight_high={self.weight_high}; swap them.")
        if self.noise_std_law == "uniform" and self.noise_std_a > self.noise_std_b:
            raise ConfigError(f"linear.noise_std_a is {self.noise_std_a}, above noise_std_b={self.noise_std_b}; swap them.")


@dataclass(frozen=True, kw_only=True)
class MLP(MechanismConfig):
    """x_j = f_j(x_pa(j), e_j): two layers, LeakyReLU between, the noise an input (not additive), weights ~ N(0, weight_scale²/fan-in).

    Hidden biases ~ N(0, 1): without them the function would be homogeneous and `weight_scale` without effect. The output weights are scaled to
    give a mean square of one where the inputs have it, so that values neither vanish nor grow along a path.
    """

    kind: ClassVar[str] = "mlp"
    hidden: int = setting(16, low=1, unit="units")
    weight_scale: float = setting(2.0, above=0)
    noise_gain: float = setting(1.0, above=0, help="factor on the weights of the noise input")
    negative_slope: float = setting(0.1, low=0, high=1)


@dataclass(frozen=True, kw_only=True)
class MechanismPart(Config):
    """A named part of the mechanism mixture: each node draws its mechanism, with probability proportional to the weight."""

    kind: ClassVar[str] = "mechanism_part"
    weight: float = setting(1.0, above=0)
    mechanism: MechanismConfig = setting()
