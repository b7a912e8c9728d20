"""What speaks against an answer is said, and nothing else."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from causal_meta import discover
from causal_meta.runners.inference.signs import signs_against

FAST = {"method": "exact", "settings": ["score=linear"], "n_samples": 50}


def chain(seed, n_rows=400):
    r = np.random.default_rng(seed)
    x = r.normal(size=(n_rows, 3))
    x[:, 1] += x[:, 0]
    x[:, 2] += x[:, 1]
    return pd.DataFrame(x, columns=["a", "b", "c"])


@pytest.mark.parametrize(("error", "warned"), [(None, False), (0.05, False), (0.2, True)])
def test_chains_that_differ_are_named_with_their_error(error, warned):
    answer = discover(chain(0), **FAST)
    assert answer.warnings == ()
    diagnostics = dataclasses.replace(answer.posterior.diagnostics, edge_error=error)
    answer.posterior.diagnostics = diagnostics
    signs = signs_against(answer)
    assert len(signs) == warned
    assert not warned or ("chains differ" in signs[0] and "0.20" in signs[0])
    assert any("Monte Carlo errors" in line for line in diagnostics.in_words()) == bool(error)


def test_contexts_that_act_are_named():
    frame = chain(1).assign(site=["x", "y"] * 200)
    frame["b"] += 2 * (frame["site"] == "y")
    answer = discover(frame, context=["site"], **FAST)
    assert any("site acts on b" in sign for sign in answer.warnings)
