"""Targets of kind `network`: loss landscapes around a point, of trained networks or of formulas
whose learning coefficient is known."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from causal_meta.conf.artifacts import Backend, TargetConfig
from causal_meta.conf.network_data import Activation, NetworkDataConfig
from causal_meta.conf.setting import Config, ConfigError, setting

# the only training settings of a formula
_POLISH: dict[str, Any] = {"polish": True, "polish_tolerance": 1e-4, "polish_budget": 0}


@dataclass(frozen=True, kw_only=True)
class NetworkModelConfig(Config):
    """Base of what a `network` target can be: a student network, a quadratic form, a normal
    crossing, a deep linear network, …"""


@dataclass(frozen=True, kw_only=True)
class StudentConfig(NetworkModelConfig):
    """A multilayer perceptron. `widths` are the hidden layers; empty means `depth` layers of the
    one width that comes nearest to `target_params`."""

    kind: ClassVar[str] = "student"
    in_dim: int = setting(32, low=1)
    out_dim: int = setting(1, low=1)
    depth: int = setting(3, low=0, unit="hidden layers")
    widths: tuple[int, ...] = setting((), low=1)
    target_params: int = setting(10_000, low=1, unit="parameters")
    activation: Activation = setting(
        "tanh",
        help="with relu, L_n has kinks, at which it can be lowest without a zero gradient",
    )
    bias: bool = setting(True)
    layer_norm: bool = setting(
        False,
        help="normalise each hidden layer before the activation, with a learned scale and offset",
    )
    skip: bool = setting(
        False, help="add its input to each hidden layer that has as many units as the one before"
    )
    init: Literal["he", "xavier", "lecun", "orthogonal"] = setting("he")


@dataclass(frozen=True, kw_only=True)
class NetworkTrainingConfig(Config):
    """How w* is searched for: a gradient method on minibatches, then, unless `polish` is off, a
    descent in double precision to a minimum of L_n.

    `weight_decay` shapes the training alone; L_n has no such term, so that a minimum of L_n is only
    where the polish ends. It ends where the posterior with γ = 1 around w* has no points of lower
    loss (`llc.landscapes.polish`); most networks have no minimum in a stricter sense.
    """

    kind: ClassVar[str] = "network_training"
    optimizer: Literal["adam", "sgd", "adamw"] = setting("adam")
    learning_rate: float = setting(1e-2, above=0)
    momentum: float = setting(0.0, low=0, high=0.9999, help="of sgd")
    weight_decay: float = setting(0.0, low=0, help="of adamw")
    max_steps: int = setting(50_000, low=0, unit="steps")
    batch_size: int = setting(
        256,
        low=0,
        unit="rows",
        help="0 uses all rows in every step; otherwise the rows are shuffled in every epoch",
    )
    schedule: Literal["constant", "cosine"] = setting("cosine")
    warmup_steps: int = setting(
        500, low=0, unit="steps", help="the rate rises linearly from 0 over these steps"
    )
    final_rate: float = setting(
        0.0, low=0, high=1, help="cosine: the last rate as a fraction of the first"
    )
    early_stop: float = setting(
        1e-4,
        low=0,
        help="stop where the losses of the last 20 steps have a smaller standard deviation; 0 "
        "never stops",
    )
    precision: Literal["float32", "float64"] = setting(
        "float32", help="of the training steps; w* and the polish use float64"
    )
    polish: bool = setting(True)
    polish_tolerance: float = setting(
        1e-4,
        above=0,
        help="tolerance of the polish: how much L_n(w*) may be too high, in units of λ̂ per "
        "parameter, at γ = 1 and β = 1 / log n",
    )
    polish_budget: int = setting(
        0,
        low=0,
        help="gradients and Hessian-vector products at most; 0: "
        "3000 up to 300 parameters, else 300",
    )

    def validate(self) -> None:
        """Raise `ConfigError` for a setting of another optimiser."""
        if self.momentum and self.optimizer != "sgd":
            raise ConfigError(
                f"training.momentum belongs to sgd, not to {self.optimizer}; leave it out or take "
                "training.optimizer=sgd."
            )
        if self.weight_decay and self.optimizer != "adamw":
            raise ConfigError(
                f"training.weight_decay belongs to adamw, not to {self.optimizer}; leave it out "
                "or take training.optimizer=adamw."
            )


@dataclass(frozen=True, kw_only=True)
class NetworkConfig(TargetConfig):
    """A loss landscape L_n around a point w*: a student network trained on a teacher's rows, or a
    formula of `n_rows` rows at a given point.

    `loss` is the negative log-likelihood of a row: `nll` under the law of the noise that made it,
    `gauss` under the normal law of standard deviation σ, `student_t` under σ times Student's t with
    the degrees of freedom of the noise (4 for another noise), or `mse`, the mean squared error of a
    row, which is no likelihood. `init` starts from the w* of another target of the same model: a
    formula is polished from there.
    """

    kind: ClassVar[str] = "network"
    title: ClassVar[str] = "loss landscape"
    backend: ClassVar[Backend] = "jax"
    extra: ClassVar[str] = "llc"
    inputs: ClassVar[tuple[str, ...]] = ("init?",)
    takes: ClassVar[Mapping[str, tuple[str, ...]]] = {"init": ("network",)}
    model: NetworkModelConfig = setting(StudentConfig())
    data: NetworkDataConfig = setting(NetworkDataConfig())
    training: NetworkTrainingConfig = setting(NetworkTrainingConfig())
    loss: Literal["nll", "gauss", "student_t", "mse"] = setting("nll")

    def validate(self) -> None:
        """Raise `ConfigError` for a likelihood of zero width, and for settings that a formula does
        not have."""
        if isinstance(self.model, StudentConfig):
            if self.loss != "mse" and self.data.noise_scale == 0:
                raise ConfigError(
                    f"data.noise_scale is 0, so the rows have no likelihood {self.loss!r}; give a "
                    "scale above 0, or loss=mse."
                )
            return
        plain = NetworkDataConfig(n_rows=self.data.n_rows)
        if self.data != plain or self.loss != "nll":
            raise ConfigError(
                f"model={self.model.kind} is a formula: of data it takes n_rows alone, and no "
                "loss; leave the others out."
            )
        if dataclasses.replace(self.training, **_POLISH) != NetworkTrainingConfig(**_POLISH):
            raise ConfigError(
                f"model={self.model.kind} is a formula, which is not trained; leave training out."
            )
