"""Every model: it never reads the truth, an answer changes none of its state, and a seed determines
its initial weights."""

import inspect
from dataclasses import replace

import numpy as np
import pytest
import torch

from causal_meta.conf import registry
from causal_meta.conf.models import AviciConfig, ModelConfig
from causal_meta.models import BaseModel, InferenceResult, ModelFactory
from causal_meta.models import base as base_module
from causal_meta.models.base import as_batch
from causal_meta.tasks import collate, full_batch

torch.set_num_threads(1)
MEMBERS = {"avici": AviciConfig(dim=16, n_pairs=1, n_heads=2, key_size=4, dropout=0.2)}


def batch_of(tasks=3, rows=12, nodes=4):
    generator = torch.Generator().manual_seed(0)
    x = 5 + 3 * torch.randn(tasks, rows, nodes, generator=generator)
    return full_batch(x, torch.zeros(tasks, nodes, nodes), range(tasks))


@pytest.fixture(params=MEMBERS)
def model(request):
    return ModelFactory.build(MEMBERS[request.param], 1)


def test_every_model_is_tested():
    assert set(MEMBERS) == set(registry.tags(ModelConfig))


def test_answers_do_not_depend_on_the_truth(model):
    """With NaN in place of the graphs every answer is the same; with NaN among the rows it is
    not."""
    batch = batch_of()
    poisoned = replace(batch, adjacency=torch.full_like(batch.adjacency, torch.nan))
    assert torch.equal(model.sample(poisoned, 4), model.sample(batch, 4))
    assert torch.equal(
        model.posterior(poisoned).edge_probabilities, model.posterior(batch).edge_probabilities
    )
    assert torch.equal(model.eval()(poisoned), model(batch))
    sick = replace(batch, x=torch.full_like(batch.x, torch.nan))
    with pytest.raises(ValueError, match="NaN"):
        model.posterior(sick)


def test_answering_changes_no_state_of_the_model(model):
    model.train()
    next(iter(model.children())).eval()  # a submodule in another mode keeps it
    modes = [module.training for module in model.modules()]
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    model.sample(batch_of(), 5)
    model.infer_graph_posterior(batch_of())
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert (np.random.get_state()[1] == numpy_state).all()
    assert torch.is_grad_enabled()


def test_the_mode_comes_back_after_a_failure(model):
    model.train()
    with pytest.raises(ValueError, match="NaN"):
        model.posterior(full_batch(torch.full((1, 5, 3), torch.nan), None, [0]))
    assert model.training


def test_answers_do_not_depend_on_units_or_on_company(model, monkeypatch):
    """Columns in other units, tasks answered one at a time or together: the same posterior."""
    batch = batch_of()
    p = model.posterior(batch).edge_probabilities
    torch.testing.assert_close(
        model.posterior(replace(batch, x=batch.x * 40 - 7)).edge_probabilities, p, rtol=0, atol=1e-4
    )
    torch.testing.assert_close(
        model.posterior(batch.slice(1, 2)).edge_probabilities, p[1:2], rtol=0, atol=1e-5
    )
    monkeypatch.setattr(base_module, "TOKENS_AT_ONCE", 50)
    torch.testing.assert_close(model.posterior(batch).edge_probabilities, p, rtol=0, atol=1e-5)
    mixed = collate(
        [
            batch.task(0),
            full_batch(
                torch.randn(1, 30, 7, generator=torch.Generator().manual_seed(3)), None, [0]
            ).task(0),
        ]
    )
    torch.testing.assert_close(
        model.posterior(mixed).edge_probabilities[0, :4, :4], p[0], rtol=0, atol=1e-5
    )


def test_samples_have_the_shape_and_follow_the_generator(model):
    graphs = model.sample(
        torch.randn(8, 5, generator=torch.Generator().manual_seed(0)),
        6,
        torch.Generator().manual_seed(1),
    )
    assert graphs.shape == (1, 6, 5, 5)
    assert model.sample(torch.zeros(2, 8, 5), 3).shape == (2, 3, 5, 5)
    with pytest.raises(ValueError, match=r"\[B, N, D\]"):
        as_batch(torch.zeros(3))


def test_results_carry_their_provenance(model):
    result = model.infer_graph_posterior(batch_of(), seed=7)
    assert isinstance(result, InferenceResult)
    assert (result.seed, result.kind, result.seconds.shape) == (7, model.config.kind, (3,))
    assert (result.seconds > 0).all()
    assert model.infer_mechanism_posterior(batch_of()) is None


@pytest.mark.parametrize("config", MEMBERS.values(), ids=MEMBERS)
def test_the_seed_determines_the_initial_weights(config):
    before = torch.get_rng_state()
    one, same, other = (ModelFactory.build(config, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), same.parameters(), strict=True))
    assert not torch.equal(
        torch.cat([p.flatten() for p in one.parameters()]),
        torch.cat([p.flatten() for p in other.parameters()]),
    )


@pytest.mark.parametrize("config", MEMBERS.values(), ids=MEMBERS)
def test_a_model_takes_its_configuration_whole(config):
    made = registry.implementation(config)(config)
    assert isinstance(made, BaseModel)
    assert made.config is config
    assert isinstance(made.needs_pretraining, bool)
    assert list(inspect.signature(type(made).sample).parameters) == [
        "self",
        "batch_or_x",
        "n_samples",
        "generator",
    ]
