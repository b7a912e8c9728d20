"""Configuration of the training loop and of inference (room `runners`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from causal_meta.conf.setting import Config, setting


@dataclass(frozen=True, kw_only=True)
class OptimizerConfig(Config):
    """Base of the optimisers."""

    learning_rate: float = setting(1e-3, above=0)
    weight_decay: float = setting(0.0, low=0)
    beta1: float = setting(0.9, low=0, high=0.99999)
    beta2: float = setting(0.999, low=0, high=0.999999)
    epsilon: float = setting(1e-6, above=0)


@dataclass(frozen=True, kw_only=True)
class LambConfig(OptimizerConfig):
    """LAMB (You et al. 2020): Adam's direction, scaled per tensor to the norm of the tensor."""

    kind: ClassVar[str] = "lamb"


@dataclass(frozen=True, kw_only=True)
class AdamWConfig(OptimizerConfig):
    """AdamW (Loshchilov & Hutter 2019)."""

    kind: ClassVar[str] = "adamw"
    epsilon: float = setting(1e-8, above=0)


@dataclass(frozen=True, kw_only=True)
class MuonConfig(OptimizerConfig):
    """Muon (Jordan et al. 2024): orthogonalised momentum for matrices, Adam at `other_rate` times
    the rate for the rest."""

    kind: ClassVar[str] = "muon"
    learning_rate: float = setting(0.02, above=0)
    momentum: float = setting(0.95, low=0, high=0.9999)
    other_rate: float = setting(0.1, above=0)
    beta2: float = setting(0.99, low=0, high=0.999999)
    epsilon: float = setting(1e-8, above=0)


@dataclass(frozen=True, kw_only=True)
class TrainerConfig(Config):
    """How a model is trained: everything counts in steps, never in epochs."""

    kind: ClassVar[str] = "trainer"
    max_steps: int = setting(1000, low=1, unit="steps")
    optimizer: OptimizerConfig = setting(LambConfig())
    warmup_steps: int = setting(
        0, low=0, unit="steps", help="the rate rises linearly from 0 over these steps"
    )
    schedule: Literal["constant", "cosine"] = setting(
        "constant", help="after warm-up, up to max_steps"
    )
    final_rate: float = setting(
        0.0, low=0, high=1, help="cosine: the last rate as a fraction of the first"
    )
    gradient_clip_norm: float = setting(1.0, above=0)
    precision: Literal["fp32", "bf16"] = setting(
        "fp32", help="a named value, never 'auto': it is part of the identity"
    )
    monitor: str = setting(
        "val/auroc", help="the metric that chooses best.pt; its direction belongs to the metric"
    )
    val_check_interval: int = setting(200, low=1, unit="steps")
    limit_val_batches: int = setting(8, low=1, unit="batches per family")
    log_every_n_steps: int = setting(10, low=1, unit="steps", identity=False)
    checkpoint_every_n_steps: int = setting(200, low=1, unit="steps", identity=False)
    device: str = setting("auto", identity=False)
    threads: int = setting(0, low=0, identity=False, help="0 leaves the library's choice")


@dataclass(frozen=True, kw_only=True)
class InferenceConfig(Config):
    """How a trained model answers."""

    kind: ClassVar[str] = "inference"
    n_samples: int = setting(100, low=1, unit="graphs")
