"""Corrected samplers, right whatever their step: Hamiltonian Monte Carlo, the no-U-turn sampler,
MALA, adjusted microcanonical trajectories.

All run in whitened coordinates z (`Whitening`), where BlackJAX's kernels have the unit mass. One
step size, one shape and one law of trajectory lengths serve all chains and are learned from all of
them: C times the draws, and chains that leapfrog in step waste nothing side by side.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from blackjax.mcmc import adjusted_mclmc, hmc, mala, nuts
from blackjax.optimizers.dual_averaging import dual_averaging

from causal_meta.conf.samplers import HMCConfig, MALAConfig, MCLMCConfig, NUTSConfig
from causal_meta.draws import Draws
from causal_meta.llc.landscapes.landscape import Landscape, Rows
from causal_meta.llc.samplers.chains import Tell, run_chains
from causal_meta.llc.samplers.checkpoint import Arrays, Checkpoint
from causal_meta.llc.samplers.prepared import Prepared, Start
from causal_meta.llc.samplers.segment import Info, View
from causal_meta.llc.samplers.whitening import Whitening, learned

Corrected = HMCConfig | NUTSConfig | MALAConfig | MCLMCConfig

DENSE = 1024  # parameters up to which directions are learned
SHAPED = 0.75  # part of the warm-up after which the shape stays and only the step is tuned
_CAREFUL = (0.75, 1 / 32)  # share of transitions with a smaller step, and the smallest
_CALM = (0.1, 1 / 4)  # the same for trees, whose cost goes as 1 / step, until the warm-up diverges
# steps that are not to diverge, in terms of the tuned one, where some of them are this small
_SMALL = 1 / 8
# dual averaging begins a new window by trying steps of about this many times the last one's
_BOLD = 2.0
_LEAST_DRAWS = 10  # draws without which no shape is learned
# share of trajectories of up to four times the largest mean length, which cross flat directions,
# where the length was chosen by the loss
_FAR = 0.05
# mean length of those, at most, in units of the others: what mixes in few leapfrogs needs no long
# way
_FARTHER = 16.0
# times fewer leapfrogs than the most are the least: with small steps, and where the warm-up never
# left a corner, one would be chosen
_SHORTEST = 4.0
_FORGOTTEN = 0.5  # correlation of the loss that a trajectory may leave
_FIRST_STEP = 0.5  # in units of the stiffest direction at w*


class Moved(NamedTuple):
    """One chain after a transition: state, acceptance probability, whether it diverged, energy of
    where it is, gradients."""

    state: hmc.HMCState
    acceptance: Any
    divergent: Any
    energy: Any
    gradients: Any


class Tuning(NamedTuple):
    """What all chains share: shape, dual averaging of the step, the step outside the warm-up, its
    share of smaller ones, and the law of lengths.

    `care` is (share of transitions with a smaller step, the smallest of those in terms of `step`):
    they are log-uniform, so that every scale of a narrowing valley has steps that fit it. `lengths`
    is (shortest, longest, share of long ones, mean length of those) in leapfrogs.
    """

    whitening: Whitening
    averaging: Any
    care: Any
    step: Any
    lengths: Any


Move = Callable[[Any, hmc.HMCState, Callable[[Any], Any], Any, Any], Moved]


def draw(
    landscape: Landscape,
    config: Corrected,
    *,
    checkpoint: Checkpoint | None = None,
    progress: Tell | None = None,
) -> Draws:
    """Draws by the corrected sampler that `config` names."""
    return run_chains(
        landscape,
        config,
        lambda prepared: Trajectories(prepared, config),
        config.warmup,
        checkpoint=checkpoint,
        progress=progress,
    )


class Trajectories:
    """Trajectories that are accepted or refused as a whole, with BlackJAX's kernels."""

    first_work = 1.0

    def __init__(self, prepared: Prepared, config: Corrected) -> None:
        self.prepared, self.config = prepared, config
        self.size = prepared.landscape.n_parameters
        self.rank = (
            min(config.rank, self.size) if config.mass == "low_rank" and self.size <= DENSE else 0
        )
        self.learns_shape = config.mass != "identity"
        self.tells = frozenset(
            {"acceptance", "divergent", "energy"}
            - ({"energy"} if config.kind in ("mala", "mclmc") else set())
        )
        self._start, self._average, _ = dual_averaging()
        self._move = MOVES[config.kind](self.size, config)
        # microcanonical steps have unit length, not unit speed in each direction
        self._unit = np.sqrt(self.size) if config.kind == "mclmc" else 1.0

    def tuning(self, start: Start, data: Rows) -> Tuning:
        """Round, as wide as the stiffest direction at w*."""
        dtype = self.prepared.centre.dtype
        round_ = Whitening.round(self.size, 1.0, dtype, self.rank)
        whitening = Whitening(
            jnp.asarray(round_.scale) / jnp.sqrt(start.curvature),
            jnp.asarray(round_.directions),
            jnp.asarray(round_.stretch),
        )
        step = jnp.asarray(_FIRST_STEP * self._unit, dtype)
        averaging = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), self._start(step))
        care = jnp.asarray(_CALM if self.config.kind == "nuts" else _CAREFUL, dtype)
        return Tuning(whitening, averaging, care, step, jnp.asarray(self._warm_lengths(), dtype))

    def _warm_lengths(self) -> tuple[float, float, float, float]:
        fixed, most = self._asked()
        return (1.0, most, 0.0, most) if fixed == 0 else self._lengths(fixed)

    def _asked(self) -> tuple[float, float]:
        """Leapfrogs asked for (0: to be chosen) and the most that may be chosen."""
        return float(getattr(self.config, "leapfrogs", 1)), float(
            getattr(self.config, "max_leapfrogs", 1)
        )

    def _lengths(self, mean: float) -> tuple[float, float, float, float]:
        jitter = float(getattr(self.config, "length_jitter", 0.8))
        return (mean * (1 - jitter), mean * (1 + jitter), 0.0, mean)

    def begin(self, key: Any, start: Start, tuning: Tuning, data: Rows) -> hmc.HMCState:
        """Whitened positions with log density and gradient."""
        z = tuning.whitening.inward(start.positions - self.prepared.centre)
        return jax.vmap(lambda one: hmc.init(one, self._log_density(tuning, data)))(z)

    def _log_density(self, tuning: Tuning, data: Rows) -> Callable[[Any], Any]:
        return lambda z: self.prepared.log_density(
            self.prepared.centre + tuning.whitening.outward(z), data
        )

    def step(
        self, key: Any, state: hmc.HMCState, tuning: Tuning, data: Rows, adapting: Any
    ) -> tuple[hmc.HMCState, Tuning, Info]:
        """A trajectory of every chain, of one length and step for all; while adapting, dual
        averaging of their mean acceptance."""
        chains = state.logdensity.shape[0]
        shared, own = jax.random.split(key)
        numbers = jax.random.uniform(shared, (5,), tuning.step.dtype)
        share, smallest = tuning.care
        careful = (numbers[0] < share) & ~adapting
        factor = jnp.where(careful, smallest ** (numbers[0] / share), 1.0)
        step = jnp.where(adapting, jnp.exp(tuning.averaging.log_x), tuning.step) * factor
        length = self._length(numbers[1:], tuning, adapting)
        log_density = self._log_density(tuning, data)
        moved = self._moved(
            jax.vmap(lambda c: jax.random.fold_in(own, c))(jnp.arange(chains)),
            state,
            log_density,
            step,
            length,
        )
        acceptance = jnp.nan_to_num(moved.acceptance)
        learnt = self._average(
            tuning.averaging, self.config.target_acceptance - jnp.mean(acceptance)
        )
        averaging = jax.tree.map(
            lambda new, old: jnp.where(adapting, jnp.asarray(new, old.dtype), old),
            learnt,
            tuning.averaging,
        )
        diverged = moved.divergent & (adapting | (smallest > _SMALL) | (factor < _SMALL))
        return (
            moved.state,
            tuning._replace(averaging=averaging),
            Info(acceptance, diverged, moved.energy, moved.gradients),
        )

    def _moved(
        self,
        keys: Any,
        state: hmc.HMCState,
        log_density: Callable[[Any], Any],
        step: Any,
        length: Any,
    ) -> Moved:
        def one(key: Any, state: hmc.HMCState) -> Moved:
            return self._move(key, state, log_density, step, length)

        # trees of different depth side by side would all wait for the deepest
        if self.config.kind == "nuts":
            return jax.lax.map(lambda pair: one(*pair), (keys, state))
        return jax.vmap(one)(keys, state)

    def _length(self, numbers: Any, tuning: Tuning, adapting: Any) -> Any:
        """Leapfrogs of the next trajectory: uniform, or log-uniform in the warm-up, where all
        lengths are tried; rounded up or down by chance."""
        low, high, share, far = tuning.lengths
        even = low + (high - low) * numbers[0]
        spread = jnp.exp(
            jnp.log(jnp.maximum(low, 0.5)) * (1 - numbers[0])
            + jnp.log(jnp.maximum(high, 0.5)) * numbers[0]
        )
        mean = jnp.where(
            numbers[1] < share, 2 * far * numbers[0], jnp.where(adapting, spread, even)
        )
        return jnp.maximum(1, jnp.floor(mean + numbers[2])).astype(jnp.int32)

    def pulse(self, state: Any) -> Any:
        """Not finite where a chain is not."""
        return state.logdensity

    def view(self, key: Any, due: Any, state: hmc.HMCState, tuning: Tuning, data: Rows) -> View:
        """Everything is known already."""
        away = tuning.whitening.outward(state.position)
        return View(
            away,
            self.prepared.excess(state.logdensity, away),
            -tuning.whitening.slope_outward(state.logdensity_grad),
            0.0,
        )

    def every(self, warm_thin: int) -> int:
        """Nothing costs more than a gradient."""
        return 1

    def retune(
        self, state: hmc.HMCState, tuning: Tuning, windows: list[Arrays], part: float
    ) -> tuple[hmc.HMCState, Tuning]:
        """Another shape from the draws of all chains; step and lengths when that is done."""
        averaged = float(np.exp(tuning.averaging.log_x_avg))
        if self.learns_shape and part <= SHAPED:
            mass: Literal["diagonal", "low_rank"] = "low_rank" if self.rank else "diagonal"
            whitening, position, slope, change = reshaped(
                tuning.whitening, state.position, state.logdensity_grad, windows, mass, self.rank
            )
            state, tuning = (
                hmc.HMCState(position, state.logdensity, slope),
                tuning._replace(whitening=whitening),
            )
            averaged = float(np.clip(averaged * change, 1e-3 * self._unit, self._unit))
        late = windows[-1]["divergent"][len(windows[-1]["divergent"]) // 2 :]
        care = np.asarray(_CAREFUL if late.sum() > 0 else tuning.care, tuning.care.dtype)
        lengths = tuning.lengths
        fixed, most = self._asked()
        if part >= 1 and fixed == 0:
            low, high, _, mean = self._lengths(
                best_length(windows, max(most / _SHORTEST, 1.0), most)
            )
            lengths = np.asarray(
                (low, high, _FAR if high < most else 0.0, min(2 * most, _FARTHER * mean)),
                lengths.dtype,
            )
        step = np.asarray(averaged, tuning.step.dtype)
        averaging = tuning.averaging
        if part <= SHAPED:
            averaging = jax.tree.map(
                lambda leaf: np.asarray(leaf, step.dtype),
                self._start(step)._replace(mu=np.log(_BOLD * step)),
            )
        return state, tuning._replace(step=step, lengths=lengths, averaging=averaging, care=care)

    def told(self, tuning: Tuning, records: Arrays) -> tuple[dict[str, Any], dict[str, Any]]:
        """Step in whitened coordinates, mean length, and how far the shape is from round."""
        scale = tuning.whitening.scale
        adapted = {
            "step_size": float(tuning.step) ** 2 / 2
            if self.config.kind == "mala"
            else float(tuning.step),
            "metric_scale": [float(scale.min()), float(scale.max())],
            "small_steps": float(tuning.care[0]),
            "metric_directions": int(np.sum(tuning.whitening.stretch != 1)),
        }
        low, high, share, far = (float(x) for x in tuning.lengths)
        if self.config.kind == "hmc":
            adapted |= {"leapfrogs": (1 - share) * (low + high) / 2 + share * far}
        return adapted, {"gradients_per_draw": float(np.mean(records["work"]))}


def reshaped(
    old: Whitening,
    position: Any,
    slope: Any,
    windows: list[Arrays],
    mass: Literal["diagonal", "low_rank"],
    rank: int,
) -> tuple[Whitening, Any, Any, float]:
    """The shape that the draws of `windows` show; positions and slopes [C, P] in it; and how much
    longer a step of one length in w is now."""
    away = np.concatenate(
        [window["away"].reshape(-1, window["away"].shape[-1]) for window in windows]
    )
    slopes = np.concatenate([window["slope"].reshape(-1, away.shape[1]) for window in windows])
    fine = np.isfinite(away).all(1) & np.isfinite(slopes).all(1)
    if fine.sum() < _LEAST_DRAWS:
        return old, position, slope, 1.0
    new = learned(away[fine], slopes[fine], mass, rank)
    change = (
        np.mean(np.log(old.scale))
        - np.mean(np.log(new.scale))
        + (np.log(old.stretch).sum() - np.log(new.stretch).sum()) / len(old.scale)
    )
    return (
        new,
        new.inward(old.outward(position)),
        new.slope_inward(old.slope_outward(slope)),
        float(np.exp(change)),
    )


def best_length(windows: list[Arrays], least: float, most: float) -> float:
    """The number of leapfrogs, from `least` to `most`, after which loss and distance from w* have
    forgotten most per gradient.

    From a warm-up with lengths of all sizes: the larger correlation ρ(L) of the two before and
    after trajectories of about L leapfrogs gives (1 - ρ) / (1 + ρ) / L effective draws per
    gradient; lengths with ρ <= 1/2 come before all others, so that draws are worth keeping. The
    loss alone forgets its stiff part at once and hides the slow one, which the distance shows.
    """
    lengths = np.concatenate([window["work"] for window in windows])[1:]
    products = [
        _products(np.concatenate([values(window) for window in windows]))
        for values in (_excess, _square)
    ]
    weights = np.log(lengths)
    best, chosen = -np.inf, most
    for candidate in np.unique(np.round(np.geomspace(least, most, 12))):
        near = np.exp(-0.5 * ((weights - np.log(candidate)) / 0.3) ** 2)
        rho = max(_mean(product, near) for product in products)
        gain = (1 - rho) / (1 + rho) / candidate + (rho <= _FORGOTTEN)
        if gain > best:
            best, chosen = gain, float(candidate)
    return chosen


def _excess(window: Arrays) -> np.ndarray:
    return window["excess"].astype(np.float64)


def _square(window: Arrays) -> np.ndarray:
    return np.square(window["away"].astype(np.float64)).sum(-1)


def _products(series: np.ndarray) -> np.ndarray:
    """Products of neighbouring values in units of their variance."""
    spread = (series - np.nanmean(series)) / max(float(np.nanstd(series)), np.finfo(float).tiny)
    return spread[1:] * spread[:-1]


def _mean(products: np.ndarray, near: np.ndarray) -> float:
    weights = near * np.isfinite(products)
    return float(
        np.clip((weights * np.nan_to_num(products)).sum() / max(weights.sum(), 1e-9), 0.0, 0.999)
    )


def _hmc(size: int, config: Any) -> Move:
    kernel, unit = hmc.build_kernel(), jnp.ones(size, config.precision)

    def move(
        key: Any, state: hmc.HMCState, log_density: Callable[[Any], Any], step: Any, length: Any
    ) -> Moved:
        new, info = kernel(key, state, log_density, step, unit, length)
        before = -state.logdensity + 0.5 * jnp.sum(info.momentum**2)
        return Moved(
            new,
            info.acceptance_rate,
            info.is_divergent,
            jnp.where(info.is_accepted, info.energy, before),
            length,
        )

    return move


def _nuts(size: int, config: Any) -> Move:
    kernel, unit = nuts.build_kernel(), jnp.ones(size, config.precision)

    def move(
        key: Any, state: hmc.HMCState, log_density: Callable[[Any], Any], step: Any, length: Any
    ) -> Moved:
        new, info = kernel(key, state, log_density, step, unit, config.max_doublings)
        return Moved(
            new, info.acceptance_rate, info.is_divergent, info.energy, info.num_integration_steps
        )

    return move


def _mala(size: int, config: Any) -> Move:
    kernel = mala.build_kernel()

    def move(
        key: Any, state: hmc.HMCState, log_density: Callable[[Any], Any], step: Any, length: Any
    ) -> Moved:
        new, info = kernel(key, mala.MALAState(*state), log_density, step**2 / 2)
        return Moved(hmc.HMCState(*new), info.acceptance_rate, False, 0.0, 1)

    return move


def _mclmc(size: int, config: Any) -> Move:
    kernel = adjusted_mclmc.build_kernel()

    def move(
        key: Any, state: hmc.HMCState, log_density: Callable[[Any], Any], step: Any, length: Any
    ) -> Moved:
        new, info = kernel(key, state, log_density, step, integration_steps_params=(length,))
        return Moved(new, info.acceptance_rate, info.is_divergent, info.energy, 2 * length)

    return move


MOVES: dict[str, Callable[[int, Any], Move]] = {
    "hmc": _hmc,
    "nuts": _nuts,
    "mala": _mala,
    "mclmc": _mclmc,
}
