"""The training loop: the order of events, records, checkpoints, resuming, processes.

What is trained is a `Trainable`. A step is its update on one batch; then, where they are due, the
record, the validation and the checkpoint. Batch s and everything random in step s are functions of
(seed, s) alone, never of history, so a run that was killed and resumed from its last checkpoint
ends with the same weights, bit for bit, on equal hardware with an equal number of threads.
"""

from __future__ import annotations

import contextlib
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sized
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from causal_meta.conf.training import TrainerConfig
from causal_meta.randomness import key
from causal_meta.runners.progress import Progress, Style
from causal_meta.runners.training import checkpoints
from causal_meta.runners.training.checkpoints import Weights
from causal_meta.runners.training.devices import open_fabric, undisturbed
from causal_meta.runners.training.optimizers import rate
from causal_meta.store.attempts import Attempt

if TYPE_CHECKING:
    from lightning_fabric import Fabric

HEARTBEAT_SECONDS = 30.0
Batch = TypeVar("Batch", bound=Sized)
Direction = Literal["min", "max"]
Parts = dict[str, Float[Tensor, ""]]


class Trainable(ABC, Generic[Batch]):
    """What the loop trains: it owns its modules, its one or several optimisers, its loss and its
    batches.

    The methods are called in this order: `direction`, `prepare`, perhaps `load`, `description`,
    `batches`; then `step` for every batch, and now and then `totals`, `validate`, `weights` and
    `state`. The seed of torch's generator is set before every step and every validation.
    """

    #: The parts returned by `step` that end the training as soon as one is not finite.
    must_be_finite: ClassVar[tuple[str, ...]] = ("loss", "gradient_norm")

    @abstractmethod
    def direction(self, monitor: str) -> Direction:
        """Whether the validation metric `monitor` is better when smaller or larger; raises
        `ConfigError` for a name that `validate` does not return."""

    @abstractmethod
    def prepare(self, fabric: Fabric) -> None:
        """Move the modules to the device, wrap them for its precision and processes, and make the
        optimisers."""

    @abstractmethod
    def batches(self, start_step: int) -> Iterator[Batch]:
        """This process's part of the batches of step `start_step` (0-based) and all later ones, on
        the device. The parts of all processes have equal length."""

    @abstractmethod
    def step(self, batch: Batch, step: int) -> Parts:
        """Update the weights by one batch; `step` is 0-based.

        Returns scalars without gradient, on the device, the same names at every step: "loss", which
        the progress bar shows, those in `must_be_finite`, and any others to record.
        """

    @abstractmethod
    def validate(self) -> dict[str, float]:
        """Metrics by name, computed by the first process alone; empty if there is nothing to
        validate on, and then the latest weights count as the best."""

    @abstractmethod
    def weights(self) -> Weights:
        """A copy, on the CPU, of the weights that are published, by name."""

    @abstractmethod
    def state(self) -> Weights:
        """What resuming needs beside the weights (states of optimisers, weights that are not
        published) as tensors by name; at least one."""

    @abstractmethod
    def load(self, weights: Weights, state: Weights | None) -> None:
        """Continue from `weights` and `state`; without a state if the training had ended."""

    @abstractmethod
    def header(self) -> dict[str, Any]:
        """The first entries of every checkpoint file: "format" and what the weights belong to."""

    def totals(self) -> dict[str, float]:
        """Counts of this process since it began, under names that do not change; the record holds
        their sums over all processes."""
        return {}

    def description(self) -> dict[str, Any]:
        """What the event `on_start` says of this training."""
        return {}


def fit(
    trainable: Trainable[Batch], trainer: TrainerConfig, attempt: Attempt, seed: int
) -> dict[str, Any]:
    """Train for `trainer.max_steps` steps and leave checkpoints/{last,best}.pt in the attempt's
    folder.

    Resumes a verified checkpoint in the folder if there is one. Started by torchrun, every process
    takes its part of each batch, and the first alone writes. The global random state and the number
    of threads are restored at the end.

    Returns:
        `metrics` (of best.pt), `best_step`, `steps` and `tasks` (items of all batches).

    Raises:
        ConfigError: settings that do not go together.
        RuntimeError: the training diverges.
    """
    direction = trainable.direction(trainer.monitor)
    fabric = open_fabric(trainer)
    with undisturbed(trainer, fabric.device):
        run = Training(fabric, trainable, trainer, attempt, seed, direction)
        run.begin()
        style: Style = attempt.options.get("progress", "auto") if run.writes else "off"
        with Progress(trainer.max_steps, run.step, style) as progress:
            for batch in islice(trainable.batches(run.step), trainer.max_steps - run.step):
                run.train(batch)
                shown = run.record() if run.is_due(trainer.log_every_n_steps) else {}
                if run.is_due(trainer.val_check_interval):
                    run.validate()
                if run.is_due(trainer.checkpoint_every_n_steps):
                    run.save()
                run.heartbeat()
                progress.update(run.step, shown)
        return run.end()


class Training(Generic[Batch]):
    """The state of a training run. `step` counts the completed steps."""

    def __init__(
        self,
        fabric: Fabric,
        trainable: Trainable[Batch],
        trainer: TrainerConfig,
        attempt: Attempt,
        seed: int,
        direction: Direction,
    ) -> None:
        self.fabric, self.trainable, self.trainer = fabric, trainable, trainer
        self.attempt, self.seed, self.direction = attempt, seed, direction
        self.writes = fabric.global_rank == 0
        trainable.prepare(fabric)
        self.step = self.tasks = self.validated = 0
        self.best: dict[str, Any] = {"step": 0, "metrics": {}, "model": {}}
        # first step with a number that is not finite
        self.first_bad = torch.full((), -1, dtype=torch.int64, device=fabric.device)
        self.sums: Parts = {}
        self.window = Window()
        self.last_heartbeat = time.perf_counter()

    # ---------------------------------------------------------------------------- beginning and end

    def begin(self) -> None:
        """Resume a checkpoint, or start, and record which."""
        payload = self.attempt.load("tensors") if self.writes else None
        payload = self.fabric.broadcast(payload)
        if payload is not None:
            # the entry is called "optimizer" since the first version; without it, the training had
            # ended and was not yet published
            self.trainable.load(payload["model"], payload.get("optimizer"))
            self.step, self.tasks, self.validated, self.best = (
                payload[name] for name in ("step", "tasks", "validated", "best")
            )
            if "optimizer" not in payload and self.writes:
                best = checkpoints.read(self.attempt.checkpoints / "best.pt")
                self.best["model"] = best["model"]
        if self.writes:
            moment = "on_start" if payload is None else "on_resume"
            self.attempt.facts.event(moment, step=self.step, **self._description())
        self.window = Window()

    def _description(self) -> dict[str, Any]:
        return {
            **self.trainable.description(),
            "device": str(self.fabric.device),
            "precision": self.trainer.precision,
            "processes": self.fabric.world_size,
            "torch_threads": torch.get_num_threads(),
            "max_steps": self.trainer.max_steps,
        }

    def end(self) -> dict[str, Any]:
        """Validate and save a last time, and leave in the folder what is published."""
        if self.validated < self.step or not self.best["model"]:
            self.validate()
        self.require_finite()
        totals: dict[str, Any] = dict(self.totals())
        best = self.best | {"model": {}}
        if self.writes:
            self.save()
            ended = {"tasks": self.tasks, "validated": self.validated, "best": best}
            self.attempt.save_final(self._payload(self.trainable.weights(), **ended), self.step)
            seconds = round(self.attempt.facts.wall_s, 3)
            self.attempt.facts.event(
                "on_train_end",
                step=self.step,
                metrics=best["metrics"],
                total_time_s=seconds,
                tasks=self.tasks,
                **totals,
            )
        self.fabric.barrier()
        return {
            "metrics": best["metrics"],
            "best_step": best["step"],
            "steps": self.step,
            "tasks": self.tasks,
        }

    # ---------------------------------------------------------------------------------------- steps

    def train(self, batch: Batch) -> None:
        """Carry out one step."""
        torch.manual_seed(key(self.seed, "dropout", self.step, self.fabric.global_rank)[0] >> 1)
        self._note(self.trainable.step(batch, self.step))
        self.step += 1
        size = len(batch) * self.fabric.world_size
        self.tasks += size
        self.window.add(size)

    def _note(self, parts: Parts) -> None:
        """Add up the parts and mark the first step that is not finite, without waiting for the
        device."""
        first, *others = self.trainable.must_be_finite
        total = parts[first]
        for name in others:
            total = total + parts[name]
        bad = ~torch.isfinite(total) & (self.first_bad < 0)
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
        means: Any = self.fabric.all_reduce(
            torch.stack([self.sums[name].float() for name in names]) / count, reduce_op="mean"
        )
        self.sums = {}
        values = dict(zip(names, means.tolist(), strict=True))
        totals = self.totals()
        speed = {
            "steps_per_second": count / seconds,
            "tasks_per_second": tasks / seconds,
            "learning_rate": rate(self.trainer, self.step - 1),
        }
        if self.writes:
            scalars = {f"train/{name}": value for name, value in (values | speed | totals).items()}
            self.attempt.facts.scalars(self.step, "train", scalars)
        return {
            "loss": values["loss"],
            "steps/s": speed["steps_per_second"],
            "tasks/s": speed["tasks_per_second"],
        }

    def totals(self) -> dict[str, float]:
        """The totals of the trainable over all processes of this attempt."""
        totals = self.trainable.totals()
        if not totals:
            return {}
        counts = torch.tensor(list(totals.values()), dtype=torch.float64)
        sums: Any = self.fabric.all_reduce(counts.to(self.fabric.device), reduce_op="sum")
        return dict(zip(totals, sums.tolist(), strict=True))

    def validate(self) -> None:
        """Validate; keep the weights if the monitored metric is the best so far, or if there are no
        metrics."""
        self.require_finite()
        self.validated = self.step
        if not self.writes:
            return
        with self.window.paused():
            torch.manual_seed(key(self.seed, "validation", self.step)[0] >> 1)
            metrics = self.trainable.validate()
            monitored = metrics.get(self.trainer.monitor, float("nan"))
            before = self.best["metrics"].get(self.trainer.monitor, float("nan"))
            improved = (
                not metrics or not self.best["model"] or better(monitored, before, self.direction)
            )
            if improved:
                weights = self.trainable.weights()
                self.best = {"step": self.step, "metrics": metrics, "model": weights}
            if metrics:
                self.attempt.facts.scalars(self.step, "val", metrics)
                self.attempt.facts.event(
                    "on_validation_end",
                    step=self.step,
                    split="val",
                    metrics=metrics,
                    improved=improved,
                )

    def save(self) -> None:
        """Write last.pt, which also holds the best weights, and best.pt from them."""
        self.require_finite()
        if not self.writes:
            return
        with self.window.paused():
            payload = self._payload(
                self.trainable.weights(),
                optimizer=self.trainable.state(),
                tasks=self.tasks,
                validated=self.validated,
                best=self.best,
            )
            self.attempt.save(payload, self.step, "tensors")
            if self.best["model"]:
                best = checkpoints.payload(
                    self.trainable.header(), self.best["model"], self.best["step"]
                )
                checkpoints.write_best(self.attempt.checkpoints, best)

    def _payload(self, weights: Weights, **further: Any) -> dict[str, Any]:
        return checkpoints.payload(self.trainable.header(), weights, self.step, **further)

    def heartbeat(self) -> None:
        """Record that the process is alive, at most every `HEARTBEAT_SECONDS`."""
        now = time.perf_counter()
        if self.writes and now - self.last_heartbeat >= HEARTBEAT_SECONDS:
            self.last_heartbeat = now
            self.attempt.facts.event("heartbeat", step=self.step)


def better(value: float, than: float, direction: Direction) -> bool:
    """Whether a metric has improved; NaN never has, and anything is better than NaN."""
    if math.isnan(value):
        return False
    return math.isnan(than) or (value < than if direction == "min" else value > than)


class Window:
    """Steps, tasks and seconds of training since the last record, pauses left out."""

    def __init__(self) -> None:
        self.steps = self.tasks = 0
        self.begin = time.perf_counter()

    def add(self, tasks: int) -> None:
        """Count one step of so many tasks."""
        self.steps += 1
        self.tasks += tasks

    def take(self) -> tuple[int, float, int]:
        """Steps, seconds and tasks; a new window begins."""
        now = time.perf_counter()
        taken = (self.steps, max(now - self.begin, 1e-9), self.tasks)
        self.steps = self.tasks = 0
        self.begin = now
        return taken

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Time spent inside is not training."""
        stopped = time.perf_counter()
        yield
        self.begin += time.perf_counter() - stopped
