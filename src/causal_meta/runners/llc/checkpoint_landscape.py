"""The loss landscape of a trained graph model over a set of tasks, whose local learning coefficient
is estimated."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from causal_meta.conf.setting import ConfigError
from causal_meta.llc.landscapes.torch_landscape import Rows, TorchLandscape, Width, torch_landscape
from causal_meta.models.base import BaseModel
from causal_meta.runners.tasks.task_sets import load_tasks
from causal_meta.runners.training.pre_training import load_weights
from causal_meta.tasks import TaskBatch

if TYPE_CHECKING:
    from causal_meta.store import Artifact

# largest number of cells (rows times variables) in one forward and backward pass; bounds memory
CELLS_AT_ONCE = 1 << 14


def checkpoint_landscape(
    model: Artifact, tasks: Artifact, *, width: Width = "float64", device: str = "cpu"
) -> TorchLandscape:
    """The landscape of an `amortised` target around its best weights, over the tasks of a `tasks`
    target; n counts the tasks.

    The loss of a task is the negative log-likelihood of its true graph in nats, -log q(G | x, w),
    under the model's posterior of the whole table, standardised as in training, without dropout.
    For AVICI it is the sum of the binary cross-entropies over the D (D - 1) ordered pairs of real
    variables: D (D - 1) times the mean that is the training loss, so that L_n is a negative
    log-likelihood, and without the penalty on cycles. The weights are not a minimum of it: they
    were trained on other tasks, with a penalty, and stopped early.

    Raises:
        ConfigError: for tasks without a truth or fewer than two of them, and for graphs of
            probability 0 under the model.
    """
    batch = load_tasks(tasks)
    if batch.adjacency is None:
        raise ConfigError(
            f"The tasks {tasks.id} have no true graph, and the loss of a graph model needs one; "
            "build them with one, data.truth=FILE."
        )
    if len(batch) < 2:
        raise ConfigError(
            f"The tasks {tasks.id} hold {len(batch)} task; the temperature 1 / log n needs at "
            "least 2, data.n_tasks=…."
        )
    return model_landscape(
        load_weights(model), batch, name=f"{model.id} on {tasks.id}", width=width, device=device
    )


def model_landscape(
    model: BaseModel,
    batch: TaskBatch,
    *,
    name: str = "model",
    width: Width = "float64",
    device: str = "cpu",
) -> TorchLandscape:
    """The landscape of any graph model around its weights over raw tasks with their truth (see
    `checkpoint_landscape`)."""
    ready = batch.standardised()
    data = {item.name: getattr(ready, item.name) for item in fields(ready)}
    at_once = max(1, CELLS_AT_ONCE // max(1, batch.n_rows * batch.n_nodes))
    try:
        return torch_landscape(
            model.to(device), data, graph_losses, name=name, width=width, at_once=at_once
        )
    except ValueError as error:
        raise ConfigError(str(error)) from None


def graph_losses(model: BaseModel, rows: Rows) -> Float[Tensor, " B"]:
    """-log q(G | x) of each task of a standardised batch in nats; NaN where the model's output is
    NaN."""
    batch = TaskBatch(**dict(rows))
    assert batch.adjacency is not None
    output = model(batch)
    broken = torch.isnan(output).flatten(1).any(1)
    losses = -model.posterior_of(torch.nan_to_num(output), batch).log_prob(batch.adjacency)
    return losses.masked_fill(broken, torch.nan)
