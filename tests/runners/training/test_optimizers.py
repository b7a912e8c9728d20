"""LAMB and AdamW against NumPy written from the papers; the schedule in closed form."""

import numpy as np
import pytest
import torch

from causal_meta.conf.training import AdamWConfig, LambConfig, TrainerConfig
from causal_meta.runners.training.optimizers import AdamW, Lamb, rate

SHAPES = [(7, 5), (5,), (3, 2, 2), (1,), (4,), (0,)]


def numpy_steps(kind, config, weights, gradients, rates):
    """Float64, one tensor at a time, in the order of the papers' lines."""
    moments = [(np.zeros_like(w), np.zeros_like(w)) for w in weights]
    for t, (step_gradients, r) in enumerate(zip(gradients, rates, strict=True), start=1):
        for i, (w, g) in enumerate(zip(weights, step_gradients, strict=True)):
            m, v = moments[i]
            m = config.beta1 * m + (1 - config.beta1) * g
            v = config.beta2 * v + (1 - config.beta2) * g**2
            moments[i] = m, v
            u = (m / (1 - config.beta1**t)) / (np.sqrt(v / (1 - config.beta2**t)) + config.epsilon)
            u = u + config.weight_decay * w
            if kind == "lamb":
                wn, un = np.sqrt((w**2).sum()), np.sqrt((u**2).sum())
                u = u * (wn / un if wn > 0 and un > 0 else 1.0)
            weights[i] = w - r * u
    return weights


def start(seed, scale):
    rng = np.random.default_rng(seed)
    weights = [rng.normal(size=s) * scale for s in SHAPES]
    weights[1][:] = 0  # a bias that starts at zero
    gradients = [
        [rng.normal(size=s) * 10.0 ** rng.uniform(-4, 2) for s in SHAPES] for _ in range(8)
    ]
    for step in gradients:
        step[4][:] = 0  # a tensor that never gets a gradient
    return weights, gradients


CASES = [("lamb", Lamb, LambConfig), ("adamw", AdamW, AdamWConfig)]


@pytest.mark.parametrize(("kind", "optimizer_class", "config_class"), CASES, ids=["lamb", "adamw"])
@pytest.mark.parametrize("weight_decay", [0.0, 0.03])
@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_several_steps_equal_numpy(kind, optimizer_class, config_class, weight_decay, scale):
    config = config_class(learning_rate=0.02, weight_decay=weight_decay, beta1=0.8, beta2=0.95)
    weights, gradients = start(1, scale)
    rates = [0.02 / (1 + t) for t in range(len(gradients))]
    parameters = [torch.nn.Parameter(torch.tensor(w)) for w in weights]
    optimizer = optimizer_class(config, parameters)
    for step_gradients, r in zip(gradients, rates, strict=True):
        for p, g in zip(parameters, step_gradients, strict=True):
            p.grad = torch.tensor(g)
        optimizer.param_groups[0]["lr"] = r
        optimizer.step()
    expected = numpy_steps(kind, config, weights, gradients, rates)
    for p, w in zip(parameters, expected, strict=True):
        # the trust ratio passes through torch's default norms
        np.testing.assert_allclose(p.detach().numpy(), w, rtol=1e-6, atol=1e-9)
    other = numpy_steps(
        "adamw" if kind == "lamb" else "lamb", config, start(1, scale)[0], gradients, rates
    )
    # the checker tells the two apart
    assert not np.allclose(parameters[0].detach().numpy(), other[0], rtol=1e-3)


def test_lamb_is_blind_to_the_scale_of_gradients_and_follows_that_of_weights():
    """With epsilon negligible, gradients times c change nothing, and weights times c make steps
    times c."""
    steps = {}
    for name, weight_scale, gradient_scale in [
        ("plain", 1.0, 1.0),
        ("gradients", 1.0, 64.0),
        ("weights", 8.0, 1.0),
    ]:
        weights, gradients = start(2, 1.0)
        p = torch.nn.Parameter(torch.tensor(weights[0]) * weight_scale)
        optimizer = Lamb(LambConfig(epsilon=1e-30), [p])
        for g in gradients:
            p.grad = torch.tensor(g[0]) * gradient_scale
            optimizer.step()
        steps[name] = p.detach() / weight_scale
    assert torch.allclose(steps["plain"], steps["gradients"], rtol=1e-10)
    assert torch.allclose(steps["plain"], steps["weights"], rtol=1e-10)


def test_a_parameter_without_gradient_stays_and_closure_is_called():
    p, q = torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(torch.ones(3))
    optimizer = Lamb(LambConfig(), [p, q])

    def closure():
        optimizer.zero_grad()
        loss = (p**2).sum()
        loss.backward()
        return float(loss.detach())

    assert optimizer.step(closure) == 3.0
    assert torch.equal(q, torch.ones(3))
    assert bool((p < 1).all())


def test_the_rate_warms_up_linearly_and_ends_at_the_final_rate():
    trainer = TrainerConfig(
        max_steps=101,
        warmup_steps=20,
        schedule="cosine",
        final_rate=0.25,
        optimizer=LambConfig(learning_rate=2.0),
    )
    warm = [rate(trainer, s) for s in range(20)]
    assert warm == pytest.approx(np.linspace(0.1, 2.0, 20))
    assert rate(trainer, 20) == pytest.approx(2.0)
    assert rate(trainer, 60) == pytest.approx(2.0 * (0.25 + 0.75 / 2))
    assert rate(trainer, 100) == pytest.approx(0.5)
    flat = TrainerConfig(max_steps=3, warmup_steps=5)
    assert rate(flat, 2) == pytest.approx(1e-3 * 3 / 5)
    assert rate(TrainerConfig(max_steps=1, schedule="cosine"), 0) == pytest.approx(1e-3)
