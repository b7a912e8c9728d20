"""Microcanonical Langevin Monte Carlo: unadjusted steps of constant speed, or trajectories that are
accepted or refused."""

from __future__ import annotations

from collections.abc import Callable
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
from causal_meta.llc.samplers.chains import Tell, run_chains
from causal_meta.llc.samplers.checkpoint import Arrays, Checkpoint
from causal_meta.llc.samplers.hamiltonian import DENSE, SHAPED, Trajectories, reshaped
from causal_meta.llc.samplers.prepared import Prepared, Start
from causal_meta.llc.samplers.segment import Info, View
from causal_meta.llc.samplers.whitening import Whitening

GRADIENTS = 2  # gradients of a step of McLachlan's integrator
_FIRST_STEP = 0.25  # in units of sqrt P and of the stiffest direction at w*
# squared energy errors count up to so many times their median: one of a rare corner says nothing of
# the others
_OUTLYING = 20.0
_ORDER = 6  # the energy variance goes with this power of the step


class Tuning(NamedTuple):
    """What all chains share: shape, step, and the length over which the direction is forgotten."""

    whitening: Whitening
    step: Any
    decoherence: Any


def draw(
    landscape: Landscape,
    config: MCLMCConfig,
    *,
    checkpoint: Checkpoint | None = None,
    progress: Tell | None = None,
) -> Draws:
    """Draws by microcanonical Langevin Monte Carlo; raises `ConfigError` for a single parameter,
    which has no direction to turn to."""
    if landscape.n_parameters < 2:
        raise ConfigError(
            f"mclmc turns the direction of motion, and {landscape.name} has one parameter; give "
            "hmc or nuts instead."
        )
    method = Trajectories if config.adjusted else Unadjusted

    def build(prepared: Prepared) -> Any:
        return method(prepared, config)

    return run_chains(
        landscape, config, build, config.warmup, checkpoint=checkpoint, progress=progress
    )


class Unadjusted:
    """MCLMC (Robnik, De Luca, Silverstein and Seljak 2023) in whitened coordinates, by BlackJAX's
    kernel; a transition is `steps` of them.

    The step is tuned to the variance of the energy error, per parameter and step, that
    `energy_variance` states: it goes with the sixth power of the step, and the bias goes down with
    it. The direction is forgotten over a length of `decoherence` sqrt(P) times the mean width of
    the posterior.
    """

    learns_shape = True
    first_work = 1.0
    tells: frozenset[str] = frozenset({"divergent"})

    def __init__(self, prepared: Prepared, config: MCLMCConfig) -> None:
        self.prepared, self.config = prepared, config
        self.size = prepared.landscape.n_parameters
        self.rank = (
            min(config.rank, self.size) if config.mass == "low_rank" and self.size <= DENSE else 0
        )
        self.kernel = mclmc.build_kernel()

    def tuning(self, start: Start, data: Rows) -> Tuning:
        """Round, as wide as the stiffest direction at w*."""
        dtype = self.prepared.centre.dtype
        unit = jnp.sqrt(jnp.asarray(self.size, dtype))
        whitening = Whitening.round(self.size, 1.0, dtype, self.rank)
        whitening = whitening._replace(
            scale=jnp.asarray(whitening.scale) / jnp.sqrt(start.curvature)
        )
        return Tuning(
            Whitening(*map(jnp.asarray, whitening)),
            _FIRST_STEP * unit,
            self.config.decoherence * unit,
        )

    def begin(self, key: Any, start: Start, tuning: Tuning, data: Rows) -> IntegratorState:
        """Whitened positions and random directions."""
        z = tuning.whitening.inward(start.positions - self.prepared.centre)
        log_density = self._log_density(tuning, data)
        keys = jax.vmap(lambda c: jax.random.fold_in(key, c))(jnp.arange(len(z)))
        return jax.vmap(lambda one, key: mclmc.init(one, log_density, key))(z, keys)

    def _log_density(self, tuning: Tuning, data: Rows) -> Callable[[Any], Any]:
        return lambda z: self.prepared.log_density(
            self.prepared.centre + tuning.whitening.outward(z), data
        )

    def step(
        self, key: Any, state: IntegratorState, tuning: Tuning, data: Rows, adapting: Any
    ) -> tuple[IntegratorState, Tuning, Info]:
        """`steps` steps of every chain; the energy is the mean squared energy error of a step per
        parameter."""
        log_density = self._log_density(tuning, data)

        def one(key: Any, state: IntegratorState) -> tuple[IntegratorState, Any, Any]:
            def turn(i: Any, inner: Any) -> Any:
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
        return (
            state,
            tuning,
            Info(jnp.zeros_like(error), wrong, error, jnp.asarray(GRADIENTS * self.config.steps)),
        )

    def pulse(self, state: Any) -> Any:
        """Not finite where a chain is not."""
        return state.logdensity

    def view(self, key: Any, due: Any, state: IntegratorState, tuning: Tuning, data: Rows) -> View:
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
        self, state: IntegratorState, tuning: Tuning, windows: list[Arrays], part: float
    ) -> tuple[IntegratorState, Tuning]:
        """Another step for the energy errors of the last window, another shape and length for the
        draws of the last windows."""
        last, step = windows[-1], float(tuning.step)
        found = last["energy"][np.isfinite(last["energy"])]
        wrong = float(np.sum(last["divergent"])) > 0 or len(found) == 0
        variance = (
            float(np.mean(np.minimum(found, _OUTLYING * np.median(found))))
            if len(found)
            else np.inf
        )
        gain = 1.0 if part <= SHAPED else 0.5
        factor = (self.config.energy_variance / max(variance, 1e-30)) ** (gain / _ORDER)
        step *= float(np.clip(min(factor, 0.5) if wrong else factor, 0.25, 4.0))
        position, slope, whitening, change = (
            state.position,
            state.logdensity_grad,
            tuning.whitening,
            1.0,
        )
        if self.config.mass != "identity" and part <= SHAPED:
            whitening, position, slope, change = reshaped(
                whitening, position, slope, windows, self.config.mass, self.rank
            )
        away = np.concatenate([window["away"].reshape(-1, self.size) for window in windows])
        width = np.sqrt(np.nanmean(np.nanvar(whitening.inward(away), axis=0)))
        dtype = tuning.step.dtype
        length = np.asarray(self.config.decoherence * np.sqrt(self.size) * max(width, 1e-12), dtype)
        return state._replace(position=position, logdensity_grad=slope), Tuning(
            whitening, np.asarray(step * change, dtype), length
        )

    def told(self, tuning: Tuning, records: Arrays) -> tuple[dict[str, Any], dict[str, Any]]:
        """Step and decoherence length in whitened coordinates, and the energy variance per
        parameter and step found while sampling."""
        adapted = {
            "mclmc_step": float(tuning.step),
            "decoherence": float(tuning.decoherence),
            "metric_directions": int(np.sum(tuning.whitening.stretch != 1)),
        }
        return adapted, {
            "energy_variance": float(np.mean(records["energy"])),
            "energy_variance_asked": self.config.energy_variance,
        }
