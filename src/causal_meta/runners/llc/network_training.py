"""Network targets: rows, training and polish of a student network, or a formula at its point; and
the landscape of a stored target.

`data.npz` holds the rows (of a student x [N, D] and y [N, outputs]), `params.npz` the parameters w*
by name, both in float64; `training.npz` the losses of the training's steps. JAX is imported only to
build or load a target.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from causal_meta.conf.networks import NetworkConfig, StudentConfig
from causal_meta.conf.setting import ConfigError
from causal_meta.runners.progress import Progress

if TYPE_CHECKING:
    from causal_meta.llc.landscapes.landscape import Landscape
    from causal_meta.llc.landscapes.polish import Descent
    from causal_meta.llc.landscapes.surfaces import LandscapeSurface
    from causal_meta.store import Artifact, Attempt

Floats = NDArray[np.float64]
Arrays = dict[str, NDArray[Any]]
SECONDS_BETWEEN_CHECKPOINTS = 1.0
# localisation of the polish and the check of w*; others: `causal-meta llc check posterior.gamma=…`
GAMMA = 1.0


def build_network(config: NetworkConfig, attempt: Attempt) -> dict[str, Any]:
    """Generate the rows, train the student, polish w*, and check whether it is a minimum; the
    builder of kind `network`.

    A killed build resumes from its last checkpoint and ends with the same parameters.

    Returns:
        Dims and metrics for `meta.json`.

    Raises:
        ConfigError: for an `init` of another model.
        ValueError: for a training that diverges.
    """
    from causal_meta.llc.landscapes.surfaces import LandscapeSurface

    landscape = _first(config, attempt)
    w: Floats = np.asarray(landscape.centre, np.float64)
    losses: NDArray[np.floating] = np.zeros(0)
    descent = None
    with contextlib.ExitStack() as stack:
        place = _Place(attempt, stack)
        if isinstance(config.model, StudentConfig) and config.training.max_steps:
            w, losses = _trained(config, landscape, place)
        surface = LandscapeSurface(dataclasses.replace(landscape, centre=w))
        if config.training.polish and (
            isinstance(config.model, StudentConfig) or "init" in attempt.inputs
        ):
            descent = _polished(config, landscape.n, surface, losses, place)
            surface.centre = w = descent.anchor if descent.ended else descent.w
    landscape = dataclasses.replace(landscape, centre=w)
    np.savez(
        attempt.folder / "data.npz",
        **{name: np.asarray(values) for name, values in landscape.data.items()},  # type: ignore[arg-type]
    )
    np.savez(attempt.folder / "params.npz", **_leaves(landscape))  # type: ignore[arg-type]
    if len(losses):
        np.savez_compressed(attempt.folder / "training.npz", losses=losses)
    attempt.discard_checkpoints()
    described = _described(config, landscape, surface, descent)
    attempt.facts.event(
        "on_train_end",
        step=len(losses),
        metrics=described["metrics"],
        total_time_s=round(attempt.facts.wall_s, 3),
    )
    return described


def load_landscape(artifact: Artifact) -> Landscape:
    """The loss landscape of a `network` target around its w*, on its stored rows, in float64.
    Raises ValueError for another kind."""
    config = artifact.config
    if not isinstance(config, NetworkConfig):
        raise ValueError(
            f"{artifact.id} is of kind {artifact.kind!r}; give a network target (causal-meta "
            "build network …)."
        )
    data, params = (_arrays(artifact, name) for name in ("data.npz", "params.npz"))
    w = np.concatenate([value.reshape(-1) for value in params.values()])
    return _landscape(config, data, w)


def _landscape(
    config: NetworkConfig, data: Mapping[str, Floats] | None, w: Floats | None
) -> Landscape:
    """The landscape of a configuration, with the rows `data` around w; by default with the rows and
    the initial point of the configuration."""
    if isinstance(config.model, StudentConfig):
        from causal_meta.llc.landscapes.perceptrons import Perceptron
        from causal_meta.llc.landscapes.targets import draw_rows, network_landscape
        from causal_meta.randomness import generator

        first = (
            Perceptron(config.model).initial(generator(config.seed, "network student"))
            if w is None
            else w
        )
        return network_landscape(config, draw_rows(config) if data is None else data, first)
    from causal_meta.llc.landscapes.forms import form_landscape

    form = form_landscape(config.model, config.data.n_rows, config.seed)
    return dataclasses.replace(
        form,
        data=form.data if data is None else dict(data),
        centre=form.centre if w is None else w,
    )


def _first(config: NetworkConfig, attempt: Attempt) -> Landscape:
    """The landscape around the initial point: that of `init`, random parameters, or the point of a
    formula."""
    init = attempt.inputs.get("init")
    if init is None:
        return _landscape(config, None, None)
    other = init.config
    if not isinstance(other, NetworkConfig) or other.model != config.model:
        raise ConfigError(
            f"init={init.id} holds another model; give a network target of the same model settings."
        )
    return _landscape(config, None, np.asarray(load_landscape(init).centre))


def _arrays(artifact: Artifact, name: str) -> dict[str, Floats]:
    """The arrays of a file; raises ValueError for one that cannot be read or holds values that are
    not finite."""
    try:
        with np.load(artifact.folder / name, allow_pickle=False) as arrays:
            stored = {key: np.asarray(arrays[key]) for key in arrays.files}
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise ValueError(
            f"{name} of {artifact.id} cannot be read ({type(error).__name__}); delete the target "
            "and build it again."
        ) from None
    if not all(np.isfinite(values).all() for values in stored.values()):
        raise ValueError(
            f"{name} of {artifact.id} holds values that are not finite; delete the target and "
            "build it again."
        )
    return stored


def _leaves(landscape: Landscape) -> dict[str, Floats]:
    """w* by the names of its leaves, in their order; one leaf `w` where there are none."""
    w = np.asarray(landscape.centre, np.float64)
    return {name: w[place] for name, place in landscape.parameter_names.items()} or {"w": w}


# ------------------------------------------------------------------------------ training and polish


class _Place:
    """Checkpoints, progress and records of training and polish. A checkpoint is plain arrays with
    the name of its `stage`."""

    def __init__(self, attempt: Attempt, stack: contextlib.ExitStack) -> None:
        self.attempt, self.stack = attempt, stack
        self.left: Arrays = attempt.load("arrays") or {}

    def state(self, stage: str) -> Arrays | None:
        """The state of an earlier attempt that ended in this stage, if any."""
        return self.left if self.left and str(self.left["stage"]) == stage else None

    def save(self, stage: str, done: int, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Replace the checkpoint, if the last one is some seconds old."""
        if self.attempt.seconds_since_save() >= SECONDS_BETWEEN_CHECKPOINTS:
            self.attempt.save({"stage": np.asarray(stage), **arrays}, done, "arrays")

    def progress(self, title: str, total: int) -> Progress:
        """A progress bar, lines, or nothing, by the attempt's options."""
        return self.stack.enter_context(
            Progress(total, style=self.attempt.options.get("progress", "auto"), title=title)
        )


def _trained(
    config: NetworkConfig, landscape: Landscape, place: _Place
) -> tuple[Floats, NDArray[np.floating]]:
    """w after training, and the losses of all steps."""
    from causal_meta.llc.landscapes.training import train

    if (polishing := place.state("polish")) is not None:
        return polishing["trained"], polishing["losses"]
    state = place.state("training")
    w, losses = (
        (np.asarray(landscape.centre), np.zeros(0))
        if state is None
        else (np.asarray(state["leaf.0"], np.float64), state["losses"])
    )
    shown = place.progress("training", config.training.max_steps)
    for segment in train(landscape, config.training, config.seed, state=state):
        w, losses = segment.parameters, np.concatenate((losses, segment.losses))
        metrics = {"loss": float(segment.losses.mean())} if len(segment.losses) else {}
        shown.update(segment.step, metrics)
        place.attempt.facts.scalars(
            segment.step, "train", {f"train/{name}": value for name, value in metrics.items()}
        )
        place.save("training", segment.step, segment.state | {"losses": losses})
    return w, losses


def _polished(
    config: NetworkConfig,
    n: int,
    surface: LandscapeSurface,
    losses: NDArray[np.floating],
    place: _Place,
) -> Descent:
    """The last state of the descent from the surface's centre."""
    from causal_meta.llc.landscapes.local_posterior import tempered_rows
    from causal_meta.llc.landscapes.minimum import polish
    from causal_meta.llc.landscapes.surfaces import DENSE

    training, kept = config.training, {"trained": surface.centre, "losses": losses}
    tolerance = training.polish_tolerance * len(surface.centre)
    budget = training.polish_budget or (3000 if len(surface.centre) <= DENSE else 300)
    shown, last = place.progress("polish", budget), None
    state = place.state("polish")
    for last in polish(
        surface,
        n_beta=tempered_rows(n),
        gamma=GAMMA,
        tolerance=tolerance,
        budget=budget,
        state=state,
    ):
        shown.update(min(last.work, budget), {"gap": last.gap})
        place.save("polish", training.max_steps + last.work, last.state() | kept)
    assert last is not None
    return last


def _described(
    config: NetworkConfig, landscape: Landscape, surface: LandscapeSurface, descent: Descent | None
) -> dict[str, Any]:
    """Dims and metrics of a target."""
    from causal_meta.llc.landscapes.local_posterior import tempered_rows
    from causal_meta.llc.landscapes.minimum import examine
    from causal_meta.llc.landscapes.perceptrons import Perceptron
    from causal_meta.llc.landscapes.surfaces import loss_at

    minimum = examine(
        surface,
        n_beta=tempered_rows(landscape.n),
        gamma=GAMMA,
        budget=2000 if descent is None else 60,
        known=descent if descent is not None and descent.ended else None,
    )
    student = config.model if isinstance(config.model, StudentConfig) else None
    dims: dict[str, Any] = {"n": landscape.n, "p": landscape.n_parameters}
    if student is not None:
        dims |= {
            "d": student.in_dim,
            "d_out": student.out_dim,
            "widths": list(Perceptron(student).widths),
        }
    metrics = {
        "L0": minimum.loss,
        "L0_float32": loss_at(landscape, "float32"),
        "gradient_norm": minimum.gradient_norm,
        "lowest_eigenvalue": minimum.ends.lowest,
        "highest_eigenvalue": minimum.ends.highest,
        "laplace": minimum.ends.laplace,
        "gap": minimum.gap,
        "is_minimum": not minimum.flags,
    }
    exact = {name: float(value) for name, value in landscape.exact.items()}
    wide = student is None or descent is not None or config.training.precision == "float64"
    return {
        "dims": dims,
        "metrics": metrics,
        "verdict": minimum.sentence,
        "exact": exact,
        "jax_enable_x64": wide,
    }
