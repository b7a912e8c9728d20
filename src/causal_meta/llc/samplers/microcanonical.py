"""Microcanonical Langevin Monte Carlo: unadjusted steps of constant speed, or trajectories that are
accepted or refused."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from blackjax.mcmc import mclmc
from blackjax.mcmc.integrators import IntegratorState

from causal_meta.conf.samplers import MCLMCConfig
from causal_meta.conf.setting import ConfigError
from causal_meta.draws import Draws
from causal_meta.llc.landscapes.landscape import Landscape, Rows
from causal_meta.llc.samplers.arrays import Array, Key
from causal_meta.llc.samplers.chains import Progress, run_chains
from causal_meta.llc.samplers.checkpoint import Arrays, Checkpoint
from causal_meta.llc.samplers.hamiltonian import (
    DENSE,
    SHAPED,
    LogDensity,
    Trajectories,
    reshaped,
    rounded,
    whitened_log_density,
    whitened_observation,
)
from causal_meta.llc.samplers.prepared import Prepared, Start
from causal_meta.llc.samplers.segment import Info, Method, Observation
from causal_meta.llc.samplers.whitening import Whitening

GRADIENTS = 2  # gradients of a step of McLachlan's integrator
_FIRST_STEP = 0.25  # in units of sqrt P and of the stiffest direction at w*
# squared energy errors above so many times their median are cut to that: a rare region with large
# errors does not set the step of all others
_OUTLYING = 20.0
_ORDER = 6  # the energy variance is proportional to this power of the step


class Tuning(NamedTuple):
    """The parameters that all chains share: whitening, step, and the decoherence length of the
    direction."""

    whitening: Whitening
    step: Array
    decoherence: Array


def draw(
    landscape: Landscape,
    config: MCLMCConfig,
    *,
    checkpoint: Checkpoint | None = None,
    progress: Progress | None = None,
) -> Draws:
    """Draws by microcanonical Langevin Monte Carlo; raises `ConfigError` for a single parameter,
    where there is no direction to change."""
    if landscape.n_parameters < 2:
        raise ConfigError(
            f"mclmc turns the direction of motion, and {landscape.name} has one parameter; give "
            "hmc or nuts instead."
        )

    def build(prepared: Prepared) -> Method[Any, Any]:
        return (Trajectories if config.adjusted else Unadjusted)(prepared, config)

    return run_chains(
        landscape, config, build, config.warmup, checkpoint=checkpoint, progress=progress
    )


class Unadjusted:
    """MCLMC (Robnik, De Luca, Silverstein and Seljak 2023) in whitened coordinates, by BlackJAX's
    kernel; a transition is `steps` of them.

    The step is tuned so that the variance of the energy error, per parameter and step, is
    `energy_variance`: it is proportional to the sixth power of the step, and the bias falls with
    it. The direction decorrelates over a length of `decoherence` sqrt(P) times the mean width of
    the posterior.
    """

    learns_shape = True
    first_work = 1.0
    reports: frozenset[str] = frozenset({"divergent"})

    def __init__(self, prepared: Prepared, config: MCLMCConfig) -> None:
        self.prepared, self.config = prepared, config
        self.size = prepared.landscape.n_parameters
        low_rank = config.mass == "low_rank" and self.size <= DENSE
        self.rank = min(config.rank, self.size) if low_rank else 0
        self.kernel = mclmc.build_kernel()

    def tuning(self, start: Start, data: Rows) -> Tuning:
        """Equal scales in all directions, those of the stiffest one at w*."""
        dtype = self.prepared.centre.dtype
        unit = jnp.sqrt(jnp.asarray(self.size, dtype))
        whitening = rounded(start, self.size, dtype, self.rank)
        return Tuning(whitening, _FIRST_STEP * unit, self.config.decoherence * unit)

    def begin(self, key: Key, start: Start, tuning: Tuning, data: Rows) -> IntegratorState:
        """Whitened positions and random directions."""
        z = tuning.whitening.inward(start.positions - self.prepared.centre)
        log_density = self._log_density(tuning, data)
        keys = jax.vmap(lambda c: jax.random.fold_in(key, c))(jnp.arange(len(z)))
        return jax.vmap(lambda one, key: mclmc.init(one, log_density, key))(z, keys)

    def _log_density(self, tuning: Tuning, data: Rows) -> LogDensity:
        return whitened_log_density(self.prepared, tuning.whitening, data)

    def transition(
        self, key: Key, state: IntegratorState, tuning: Tuning, data: Rows, adapting: Array
    ) -> tuple[IntegratorState, Tuning, Info]:
        """`steps` steps of every chain; the energy is the mean squared energy error of a step per
        parameter."""
        log_density = self._log_density(tuning, data)

        def one(key: Key, state: IntegratorState) -> tuple[IntegratorState, Array, Array]:
            def turn(
                i: Array, inner: tuple[IntegratorState, Array, Array]
            ) -> tuple[IntegratorState, Array, Array]:
                state, error, wrong = inner
                state, info = self.kernel(
                    jax.random.fold_in(key, i),
                    state,
                    log_density,
                    1.0,
                    tuning.decoherence,
                    tuning.step,
                )
                return state, error + info.energy_change**2, wrong + ~info.nonans

            zero = jnp.zeros((), tuning.step.dtype)
            state, error, wrong = jax.lax.fori_loop(0, self.config.steps, turn, (state, zero, zero))
            return state, error / (self.config.steps * self.size), wrong

        keys = jax.vmap(lambda c: jax.random.fold_in(key, c))(jnp.arange(state.logdensity.shape[0]))
        state, error, wrong = jax.vmap(one)(keys, state)
        work = jnp.asarray(GRADIENTS * self.config.steps)
        return state, tuning, Info(jnp.zeros_like(error), wrong, error, work)

    def finite(self, state: IntegratorState) -> Array:
        """Whether the log density of each chain is finite."""
        return jnp.isfinite(state.logdensity)

    def observe(
        self, key: Key, due: Array, state: IntegratorState, tuning: Tuning, data: Rows
    ) -> Observation:
        """The chains, all of whose values the state holds."""
        return whitened_observation(self.prepared, tuning.whitening, state)

    def check_interval(self, warm_thin: int) -> int:
        """1: no measurement costs more than a gradient."""
        return 1

    def retune(
        self, state: IntegratorState, tuning: Tuning, windows: list[Arrays], part: float
    ) -> tuple[IntegratorState, Tuning]:
        """A new step from the energy errors of the last window, a new whitening and decoherence
        length from the draws of the last windows."""
        last, step = windows[-1], float(tuning.step)
        errors = last["energy"][np.isfinite(last["energy"])]
        variance = np.inf
        if len(errors):
            variance = float(np.mean(np.minimum(errors, _OUTLYING * np.median(errors))))
        gain = 1.0 if part <= SHAPED else 0.5
        factor = (self.config.energy_variance / max(variance, 1e-30)) ** (gain / _ORDER)
        if float(np.sum(last["divergent"])) > 0 or len(errors) == 0:
            factor = min(factor, 0.5)
        step *= float(np.clip(factor, 0.25, 4.0))
        position, slope = state.position, state.logdensity_grad
        whitening, change = tuning.whitening, 1.0
        if self.config.mass != "identity" and part <= SHAPED:
            whitening, position, slope, change = reshaped(
                whitening, position, slope, windows, self.config.mass, self.rank
            )
        away = np.concatenate([window["away"].reshape(-1, self.size) for window in windows])
        width = np.sqrt(np.nanmean(np.nanvar(whitening.inward(away), axis=0)))
        dtype = tuning.step.dtype
        length = np.asarray(self.config.decoherence * np.sqrt(self.size) * max(width, 1e-12), dtype)
        state = state._replace(position=position, logdensity_grad=slope)
        return state, Tuning(whitening, np.asarray(step * change, dtype), length)

    def summary(self, tuning: Tuning, records: Arrays) -> tuple[dict[str, Any], dict[str, Any]]:
        """Step and decoherence length in whitened coordinates, and the energy variance per
        parameter and step while sampling."""
        adapted = {
            "mclmc_step": float(tuning.step),
            "decoherence": float(tuning.decoherence),
            "metric_directions": int(np.sum(tuning.whitening.stretch != 1)),
        }
        return adapted, {
            "energy_variance": float(np.mean(records["energy"])),
            "energy_variance_asked": self.config.energy_variance,
        }
