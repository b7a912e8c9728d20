"""Laws over the functions that make a variable from its parents and its noise: one file per law."""

from causal_meta.datasets.mechanisms.gpcde import GPCDEFactory
from causal_meta.datasets.mechanisms.law import (
    AppliedLaw,
    MechanismLaw,
    Names,
    Parameters,
    Parents,
    WholeTableLaw,
    parents_of,
)
from causal_meta.datasets.mechanisms.linear import LinearFactory
from causal_meta.datasets.mechanisms.mixture import Mechanism, MechanismBatch, MechanismFactory
from causal_meta.datasets.mechanisms.mlp import MLPFactory
from causal_meta.datasets.mechanisms.rff import RFFFactory

__all__ = [
    "AppliedLaw",
    "GPCDEFactory",
    "LinearFactory",
    "MLPFactory",
    "Mechanism",
    "MechanismBatch",
    "MechanismFactory",
    "MechanismLaw",
    "Names",
    "Parameters",
    "Parents",
    "RFFFactory",
    "WholeTableLaw",
    "parents_of",
]
