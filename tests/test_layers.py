"""The layers: the pieced functions equal plain operations, gradients included; masked entries have
no influence; initial weights have the stated laws."""

import itertools
import math

import pytest
import torch

from causal_meta.layers import (
    AxialBlock,
    axial,
    axial_attention,
    empty_linear,
    folded,
    pieces,
    variance_scaling,
)

torch.set_num_threads(1)
CASES = list(itertools.product(("variables", "rows"), (False, True), (1 << 29, 0), (1 << 18, 40)))


def block(axis, dropout=0.0, dtype=torch.float64, dim=12, n_heads=2, key_size=5):
    made = AxialBlock(dim, n_heads, key_size, 3, dropout, axis)
    generator = torch.Generator().manual_seed(1)
    made.initialise(2.0, generator)
    # away from the initial values, at which affine maps and biases have no effect
    for parameter in made.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return made.to(dtype)


def tokens(*shape, dtype=torch.float64, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def mask_for(axis, shape=(3, 4, 7)):
    length = shape[1] if axis == "variables" else shape[2]
    mask = torch.rand(shape[0], length, generator=torch.Generator().manual_seed(2)) < 0.6
    mask[:, 0] = True
    return mask


def value_and_gradients(made, forward, x, mask, weights):
    made.zero_grad()
    x = x.clone().requires_grad_()
    y = forward(x, mask)
    (y * weights).sum().backward()
    return [y.detach(), x.grad, *[p.grad.clone() for p in made.parameters()]]


@pytest.mark.parametrize(("axis", "masked", "kept", "scores"), CASES)
def test_pieces_equal_plain_operations(axis, masked, kept, scores, monkeypatch):
    """Value and every gradient, with attention weights stored or recomputed, with or without tiles
    of queries."""
    monkeypatch.setattr(pieces, "TOKENS", 16)
    monkeypatch.setattr(pieces, "KEPT_BYTES", kept)
    monkeypatch.setattr(pieces, "SCORES", scores)
    made, x, weights = block(axis), tokens(3, 4, 7, 12), tokens(3, 4, 7, 12, seed=3)
    mask = mask_for(axis) if masked else None
    plain, pieced = (
        value_and_gradients(made, f, x, mask, weights) for f in (made.plain, made.pieced)
    )
    for a, b in zip(plain, pieced, strict=True):
        torch.testing.assert_close(b, a, rtol=1e-11, atol=1e-12)


def test_the_comparison_sees_a_wrong_scale(monkeypatch):
    made, x = block("rows"), tokens(2, 3, 4, 12)
    monkeypatch.setattr(pieces, "EPSILON", 1e-2)
    with pytest.raises(AssertionError):
        torch.testing.assert_close(made.pieced(x), made.plain(x), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("axis", ["variables", "rows"])
def test_derivatives_equal_differences_also_with_dropout(axis, monkeypatch):
    """The backward pass is that of the very mask of the forward pass: against central differences
    with the random state held."""
    monkeypatch.setattr(pieces, "TOKENS", 4)
    made = block(axis, dropout=0.4, dim=3, n_heads=1, key_size=2).train()
    x = tokens(1, 2, 3, 3).requires_grad_()

    def held(x, *_):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(5)
            return made.pieced(x)

    assert torch.autograd.gradcheck(held, (x, *made.parameters()))


@pytest.mark.parametrize("axis", ["variables", "rows"])
def test_half_precision_is_no_worse_than_autocast(axis):
    """The error of the value and of every gradient is at most 1.3 times that of the plain
    operations under torch's own autocast."""
    made, x = (
        block(axis, dtype=torch.float32, dim=64, n_heads=4, key_size=16),
        tokens(2, 30, 40, 64, dtype=torch.float32),
    )
    weights = tokens(2, 30, 40, 64, dtype=torch.float32, seed=3)
    full = value_and_gradients(made, made.pieced, x, None, weights)
    with torch.autocast("cpu", torch.bfloat16):
        plain, pieced = (
            value_and_gradients(made, f, x, None, weights) for f in (made.plain, made.pieced)
        )
    assert pieced[0].dtype == torch.float32
    assert not torch.equal(full[0], pieced[0])
    for true, usual, ours in zip(full, plain, pieced, strict=True):
        # the bias of the keys has no influence, so its gradient is rounding alone
        if true.norm() > 1e-2:
            assert (ours - true).norm() <= 1.3 * (usual - true).norm()
            assert (ours - true).norm() < 0.1 * true.norm()


@pytest.mark.parametrize("axis", ["variables", "rows"])
@pytest.mark.parametrize("method", ["plain", "pieced"])
def test_masked_entries_are_as_if_absent(axis, method):
    """Any values at masked entries leave the real ones unchanged, and the result is that of the
    shorter input."""
    made, x = block(axis), tokens(3, 4, 7, 12)
    length = 4 if axis == "variables" else 7
    mask = (torch.arange(length) < length - 2).expand(3, -1)
    real = (
        (slice(None), slice(0, 2))
        if axis == "variables"
        else (slice(None), slice(None), slice(0, 5))
    )
    y = getattr(made, method)(x, mask)[real]
    x2 = x.clone()
    hidden = torch.ones(x.shape[:3], dtype=torch.bool)
    hidden[real] = False
    x2[hidden] = 1e3 * x2[hidden].flip(0)
    torch.testing.assert_close(getattr(made, method)(x2, mask)[real], y, rtol=0, atol=1e-12)
    torch.testing.assert_close(getattr(made, method)(x[real])[:], y, rtol=0, atol=1e-12)
    # without the mask it would have mattered
    assert not torch.allclose(getattr(made, method)(x2)[real], getattr(made, method)(x)[real])


def test_attention_equals_a_loop():
    batch, variables, rows, heads, key = 2, 3, 4, 2, 5
    projected = tokens(batch, variables, rows, 3 * heads * key)
    got = axial_attention(projected, heads, "rows", None).view(batch, variables, rows, heads, key)
    q, k, v = projected.view(batch, variables, rows, 3, heads, key).unbind(3)
    for b, d, n, h in itertools.product(range(batch), range(variables), range(rows), range(heads)):
        weights = torch.tensor(
            [math.exp(float(q[b, d, n, h] @ k[b, d, m, h])) for m in range(rows)],
            dtype=torch.float64,
        )
        torch.testing.assert_close(
            got[b, d, n, h], (weights[:, None] * v[b, d, :, h]).sum(0) / weights.sum()
        )


def test_folding_is_the_same_map():
    norm, layer = torch.nn.LayerNorm(6).double(), torch.nn.Linear(6, 4).double()
    torch.nn.init.normal_(norm.weight, generator=torch.Generator().manual_seed(0))
    torch.nn.init.normal_(norm.bias, generator=torch.Generator().manual_seed(1))
    x = tokens(10, 6)
    torch.testing.assert_close(
        torch.nn.functional.linear(torch.nn.functional.layer_norm(x, (6,)), *folded(norm, layer)),
        layer(norm(x)),
        rtol=1e-12,
        atol=1e-12,
    )


@pytest.mark.parametrize("law", ["uniform", "truncated_normal"])
def test_variance_scaling(law):
    """The variance is scale / fan_in within 4 standard errors, and the largest weight obeys the
    bound of the law."""
    layer, scale, n = empty_linear(50, 4000), 2.0, 200_000
    variance_scaling(layer, scale, law, torch.Generator().manual_seed(0))
    w = layer.weight.detach().double().flatten()
    squares = w**2 / (scale / 50)
    assert abs(float(squares.mean()) - 1) < 4 * float(squares.std()) / math.sqrt(n)
    bound = (
        math.sqrt(3 * scale / 50)
        if law == "uniform"
        else 2 * math.sqrt(scale / 50) / axial._TRUNCATED_STD
    )
    assert float(w.abs().max()) <= bound * (1 + 1e-6)
    assert float(w.abs().max()) > 0.98 * bound
    assert not layer.bias.any()


def test_layers_leave_the_global_generator_alone():
    before = torch.get_rng_state()
    block("rows")
    made = block("rows", dropout=0.0).train()
    made(tokens(1, 2, 3, 12))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("rate", [0.1, 0.5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropout_keeps_the_mean_and_drops_the_share(rate, dtype):
    change = torch.full((1000, 400), pieces._widened(rate), dtype=dtype)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        summed, mask = pieces._residual(torch.zeros(1000, 400), change, rate)
    standard_error = math.sqrt(rate * (1 - rate) / summed.numel())
    assert mask is not None
    assert torch.equal(mask == 0, summed == 0)
    dropped = (mask == 0).double()
    assert abs(float(dropped.mean()) - rate) < 4 * standard_error + 1 / 65536
    rounding = 1e-6 if dtype == torch.float32 else 2**-8
    assert abs(float(summed.double().mean()) - 1) < 4 * standard_error / (1 - rate) + rounding
    assert abs(torch.corrcoef(dropped[:, :2].T)[0, 1]) < 4 / math.sqrt(1000)


def test_dropout_zero_draws_nothing():
    x = tokens(2, 2, 2, 12)
    made = block("variables", dropout=0.3)
    assert torch.equal(made.eval()(x), made.eval()(x))
    assert not torch.equal(made.train()(x), made.train()(x))
    before = torch.get_rng_state()
    block("variables").train()(x)
    assert torch.equal(torch.get_rng_state(), before)
