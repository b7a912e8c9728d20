"""Configuration of further forms of mechanisms: linear with a noise that depends on the parents,
small networks, closed formulas, the BGe prior.

All share `w . x_pa(j)`, with weights by `weight_law`, and a noise standard deviation s_j of its own
at every node; see `FormConfig`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from causal_meta.conf.mechanism_laws import MechanismConfig
from causal_meta.conf.ranges import FloatRange
from causal_meta.conf.setting import ConfigError, setting

WeightLaw = Literal["normal", "normal_sign", "uniform", "uniform_sign"]
NoiseStdLaw = Literal["gamma", "uniform", "constant"]
NoiseVarianceLaw = Literal["none", "constant", "inv_gamma"]


@dataclass(frozen=True, kw_only=True)
class FormConfig(MechanismConfig):
    """What the forms share: the laws of the weights and of the noise's standard deviation s_j,
    drawn for every node.

    `weight_law`: "normal" N(0, weight_scale²); "normal_sign" the same, moved away from 0 by
    weight_low in its own sign; "uniform" U(weight_low, weight_high); "uniform_sign" ± U(weight_low,
    weight_high). `noise_std_law`: "constant" noise_std_a; "gamma" Gamma(shape noise_std_a, rate
    noise_std_b); "uniform" U(noise_std_a, noise_std_b). With `noise_variance_law` other than
    "none", s_j² is drawn instead: "constant" noise_variance_a, or "inv_gamma" InvGamma(shape
    noise_variance_a, scale noise_variance_b).
    """

    weight_law: WeightLaw = setting("normal")
    weight_scale: float = setting(1.0, above=0)
    weight_low: float = setting(0.5, low=0)
    weight_high: float = setting(2.0, above=0)
    noise_std_law: NoiseStdLaw = setting("constant")
    noise_std_a: float = setting(0.1, above=0)
    noise_std_b: float = setting(1.0, above=0)
    noise_variance_law: NoiseVarianceLaw = setting("none")
    noise_variance_a: float = setting(1.0, above=0)
    noise_variance_b: float = setting(1.0, above=0)

    def validate(self) -> None:
        if self.weight_law.startswith("uniform") and self.weight_low > self.weight_high:
            raise ConfigError(
                f"{self.kind}.weight_low is {self.weight_low}, above "
                f"weight_high={self.weight_high}; swap them."
            )
        if self.noise_std_law == "uniform" and self.noise_std_a > self.noise_std_b:
            raise ConfigError(
                f"{self.kind}.noise_std_a is {self.noise_std_a}, above "
                f"noise_std_b={self.noise_std_b}; swap them."
            )


@dataclass(frozen=True, kw_only=True)
class LinearRFFNoise(MechanismConfig):
    """x_j = w_j . x_pa(j) + b_j + s_j(x_pa(j)) e_j with s_j(x)² = log(1 + exp(h_j(x))), h_j a
    random function of the parents.

    h_j is a draw, by random Fourier features, of the Gaussian process with the RBF kernel of length
    scale `variance_length_scale` and output scale `variance_output_scale`; at a root it is one
    number. Weights and bias are those of `linear`; the defaults are the heteroskedastic linear law
    of AVICI (Lorch et al. 2022).
    """

    kind: ClassVar[str] = "linear_rff_noise"
    weight_law: WeightLaw = setting("uniform_sign")
    weight_scale: float = setting(1.0, above=0)
    weight_low: float = setting(1.0, low=0)
    weight_high: float = setting(3.0, above=0)
    bias_bound: float = setting(3.0, low=0)
    n_features: int = setting(100, low=1, high=10_000)
    variance_length_scale: FloatRange = setting(FloatRange(low=10.0, high=10.0))
    variance_output_scale: FloatRange = setting(FloatRange(low=2.0, high=2.0))

    def validate(self) -> None:
        if self.weight_law.startswith("uniform") and self.weight_low > self.weight_high:
            raise ConfigError(
                f"linear_rff_noise.weight_low is {self.weight_low}, above "
                f"weight_high={self.weight_high}; swap them."
            )
        self.variance_length_scale.check("linear_rff_noise.variance_length_scale", above=0)
        self.variance_output_scale.check("linear_rff_noise.variance_output_scale", low=0)


@dataclass(frozen=True, kw_only=True)
class MLPAdditive(FormConfig):
    """x_j = v_j . phi(V_j x_pa(j) + c_j) + d_j + s_j e_j: one hidden layer and additive noise; a
    root is s_j e_j alone.

    The first-layer weights V have the law `weight_law`; c, v and d are N(0, weight_scale²). The
    defaults are the nonlinear law of DiBS (Lorch et al. 2021): five ReLU units, N(0, 1) everywhere,
    noise variance 0.1. BayesDAG (Annadani et al. 2023) has noise_variance_law "inv_gamma", 1.5 and
    1.
    """

    kind: ClassVar[str] = "mlp_additive"
    hidden: int = setting(5, low=1, unit="units")
    activation: Literal["relu", "leaky_relu", "tanh"] = setting("relu")
    noise_variance_law: NoiseVarianceLaw = setting("constant")
    noise_variance_a: float = setting(0.1, above=0)


@dataclass(frozen=True, kw_only=True)
class PostNonlinear(FormConfig):
    """x_j = g(w_j . x_pa(j) + b_j + s_j e_j): a linear mechanism seen through an invertible g
    (Zhang and Hyvärinen 2009); roots included.

    `nonlinearity`: "tanh", "sigmoid" 1 / (1 + exp(-u)), or "cube" u³. Bias b_j ~ U(-bias_bound,
    bias_bound).
    """

    kind: ClassVar[str] = "post_nonlinear"
    nonlinearity: Literal["tanh", "sigmoid", "cube"] = setting("tanh")
    bias_bound: float = setting(0.0, low=0)
    noise_std_law: NoiseStdLaw = setting("gamma")
    noise_std_a: float = setting(2.0, above=0)
    noise_std_b: float = setting(2.0, above=0)


@dataclass(frozen=True, kw_only=True)
class Periodic(FormConfig):
    """x_j = sin(2 pi frequency w_j . x_pa(j)) + s_j e_j; a root is s_j e_j alone."""

    kind: ClassVar[str] = "periodic"
    frequency: float = setting(2.0, above=0, unit="periods per unit of w . x")


@dataclass(frozen=True, kw_only=True)
class Polynomial(FormConfig):
    """x_j = (w_j . x_pa(j))^degree + s_j e_j; a root is s_j e_j alone. Degree 2 is the "square" of
    the earlier benchmark."""

    kind: ClassVar[str] = "polynomial"
    degree: int = setting(2, low=2, high=9)


@dataclass(frozen=True, kw_only=True)
class Logistic(FormConfig):
    """x_j = growth s (1 - s) + s_j e_j, s = 1 / (1 + exp(-w_j . x_pa(j))): the logistic map of a
    squashed sum; a root is root_std e_j.

    With growth 4 values lie in (0, 1] but for the noise. Without a law of their own all roots would
    be the constant 1; without noise the children would be functions of their parents, which no
    method can order.
    """

    kind: ClassVar[str] = "logistic"
    growth: float = setting(4.0, above=0, high=4)
    root_std: float = setting(1.0, above=0)
    noise_std_a: float = setting(0.05, above=0)


@dataclass(frozen=True, kw_only=True)
class BGe(MechanismConfig):
    """The prior of the BGe score (Geiger and Heckerman 2002; Kuipers, Moffa and Heckerman 2014)
    over linear Gaussian mechanisms, exactly.

    The complete model has precision ~ Wishart(alpha_lambda, T^-1), T = t I, and mean | precision ~
    N(0, (alpha_mu precision)^-1), with alpha_lambda = D + alpha_lambda_above_nodes and t = alpha_mu
    (alpha_lambda - D - 1) / (alpha_mu + 1). Of a node with p parents that makes s² ~
    InvGamma((alpha_lambda - D + p + 1) / 2, t / 2), w | s² ~ N(0, s²/t I), b | s² ~ N(0,
    s²/alpha_mu). With Gaussian noise the law of a table given the graph has the BGe score as its
    density; Markov equivalent graphs give one law. The defaults are those of DiBS.
    """

    kind: ClassVar[str] = "bge"
    alpha_mu: float = setting(1.0, above=0)
    alpha_lambda_above_nodes: float = setting(2.0, above=1)
