"""The local posterior of a network's parameters, from which a learning coefficient is estimated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from causal_meta.conf.setting import Config, setting


@dataclass(frozen=True, kw_only=True)
class LocalPosteriorConfig(Config):
    """The tempered posterior p(w) ∝ exp(-nβ L_n(w) - (γ/2) |w - w*|²) of the parameters that `mask`
    names."""

    kind: ClassVar[str] = "local_posterior"
    beta_mode: Literal["inverse_log_n", "fixed"] = setting(
        "inverse_log_n", help="inverse temperature β: 1 / log n, or the value of `beta`"
    )
    beta: float = setting(1.0, above=0, help="β if beta_mode=fixed")
    gamma: float = setting(1.0, low=0, help="localisation γ")
    prior_radius: float = setting(0.0, low=0, help="r > 0 sets γ = P / r² in place of `gamma`")
    mask: str = setting(
        "",
        help="parameters, as patterns of names separated by |, -pattern excludes; "
        "pattern@head:2, @rows:0:32 and @columns:0:32 select within "
        "(grammar: llc/landscapes/masks.py); empty means all of them",
    )
    polish: int = setting(
        0,
        low=0,
        unit="steps",
        help="L-BFGS steps in float64 that first move a trained graph model to a minimum of L_n",
    )
