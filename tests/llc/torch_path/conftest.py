"""The perceptron of `llc.landscapes` as a torch module, and formulas with exact values."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn

from causal_meta.conf.network_data import NetworkDataConfig
from causal_meta.conf.networks import NetworkConfig, StudentConfig
from causal_meta.llc.landscapes.torch_landscape import torch_landscape

STUDENT = StudentConfig(in_dim=2, widths=(3,), activation="tanh")
TARGET = NetworkConfig(model=STUDENT, data=NetworkDataConfig(n_rows=200, noise_scale=0.5), seed=3)


class Layer(nn.Module):
    def __init__(self, n_in, n_out):
        super().__init__()
        self.weight, self.bias = (
            nn.Parameter(torch.zeros(n_in, n_out)),
            nn.Parameter(torch.zeros(n_out)),
        )

    def forward(self, x):
        return x @ self.weight + self.bias


class Twin(nn.Module):
    """The student of `STUDENT` with the parameters `w`."""

    def __init__(self, w):
        super().__init__()
        sizes = (2, 3, 1)
        self.layers = nn.ModuleList(Layer(a, b) for a, b in itertools.pairwise(sizes))
        self.double()
        nn.utils.vector_to_parameters(torch.from_numpy(np.array(w)), self.parameters())

    def forward(self, x):
        return self.layers[1](torch.tanh(self.layers[0](x)))


def gaussian_nll(net, rows):
    residual = (net(rows["x"]) - rows["y"]) / TARGET.data.noise_scale
    return (0.5 * residual**2 + np.log(TARGET.data.noise_scale) + 0.5 * np.log(2 * np.pi)).sum(-1)


@pytest.fixture(scope="session")
def pair():
    """The same landscape in JAX and in torch, around a random point."""
    from causal_meta.llc.landscapes.targets import draw_rows, network_landscape

    data = draw_rows(TARGET)
    w = np.random.default_rng(0).standard_normal(13)
    rows = {name: torch.from_numpy(values) for name, values in data.items()}
    in_torch = torch_landscape(Twin(w), rows, gaussian_nll)
    return network_landscape(TARGET, data, w), in_torch


class Point(nn.Module):
    """A module that consists of parameters only."""

    def __init__(self, size):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(size, dtype=torch.float64))


@pytest.fixture
def form():
    """The landscape of a population loss around 0: each of n rows has the same loss."""

    def landscape(function, size, n=1000):
        data = {"one": torch.ones(n, dtype=torch.float64)}
        return torch_landscape(
            Point(size), data, lambda point, rows: function(point.w) * rows["one"]
        )

    return landscape
