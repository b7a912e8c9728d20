"""Targets of kind `amortised`: graph models that are trained on a stream of tasks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Self

from causal_meta.conf.artifacts import Backend, TargetConfig
from causal_meta.conf.data import DataModuleConfig
from causal_meta.conf.models import AviciConfig, ModelConfig
from causal_meta.conf.setting import setting
from causal_meta.conf.training import InferenceConfig, TrainerConfig


@dataclass(frozen=True, kw_only=True)
class ExperimentConfig(TargetConfig):
    """A graph model pre-trained on a stream of structural causal models; `init` starts from the
    weights of another one.

    `weights_sha256` is set for a checkpoint that was imported (`store import FILE.pt`): then `data`
    says what its owner trained it on.
    """

    kind: ClassVar[str] = "amortised"
    title: ClassVar[str] = "trained graph model"
    table_rank: ClassVar[int] = 0
    backend: ClassVar[Backend] = "torch"
    devices: ClassVar[tuple[str, ...]] = ("cpu", "cuda")
    pictures: ClassVar[tuple[str, ...]] = ("losses", "metrics")
    distributed: ClassVar[bool] = True
    inputs: ClassVar[tuple[str, ...]] = ("init?",)
    takes: ClassVar[Mapping[str, tuple[str, ...]]] = {"init": ("amortised",)}
    model: ModelConfig = setting(AviciConfig())
    data: DataModuleConfig = setting(DataModuleConfig())
    trainer: TrainerConfig = setting(TrainerConfig())
    inference: InferenceConfig = setting(InferenceConfig(), identity=False)
    weights_sha256: str = setting(
        "", help="digest of an imported checkpoint; empty for a trained model"
    )

    def placed(
        self, *, device: str | None = None, threads: int = 0, workers: int | None = None
    ) -> Self:
        """The same training on another device, with other numbers of threads and of processes that
        draw its tasks."""
        trainer = replace(
            self.trainer,
            device=device or self.trainer.device,
            threads=threads or self.trainer.threads,
        )
        data = self.data if workers is None else replace(self.data, workers=workers)
        return replace(self, trainer=trainer, data=data)
