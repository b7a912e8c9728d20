"""Runs that estimate a local learning coefficient: one configuration per sampler."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from causal_meta.conf.artifacts import Backend, RunConfig
from causal_meta.conf.local_posterior import LocalPosteriorConfig
from causal_meta.conf.setting import ConfigError, setting

MOST_DRAWS = 16_000
"""The largest number of draws of each chain for a run whose number of draws is left open (`draws`
0)."""

#: Kinds accepted by samplers that also run on torch models: networks, and trained graph models
#: with tasks (`llc/samplers/on_torch`).
TAKES_TORCH: Mapping[str, tuple[str, ...]] = {"of": ("network", "amortised"), "tasks": ("tasks",)}


@dataclass(frozen=True, kw_only=True)
class SamplerConfig(RunConfig):
    """Base of the samplers: `chains` chains of `draws` draws each of the posterior around the point
    that the target `of` holds.

    `of` is a network, or a trained graph model with the tasks that its loss is taken over.
    """

    inputs: ClassVar[tuple[str, ...]] = ("of", "tasks?")
    takes: ClassVar[Mapping[str, tuple[str, ...]]] = {"of": ("network",), "tasks": ("tasks",)}
    gives: ClassVar[str] = "llc"
    builder: ClassVar[str] = "causal_meta.runners.llc.estimate:estimate_llc"
    backend: ClassVar[Backend] = "jax"
    extra: ClassVar[str] = "llc"
    #: "module:class" of the transitions of torch models; empty where there are none.
    torch_kernel: ClassVar[str] = ""
    pictures: ClassVar[tuple[str, ...]] = ("chains",)
    posterior: LocalPosteriorConfig = setting(LocalPosteriorConfig())
    chains: int = setting(4, low=1)
    draws: int = setting(1000, low=10, unit="draws of each chain")
    precision: Literal["float32", "float64"] = setting("float64")
    projections: int = setting(8, low=0, unit="random directions of w - w* kept")
    keep_parameters: bool = setting(False, help="keep every parameter of every draw in trace.nc")

    @classmethod
    def check_inputs(cls, kinds: Mapping[str, str]) -> None:
        """Check that a trained graph model comes with tasks, and a network without; raises
        `ConfigError`."""
        if kinds.get("of") == "amortised" and "tasks" not in kinds:
            raise ConfigError(
                f"{cls.kind} of a trained graph model needs the tasks that its loss is taken "
                "over; give tasks=ID."
            )
        if kinds.get("of") == "network" and "tasks" in kinds:
            raise ConfigError(
                f"{cls.kind} of a network came with tasks, but a network has its own data; leave "
                "tasks out."
            )

    @classmethod
    def backend_for(cls, kinds: Mapping[str, str]) -> Backend:
        """torch for a trained graph model, which comes with tasks, and JAX for a network."""
        return "torch" if "tasks" in kinds else cls.backend

    @property
    def least_transitions(self) -> int:
        """The least number of transitions, or of optimiser steps, of each chain."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class ChainConfig(SamplerConfig):
    """Base of the samplers that run Markov chains from w*.

    Chains start at w* plus independent Gaussian noise of standard deviation `start_jitter` /
    sqrt(nβ h_max + γ): inside the posterior in its stiffest direction. Everything before the first
    kept draw is warm-up and is discarded.
    """

    #: Draws of each chain before the first check of the estimate, where their number is left open.
    first_draws: ClassVar[int] = 1000
    if TYPE_CHECKING:
        warmup: int  # a field of every member, each with its own default
    draws: int = setting(
        0,
        low=0,
        unit="draws of each chain",
        help="0: first 1,000 (mala, mclmc, sgld: 2,000), then up to 16,000 while the error of λ̂ "
        "is above `aim`",
    )
    aim: float = setting(
        0.015,
        above=0,
        help="relative Monte Carlo error of λ̂ at which chains end if their number of draws is left "
        "open",
    )
    start_jitter: float = setting(
        1.0, low=0, unit="posterior standard deviations of the stiffest direction"
    )
    thin: int = setting(1, low=1, unit="transitions per draw kept")
    row_chunk: int = setting(
        0,
        low=0,
        unit="rows",
        help="rows of the full loss evaluated at once (fewer need less memory); 0: all rows, on a "
        "CPU at most 2,000",
    )
    row_moments: bool = setting(
        False,
        help="keep mean and variance of each row's loss (for WAIC); costs a third of a gradient "
        "per draw",
    )

    def validate(self) -> None:
        """Check that there are enough draws for an error; raises `ConfigError`."""
        if 0 < self.draws < 10:
            raise ConfigError(
                f"{self.kind}.draws is {self.draws}; give at least 10, or 0 for as many as the "
                "error of λ̂ requires."
            )

    @property
    def least_transitions(self) -> int:
        """The warm-up, and the draws that every chain makes."""
        return self.warmup + (self.draws or self.first_draws) * self.thin


@dataclass(frozen=True, kw_only=True)
class HMCConfig(ChainConfig):
    """Hamiltonian Monte Carlo with jittered trajectory lengths, one step size and one mass for all
    chains, adapted on the draws of all of them.

    Suited to posteriors with a single length scale, and after whitening to any Gaussian. Three of
    four transitions have smaller steps, log-uniform down to 1/32 of the tuned one, which enter and
    leave narrow valleys (chains of torch models use only the tuned step). With `leapfrogs` 0 the
    trajectory length decorrelates the loss at least cost, and one trajectory in twenty is far
    longer, so that flat directions are crossed too.
    """

    kind: ClassVar[str] = "hmc"
    title: ClassVar[str] = "Hamiltonian Monte Carlo"
    table_rank: ClassVar[int] = 10
    torch_kernel: ClassVar[str] = "causal_meta.llc.samplers.on_torch.hamiltonian:Hamiltonian"
    revision: ClassVar[int] = 2
    takes: ClassVar[Mapping[str, tuple[str, ...]]] = TAKES_TORCH
    warmup: int = setting(1000, low=20, unit="transitions")
    leapfrogs: int = setting(
        0,
        low=0,
        high=1000,
        help="mean number of leapfrogs of a trajectory; 0: chosen in the warm-up",
    )
    max_leapfrogs: int = setting(
        64, low=1, high=1000, help="largest mean number of leapfrogs that the warm-up may choose"
    )
    length_jitter: float = setting(
        0.8,
        low=0,
        high=1,
        help="lengths are uniform between (1 - jitter) and (1 + jitter) times their mean",
    )
    target_acceptance: float = setting(0.9, above=0, high=0.999)
    mass: Literal["identity", "diagonal", "low_rank"] = setting(
        "diagonal", help="shape of the mass matrix"
    )
    rank: int = setting(
        64,
        low=1,
        unit="directions",
        help="directions that a low-rank mass scales beside the diagonal",
    )


@dataclass(frozen=True, kw_only=True)
class NUTSConfig(ChainConfig):
    """The no-U-turn sampler (Hoffman and Gelman 2014, multinomial form of Betancourt 2017), adapted
    as HMC is.

    Small steps are taken as in HMC, but only if the warm-up diverged, since they need trees of more
    leapfrogs.

    The reference for other samplers where trajectories of up to 2^`max_doublings` leapfrogs are
    affordable.
    """

    kind: ClassVar[str] = "nuts"
    title: ClassVar[str] = "no-U-turn sampler"
    table_rank: ClassVar[int] = 20
    revision: ClassVar[int] = 2
    warmup: int = setting(1000, low=20, unit="transitions")
    max_doublings: int = setting(10, low=1, high=15)
    target_acceptance: float = setting(0.9, above=0, high=0.999)
    mass: Literal["identity", "diagonal", "low_rank"] = setting(
        "diagonal", help="shape of the mass matrix"
    )
    rank: int = setting(
        64,
        low=1,
        unit="directions",
        help="directions that a low-rank mass scales beside the diagonal",
    )


@dataclass(frozen=True, kw_only=True)
class MCLMCConfig(ChainConfig):
    """Microcanonical Langevin Monte Carlo (Robnik et al. 2023): steps of constant speed, whose
    direction is refreshed along the way.

    Unadjusted, the step is tuned to an energy variance per parameter, which sets the bias: the
    virial (`llc.estimates.controls`) shows it and takes most of it off. Adjusted (Robnik et al.
    2025), trajectories are accepted or rejected, with small steps as in HMC, and the law is exact.
    A transition is `steps` steps, or a trajectory. The direction is kept for long, so that flat
    directions are crossed in which HMC performs a random walk: the default for singular targets.
    """

    kind: ClassVar[str] = "mclmc"
    title: ClassVar[str] = "microcanonical Langevin Monte Carlo"
    table_rank: ClassVar[int] = 30
    revision: ClassVar[int] = 2
    first_draws: ClassVar[int] = 2000
    adjusted: bool = setting(False, help="accept or reject trajectories (no bias)")
    warmup: int = setting(2000, low=20, unit="transitions")
    steps: int = setting(5, low=1, unit="steps of an unadjusted transition, two gradients each")
    energy_variance: float = setting(
        3e-7,
        above=0,
        help="variance of the energy error per parameter and step that the unadjusted step is "
        "tuned to",
    )
    decoherence: float = setting(
        0.5,
        above=0,
        help="length over which the unadjusted direction is forgotten, in units of sqrt(P) "
        "posterior widths",
    )
    leapfrogs: int = setting(
        0,
        low=0,
        high=1000,
        help="mean number of steps of an adjusted trajectory; 0 chooses it in the warm-up",
    )
    max_leapfrogs: int = setting(
        32, low=1, high=1000, help="largest mean number of steps that the warm-up may choose"
    )
    length_jitter: float = setting(
        0.8,
        low=0,
        high=1,
        help="lengths are uniform between (1 - jitter) and (1 + jitter) times their mean",
    )
    target_acceptance: float = setting(0.9, above=0, high=0.999, help="of the adjusted form")
    mass: Literal["identity", "diagonal", "low_rank"] = setting(
        "diagonal", help="shape of the preconditioner"
    )
    rank: int = setting(
        64,
        low=1,
        unit="directions",
        help="directions that a low-rank preconditioner scales beside the diagonal",
    )


@dataclass(frozen=True, kw_only=True)
class MALAConfig(ChainConfig):
    """The Metropolis-adjusted Langevin algorithm: the Langevin step of SGLD on all rows, accepted
    or rejected, so without its bias.

    Small steps are as frequent as in HMC, except for torch models, where all steps are the tuned
    one.
    """

    kind: ClassVar[str] = "mala"
    title: ClassVar[str] = "Metropolis-adjusted Langevin algorithm"
    table_rank: ClassVar[int] = 40
    torch_kernel: ClassVar[str] = "causal_meta.llc.samplers.on_torch.hamiltonian:Hamiltonian"
    revision: ClassVar[int] = 2
    first_draws: ClassVar[int] = 2000
    takes: ClassVar[Mapping[str, tuple[str, ...]]] = TAKES_TORCH
    warmup: int = setting(20000, low=20, unit="steps")
    thin: int = setting(50, low=1, unit="steps per draw kept")
    target_acceptance: float = setting(0.574, above=0, high=0.999)
    mass: Literal["identity", "diagonal", "low_rank"] = setting(
        "diagonal", help="shape of the preconditioner"
    )
    rank: int = setting(
        64,
        low=1,
        unit="directions",
        help="directions that a low-rank preconditioner scales beside the diagonal",
    )


@dataclass(frozen=True, kw_only=True)
class StepConfig(ChainConfig):
    """Base of the samplers without a correction for the step size, which causes a bias that is to
    be chosen and shown.

    `step_rule=curvature` measures the largest curvature of the exponent along the warm-up by power
    iterations and takes the step `step_fraction` / h, where one measurement in a hundred exceeds h
    (h is the largest in torch); `fixed` takes `step_size` as it is. Relaxation along γ takes 2 h /
    (`step_fraction` γ) steps.
    """

    step_rule: Literal["curvature", "fixed"] = setting("curvature")
    step_fraction: float = setting(
        0.05,
        above=0,
        high=4,
        help="step size times largest curvature; a quadratic's variance grows by 1 / (1 - it / 4)",
    )
    step_size: float = setting(1e-4, above=0, help="step size ε of step_rule=fixed")
    batch_size: int = setting(
        0,
        low=0,
        unit="rows",
        help="rows of a minibatch, drawn with replacement; 0 means all rows in every step",
    )
    check_every: int = setting(
        5,
        low=1,
        unit="draws",
        help="draws between two measurements of the acceptance that a corrected step would have",
    )

    @property
    def fraction(self) -> float:
        """The step size times the largest curvature that step_rule=curvature takes."""
        return self.step_fraction

    @property
    def step_order(self) -> int:
        """The order in ε of the bias of the step."""
        return 1


@dataclass(frozen=True, kw_only=True)
class SGLDConfig(StepConfig):
    """Stochastic gradient Langevin dynamics (Welling and Teh 2011), plain or preconditioned: w +=
    -(ε G / 2) (γ (w - w*) + nβ g) + sqrt(ε G) η.

    `rmsprop` (Li et al. 2016) and `adam` take G = 1 / (sqrt(v) + `floor` + sqrt γ), v a running
    mean of squares of the gradient of the tempered loss alone, never of the localisation, from the
    chain's first gradient on. With `precond_until=warmup` G is constant afterwards, so that small
    steps sample the stated law whatever its shape; with `always` G follows the chain, and only with
    `divergence_correction` does the law hold where v forgets faster than the chain moves.

    `noise=averaged` puts the mean (η_t + η_{t+1}) / 2 of neighbouring numbers in place of η
    (Leimkuhler and Matthews 2013): the law of a quadratic loss is then exact at any stable step,
    that of other losses up to O(ε²) instead of O(ε), so that steps may be ten times longer.
    `independent` is Welling and Teh's step, whose variance is 1 / (1 - εh/4) times too large along
    curvature h. Gradients of minibatches, a drift of adam and a G that follows the chain have a
    bias of order ε of their own: with them steps are short by default, and with such a G the noise
    is independent.
    """

    kind: ClassVar[str] = "sgld"
    title: ClassVar[str] = "stochastic gradient Langevin dynamics"
    table_rank: ClassVar[int] = 50
    torch_kernel: ClassVar[str] = "causal_meta.llc.samplers.on_torch.langevin:Langevin"
    revision: ClassVar[int] = 3
    first_draws: ClassVar[int] = 2000
    takes: ClassVar[Mapping[str, tuple[str, ...]]] = TAKES_TORCH
    warmup: int = setting(20000, low=0, unit="steps")
    thin: int = setting(100, low=1, unit="steps per draw kept")
    step_fraction: float = setting(
        0.0,
        low=0,
        high=4,
        help="step size times largest curvature; 0: 1/2 where the bias is of order ε², 1/20 where "
        "it is of order ε",
    )
    noise: Literal["averaged", "independent"] = setting(
        "averaged",
        help="noise of a step: the mean of two consecutive numbers, or an independent one",
    )
    precond: Literal["none", "adam", "rmsprop"] = setting("none")
    precond_until: Literal["warmup", "always"] = setting(
        "warmup", help="when the preconditioner stops following the chain"
    )
    divergence_correction: bool = setting(
        False, help="add the drift (ε / 2) dG/dw where G follows the chain"
    )
    b1: float = setting(0.9, low=0, high=0.9999, help="memory of adam's drift")
    b2: float = setting(0.99, low=0, high=0.99999, help="memory of v")
    floor: float = setting(
        0.1,
        above=0,
        help="what is added to sqrt(v), in units of its root mean square over the parameters",
    )

    @property
    def averages(self) -> bool:
        """Whether the noise of a step is the mean of two numbers: if requested, and if G is
        constant while draws are made."""
        return self.noise == "averaged" and (
            self.precond == "none" or self.precond_until == "warmup"
        )

    @property
    def step_order(self) -> int:
        """2 with averaged noise and nothing else that has a bias of order ε."""
        return 2 if self.averages and self.batch_size == 0 and self.precond != "adam" else 1

    @property
    def fraction(self) -> float:
        """`step_fraction`, or the default for the order of the bias."""
        return self.step_fraction or (0.5 if self.step_order == 2 else 0.05)


@dataclass(frozen=True, kw_only=True)
class SGNHTConfig(StepConfig):
    """The stochastic gradient Nosé-Hoover thermostat (Ding et al. 2014): a friction that adapts to
    the noise of minibatches and removes its heat."""

    kind: ClassVar[str] = "sgnht"
    title: ClassVar[str] = "stochastic gradient Nosé-Hoover thermostat"
    table_rank: ClassVar[int] = 60
    torch_kernel: ClassVar[str] = "causal_meta.llc.samplers.on_torch.thermostat:Thermostat"
    revision: ClassVar[int] = 2
    takes: ClassVar[Mapping[str, tuple[str, ...]]] = TAKES_TORCH
    warmup: int = setting(5000, low=0, unit="steps")
    thin: int = setting(100, low=1, unit="steps per draw kept")
    step_fraction: float = setting(
        0.05, above=0, high=4, help="square of the step size times largest curvature"
    )
    step_size: float = setting(1e-3, above=0, help="step size of step_rule=fixed")
    friction: float = setting(
        1.0,
        above=0,
        help="friction at rest, in units of the square root of the smallest curvature γ, or of 1 "
        "where γ is 0",
    )

    @property
    def step_order(self) -> int:
        """2: the step is symmetric in time, and the thermostat adapts to the noise of
        minibatches."""
        return 2


@dataclass(frozen=True, kw_only=True)
class VIConfig(SamplerConfig):
    """Gaussians fitted to the posterior, and independent draws of their mixture with their
    importance ratios: never a chain.

    Each of the `chains` is a separate fit from its own start, mean-field or of low rank. With
    `family=mixture`, and up to 128 parameters, a mixture of Gaussians with full covariances is then
    adapted, starting from them and the localisation, which can follow narrow and curved posteriors.
    Smoothed importance ratios and their Pareto k say how far the mixture is from the posterior.
    Where it does not follow (minima along a curved set of many dimensions), and the loss is cheap
    enough, draws are annealed from the localisation instead (`llc.samplers.annealing`): independent
    too, at some thousand gradients each.
    """

    kind: ClassVar[str] = "vi"
    title: ClassVar[str] = "variational inference"
    table_rank: ClassVar[int] = 70
    revision: ClassVar[int] = 3
    draws: int = setting(5000, low=10, unit="draws of the mixture for each fit")
    annealed: int = setting(
        1500,
        low=0,
        unit="draws for each fit",
        help="how many (`draws` at most) where the mixture does not follow and they are annealed; "
        "0: never",
    )
    family: Literal["mixture", "low_rank", "mean_field"] = setting(
        "mixture", help="mixture: that of low-rank fits, adapted up to 128 parameters"
    )
    rank: int = setting(8, low=1, unit="factors of the low-rank fits")
    components: int = setting(
        26,
        low=1,
        unit="components of the adapted mixture beside the fits, the Laplace approximation and "
        "the localisation",
    )
    rounds: int = setting(20, low=1, unit="rounds in which the mixture is adapted")
    round_draws: int = setting(4000, low=100, unit="draws of a round, a loss each")
    steps: int = setting(3000, low=1, unit="optimiser steps")
    elbo_samples: int = setting(8, low=1, unit="draws per step")
    learning_rate: float = setting(0.02, above=0)
    batch_size: int = setting(
        0, low=0, unit="rows", help="rows of a minibatch; 0 means all rows in every step"
    )
    row_chunk: int = setting(
        0,
        low=0,
        unit="rows",
        help="rows of the full loss evaluated at once (fewer need less memory); 0: all rows, on a "
        "CPU at most 2,000",
    )

    @property
    def least_transitions(self) -> int:
        """The optimiser steps of a fit."""
        return self.steps
