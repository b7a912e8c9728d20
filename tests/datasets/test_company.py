"""A task's table does not depend on the tasks it is drawn with, on any processor.

The laws run under a library whose sums depend on the shape (`ShapeDependentLibrary`), and in
processes whose libraries are set to other processors.
"""

import json
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from causal_meta.conf.data import FamilyConfig
from causal_meta.conf.form_laws import (
    BGe,
    LinearRFFNoise,
    Logistic,
    MLPAdditive,
    Polynomial,
    PostNonlinear,
)
from causal_meta.conf.gene_laws import GeneExpression
from causal_meta.conf.graph_laws import ErdosRenyi
from causal_meta.conf.interventions import InterventionConfig
from causal_meta.conf.mechanism_laws import GPCDE, MLP, RFF, LinearHeteroskedastic, MechanismPart
from causal_meta.conf.ranges import FloatRange, fixed
from causal_meta.datasets.mechanisms import features, linear, mlp
from causal_meta.datasets.scm import SCMFamily
from causal_meta.datasets.streams import MetaIterableDataset

LINEAR, ROUGH = LinearHeteroskedastic(), GPCDE(kernels=("exponential_gamma", "rbf"), n_features=40)
LENGTHS = FloatRange(low=0.3, high=3.0, law="log_uniform")
LAWS = {
    "linear": LINEAR,
    "bge": BGe(),
    "mlp": MLP(hidden=5, hidden_layers=2),
    "mlp_additive": MLPAdditive(activation="tanh"),
    "rff": RFF(n_features=30, heteroskedastic=True, length_scale=LENGTHS),
    "gpcde": ROUGH,
    "gpcde, exact": GPCDE(exact=True, kernels=("rational_quadratic", "exponential_gamma")),
    "linear_rff_noise": LinearRFFNoise(n_features=30),
    "polynomial": Polynomial(degree=4, weight_scale=0.2),
    "logistic": Logistic(),
    "post_nonlinear": PostNonlinear(nonlinearity="sigmoid"),
    "genes": GeneExpression(),
}
SEEDS = list(range(100, 112))


aten = torch.ops.aten
PRODUCTS = {aten.mm, aten.bmm, aten.addmm, aten.baddbmm, aten.addbmm, aten.dot, aten.mv, aten.addmv}
SUMS = {aten.sum, aten.mean}
# functions whose vectorised and scalar forms differ on this or on other processors
UNEVEN = {
    aten.sigmoid, aten.softplus, aten.pow, aten._softmax, aten.logsumexp, aten.silu, aten.gelu,
    aten.elu, aten.log_sigmoid_forward,
}  # fmt: skip


class ShapeDependentLibrary(TorchDispatchMode):
    """While it is entered, every floating-point product and sum of torch's has a rounding that
    depends on the number of entries of its result: a relative error of a few last digits, which
    differs from entry to entry. Sigmoid and the like have it in the last entries. Integers, and
    numbers that are whole, stay exact, as in every library."""

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        result = function(*args, **(kwargs or {}))
        name = function.overloadpacket
        base = getattr(aten, name.__name__.rstrip("_"), name)
        if not isinstance(result, Tensor) or not result.is_floating_point() or not result.numel():
            return result
        if base in PRODUCTS | SUMS:
            _disturb(result, result.numel())
        elif base in UNEVEN and not (base is aten.pow and args[1] in (2, 3)):  # products
            _disturb(result, result.numel() % 32)
        return result


def _disturb(result: Tensor, count: int) -> None:
    """Move the last `count` entries by a last digit or two, by their place and the size of all."""
    if not count:
        return
    fraction = result.frac() != 0
    pattern = (torch.arange(result.numel()) + result.numel()) % 3 - 1
    pattern[: result.numel() - count] = 0
    step = 2 * torch.finfo(result.dtype).eps * pattern.view(result.shape).to(result.dtype)
    result.mul_(torch.where(fraction, 1 + step, 1.0))


def family(parts, **settings):
    parts = parts if isinstance(parts, dict) else {"m": parts}
    return SCMFamily(
        FamilyConfig(
            mechanisms={name: MechanismPart(mechanism=law) for name, law in parts.items()},
            graph=ErdosRenyi(edges_per_node=1.5),
            n_nodes=fixed(7),
            n_rows=fixed(19),
            **settings,
        )
    )


FAMILIES = {name: family(law) for name, law in LAWS.items()} | {
    "linear, values standardised": family(LINEAR, internal_standardising="values"),
    "rough, inputs standardised": family(ROUGH, internal_standardising="inputs"),
    "linear, interventions": family(
        LINEAR, interventions=InterventionConfig(rows=fixed(6), row_share=None)
    ),
    "by node, interventions": family(
        {"a": LINEAR, "b": LAWS["mlp"]},
        interventions=InterventionConfig(rows=fixed(6), row_share=None),
    ),
}


def differences(worlds):
    """How far the standardised tables of some tasks drawn alone or by fives are from those of all
    drawn together."""
    together = worlds.sample_tasks(SEEDS).standardised().x
    pieces = {3: SEEDS[3:4], 5: SEEDS[5:10]}
    return {
        first: float(
            (worlds.sample_tasks(some).standardised().x - together[first : first + len(some)])
            .abs()
            .max()
        )
        for first, some in pieces.items()
    }


@pytest.mark.parametrize("name", FAMILIES)
def test_under_a_library_whose_sums_depend_on_the_shape(name):
    with ShapeDependentLibrary():
        assert set(differences(FAMILIES[name]).values()) == {0.0}


def test_ranks_under_such_a_library():
    with ShapeDependentLibrary():
        whole, half = (
            MetaIterableDataset(
                FAMILIES["gpcde"], 0, tasks_per_step=8, rank=0, world_size=size
            ).batch(0)
            for size in (1, 2)
        )
    assert torch.equal(whole.x[:4], half.x)


def test_the_law_refuses_matrix_products(monkeypatch):
    """What the mechanisms were before; and rough functions enlarge the difference."""
    for module in (linear, mlp, features):
        for name, product in (
            ("weighted_sum", lambda w, x: (w[:, None] @ x)[:, 0]),
            ("weighted_parents", lambda p, x: (p["weight"][:, None, : x.shape[1]] @ x)[:, 0]),
            ("layer", lambda b, w, x, out=None: torch.baddbmm(b[..., None], w, x, out=out)),
        ):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, product)
    with ShapeDependentLibrary():
        worst = {
            name: max(differences(FAMILIES[name]).values())
            for name in ("mlp", "rff", "gpcde", "linear_rff_noise")
        }
    assert min(worst.values()) > 0
    assert worst["gpcde"] > 1e-5


# settings of other processors: the oldest and the strictest sums of MKL, code without vectors
OTHERS = {
    "oldest": {
        "MKL_CBWR": "COMPATIBLE",
        "ATEN_CPU_CAPABILITY": "default",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
    },
    "strict": {"MKL_CBWR": "AVX2,STRICT", "MKL_ENABLE_INSTRUCTIONS": "AVX2"},
}


@pytest.mark.parametrize("name", OTHERS)
def test_on_other_processors(name):
    """Equal bits in any batch, in a process set to another processor; between processors
    equal to rounding, which rough functions enlarge without bound in single values."""
    answer = subprocess.run(
        [sys.executable, __file__],
        env=os.environ | OTHERS[name] | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert answer.returncode == 0, answer.stderr
    tables = json.loads(answer.stdout)
    for law, worlds in FAMILIES.items():
        assert tables[law]["differences"] == {"3": 0.0, "5": 0.0}, law
        here = worlds.sample_tasks(SEEDS[:1]).standardised().x[0].numpy()
        apart = np.abs(np.array(tables[law]["table"]) - here)
        if any(word in law for word in ("rff", "gpcde", "rough")):
            assert np.median(apart) < 1e-2, law
        else:
            assert apart.max() < 1e-4, law


if __name__ == "__main__":
    print(
        json.dumps(
            {
                law: {
                    "differences": differences(worlds),
                    "table": worlds.sample_tasks(SEEDS[:1]).standardised().x[0].tolist(),
                }
                for law, worlds in FAMILIES.items()
            }
        )
    )
