"""Local scores: the log marginal likelihood of one variable given a set of parents, in nats.

The score of a graph is the sum over its families (variable, parents). Scores are those of
standardised columns: the Jacobian of that is the same for every graph. Shape letters: N rows, D
variables, C columns (a categorical variable has several), F families, p parents, K candidates.
"""

from causal_meta.scores.additive import Additive
from causal_meta.scores.assumptions import ASSUMPTIONS, assumption_scores
from causal_meta.scores.bdeu import BDeu
from causal_meta.scores.bge import BGe, BGePrior
from causal_meta.scores.bic import BIC
from causal_meta.scores.class_gains import ClassGains
from causal_meta.scores.degenerate_gaussian import DegenerateGaussian
from causal_meta.scores.features import Features
from causal_meta.scores.graph_prior import GraphPrior
from causal_meta.scores.local_score import LocalScore
from causal_meta.scores.mixture import Mixture, MixtureWeights
from causal_meta.scores.statistics import Table, prepare

__all__ = [
    "ASSUMPTIONS",
    "BIC",
    "Additive",
    "BDeu",
    "BGe",
    "BGePrior",
    "ClassGains",
    "DegenerateGaussian",
    "Features",
    "GraphPrior",
    "LocalScore",
    "Mixture",
    "MixtureWeights",
    "Table",
    "assumption_scores",
    "prepare",
]
