"""Muon against an independent NumPy writing of its equations, and its orthogonalisation against the
singular value decomposition."""

import numpy as np
import pytest
import torch

from causal_meta.conf.training import MuonConfig
from causal_meta.runners.training.muon import Muon, orthogonalised


def quintic(x):
    x = x / (np.linalg.norm(x) + 1e-7)
    flip = x.shape[0] > x.shape[1]
    x = x.T if flip else x
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x.T if flip else x


@pytest.mark.parametrize("shape", [(5, 5), (4, 9), (9, 4)])
def test_a_matrix_moves_as_the_equations_say(shape):
    rng = np.random.default_rng(0)
    w, m = rng.normal(size=shape), np.zeros(shape)
    parameter = torch.nn.Parameter(torch.tensor(w))
    optimizer = Muon(MuonConfig(learning_rate=0.03, momentum=0.9, weight_decay=0.1), [parameter])
    for _ in range(4):
        g = rng.normal(size=shape)
        parameter.grad = torch.tensor(g)
        optimizer.step()
        m = 0.9 * m + g
        w = w * (1 - 0.03 * 0.1) - 0.03 * np.sqrt(max(1, shape[0] / shape[1])) * quintic(
            g + 0.9 * m
        )
    np.testing.assert_allclose(parameter.detach().numpy(), w, atol=1e-10)
    assert not np.allclose(parameter.detach().numpy(), w - 0.03 * quintic(m), atol=1e-3)


def test_everything_else_takes_adams_step():
    config = MuonConfig(learning_rate=0.02, other_rate=0.5)
    ours, theirs = (
        torch.nn.Parameter(torch.linspace(-1, 1, 6, dtype=torch.float64)) for _ in range(2)
    )
    one = Muon(config, [ours])
    two = torch.optim.Adam(
        [theirs], lr=0.01, betas=(config.beta1, config.beta2), eps=config.epsilon
    )
    generator = torch.Generator().manual_seed(1)
    for _ in range(5):
        ours.grad = torch.randn(6, generator=generator, dtype=torch.float64)
        theirs.grad = ours.grad.clone()
        one.step()
        two.step()
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("shape", [(8, 8), (3, 20), (20, 3)])
def test_orthogonalising_keeps_the_singular_vectors_and_evens_the_values(shape):
    x = torch.randn(16, *shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    left, values, right = torch.linalg.svd(x, full_matrices=False)
    turned = left.transpose(-1, -2) @ orthogonalised(x) @ right.transpose(-1, -2)
    found = torch.diagonal(turned, dim1=-2, dim2=-1)
    assert (turned - torch.diag_embed(found)).abs().max() < 1e-9
    well = values > 0.05 * values.amax(-1, keepdim=True)
    assert ((found > 0.6) & (found < 1.3))[well].all()
