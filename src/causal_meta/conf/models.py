"""Configuration of the graph models and baselines (room `models`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from causal_meta.conf.setting import Config, setting


@dataclass(frozen=True, kw_only=True)
class ModelConfig(Config):
    """Base of the graph models.

    `title` is its name in tables; `needs_pretraining` says whether it must be trained on a stream
    of tasks before it can answer.
    """

    title: ClassVar[str] = ""
    needs_pretraining: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True)
class AviciConfig(ModelConfig):
    """AVICI (Lorch et al. 2022): axial transformer over variables and rows, independent edge
    logits. Defaults are the paper's size."""

    kind: ClassVar[str] = "avici"
    title: ClassVar[str] = "AVICI"
    dim: int = setting(128, low=1)
    n_pairs: int = setting(
        8, low=1, help="pairs of blocks: attention over variables, then over rows"
    )
    n_heads: int = setting(8, low=1)
    key_size: int = setting(32, low=1)
    widening: int = setting(4, low=1)
    dropout: float = setting(0.1, low=0, high=0.9)
    init_scale: float = setting(2.0, above=0)
    temperature_init: float = setting(2.0, low=-10, high=10)
    bias_init: float = setting(-3.0, low=-20, high=20)
    power_iterations: int = setting(10, low=1)
    penalty_lr: float = setting(1e-4, low=0)
    penalty_every_n_steps: int = setting(500, low=1, unit="steps")
    penalty_average_rate: float = setting(1e-4, above=0, high=1)
    penalty_warmup_steps: int = setting(50_000, low=0, unit="steps")
    dependence_steps: int = setting(
        0,
        low=0,
        unit="steps",
        help="number of first steps that learn the absolute correlations in place of the edges",
    )
    checkpoint_blocks: bool = setting(
        False,
        identity=False,
        help="recompute activations in the backward pass: less memory, more time",
    )
