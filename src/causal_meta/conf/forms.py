"""Loss landscapes whose local learning coefficient is known: configurations of forms, each a model
that a `network` target can be.

A form is a function K(w) of its own (`quadratic`, `power_sum`, `normal_crossing`), or a regression
y = f_w(x) + e with Gaussian inputs and noise whose truth is at w*, seen through its
Kullback-Leibler divergence or through n rows (`TeacherFormConfig`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from causal_meta.conf.networks import NetworkModelConfig
from causal_meta.conf.setting import ConfigError, setting


@dataclass(frozen=True, kw_only=True)
class QuadraticConfig(NetworkModelConfig):
    """K(w) = ½ wᵀHw at w* = 0: eigenvalues of H log-spaced from `curvature` down to curvature /
    condition_number, then `flat` zeros.

    λ = (P - flat) / 2, m = 1. `rotated` turns the eigenvectors away from the axes, by the target's
    seed.
    """

    kind: ClassVar[str] = "quadratic"
    n_parameters: int = setting(10, low=1, unit="parameters")
    curvature: float = setting(1.0, above=0, help="largest eigenvalue")
    condition_number: float = setting(1.0, low=1)
    flat: int = setting(0, low=0, unit="directions without curvature")
    rotated: bool = setting(False)

    def validate(self) -> None:
        if self.flat > self.n_parameters:
            raise ConfigError(
                f"quadratic.flat is {self.flat} of {self.n_parameters} directions; give at most "
                f"{self.n_parameters}."
            )


@dataclass(frozen=True, kw_only=True)
class MonomialsConfig(NetworkModelConfig):
    """Base of the forms made of even powers w_i^{e_i}, each at w* = 0."""

    exponents: tuple[int, ...] = setting((2, 4), low=2, help="the power of each w_i in K, even")

    def validate(self) -> None:
        if not self.exponents or any(exponent % 2 for exponent in self.exponents):
            raise ConfigError(
                f"{self.kind}.exponents are {list(self.exponents)}; give one even number per "
                "parameter, such as [2, 4]."
            )


@dataclass(frozen=True, kw_only=True)
class PowerSumConfig(MonomialsConfig):
    """K(w) = Σ c_i w_i^{e_i}. λ = Σ 1 / e_i, m = 1."""

    kind: ClassVar[str] = "power_sum"
    coefficients: tuple[float, ...] = setting((), above=0, help="c_i; empty means 1 for all")

    def validate(self) -> None:
        super().validate()
        if self.coefficients and len(self.coefficients) != len(self.exponents):
            raise ConfigError(
                f"power_sum has {len(self.coefficients)} coefficients for {len(self.exponents)} "
                "exponents; give one of each per parameter."
            )


@dataclass(frozen=True, kw_only=True)
class NormalCrossingConfig(MonomialsConfig):
    """K(w) = c Π w_i^{e_i}. λ = min 1 / e_i, m the number of the largest exponents."""

    kind: ClassVar[str] = "normal_crossing"
    exponents: tuple[int, ...] = setting((2, 2), low=2, help="the power of each w_i in K, even")
    coefficient: float = setting(1.0, above=0)


@dataclass(frozen=True, kw_only=True)
class TeacherFormConfig(NetworkModelConfig):
    """Base of regressions y = f_w(x) + e around their truth w*, inputs x ~ N(0, input_std² I),
    noise e ~ N(0, noise_std² I).

    `sample` says what L is: "population" the divergence K(w) = E|f_w(x) - f_w*(x)|² / (2
    noise_std²), of which L_n is 0 at w*; "noisy" the mean negative log-likelihood of n rows, which
    w* does not quite minimise; "noiseless" the same of n rows without noise, which it does.
    """

    sample: Literal["population", "noiseless", "noisy"] = setting("population")
    input_std: float = setting(1.0, above=0)
    noise_std: float = setting(1.0, above=0)


@dataclass(frozen=True, kw_only=True)
class LinearRegressionConfig(TeacherFormConfig):
    """y = w·x + e with P parameters: the regular model, λ = P / 2.

    Standard deviations of the inputs fall from input_std to input_std / √condition_number.
    `centre` is the truth that the rows were drawn from, or the `minimum` of L_n (least squares).
    """

    kind: ClassVar[str] = "linear_regression"
    n_parameters: int = setting(10, low=1, unit="parameters")
    condition_number: float = setting(1.0, low=1, help="of the covariance of the inputs")
    centre: Literal["truth", "minimum"] = setting("minimum")
    sample: Literal["population", "noiseless", "noisy"] = setting("noisy")


@dataclass(frozen=True, kw_only=True)
class MonomialRegressionConfig(TeacherFormConfig):
    """y = x Π w_i^{p_i} + e with scalar x, at w* = 0: the targets that devinterp 1.3 tests. λ = min
    1 / (2 p_i) over p_i > 0."""

    kind: ClassVar[str] = "monomial_regression"
    powers: tuple[int, ...] = setting((1, 1), low=0)
    input_std: float = setting(2.0, above=0)
    noise_std: float = setting(0.25, above=0)
    sample: Literal["population", "noiseless", "noisy"] = setting("noisy")

    def validate(self) -> None:
        if not any(self.powers):
            raise ConfigError(
                f"monomial_regression.powers are {list(self.powers)}; at least one must be above 0."
            )


@dataclass(frozen=True, kw_only=True)
class LinearNetworkConfig(TeacherFormConfig):
    """Base of linear networks y = W_L ⋯ W_1 x + e whose true map has `rank` singular values, all
    equal to `scale`, in directions by the seed."""

    rank: int = setting(0, low=0, help="rank r of the true map")
    scale: float = setting(1.0, above=0, help="its singular values")

    def widths_of(self) -> tuple[int, ...]:
        """Widths from input to output, H_1 … H_{L+1}."""
        raise TypeError(f"{type(self).__name__} does not say its widths.")

    def ranks_of(self) -> tuple[int, ...]:
        """Ranks of the layers W_1 … W_L at w*."""
        raise TypeError(f"{type(self).__name__} does not say its ranks.")

    def validate(self) -> None:
        widths, ranks = self.widths_of(), self.ranks_of()
        if self.rank > min(widths):
            raise ConfigError(
                f"{self.kind}.rank is {self.rank}; a map through widths {list(widths)} has rank "
                f"at most {min(widths)}."
            )
        for layer, rank in enumerate(ranks):
            largest = min(widths[layer], widths[layer + 1])
            if not self.rank <= rank <= largest:
                raise ConfigError(
                    f"{self.kind}: layer {layer + 1} has rank {rank} at w*; it must be at least "
                    f"{self.rank} and at most {largest}."
                )
        for width, before, after in zip(widths[1:-1], ranks[:-1], ranks[1:], strict=True):
            if before + after - self.rank > width:
                raise ConfigError(
                    f"{self.kind}: layers of ranks {before} and {after} on both sides of a hidden "
                    f"width {width} multiply to a rank above "
                    f"{self.rank}; the two may sum to at most {width + self.rank}."
                )


@dataclass(frozen=True, kw_only=True)
class ReducedRankConfig(LinearNetworkConfig):
    """Reduced-rank regression y = B A x + e, A [H, N] and B [M, H] (Aoyagi and Watanabe 2005), at a
    point where A and B have given ranks.

    The local λ depends on the two ranks; without them both are `rank`, where λ is least over all
    parameters of the true map.
    """

    kind: ClassVar[str] = "reduced_rank"
    n_inputs: int = setting(5, low=1, help="N")
    n_hidden: int = setting(4, low=1, help="H")
    n_outputs: int = setting(5, low=1, help="M")
    rank: int = setting(2, low=0, help="rank r of the true map")
    rank_in: int | None = setting(None, low=0, help="rank a of A at w*; by default r")
    rank_out: int | None = setting(None, low=0, help="rank b of B at w*; by default r")

    def widths_of(self) -> tuple[int, ...]:
        return (self.n_inputs, self.n_hidden, self.n_outputs)

    def ranks_of(self) -> tuple[int, ...]:
        return (
            self.rank if self.rank_in is None else self.rank_in,
            self.rank if self.rank_out is None else self.rank_out,
        )


@dataclass(frozen=True, kw_only=True)
class DeepLinearConfig(LinearNetworkConfig):
    """Deep linear network (Aoyagi 2024) of given widths from input to output, at a point where its
    layers have given ranks (`rank` without)."""

    kind: ClassVar[str] = "deep_linear"
    widths: tuple[int, ...] = setting((4, 3, 3, 4), low=1)
    rank: int = setting(1, low=0, help="rank r of the true map")
    ranks: tuple[int, ...] = setting(
        (), low=0, help="ranks of the layers at w*; empty means r for all"
    )

    def widths_of(self) -> tuple[int, ...]:
        return self.widths

    def ranks_of(self) -> tuple[int, ...]:
        return self.ranks or (self.rank,) * (len(self.widths) - 1)

    def validate(self) -> None:
        if len(self.widths) < 2:
            raise ConfigError(
                f"deep_linear.widths are {list(self.widths)}; give at least an input and an "
                "output width."
            )
        if self.ranks and len(self.ranks) != len(self.widths) - 1:
            raise ConfigError(
                f"deep_linear has {len(self.ranks)} ranks for {len(self.widths) - 1} layers; give "
                "one per layer."
            )
        super().validate()
