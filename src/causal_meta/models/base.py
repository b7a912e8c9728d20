"""Base of the graph models: from rows to a posterior over graphs, without side effects, and a loss
for training."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int8
from torch import Tensor, nn

from causal_meta.clock import cpu_seconds
from causal_meta.conf.models import ModelConfig
from causal_meta.conf.registry import implementation
from causal_meta.posteriors import GraphPosterior, MechanismPosterior
from causal_meta.randomness import torch_generator
from causal_meta.tasks import TaskBatch, full_batch

#: Cells (rows times variables) of one forward pass of `posterior`, which bounds its memory.
TOKENS_AT_ONCE = 1 << 17


@dataclass(frozen=True)
class InferenceResult:
    """A posterior, the CPU `seconds` per task (a shared cost is split evenly), the `seed`, and the
    `kind` of the model."""

    posterior: GraphPosterior
    seconds: Float[Tensor, " B"]
    seed: int
    kind: str


class BaseModel(nn.Module, ABC):
    """Base of the graph models. A model reads rows and masks; only `calculate_loss`
    reads the true graphs.

    `needs_pretraining`, of its configuration, says whether the model must be trained on a stream
    before it can answer.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config

    @property
    def needs_pretraining(self) -> bool:
        """Whether the model must be trained on a stream of tasks before it can answer."""
        return self.config.needs_pretraining

    @abstractmethod
    def initialise(self, generator: torch.Generator) -> None:
        """Draw all weights from `generator`."""

    @abstractmethod
    def forward(self, batch: TaskBatch) -> Tensor:
        """The output of the network for a standardised batch, one entry of the first dimension per
        task; never reads `batch.adjacency`."""

    @abstractmethod
    def calculate_loss(self, output: Tensor, batch: TaskBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """The training loss of an output (a scalar with gradient) and its named parts (scalars
        without). Reads `batch.adjacency`."""

    @abstractmethod
    def posterior_of(self, output: Tensor, batch: TaskBatch) -> GraphPosterior:
        """The posterior that an output of `forward` describes."""

    def after_step(self, step: int) -> None:
        """Called after optimiser step number `step` (the first is 1), for updates that are not
        gradient steps. Their state is kept in buffers."""
        return None

    def posterior(self, batch: TaskBatch) -> GraphPosterior:
        """The posterior for each task of a batch, without gradient and without side effects.

        Standardises (a standardised batch stays as it is), drops the truth, switches dropout off
        for the call, and takes so few tasks at a time that memory stays bounded.
        """
        blind = batch.without_truth().standardised()
        at_once = max(1, TOKENS_AT_ONCE // max(1, blind.x.shape[1] * blind.x.shape[2]))
        with evaluating(self), torch.no_grad():
            outputs = [
                self(blind.slice(start, start + at_once)) for start in range(0, len(blind), at_once)
            ]
            output = torch.cat(outputs)
        return self.posterior_of(output, blind)

    def sample(
        self,
        batch_or_x: TaskBatch | Float[Tensor, "*B N D"],
        n_samples: int,
        generator: torch.Generator | None = None,
    ) -> Int8[Tensor, "B S D D"]:
        """Graphs from the posterior, for a batch or for rows alone [B, N, D] or [N, D].

        Leaves weights, training mode and the global random state as they were. Without a generator
        the draw is always the same.
        """
        return self.posterior(as_batch(batch_or_x)).sample(n_samples, generator)

    def infer_graph_posterior(
        self, batch_or_x: TaskBatch | Float[Tensor, "*B N D"], seed: int = 0
    ) -> InferenceResult:
        """`posterior` with its CPU seconds, split evenly over the tasks. `seed` is recorded; an
        amortised answer does not depend on it."""
        batch = as_batch(batch_or_x)
        begin = cpu_seconds()
        posterior = self.posterior(batch)
        seconds = (cpu_seconds() - begin) / max(1, len(batch))
        return InferenceResult(
            posterior,
            torch.full((len(batch),), seconds, dtype=torch.float64),
            seed,
            self.config.kind,
        )

    def infer_mechanism_posterior(
        self, batch_or_x: TaskBatch | Float[Tensor, "*B N D"]
    ) -> MechanismPosterior | None:
        """The posterior over mechanisms; None for models that answer about graphs alone."""
        return self.posterior(as_batch(batch_or_x)).mechanism_posterior()


class ModelFactory:
    """Builds the model that a configuration describes."""

    @staticmethod
    def build(config: ModelConfig, seed: int) -> BaseModel:
        """A model with weights drawn from (seed, "initialisation"); the global generator stays as
        it was."""
        model: BaseModel = implementation(config)(config)
        model.initialise(torch_generator(seed, "initialisation"))
        return model


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside; afterwards every submodule has its previous mode again."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def as_batch(batch_or_x: TaskBatch | Float[Tensor, "*B N D"]) -> TaskBatch:
    """A batch as it is, or rows [B, N, D] or [N, D] as a batch of purely observational tasks;
    raises ValueError for other shapes."""
    if isinstance(batch_or_x, TaskBatch):
        return batch_or_x
    x = batch_or_x.unsqueeze(0) if batch_or_x.dim() == 2 else batch_or_x
    if x.dim() != 3:
        raise ValueError(
            f"The rows have shape {tuple(batch_or_x.shape)}; give [B, N, D] or [N, D]."
        )
    return full_batch(x.to(torch.float32), None, [-1] * len(x))
