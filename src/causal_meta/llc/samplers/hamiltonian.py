"""Samplers that accept or refuse each trajectory, and so are right at any step size: Hamiltonian
Monte Carlo, the no-U-turn sampler, MALA, adjusted microcanonical trajectories.

All run in whitened coordinates z (`Whitening`), where BlackJAX's kernels have the unit mass. One
step size, one whitening and one law of trajectory lengths serve all chains and are learned from all
of them: from C times the draws, and chains of equal length run side by side without waiting.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from blackjax.mcmc import adjusted_mclmc, hmc, mala, nuts
from blackjax.optimizers.dual_averaging import DualAveragingState, dual_averaging
from numpy.typing import DTypeLike, NDArray

from causal_meta.conf.samplers import HMCConfig, MALAConfig, MCLMCConfig, NUTSConfig
from causal_meta.draws import Draws
from causal_meta.llc.landscapes.landscape import Landscape, Rows
from causal_meta.llc.samplers.arrays import Array, Key
from causal_meta.llc.samplers.chains import Progress, run_chains
from causal_meta.llc.samplers.checkpoint import Arrays, Checkpoint
from causal_meta.llc.samplers.prepared import Prepared, Start
from causal_meta.llc.samplers.segment import Info, Observation
from causal_meta.llc.samplers.whitening import Whitening, learned

Corrected = HMCConfig | NUTSConfig | MALAConfig | MCLMCConfig
Lengths = tuple[float, float, float, float]
"""Shortest and longest trajectory, the share of long ones, and their mean length, in leapfrogs."""

DENSE = 1024  # parameters up to which a low-rank mass is learned
SHAPED = 0.75  # part of the warm-up after which the whitening stays and only the step is tuned
# share of transitions with a smaller step, and the smallest in terms of the tuned one
_SMALL_STEPS = (0.75, 1 / 32)
# the same for trees, whose cost is proportional to 1 / step, until the warm-up diverges
_FEW_SMALL_STEPS = (0.1, 1 / 4)
# where small steps are this small, only steps below this part of the tuned one count as divergent
_SMALL = 1 / 8
# dual averaging begins a new window with a step of about this many times the last one
_BOLD = 2.0
_LEAST_DRAWS = 10  # with fewer draws no whitening is learned
# share of trajectories of up to twice `_FARTHER` times the mean length, which cross flat
# directions, where the warm-up chose the length
_FAR = 0.05
# mean length of those in terms of the others, at most
_FARTHER = 16.0
# the shortest mean length that the warm-up may choose is the longest divided by this: with small
# steps, or a warm-up that stayed in a corner, it would choose 1
_SHORTEST = 4.0
_DECORRELATED = 0.5  # largest autocorrelation of the loss over a trajectory
_FIRST_STEP = 0.5  # in units of the stiffest direction at w*


class WhitenedState(Protocol):
    """The state of one of BlackJAX's chains in whitened coordinates."""

    @property
    def position(self) -> Array: ...
    @property
    def logdensity(self) -> Array: ...
    @property
    def logdensity_grad(self) -> Array: ...


class Moved(NamedTuple):
    """One chain after a transition: state, acceptance probability, whether it diverged, the energy
    of the new state, gradients taken."""

    state: hmc.HMCState
    acceptance: Array
    divergent: Array | bool
    energy: Array | float
    gradients: Array | int


class Tuning(NamedTuple):
    """The parameters that all chains share: whitening, dual averaging of the step, small steps, the
    step outside the warm-up, and the law of lengths.

    `care` is (share of transitions with a smaller step, the smallest in terms of `step`): those are
    log-uniform, so that every scale of a narrowing valley has steps that fit it. `lengths` are the
    four numbers of `Lengths`.
    """

    whitening: Whitening
    averaging: DualAveragingState
    care: Array
    step: Array
    lengths: Array


LogDensity = Callable[[jax.Array], jax.Array]
Move = Callable[[Key, hmc.HMCState, LogDensity, Array, Array], Moved]


def draw(
    landscape: Landscape,
    config: Corrected,
    *,
    checkpoint: Checkpoint | None = None,
    progress: Progress | None = None,
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
        low_rank = config.mass == "low_rank" and self.size <= DENSE
        self.rank = min(config.rank, self.size) if low_rank else 0
        self.learns_shape = config.mass != "identity"
        no_energy = {"energy"} if config.kind in ("mala", "mclmc") else set()
        self.reports = frozenset({"acceptance", "divergent", "energy"} - no_energy)
        self._start, self._average, _ = dual_averaging()
        self._move = MOVES[config.kind](self.size, config)
        # microcanonical steps have unit length, not unit speed in each direction
        self._unit = np.sqrt(self.size) if config.kind == "mclmc" else 1.0

    def tuning(self, start: Start, data: Rows) -> Tuning:
        """Equal scales in all directions, those of the stiffest one at w*."""
        dtype = self.prepared.centre.dtype
        whitening = rounded(start, self.size, dtype, self.rank)
        step = jnp.asarray(_FIRST_STEP * self._unit, dtype)
        averaging = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), self._start(step))
        few = self.config.kind == "nuts"
        care = jnp.asarray(_FEW_SMALL_STEPS if few else _SMALL_STEPS, dtype)
        return Tuning(whitening, averaging, care, step, jnp.asarray(self._warm_lengths(), dtype))

    def _warm_lengths(self) -> Lengths:
        fixed, most = self._configured()
        return (1.0, most, 0.0, most) if fixed == 0 else self._lengths(fixed)

    def _configured(self) -> tuple[float, float]:
        """The mean number of leapfrogs (0: chosen in the warm-up), and the largest to choose."""
        config = self.config
        if isinstance(config, HMCConfig | MCLMCConfig):
            return float(config.leapfrogs), float(config.max_leapfrogs)
        return 1.0, 1.0

    def _lengths(self, mean: float) -> Lengths:
        config = self.config
        jitter = config.length_jitter if isinstance(config, HMCConfig | MCLMCConfig) else 0.8
        return mean * (1 - jitter), mean * (1 + jitter), 0.0, mean

    def begin(self, key: Key, start: Start, tuning: Tuning, data: Rows) -> hmc.HMCState:
        """Whitened positions with log density and gradient."""
        z = tuning.whitening.inward(start.positions - self.prepared.centre)
        return jax.vmap(lambda one: hmc.init(one, self._log_density(tuning, data)))(z)

    def _log_density(self, tuning: Tuning, data: Rows) -> LogDensity:
        return whitened_log_density(self.prepared, tuning.whitening, data)

    def transition(
        self, key: Key, state: hmc.HMCState, tuning: Tuning, data: Rows, adapting: Array
    ) -> tuple[hmc.HMCState, Tuning, Info]:
        """A trajectory of every chain, of one length and step for all; while adapting, dual
        averaging of their mean acceptance."""
        shared, per_chain = jax.random.split(key)
        numbers = jax.random.uniform(shared, (5,), tuning.step.dtype)
        share, smallest = tuning.care
        careful = (numbers[0] < share) & ~adapting
        factor = jnp.where(careful, smallest ** (numbers[0] / share), 1.0)
        step = jnp.where(adapting, jnp.exp(tuning.averaging.log_x), tuning.step) * factor
        length = self._length(numbers[1:], tuning, adapting)
        chains = jnp.arange(state.logdensity.shape[0])
        keys = jax.vmap(lambda c: jax.random.fold_in(per_chain, c))(chains)
        moved = self._moved(keys, state, self._log_density(tuning, data), step, length)
        acceptance = jnp.nan_to_num(moved.acceptance)
        error = self.config.target_acceptance - jnp.mean(acceptance)
        averaging = jax.tree.map(
            lambda new, old: jnp.where(adapting, jnp.asarray(new, old.dtype), old),
            self._average(tuning.averaging, error),
            tuning.averaging,
        )
        diverged = moved.divergent & (adapting | (smallest > _SMALL) | (factor < _SMALL))
        info = Info(acceptance, diverged, moved.energy, moved.gradients)
        return moved.state, tuning._replace(averaging=averaging), info

    def _moved(
        self, keys: Key, state: hmc.HMCState, log_density: LogDensity, step: Array, length: Array
    ) -> Moved:
        def one(key: Key, state: hmc.HMCState) -> Moved:
            return self._move(key, state, log_density, step, length)

        # trees of different depth side by side would all wait for the deepest
        if self.config.kind == "nuts":
            moved: Moved = jax.lax.map(lambda pair: one(*pair), (keys, state))
            return moved
        return jax.vmap(one)(keys, state)

    def _length(self, numbers: Array, tuning: Tuning, adapting: Array) -> jax.Array:
        """Leapfrogs of the next trajectory: uniform, or log-uniform in the warm-up, which tries all
        lengths; rounded up or down at random."""
        low, high, share, far = tuning.lengths
        even = low + (high - low) * numbers[0]
        log_low, log_high = jnp.log(jnp.maximum(low, 0.5)), jnp.log(jnp.maximum(high, 0.5))
        spread = jnp.exp(log_low * (1 - numbers[0]) + log_high * numbers[0])
        mean = jnp.where(
            numbers[1] < share, 2 * far * numbers[0], jnp.where(adapting, spread, even)
        )
        return jnp.maximum(1, jnp.floor(mean + numbers[2])).astype(jnp.int32)

    def finite(self, state: hmc.HMCState) -> Array:
        """Whether the log density of each chain is finite."""
        return jnp.isfinite(state.logdensity)

    def observe(
        self, key: Key, due: Array, state: hmc.HMCState, tuning: Tuning, data: Rows
    ) -> Observation:
        """The chains, all of whose values the state holds."""
        return whitened_observation(self.prepared, tuning.whitening, state)

    def check_interval(self, warm_thin: int) -> int:
        """1: no measurement costs more than a gradient."""
        return 1

    def retune(
        self, state: hmc.HMCState, tuning: Tuning, windows: list[Arrays], part: float
    ) -> tuple[hmc.HMCState, Tuning]:
        """A new whitening from the draws of all chains; step and lengths at the end."""
        averaged = float(np.exp(tuning.averaging.log_x_avg))
        if self.learns_shape and part <= SHAPED:
            mass: Literal["diagonal", "low_rank"] = "low_rank" if self.rank else "diagonal"
            whitening, position, slope, change = reshaped(
                tuning.whitening, state.position, state.logdensity_grad, windows, mass, self.rank
            )
            state = hmc.HMCState(position, state.logdensity, slope)
            tuning = tuning._replace(whitening=whitening)
            averaged = float(np.clip(averaged * change, 1e-3 * self._unit, self._unit))
        late = windows[-1]["divergent"][len(windows[-1]["divergent"]) // 2 :]
        care = np.asarray(_SMALL_STEPS if late.sum() > 0 else tuning.care, tuning.care.dtype)
        lengths = tuning.lengths
        fixed, most = self._configured()
        if part >= 1 and fixed == 0:
            chosen = best_length(windows, max(most / _SHORTEST, 1.0), most)
            low, high, _, mean = self._lengths(chosen)
            far = _FAR if high < most else 0.0
            lengths = np.asarray((low, high, far, min(2 * most, _FARTHER * mean)), lengths.dtype)
        step = np.asarray(averaged, tuning.step.dtype)
        averaging = tuning.averaging
        if part <= SHAPED:
            averaging = jax.tree.map(
                lambda leaf: np.asarray(leaf, step.dtype),
                self._start(step)._replace(mu=np.log(_BOLD * step)),
            )
        return state, tuning._replace(step=step, lengths=lengths, averaging=averaging, care=care)

    def summary(self, tuning: Tuning, records: Arrays) -> tuple[dict[str, Any], dict[str, Any]]:
        """Step size in whitened coordinates (for MALA the Langevin step), the scales of the
        whitening, the share of small steps, and the mean length."""
        scale, step = tuning.whitening.scale, float(tuning.step)
        adapted = {
            "step_size": step**2 / 2 if self.config.kind == "mala" else step,
            "metric_scale": [float(scale.min()), float(scale.max())],
            "small_steps": float(tuning.care[0]),
            "metric_directions": int(np.sum(tuning.whitening.stretch != 1)),
        }
        low, high, share, far = (float(x) for x in tuning.lengths)
        if self.config.kind == "hmc":
            adapted |= {"leapfrogs": (1 - share) * (low + high) / 2 + share * far}
        return adapted, {"gradients_per_draw": float(np.mean(records["work"]))}


def rounded(start: Start, size: int, dtype: DTypeLike, rank: int) -> Whitening:
    """The whitening with one scale, 1 / sqrt(h), in all directions, h the largest curvature where
    chains start."""
    whitening = Whitening.round(size, 1.0, dtype, rank)
    return Whitening(
        jnp.asarray(whitening.scale) / jnp.sqrt(start.curvature),
        jnp.asarray(whitening.directions),
        jnp.asarray(whitening.stretch),
    )


def whitened_log_density(prepared: Prepared, whitening: Whitening, data: Rows) -> LogDensity:
    """The log density as a function of whitened coordinates z [P]."""
    return lambda z: jnp.asarray(prepared.log_density(prepared.centre + whitening.outward(z), data))


def whitened_observation(
    prepared: Prepared, whitening: Whitening, state: WhitenedState
) -> Observation:
    """The record of a state with whitened `position`, `logdensity` and `logdensity_grad`."""
    away = whitening.outward(state.position)
    excess = prepared.excess(state.logdensity, away)
    return Observation(away, excess, -whitening.slope_outward(state.logdensity_grad), 0.0)


def reshaped(
    old: Whitening,
    position: Array,
    slope: Array,
    windows: list[Arrays],
    mass: Literal["diagonal", "low_rank"],
    rank: int,
) -> tuple[Whitening, Array, Array, float]:
    """The whitening learned from the draws of `windows`; positions and gradients [C, P] in its
    coordinates; and the factor by which a step of the same length in w has become longer there."""
    size = windows[0]["away"].shape[-1]
    away = np.concatenate([window["away"].reshape(-1, size) for window in windows])
    slopes = np.concatenate([window["slope"].reshape(-1, size) for window in windows])
    fine = np.isfinite(away).all(1) & np.isfinite(slopes).all(1)
    if fine.sum() < _LEAST_DRAWS:
        return old, position, slope, 1.0
    new = learned(away[fine], slopes[fine], mass, rank)
    change = (
        np.mean(np.log(old.scale))
        - np.mean(np.log(new.scale))
        + (np.log(old.stretch).sum() - np.log(new.stretch).sum()) / len(old.scale)
    )
    position, slope = new.inward(old.outward(position)), new.slope_inward(old.slope_outward(slope))
    return new, position, slope, float(np.exp(change))


def best_length(windows: list[Arrays], least: float, most: float) -> float:
    """The number of leapfrogs, from `least` to `most`, with the most effective draws of loss and
    distance from w* per gradient.

    From a warm-up with lengths of all sizes: the larger autocorrelation ρ(L) of the two over
    trajectories of about L leapfrogs gives (1 - ρ) / (1 + ρ) / L effective draws per gradient;
    lengths with ρ <= 1/2 are preferred to all others, so that draws are worth keeping. The loss
    alone decorrelates at once in its stiff part and hides the slow one, which the distance shows.
    """
    lengths = np.concatenate([window["work"] for window in windows])[1:]
    products = [
        _products(np.concatenate([series(window) for window in windows]))
        for series in (_excess, _square)
    ]
    logs = np.log(lengths)
    best, chosen = -np.inf, most
    for candidate in np.unique(np.round(np.geomspace(least, most, 12))):
        near = np.exp(-0.5 * ((logs - np.log(candidate)) / 0.3) ** 2)
        rho = max(_mean(product, near) for product in products)
        gain = (1 - rho) / (1 + rho) / candidate + (rho <= _DECORRELATED)
        if gain > best:
            best, chosen = gain, float(candidate)
    return chosen


def _excess(window: Arrays) -> NDArray[np.float64]:
    return window["excess"].astype(np.float64)


def _square(window: Arrays) -> NDArray[np.float64]:
    return np.square(window["away"].astype(np.float64)).sum(-1)


def _products(series: NDArray[np.float64]) -> NDArray[np.float64]:
    """Products of neighbouring values in units of their variance."""
    spread = (series - np.nanmean(series)) / max(float(np.nanstd(series)), np.finfo(float).tiny)
    return spread[1:] * spread[:-1]


def _mean(products: NDArray[np.float64], near: NDArray[np.float64]) -> float:
    """The mean of finite `products` with the weights `near`, between 0 and 0.999."""
    weights = near * np.isfinite(products)
    return float(
        np.clip((weights * np.nan_to_num(products)).sum() / max(weights.sum(), 1e-9), 0.0, 0.999)
    )


# ------------------------------------------------------------------------------- BlackJAX's kernels


def _hmc(size: int, config: Corrected) -> Move:
    kernel, unit = hmc.build_kernel(), jnp.ones(size, config.precision)

    def move(
        key: Key, state: hmc.HMCState, log_density: LogDensity, step: Array, length: Array
    ) -> Moved:
        new, info = kernel(key, state, log_density, step, unit, length)
        before = -state.logdensity + 0.5 * jnp.sum(info.momentum**2)
        energy = jnp.where(info.is_accepted, info.energy, before)
        return Moved(new, info.acceptance_rate, info.is_divergent, energy, length)

    return move


def _nuts(size: int, config: Corrected) -> Move:
    assert isinstance(config, NUTSConfig)
    kernel, unit, most = nuts.build_kernel(), jnp.ones(size, config.precision), config.max_doublings

    def move(
        key: Key, state: hmc.HMCState, log_density: LogDensity, step: Array, length: Array
    ) -> Moved:
        new, info = kernel(key, state, log_density, step, unit, most)
        return Moved(
            new, info.acceptance_rate, info.is_divergent, info.energy, info.num_integration_steps
        )

    return move


def _mala(size: int, config: Corrected) -> Move:
    kernel = mala.build_kernel()

    def move(
        key: Key, state: hmc.HMCState, log_density: LogDensity, step: Array, length: Array
    ) -> Moved:
        new, info = kernel(key, mala.MALAState(*state), log_density, step**2 / 2)
        return Moved(hmc.HMCState(*new), info.acceptance_rate, False, 0.0, 1)

    return move


def _mclmc(size: int, config: Corrected) -> Move:
    kernel = adjusted_mclmc.build_kernel()

    def move(
        key: Key, state: hmc.HMCState, log_density: LogDensity, step: Array, length: Array
    ) -> Moved:
        new, info = kernel(key, state, log_density, step, integration_steps_params=(length,))
        return Moved(new, info.acceptance_rate, info.is_divergent, info.energy, 2 * length)

    return move


MOVES: dict[str, Callable[[int, Corrected], Move]] = {
    "hmc": _hmc,
    "nuts": _nuts,
    "mala": _mala,
    "mclmc": _mclmc,
}
