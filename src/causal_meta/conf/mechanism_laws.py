"""Configuration of the laws over mechanisms (room `datasets`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from causal_meta.conf.ranges import FloatRange
from causal_meta.conf.setting import Config, ConfigError, setting


@dataclass(frozen=True, kw_only=True)
class MechanismConfig(Config):
    """Base of the laws over the function that makes a variable from its parents and its noise."""

    whole_table: ClassVar[bool] = False  # the law makes whole tables, so a task has no other


@dataclass(frozen=True, kw_only=True)
class LinearHeteroskedastic(MechanismConfig):
    """x_j = w_j . x_pa(j) + b_j + s_j e_j with a noise standard deviation s_j of its own at every
    node (roots included).

    `weight_law`: "normal" N(0, weight_scale²); "normal_sign" the same, moved away from 0 by
    weight_low in its own sign (DiBS); "uniform" U(weight_low, weight_high) (BayesDAG);
    "uniform_sign" ± U(weight_low, weight_high) (AVICI). `noise_std_law`: "gamma" Gamma(shape
    noise_std_a, rate noise_std_b); "uniform" U(noise_std_a, noise_std_b); "constant" noise_std_a.
    With `noise_variance_law` other than "none", s_j² is drawn instead: "constant" noise_variance_a,
    or "inv_gamma" InvGamma(shape noise_variance_a, scale noise_variance_b). Bias b_j ~
    U(-bias_bound, bias_bound).
    """

    kind: ClassVar[str] = "linear"
    weight_law: Literal["normal", "normal_sign", "uniform", "uniform_sign"] = setting("normal")
    weight_scale: float = setting(1.0, above=0)
    weight_low: float = setting(0.5, low=0)
    weight_high: float = setting(2.0, above=0)
    bias_bound: float = setting(0.0, low=0)
    noise_std_law: Literal["gamma", "uniform", "constant"] = setting("gamma")
    noise_std_a: float = setting(2.0, above=0)
    noise_std_b: float = setting(2.0, above=0)
    noise_variance_law: Literal["none", "constant", "inv_gamma"] = setting("none", added=True)
    noise_variance_a: float = setting(1.0, above=0, added=True)
    noise_variance_b: float = setting(1.0, above=0, added=True)

    def validate(self) -> None:
        if self.weight_law != "normal_sign" and self.weight_low > self.weight_high:
            raise ConfigError(
                f"linear.weight_low is {self.weight_low}, above weight_high={self.weight_high}; "
                "swap them."
            )
        if self.noise_std_law == "uniform" and self.noise_std_a > self.noise_std_b:
            raise ConfigError(
                f"linear.noise_std_a is {self.noise_std_a}, above noise_std_b={self.noise_std_b}; "
                "swap them."
            )


@dataclass(frozen=True, kw_only=True)
class MLP(MechanismConfig):
    """x_j = f_j(x_pa(j), e_j): two layers, LeakyReLU between, the noise an input (not additive),
    weights ~ N(0, weight_scale²/fan-in).

    Hidden biases ~ N(0, 1): without them the function would be homogeneous and `weight_scale`
    without effect. The output weights are scaled to give a mean square of one where the inputs have
    it, so that values neither vanish nor grow along a path. `hidden_layers` of `hidden` units each;
    further ones are drawn by the same rule. `initialisation="torch"`: weights and biases of all
    layers U(±1/sqrt(fan-in)), as torch makes a linear layer, and `weight_scale` is without effect;
    the earlier benchmark has two hidden layers of 32 and slope 0.01.
    """

    kind: ClassVar[str] = "mlp"
    hidden: int = setting(16, low=1, unit="units")
    weight_scale: float = setting(2.0, above=0)
    noise_gain: float = setting(1.0, above=0, help="factor on the weights of the noise input")
    negative_slope: float = setting(0.1, low=0, high=1)
    hidden_layers: int = setting(1, low=1, high=8, added=True)
    initialisation: Literal["scaled", "torch"] = setting("scaled", added=True)


@dataclass(frozen=True, kw_only=True)
class RFF(MechanismConfig):
    """x_j = b_j + f_j(x_pa(j)) + s_j e_j with f_j a draw, by random Fourier features, of the
    Gaussian process with the RBF kernel.

    f(x) = c sqrt(2/M) sum_m w_m cos(omega_m . x / l + phi_m), w_m ~ N(0, 1), omega_m ~ N(0, I),
    phi_m ~ U(0, 2 pi), M = `n_features`: given the length scale l and the output scale c, its
    covariance is c² exp(-|x - x'|² / (2 l²)). b_j ~ U(-bias_bound, bias_bound). Noise standard
    deviation s_j: "uniform" U(noise_std_a, noise_std_b) or "gamma" Gamma(shape noise_std_a, rate
    noise_std_b). A root is b_j + s_j e_j. `heteroskedastic`: s_j(x)² = log(1 + exp(h_j(x_pa(j))))
    instead, h_j another such function with its own scales, one number at a root. The defaults are
    the law that AVICI (Lorch et al. 2022) trains on.
    """

    kind: ClassVar[str] = "rff"
    n_features: int = setting(100, low=1, high=10_000)
    length_scale: FloatRange = setting(FloatRange(low=7.0, high=10.0))
    output_scale: FloatRange = setting(FloatRange(low=10.0, high=20.0))
    bias_bound: float = setting(3.0, low=0)
    noise_std_law: Literal["gamma", "uniform"] = setting("uniform")
    noise_std_a: float = setting(0.2, above=0)
    noise_std_b: float = setting(2.0, above=0)
    heteroskedastic: bool = setting(
        False,
        help="the noise variance is a function of the parents; noise_std_* are then without effect",
    )
    variance_length_scale: FloatRange = setting(FloatRange(low=10.0, high=10.0))
    variance_output_scale: FloatRange = setting(FloatRange(low=2.0, high=2.0))

    def validate(self) -> None:
        self.length_scale.check("rff.length_scale", above=0)
        self.variance_length_scale.check("rff.variance_length_scale", above=0)
        self.output_scale.check("rff.output_scale", low=0)
        self.variance_output_scale.check("rff.variance_output_scale", low=0)
        if self.noise_std_law == "uniform" and self.noise_std_a > self.noise_std_b:
            raise ConfigError(
                f"rff.noise_std_a is {self.noise_std_a}, above noise_std_b={self.noise_std_b}; "
                "swap them."
            )


@dataclass(frozen=True, kw_only=True)
class GPCDE(MechanismConfig):
    """x_j = f_j(x_pa(j), e_j): a Gaussian process with the noise as one of its inputs (roots: of
    the noise alone).

    f_j has mean 0 (or e_j: `mean="latent"`) and covariance sum_q a_q² k_q(|z - z'| / l_q), z =
    (x_pa(j), e_j), with a kernel, an amplitude a_q and a length scale l_q per entry of `kernels`
    and node: "rbf" exp(-r²/2), "exponential_gamma" exp(-r^gamma), "rational_quadratic" (1 + r²/(2
    alpha))^-alpha. It is drawn by `n_features` random Fourier features with Gaussian weights over
    all kernels together, so that the drawn function can be sampled again; `exact=True` draws the
    values at the rows from the Gaussian process itself, by Cholesky's decomposition (for
    verification: costs N³, and further rows belong to another function). `row_noise_rate` r > 0
    adds independent noise t e' of a scale t ~ Gamma(1, rate r) drawn for every row.
    """

    kind: ClassVar[str] = "gpcde"
    kernels: tuple[Literal["rbf", "exponential_gamma", "rational_quadratic"], ...] = setting(
        ("rbf",) * 4
    )
    length_scale: FloatRange = setting(FloatRange(low=0.1, high=10.0))
    amplitude: FloatRange = setting(FloatRange(low=0.1, high=10.0))
    gamma: FloatRange = setting(
        FloatRange(low=0.1, high=1.0), help="exponent of the kernels exponential_gamma"
    )
    alpha: FloatRange = setting(
        FloatRange(low=0.5, high=5.0), help="shape of the kernels rational_quadratic"
    )
    n_features: int = setting(
        256,
        low=1,
        high=10_000,
        help="random features of all kernels together; each kernel has as many, rounded up",
    )
    exact: bool = setting(False)
    mean: Literal["zero", "latent"] = setting("zero")
    row_noise_rate: float = setting(0.0, low=0, help="0: none")

    def validate(self) -> None:
        if not self.kernels:
            raise ConfigError("gpcde.kernels is empty; name at least one kernel.")
        self.length_scale.check("gpcde.length_scale", above=0)
        self.amplitude.check("gpcde.amplitude", low=0)
        self.gamma.check("gpcde.gamma", low=0.05, high=2.0)
        self.alpha.check("gpcde.alpha", low=0.05, high=100.0)


@dataclass(frozen=True, kw_only=True)
class MechanismPart(Config):
    """A named part of the mechanism mixture: each node draws its mechanism, with probability
    proportional to the weight."""

    kind: ClassVar[str] = "mechanism_part"
    weight: float = setting(1.0, above=0)
    mechanism: MechanismConfig = setting()
