"""The landscape of torch modules: equal to the one in JAX, restricted correctly, without changes to
the module."""

import numpy as np
import pytest
import torch
from torch import nn

from causal_meta.conf.setting import ConfigError
from causal_meta.layers import AxialBlock
from causal_meta.llc.landscapes.torch_landscape import heads_of, torch_landscape
from causal_meta.llc.landscapes.torch_surface import TorchSurface


def some_points(count, size):
    return torch.from_numpy(np.random.default_rng(1).standard_normal((count, size)))


def test_losses_and_gradients_are_those_of_jax(pair):
    import jax

    from causal_meta.llc.landscapes.landscape import float_width

    in_jax, in_torch = pair
    assert list(in_torch.names) == list(in_jax.parameter_names)
    w, direction = some_points(3, 13), np.linspace(-1, 1, 13)

    @jax.jit
    def expected(points, direction, data):
        def loss(v):
            return in_jax.mean_loss(v, data)

        values, slopes = jax.vmap(jax.value_and_grad(loss))(points)
        product = jax.jvp(jax.grad(loss), (points[0],), (direction,))[1]
        return in_jax.row_losses(points[0], data), values, slopes, product

    with float_width("float64"):
        rows, values, slopes, product = expected(np.asarray(w), direction, in_jax.data)
    np.testing.assert_allclose(in_torch.item_losses(w[0]).detach().numpy(), rows, rtol=1e-10)
    value, slope = in_torch.value_and_gradient(w)
    np.testing.assert_allclose(value, values, rtol=1e-10)
    np.testing.assert_allclose(slope, slopes, atol=1e-10 * float(np.abs(slopes).max()))
    np.testing.assert_allclose(
        in_torch.curvature(w[0], torch.from_numpy(direction)),
        product,
        rtol=1e-6,
        atol=1e-6 * float(np.abs(product).max()),
    )
    surface = TorchSurface(in_torch)
    np.testing.assert_allclose(
        surface.product(w[0].numpy(), direction),
        product,
        rtol=1e-6,
        atol=1e-6 * float(np.abs(product).max()),
    )
    assert surface.value_and_gradient(w[0].numpy())[0] == pytest.approx(float(values[0]), rel=1e-12)


def variants(landscape):
    """The same landscape evaluated in chunks of items, and chain by chain."""
    import dataclasses

    pieces, alone = dataclasses.replace(landscape, at_once=7), dataclasses.replace(landscape)
    alone.__dict__["batched"] = False
    return {"pieces": pieces, "alone": alone}


@pytest.mark.parametrize("how", ["pieces", "alone"])
@pytest.mark.parametrize("minibatch", [False, True])
def test_pieces_and_batching_change_nothing(pair, how, minibatch):
    in_torch = pair[1]
    assert in_torch.batched
    other = variants(in_torch)[how]
    w = some_points(4, 13)
    index = (
        torch.randint(in_torch.n, (4, 20), generator=torch.Generator().manual_seed(0))
        if minibatch
        else None
    )
    for mine, theirs in zip(
        in_torch.value_and_gradient(w, index), other.value_and_gradient(w, index), strict=True
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(in_torch.mean_loss(w), other.mean_loss(w), rtol=1e-12, atol=0)
    if index is not None:
        by_hand = torch.stack(
            [in_torch.item_losses(point, rows).mean() for point, rows in zip(w, index, strict=True)]
        )
        torch.testing.assert_close(
            in_torch.value_and_gradient(w, index)[0], by_hand.detach(), rtol=1e-12, atol=0
        )


@pytest.mark.parametrize(
    "mask", ["layers.0.*", "*.bias", "layers.0.weight@columns:1", "*,-layers.1.weight"]
)
def test_a_restricted_landscape_is_the_whole_one_on_a_slice(pair, mask):
    whole = pair[1]
    part = whole.restricted(mask)
    chosen = part.chosen
    away = some_points(2, len(chosen))
    points = whole.centre.repeat(2, 1)
    points[:, chosen] += away
    value, slope = part.value_and_gradient(part.centre + away)
    torch.testing.assert_close(value, whole.mean_loss(points), rtol=1e-12, atol=0)
    torch.testing.assert_close(
        slope, whole.value_and_gradient(points)[1][:, chosen], rtol=1e-10, atol=1e-12
    )
    assert float(part.mean_loss(part.centre)) == float(whole.mean_loss(whole.centre))
    moved = part.moved(part.centre + away[0])
    torch.testing.assert_close(
        moved.mean_loss(moved.centre), whole.mean_loss(points[0]), rtol=1e-12, atol=0
    )
    narrow = part.at_width("float32")
    assert narrow.mean_loss(narrow.centre).dtype == torch.float32
    assert float(narrow.mean_loss(narrow.centre)) == pytest.approx(
        float(part.mean_loss(part.centre)), rel=1e-5
    )
    with pytest.raises(ValueError, match="restricted already"):
        part.restricted("*")


def test_invalid_masks_are_refused(pair):
    with pytest.raises(ConfigError, match="No parameter is called 'layer'"):
        pair[1].restricted("layer")


def test_heads_can_be_masked_out():
    """Setting the entries of one head to zero, and no others, removes exactly its contribution to
    the block's output."""
    block = AxialBlock(8, 2, 3, 2, 0.0, "rows").double()
    block.initialise(2.0, torch.Generator().manual_seed(0))
    heads = heads_of(block)
    assert {name: values.shape for name, values in heads.items()} == {
        name: tuple(value.shape)
        for name, value in block.named_parameters()
        if name.split(".")[0] in ("query", "key", "value") or name == "attended.weight"
    }
    x = torch.randn(2, 3, 5, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    without = {name: value.clone() for name, value in block.state_dict().items()}
    without["attended.weight"][:, 3:] = 0
    expected = torch.func.functional_call(block, without, (x,))
    state = {
        name: value.masked_fill(torch.from_numpy(heads[name] == 1), 0.0) if name in heads else value
        for name, value in block.state_dict().items()
    }
    torch.testing.assert_close(torch.func.functional_call(block, state, (x,)), expected)
    fused = heads_of(nn.MultiheadAttention(8, 4))
    assert fused["in_proj_weight"][:, 0].tolist() == [0, 0, 1, 1, 2, 2, 3, 3] * 3
    assert fused["out_proj.weight"][0].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert fused["in_proj_bias"].shape == (24,)


class Noisy(nn.Module):
    """Dropout, batch statistics and a shared parameter."""

    def __init__(self):
        super().__init__()
        self.first, self.drop, self.norm, self.last = (
            nn.Linear(3, 4),
            nn.Dropout(0.5),
            nn.BatchNorm1d(4),
            nn.Linear(4, 4),
        )
        self.last.weight = nn.Parameter(torch.randn(4, 4))
        self.again = self.last

    def forward(self, x):
        return self.again(self.last(self.drop(self.norm(self.first(x)))))


def test_dropout_is_off_and_the_module_is_unchanged():
    module = Noisy()
    module.drop.eval()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    data = {"x": torch.randn(6, 3)}
    generator_before = torch.get_rng_state()
    landscape = torch_landscape(
        module, data, lambda net, rows: net(rows["x"]).square().sum(-1), width="float32"
    )
    first = landscape.value_and_gradient(landscape.centre[None])
    for value, again in zip(
        first, landscape.value_and_gradient(landscape.centre[None]), strict=True
    ):
        assert torch.equal(value, again)
    assert (
        landscape.n_parameters
        == sum(parameter.numel() for parameter in module.parameters())
        == 16 + 8 + 20
    )
    assert torch.equal(torch.get_rng_state(), generator_before)
    assert module.training
    assert not module.drop.training
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert all(
        parameter.grad is None and parameter.requires_grad for parameter in module.parameters()
    )
    with torch.no_grad():
        expected = module.eval()(data["x"]).square().sum(-1).mean()
    torch.testing.assert_close(first[0][0], expected)


@pytest.mark.parametrize(
    ("module", "rows", "loss", "says"),
    [
        (nn.Identity(), 5, lambda net, rows: rows["x"].sum(-1), "without parameters"),
        (nn.Linear(2, 1), 1, lambda net, rows: net(rows["x"])[:, 0], "at least 2 items"),
        (nn.Linear(2, 1), 5, lambda net, rows: net(rows["x"]), "one loss for each"),
        (nn.Linear(2, 1), 5, lambda net, rows: net(rows["x"]).mean(), "one loss for each"),
        (nn.Linear(2, 1), 5, lambda net, rows: net(rows["x"])[:, 0] / 0, "not finite"),
        (
            nn.Linear(2, 1),
            5,
            lambda net, rows: nn.functional.dropout(net(rows["x"]))[:, 0],
            "two evaluations",
        ),
    ],
)
def test_modules_without_an_llc_are_refused(module, rows, loss, says):
    with pytest.raises(ValueError, match=says) as refusal:
        torch_landscape(
            module, {"x": torch.randn(rows, 2, generator=torch.Generator().manual_seed(0))}, loss
        )
    assert "\n" not in str(refusal.value)


def test_data_of_unequal_lengths_are_refused():
    with pytest.raises(ValueError, match="3 and 4 items"):
        torch_landscape(
            nn.Linear(2, 1),
            {"x": torch.ones(3, 2), "y": torch.ones(4)},
            lambda net, rows: net(rows["x"])[:, 0],
        )


def test_a_module_with_hand_written_gradients_is_evaluated_chain_by_chain():
    block = AxialBlock(4, 2, 2, 2, 0.0, "rows")
    block.initialise(2.0, torch.Generator().manual_seed(0))
    data = {"x": torch.randn(5, 1, 3, 4, generator=torch.Generator().manual_seed(1))}
    landscape = torch_landscape(
        block, data, lambda net, rows: net(rows["x"]).square().flatten(1).sum(1)
    )
    assert not landscape.batched
    w = landscape.centre + 0.1 * torch.randn(
        2, landscape.n_parameters, generator=torch.Generator().manual_seed(2), dtype=torch.float64
    )
    value, slope = landscape.value_and_gradient(w)
    direction = slope[0] / slope[0].norm()
    step = 1e-5 * direction
    along = (landscape.mean_loss(w[0] + step) - landscape.mean_loss(w[0] - step)) / 2e-5
    assert float(along) == pytest.approx(float(slope[0].norm()), rel=1e-7)
    assert float(value[1]) == pytest.approx(float(landscape.mean_loss(w[1])), rel=1e-12)


def test_curvatures_of_a_quadratic_form(form):
    matrix = torch.diag(torch.tensor([4.0, 1.0, 1e-4], dtype=torch.float64))
    landscape = form(lambda w: 0.5 * w @ matrix @ w, 3)
    directions = torch.eye(3, dtype=torch.float64)
    torch.testing.assert_close(
        landscape.curvature(torch.ones(3, 3, dtype=torch.float64), directions),
        matrix,
        rtol=1e-7,
        atol=1e-9,
    )
    assert torch.equal(
        landscape.curvature(landscape.centre, torch.zeros(3, dtype=torch.float64)),
        torch.zeros(3, dtype=torch.float64),
    )
