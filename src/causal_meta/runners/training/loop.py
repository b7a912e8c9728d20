"""The training loop: one stream, one model, one order of events.

A step is: batch, model, loss, backward, clip, optimiser step, `after_step`; then, where they are
due, the record, the validation and the checkpoint. Batch s and everything random in step s are
functions of (seed, s) alone, never of history, so a run that was killed goes on from its last
checkpoint to the same weights, bit for bit, on equal hardware with an equal number of threads.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import json
import logging
import os
import time
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from causal_meta.conf.convert import to_plain
from causal_meta.conf.registry import implementation
from causal_meta.conf.setting import ConfigError
from causal_meta.conf.training import TrainerConfig
from causal_meta.datasets.data_module import CausalMetaModule
from causal_meta.models.base import TOKENS_AT_ONCE, BaseModel, evaluating
from causal_meta.randomness import key
from causal_meta.runners.progress import Progress, Style
from causal_meta.runners.training import checkpoints, train_metrics
from causal_meta.runners.training.optimizers import rate
from causal_meta.store.attempts import Attempt
from causal_meta.tasks import TaskBatch

if TYPE_CHECKING:
    from lightning_fabric import Fabric

HEARTBEAT_SECONDS = 30.0
_PRECISION = {"fp32": "32-true", "bf16": "bf16-mixed"}


def fit(
    model: BaseModel, module: CausalMetaModule, trainer: TrainerConfig, attempt: Attempt, seed: int
) -> dict[str, Any]:
    """Train `model` on the stream of `module` for `trainer.max_steps` steps and leave
    checkpoints/{last,best}.pt in the attempt's folder.

    Goes on from a verified checkpoint in the folder if there is one. Started by torchrun, every
    process takes its part of each batch, and the first alone writes. The global random state and
    the number of threads are afterwards as they were. Returns `metrics` (of best.pt), `best_step`,
    `steps` and `tasks`. Raises `ConfigError` for settings that do not go together, and RuntimeError
    if training diverges.
    """
    train_metrics.direction(trainer.monitor, module.config.test)
    fabric = open_fabric(trainer)
    with _undisturbed(trainer, fabric.device):
        run = Training(fabric, model, module, trainer, attempt, seed)
        run.begin()
        style: Style = attempt.options.get("progress", "auto") if run.writes else "off"
        with Progress(trainer.max_steps, run.step, style) as progress:
            for batch in run.batches():
                run.train(batch)
                shown = run.record() if run.is_due(trainer.log_every_n_steps) else {}
                if run.is_due(trainer.val_check_interval):
                    run.validate()
                if run.is_due(trainer.checkpoint_every_n_steps):
                    run.save()
                run.beat()
                progress.update(run.step, shown)
        return run.end()


class Training:
    """The state of a training run and what can be done with it. `step` counts the finished
    steps."""

    def __init__(
        self,
        fabric: Fabric,
        model: BaseModel,
        module: CausalMetaModule,
        trainer: TrainerConfig,
        attempt: Attempt,
        seed: int,
    ) -> None:
        self.fabric, self.model, self.module, self.trainer, self.attempt, self.seed = (
            fabric,
            model,
            module,
            trainer,
            attempt,
            seed,
        )
        self.writes = fabric.global_rank == 0
        self.folder: Path = attempt.checkpoints
        self.wrapped = fabric.setup_module(model)
        self.optimizer: torch.optim.Optimizer = implementation(trainer.optimizer)(
            trainer.optimizer, model.parameters()
        )
        self.stepper: Any = fabric.setup_optimizers(self.optimizer)
        self.families: Mapping[str, Any] = module.test_dataloader() if self.writes else {}
        self.way = train_metrics.direction(trainer.monitor, module.config.test)
        self.step = self.tasks = self.validated = 0
        self.best: dict[str, Any] = {"step": 0, "metrics": {}, "model": {}}
        # first step with a number that is not finite
        self.first_bad = torch.full((), -1, dtype=torch.int64, device=fabric.device)
        self.sums: dict[str, Tensor] = {}
        self.window = Window()
        self.last_beat = time.perf_counter()

    # ---------------------------------------------------------------------------- beginning and end

    def begin(self) -> None:
        """Go on from a checkpoint, or start, and say so."""
        payload = None
        if self.writes:
            payload = self.attempt.load("tensors")
        payload = self.fabric.broadcast(payload)
        if payload is not None:
            checkpoints.load(self.model, payload["model"])
            self.step, self.tasks, self.validated, self.best = (
                payload[name] for name in ("step", "tasks", "validated", "best")
            )
            if "optimizer" in payload:
                checkpoints.load_optimizer(self.optimizer, payload["optimizer"])
            elif self.writes:  # killed between the end of training and publication
                self.best["model"] = checkpoints.read(self.folder / "best.pt")["model"]
        self.model.train()
        if self.writes:
            moment = "on_start" if payload is None else "on_resume"
            self.attempt.facts.event(moment, step=self.step, **self._description())
        self.window = Window()

    def _description(self) -> dict[str, Any]:
        told = json.dumps(describe(self.module), sort_keys=True)
        return {
            "data": {
                "sha256": hashlib.sha256(told.encode()).hexdigest(),
                "families": sorted(self.module.config.test),
            },
            "device": str(self.fabric.device),
            "precision": self.trainer.precision,
            "processes": self.fabric.world_size,
            "torch_threads": torch.get_num_threads(),
            "n_parameters": sum(p.numel() for p in self.model.parameters()),
            "max_steps": self.trainer.max_steps,
        }

    def end(self) -> dict[str, Any]:
        """The last validation and checkpoint; what is published lies in the folder afterwards."""
        if self.validated < self.step or not self.best["model"]:
            self.validate()
        self.require_finite()
        redrawn: Any = self.redrawn()
        if self.writes:
            self.save()
            ended = {
                "tasks": self.tasks,
                "validated": self.validated,
                "best": self.best | {"model": {}},
            }
            weights = checkpoints.weights_of(self.model)
            payload = checkpoints.payload_of(self.model, weights, self.step, **ended)
            self.attempt.save_final(payload, self.step)
            total = round(self.attempt.facts.wall_s, 3)
            self.attempt.facts.event(
                "on_train_end",
                step=self.step,
                metrics=self.best["metrics"],
                total_time_s=total,
                tasks=self.tasks,
                **redrawn,
            )
        self.fabric.barrier()
        return {
            "metrics": self.best["metrics"],
            "best_step": self.best["step"],
            "steps": self.step,
            "tasks": self.tasks,
        }

    # ---------------------------------------------------------------------------------------- steps

    def batches(self) -> Iterator[TaskBatch]:
        """The batches of the remaining steps, on the device; the global batch's part of this
        process."""
        stream = self.module.train_dataloader(
            start_step=self.step, rank=self.fabric.global_rank, world_size=self.fabric.world_size
        )
        for batch in islice(stream, self.trainer.max_steps - self.step):
            yield self._placed(batch)

    def _placed(self, batch: TaskBatch) -> TaskBatch:
        if self.fabric.device.type == "cpu":
            return batch
        if self.fabric.device.type == "cuda" and not batch.x.is_pinned():
            batch = batch.pin_memory()
        return batch.to(self.fabric.device, non_blocking=True)

    def train(self, batch: TaskBatch) -> None:
        """One step."""
        torch.manual_seed(key(self.seed, "dropout", self.step, self.fabric.global_rank)[0] >> 1)
        output = self.wrapped(batch)
        loss, parts = self.model.calculate_loss(output, batch)
        self.fabric.backward(loss)
        norm = self.fabric.clip_gradients(
            self.wrapped,
            self.stepper,
            max_norm=self.trainer.gradient_clip_norm,
            error_if_nonfinite=False,
        )
        for group in self.optimizer.param_groups:
            group["lr"] = rate(self.trainer, self.step)
        self.stepper.step()
        self.stepper.zero_grad(set_to_none=True)
        assert norm is not None  # clip_gradients returns it whenever max_norm is given
        self._note(parts | {"loss": loss.detach(), "gradient_norm": norm.detach()})
        self.step += 1
        self.tasks += len(batch) * self.fabric.world_size
        self.window.add(len(batch) * self.fabric.world_size)
        self.model.after_step(self.step)

    def _note(self, parts: Mapping[str, Tensor]) -> None:
        """Add up the parts of the loss and mark the first step that is not finite, without waiting
        for the device."""
        bad = ~torch.isfinite(parts["loss"] + parts["gradient_norm"]) & (self.first_bad < 0)
        self.first_bad = torch.where(bad, self.step + 1, self.first_bad)
        for name, value in parts.items():
            self.sums[name] = self.sums[name] + value if name in self.sums else value

    def is_due(self, every: int) -> bool:
        """Whether something that happens every so many steps happens after this one."""
        return self.step % every == 0

    def require_finite(self) -> None:
        """Stop a training that has diverged: its weights are never saved or published."""
        step = int(self.first_bad)
        if step >= 0:
            raise RuntimeError(
                f"The loss or its gradient is not finite at step {step} (seed {self.seed}); "
                "nothing of it is kept. "
                "Lower trainer.optimizer.learning_rate "
                f"({self.trainer.optimizer.learning_rate:g}) or trainer.gradient_clip_norm."
            )

    # --------------------------------------------------------------- record, validation, checkpoint

    def record(self) -> dict[str, float]:
        """Write the means since the last record as scalars; returns what the progress bar shows."""
        self.require_finite()
        count, seconds, tasks = self.window.take()
        names = list(self.sums)
        means = self.fabric.all_reduce(
            torch.stack([self.sums[name].float() for name in names]) / count, reduce_op="mean"
        )
        self.sums = {}
        values = dict(zip(names, means.tolist(), strict=True))  # type: ignore[union-attr]
        redrawn = self.redrawn()
        speed = {
            "steps_per_second": count / seconds,
            "tasks_per_second": tasks / seconds,
            "learning_rate": rate(self.trainer, self.step - 1),
        }
        if self.writes:
            self.attempt.facts.scalars(
                self.step,
                "train",
                {f"train/{name}": value for name, value in (values | speed | redrawn).items()},
            )
        return {
            "loss": values["loss"],
            "steps/s": speed["steps_per_second"],
            "tasks/s": speed["tasks_per_second"],
        }

    def redrawn(self) -> dict[str, float]:
        """How many graphs of the stream were drawn again because a test set has them, and how many
        models because their values overflowed: in all processes of this attempt."""
        stream = self.module.stream
        counts = torch.tensor(
            [0.0, 0.0] if stream is None else [stream.collisions, stream.overflows],
            dtype=torch.float64,
        )
        totals: Any = self.fabric.all_reduce(counts.to(self.fabric.device), reduce_op="sum")
        return dict(zip(("redrawn_graphs", "redrawn_models"), totals.tolist(), strict=True))

    def validate(self) -> None:
        """Metrics of every test family; keep the weights if the monitored metric is the best so
        far. Without families they are kept always."""
        self.require_finite()
        self.validated = self.step
        if not self.writes:
            return
        with self.window.paused():
            metrics = self._validation_metrics()
            monitored = metrics.get(self.trainer.monitor, float("nan"))
            before = self.best["metrics"].get(self.trainer.monitor, float("nan"))
            improved = (
                not self.families
                or not self.best["model"]
                or train_metrics.better(monitored, before, self.way)
            )
            if improved:
                self.best = {
                    "step": self.step,
                    "metrics": metrics,
                    "model": checkpoints.weights_of(self.model),
                }
            if metrics:
                self.attempt.facts.scalars(self.step, "val", metrics)
                self.attempt.facts.event(
                    "on_validation_end",
                    step=self.step,
                    split="val",
                    metrics=metrics,
                    improved=improved,
                )

    @torch.no_grad()
    def _validation_metrics(self) -> dict[str, float]:
        """`val/<family>/<metric>` for every family and `val/<metric>`, their mean."""
        metrics: dict[str, float] = {}
        torch.manual_seed(key(self.seed, "validation", self.step)[0] >> 1)
        with evaluating(self.model):
            for family, loader in self.families.items():
                per_task: dict[str, list[Tensor]] = {}
                for batch in islice(loader, self.trainer.limit_val_batches):
                    for name, values in self._scores(self._placed(batch)).items():
                        per_task.setdefault(name, []).append(values.cpu())
                metrics |= {
                    f"val/{family}/{name}": value
                    for name, value in train_metrics.means(per_task).items()
                }
        for name in sorted({path.rsplit("/", 1)[1] for path in metrics}):
            of_families = torch.tensor(
                [metrics[f"val/{family}/{name}"] for family in self.families], dtype=torch.float64
            )
            metrics[f"val/{name}"] = float(of_families.nanmean())
        return metrics

    def _scores(self, batch: TaskBatch) -> dict[str, Tensor]:
        """The loss and its parts, and the metrics of the posterior, per task [B]; so few tasks at a
        time that memory stays bounded."""
        at_once = max(1, TOKENS_AT_ONCE // (batch.n_rows * batch.n_nodes))
        found: dict[str, list[Tensor]] = {}
        for start in range(0, len(batch), at_once):
            part = batch.slice(start, start + at_once)
            with self.fabric.autocast():
                output = self.model(part)
            output = output.float()
            loss, parts = self.model.calculate_loss(output, part)
            shared = {
                name: value.double().expand(len(part))
                for name, value in (parts | {"loss": loss}).items()
            }
            for name, value in (
                shared
                | train_metrics.posterior_metrics(self.model.posterior_of(output, part), part)
            ).items():
                found.setdefault(name, []).append(value)
        return {name: torch.cat(values) for name, values in found.items()}

    def save(self) -> None:
        """Write last.pt, which also holds the best weights, and best.pt from them."""
        self.require_finite()
        if not self.writes:
            return
        with self.window.paused():
            further: dict[str, Any] = {"optimizer": checkpoints.flat_optimizer(self.optimizer)}
            further |= {"tasks": self.tasks, "validated": self.validated, "best": self.best}
            payload = checkpoints.payload_of(
                self.model, checkpoints.weights_of(self.model), self.step, **further
            )
            self.attempt.save(payload, self.step, "tensors")
            if self.best["model"]:
                checkpoints.write_best(
                    self.folder,
                    checkpoints.payload_of(self.model, self.best["model"], self.best["step"]),
                )

    def beat(self) -> None:
        """A sign of life, at most every `HEARTBEAT_SECONDS`."""
        now = time.perf_counter()
        if self.writes and now - self.last_beat >= HEARTBEAT_SECONDS:
            self.last_beat = now
            self.attempt.facts.event("heartbeat", step=self.step)


class Window:
    """Steps, tasks and seconds of training since the last record, pauses left out."""

    def __init__(self) -> None:
        self.steps = self.tasks = 0
        self.begin = time.perf_counter()

    def add(self, tasks: int) -> None:
        self.steps += 1
        self.tasks += tasks

    def take(self) -> tuple[int, float, int]:
        """Steps, seconds and tasks, and begin anew."""
        now = time.perf_counter()
        found = (self.steps, max(now - self.begin, 1e-9), self.tasks)
        self.steps = self.tasks = 0
        self.begin = now
        return found

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Time spent inside is not training."""
        stopped = time.perf_counter()
        yield
        self.begin += time.perf_counter() - stopped


# ------------------------------------------------------------------------------------- surroundings


def describe(module: CausalMetaModule) -> dict[str, Any]:
    """`module.describe()` without the settings that change no batch, such as the number of
    workers."""
    return module.describe() | {"config": to_plain(module.config, identity_only=True)}


def open_fabric(trainer: TrainerConfig) -> Fabric:
    """Device, precision and processes: one process, or those that torchrun started (it sets
    WORLD_SIZE). Raises `ConfigError`."""
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments import LightningEnvironment, TorchElasticEnvironment
    from lightning_fabric.strategies import DDPStrategy

    world = int(os.environ.get("WORLD_SIZE", "1")) if TorchElasticEnvironment.detect() else 1
    kind, _, index = trainer.device.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (
        index and not (kind == "cuda" and index.isdigit() and world == 1)
    ):
        raise ConfigError(
            f"trainer.device is {trainer.device!r}; allowed are auto, cpu, cuda, and in a single "
            "process cuda:0, cuda:1, …"
        )
    # not mps: losses need float64
    accelerator = ("cuda" if torch.cuda.is_available() else "cpu") if kind == "auto" else kind
    local = int(os.environ.get("LOCAL_WORLD_SIZE", world)) if world > 1 else 1
    with _quiet("lightning_fabric"):
        try:
            fabric = Fabric(
                accelerator=accelerator,
                devices=[int(index)] if index else local,
                num_nodes=world // local,
                strategy=DDPStrategy(**_without_buffers()) if world > 1 else "auto",
                precision=_PRECISION[trainer.precision],  # type: ignore[arg-type]
                plugins=[TorchElasticEnvironment() if world > 1 else LightningEnvironment()],
            )
        except (ValueError, RuntimeError) as error:
            raise ConfigError(
                f"trainer.device is {trainer.device!r}, which this machine does not have ({error})."
            ) from None
        fabric.launch()
    return fabric


def _without_buffers() -> dict[str, Any]:
    """Buffers need not be sent to every process before each step, since they are the same in all of
    them; in the word that this torch has for it."""
    known = inspect.signature(torch.nn.parallel.DistributedDataParallel).parameters
    return {
        "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers": False
    }


@contextlib.contextmanager
def _quiet(library: str) -> Iterator[None]:
    """Let a library's logger tell warnings only."""
    logger = logging.getLogger(library)
    before = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(before)


@contextlib.contextmanager
def _undisturbed(trainer: TrainerConfig, device: torch.device) -> Iterator[None]:
    """Give the global random state and the number of threads back as they were."""
    before = torch.get_num_threads()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        try:
            if trainer.threads:
                torch.set_num_threads(trainer.threads)
            yield
        finally:
            torch.set_num_threads(before)
