"""Laws over the functions that make a variable from its parents and its noise: one file per law."""

from causal_meta.datasets.mechanisms.law import MechanismLaw, Names, Parameters, Parents, parents_of
from causal_meta.datasets.mechanisms.linear import LinearFactory
from causal_meta.datasets.mechanisms.mixture import Mechanism, MechanismBatch, MechanismFactory
from causal_meta.datasets.mechanisms.mlp import MLPFactory

__all__ = [
    "LinearFactory",
    "MLPFactory",
    "Mechanism",
    "MechanismBatch",
    "MechanismFactory",
    "MechanismLaw",
    "Names",
    "Parameters",
    "Parents",
    "parents_of",
]
