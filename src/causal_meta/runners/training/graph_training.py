"""Training of graph models on a stream of tasks: what the training loop needs to know of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from causal_meta.conf.convert import to_plain
from causal_meta.conf.registry import implementation
from causal_meta.conf.training import TrainerConfig
from causal_meta.datasets.data_module import CausalMetaModule
from causal_meta.models.base import TOKENS_AT_ONCE, BaseModel, evaluating
from causal_meta.runners.training import checkpoints, train_metrics
from causal_meta.runners.training.checkpoints import Weights
from causal_meta.runners.training.loop import Direction, Parts, Trainable, fit
from causal_meta.runners.training.optimizers import rate
from causal_meta.store.attempts import Attempt
from causal_meta.tasks import TaskBatch

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def train_graph_model(
    model: BaseModel, module: CausalMetaModule, trainer: TrainerConfig, attempt: Attempt, seed: int
) -> dict[str, Any]:
    """Train `model` on the stream of `module`; returns and raises what `fit` does."""
    return fit(GraphTraining(model, module, trainer), trainer, attempt, seed)


class GraphTraining(Trainable[TaskBatch]):
    """A graph model with one optimiser, validated on the test families of a data module.

    A step is: loss, backward, clip, optimiser step, `model.after_step`.
    """

    wrapped: Any  # the model as Fabric wraps it: precision, gradients averaged over processes
    optimizer: torch.optim.Optimizer
    stepper: Any  # the optimiser as Fabric wraps it

    def __init__(self, model: BaseModel, module: CausalMetaModule, trainer: TrainerConfig) -> None:
        self.model, self.module, self.trainer = model, module, trainer
        self.families: Mapping[str, Any] = {}

    def direction(self, monitor: str) -> Direction:
        return train_metrics.direction(monitor, self.module.config.test)

    def prepare(self, fabric: Fabric) -> None:
        self.fabric = fabric
        self.wrapped = fabric.setup_module(self.model)
        config = self.trainer.optimizer
        self.optimizer = implementation(config)(config, self.model.parameters())
        self.stepper = fabric.setup_optimizers(self.optimizer)
        if fabric.global_rank == 0:
            self.families = self.module.test_dataloader()
        self.model.train()

    def description(self) -> dict[str, Any]:
        record = json.dumps(describe(self.module), sort_keys=True)
        return {
            "data": {
                "sha256": hashlib.sha256(record.encode()).hexdigest(),
                "families": sorted(self.module.config.test),
            },
            "n_parameters": sum(p.numel() for p in self.model.parameters()),
        }

    # ------------------------------------------------------------------------------------- batches

    def batches(self, start_step: int) -> Iterator[TaskBatch]:
        stream = self.module.train_dataloader(
            start_step=start_step, rank=self.fabric.global_rank, world_size=self.fabric.world_size
        )
        for batch in stream:
            yield self._placed(batch)

    def _placed(self, batch: TaskBatch) -> TaskBatch:
        """The batch on the device; on a GPU the copy is not waited for."""
        if self.fabric.device.type == "cpu":
            return batch
        if self.fabric.device.type == "cuda" and not batch.x.is_pinned():
            batch = batch.pin_memory()
        return batch.to(self.fabric.device, non_blocking=True)

    def totals(self) -> dict[str, float]:
        """How many graphs of the stream were drawn again because a test set has them, and how many
        models because their values overflowed."""
        stream = self.module.stream
        return {
            "redrawn_graphs": 0.0 if stream is None else stream.collisions,
            "redrawn_models": 0.0 if stream is None else stream.overflows,
        }

    # ---------------------------------------------------------------------------------------- steps

    def step(self, batch: TaskBatch, step: int) -> Parts:
        output = self.wrapped(batch)
        loss, parts = self.model.calculate_loss(output, batch)
        self.fabric.backward(loss)
        norm = self.fabric.clip_gradients(
            self.wrapped,
            self.stepper,
            max_norm=self.trainer.gradient_clip_norm,
            error_if_nonfinite=False,
        )
        assert norm is not None  # clip_gradients returns it whenever max_norm is given
        for group in self.optimizer.param_groups:
            group["lr"] = rate(self.trainer, step)
        self.stepper.step()
        self.stepper.zero_grad(set_to_none=True)
        self.model.after_step(step + 1)
        return parts | {"loss": loss.detach(), "gradient_norm": norm.detach()}

    # ----------------------------------------------------------------------------------- validation

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """`val/<family>/<metric>` for every family and `val/<metric>`, their mean."""
        metrics: dict[str, float] = {}
        with evaluating(self.model):
            for family, loader in self.families.items():
                per_task: dict[str, list[Tensor]] = {}
                for batch in islice(loader, self.trainer.limit_val_batches):
                    for name, values in self._scores(self._placed(batch)).items():
                        per_task.setdefault(name, []).append(values.cpu())
                means = train_metrics.means(per_task)
                metrics |= {f"val/{family}/{name}": value for name, value in means.items()}
        for name in sorted({path.rsplit("/", 1)[1] for path in metrics}):
            of_families = [metrics[f"val/{family}/{name}"] for family in self.families]
            metrics[f"val/{name}"] = float(torch.tensor(of_families, dtype=torch.float64).nanmean())
        return metrics

    def _scores(self, batch: TaskBatch) -> dict[str, Float[Tensor, " B"]]:
        """The loss and its parts, and the metrics of the posterior, per task; so few tasks at a
        time that memory stays bounded."""
        at_once = max(1, TOKENS_AT_ONCE // (batch.n_rows * batch.n_nodes))
        scores: dict[str, list[Tensor]] = {}
        for start in range(0, len(batch), at_once):
            part = batch.slice(start, start + at_once)
            with self.fabric.autocast():
                output = self.model(part)
            output = output.float()
            loss, parts = self.model.calculate_loss(output, part)
            values = {
                name: value.double().expand(len(part))
                for name, value in (parts | {"loss": loss}).items()
            }
            values |= train_metrics.posterior_metrics(self.model.posterior_of(output, part), part)
            for name, value in values.items():
                scores.setdefault(name, []).append(value)
        return {name: torch.cat(values) for name, values in scores.items()}

    # ---------------------------------------------------------------------------------- checkpoints

    def header(self) -> dict[str, Any]:
        return checkpoints.header_of(self.model)

    def weights(self) -> Weights:
        return checkpoints.weights_of(self.model)

    def state(self) -> Weights:
        return checkpoints.flat_optimizer(self.optimizer)

    def load(self, weights: Weights, state: Weights | None) -> None:
        checkpoints.load(self.model, weights)
        if state is not None:
            checkpoints.load_optimizer(self.optimizer, state)


def describe(module: CausalMetaModule) -> dict[str, Any]:
    """`module.describe()` without the settings that change no batch, such as the number of
    workers."""
    return module.describe() | {"config": to_plain(module.config, identity_only=True)}
