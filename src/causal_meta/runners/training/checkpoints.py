"""Checkpoints of the training loop: what is in them, and reading them without running code.

`last.pt` holds all that resuming needs (see `store.checkpoints`); once training has ended, only the
last weights. `best.pt` holds the weights that are used. The bytes depend on the state alone: a
resumed run writes the files that an undisturbed one writes.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from causal_meta.conf.convert import to_plain
from causal_meta.store.checkpoints import canonical
from causal_meta.store.disk import sync_file, sync_folder

if TYPE_CHECKING:
    from causal_meta.models.base import BaseModel

FORMAT = 1
Weights = dict[str, Tensor]


def weights_of(model: nn.Module) -> Weights:
    """A copy of all parameters and buffers, on the CPU."""
    return {name: value.detach().to("cpu", copy=True) for name, value in model.state_dict().items()}


def header_of(model: BaseModel) -> dict[str, Any]:
    """The first entries of a model's checkpoint file: format, kind and configuration."""
    config = json.dumps(to_plain(model.config), sort_keys=True)
    return {"format": FORMAT, "kind": model.config.kind, "config": config}


def payload(header: dict[str, Any], weights: Weights, step: int, **further: Any) -> dict[str, Any]:
    """What a checkpoint file holds: the header, completed steps, weights, and `further` entries."""
    return {**header, "step": step, "model": weights, **further}


def write_best(folder: Path, payload: dict[str, Any]) -> None:
    """Replace `folder/best.pt` atomically and durably."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / "best.pt.tmp"
    torch.save(canonical(payload), temporary)
    sync_file(temporary)
    os.replace(temporary, folder / "best.pt")
    sync_folder(folder)


def read(file: Path) -> dict[str, Any]:
    """The contents of a checkpoint, on the CPU; only tensors and plain types are accepted. Raises
    ValueError with one sentence."""
    try:
        tree = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ValueError(
            f"There is no checkpoint {file.name} in {file.parent}; rebuild the artifact or give "
            "another file."
        ) from None
    except Exception as error:  # torch raises many kinds for a damaged or hostile file
        raise ValueError(
            f"{file.name} is no readable checkpoint ({type(error).__name__}): it is truncated, or "
            "not one of ours."
        ) from None
    if (
        not isinstance(tree, dict)
        or tree.get("format") != FORMAT
        or not isinstance(tree.get("model"), dict)
    ):
        raise ValueError(
            f"{file.name} is no checkpoint of this package: it lacks 'format' {FORMAT} and 'model'."
        )
    return tree


def load(
    model: nn.Module,
    weights: Weights,
    *,
    parameters_only: bool = False,
    whose: str = "the checkpoint",
) -> None:
    """Put weights into a model of the same shape; raises ValueError naming the first difference.

    `parameters_only` leaves the buffers, such as the multipliers of a dual ascent, as they are.
    """
    present: Weights = dict(model.named_parameters()) if parameters_only else model.state_dict()
    taken = {
        name: value for name, value in weights.items() if name in present or not parameters_only
    }
    for name in [*present, *taken]:
        here, there = (
            tuple(side[name].shape) if name in side else None for side in (present, taken)
        )
        if here != there:
            shapes = " and ".join(
                f"{'no' if shape is None else list(shape)} in {where}"
                for shape, where in ((there, whose), (here, "this model"))
            )
            raise ValueError(
                f"The weights do not fit: {name} has shape {shapes}; give both the same model "
                "settings."
            )
    model.load_state_dict(taken, strict=not parameters_only)


def flat_optimizer(optimizer: torch.optim.Optimizer) -> Weights:
    """The optimiser's state as `{"<parameter number>.<name>": tensor}`; rates and constants come
    from the configuration."""
    return {
        f"{i}.{name}": value
        for i, state in optimizer.state_dict()["state"].items()
        for name, value in state.items()
    }


def load_optimizer(optimizer: torch.optim.Optimizer, flat: Weights) -> None:
    """The inverse of `flat_optimizer`."""
    state: dict[int, Weights] = {}
    for path, value in flat.items():
        number, _, name = path.partition(".")
        state.setdefault(int(number), {})[name] = value
    optimizer.load_state_dict(
        {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}
    )
