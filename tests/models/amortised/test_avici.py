"""AVICI is the reference: an independent forward pass, its symmetries, its size, its loss, and a
spectral radius that keeps its bounds."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from causal_meta.conf.models import AviciConfig
from causal_meta.models import AviciModel, ModelFactory
from causal_meta.models.amortised.avici import SHIFT, absolute_correlations, spectral_radius
from causal_meta.posteriors import pair_mask
from causal_meta.tasks import TaskBatch, full_batch

torch.set_num_threads(1)
SMALL = AviciConfig(dim=16, n_pairs=2, n_heads=2, key_size=6, dropout=0.1)


def model(config=SMALL, seed=0, spread=0.1):
    made = ModelFactory.build(config, seed)
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        # away from the start, where affine maps and biases do nothing
        for parameter in made.parameters():
            parameter += spread * torch.randn(parameter.shape, generator=generator)
    return made.eval()


def batch_of(tasks=2, rows=9, nodes=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(tasks, rows, nodes, generator=generator)
    adjacency = (torch.rand(tasks, nodes, nodes, generator=generator) < 0.4).float().triu(1)
    batch = full_batch(x, adjacency, range(tasks)).standardised()
    return replace(batch, intervened=torch.rand(x.shape, generator=generator) < 0.2)


# --- the function


def numpy_forward(m: AviciModel, batch: TaskBatch) -> np.ndarray:
    """The network of the paper, written again with loops over tasks and heads, unfolded layer
    norms, in float64."""
    p = {name: value.detach().double().numpy() for name, value in m.state_dict().items()}
    c = m.settings

    def norm(x, name):
        centred = x - x.mean(-1, keepdims=True)
        return (
            centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * p[f"{name}.weight"]
            + p[f"{name}.bias"]
        )

    def linear(x, name):
        return np.einsum("...i,oi->...o", x, p[f"{name}.weight"]) + p[f"{name}.bias"]

    logits = []
    for b in range(len(batch)):
        # [N, D, C]
        z = linear(
            np.stack([batch.x[b].double().numpy(), batch.intervened[b].double().numpy()], -1),
            "embed",
        )
        for number in range(2 * c.n_pairs):
            name = f"blocks.{number}"
            q, k, v = (
                linear(norm(z, f"{name}.{part}_norm"), f"{name}.{part}").reshape(
                    *z.shape[:2], c.n_heads, -1
                )
                for part in ("query", "key", "value")
            )
            heads = []
            for h in range(c.n_heads):
                scores = np.einsum("sik,sjk->sij", q[:, :, h], k[:, :, h]) / np.sqrt(c.key_size)
                weights = np.exp(scores - scores.max(-1, keepdims=True))
                heads.append(
                    np.einsum("sij,sjk->sik", weights / weights.sum(-1, keepdims=True), v[:, :, h])
                )
            z = z + linear(np.concatenate(heads, -1), f"{name}.attended")
            z = z + linear(
                np.maximum(linear(norm(z, f"{name}.feed_norm"), f"{name}.widen"), 0),
                f"{name}.narrow",
            )
            z = z.swapaxes(0, 1)
        pooled = norm(z, "final_norm").max(0)
        u, v = (
            linear(norm(pooled, "cause_norm"), "cause"),
            linear(norm(pooled, "effect_norm"), "effect"),
        )
        u, v = (a / np.linalg.norm(a, axis=-1, keepdims=True) for a in (u, v))
        logits.append(np.exp(p["temperature"]) * (u @ v.T) + p["bias"])
    return np.array(logits)


@pytest.mark.parametrize("shape", [(2, 9, 5), (1, 40, 3), (3, 1, 2)])
def test_forward_equals_an_independent_one(shape):
    """In float32 to 1e-5, relative to the range of the logits; in float64 to rounding."""
    m, batch = model(), batch_of(*shape)
    expected = numpy_forward(m, batch)
    assert np.abs(m(batch).detach().numpy() - expected).max() < 1e-5 * max(
        1.0, np.abs(expected).max()
    )
    double = m.double()
    assert np.abs(double(batch).detach().numpy() - expected).max() < 1e-11


@pytest.mark.parametrize("seed", range(2))
def test_forward_at_the_papers_size(seed):
    m, batch = model(AviciConfig(), seed, spread=0.0), batch_of(1, 12, 4, seed)
    expected = numpy_forward(m, batch)
    assert np.abs(m(batch).detach().numpy() - expected).max() < 1e-5 * np.abs(expected).max()


def test_the_forward_law_rejects_rows_before_variables():
    m, batch = model().double(), batch_of()
    for block in m.blocks:
        block.axis = "rows" if block.axis == "variables" else "variables"
    assert np.abs(m(batch).detach().numpy() - numpy_forward(m, batch)).max() > 1e-3


def test_size_of_the_paper():
    assert sum(p.numel() for p in AviciModel(AviciConfig()).parameters()) == 4_269_442
    assert sum(p.numel() for p in AviciModel(AviciConfig()).blocks[0].parameters()) == 264_704


def test_the_start():
    """Logits lie between b - exp(tau) and b + exp(tau); biases are 0; weights have the stated
    variance within 5 %."""
    m = ModelFactory.build(AviciConfig(), 3)
    logits = m(batch_of(2, 20, 6))
    assert logits.min() >= -3 - math.exp(2)
    assert logits.max() <= -3 + math.exp(2)
    for name, variance in (
        ("embed", 1 / 2),
        ("blocks.3.query", 2 / 128),
        ("blocks.4.narrow", 2 / 512),
        ("cause", 2 / 128),
    ):
        layer = m.get_submodule(name)
        assert not layer.bias.any()
        assert float(layer.weight.detach().var()) == pytest.approx(
            variance, rel=0.05 if name != "embed" else 0.3
        )


def test_half_precision_stays_near_and_keeps_the_residual_stream():
    """Under bf16 autocast the blocks pass float32 on, and the logits move by at most 3 % of their
    range."""
    m, batch, dtypes = model(), batch_of(), []
    for block in m.blocks:
        block.register_forward_hook(
            lambda module, inputs, output: dtypes.append((inputs[0].dtype, output.dtype))
        )
    exact = m(batch)
    with torch.autocast("cpu", torch.bfloat16):
        near = m(batch)
        loss, _ = m.calculate_loss(near, batch)
    assert near.dtype == loss.dtype == torch.float32
    assert set(dtypes) == {(torch.float32, torch.float32)}
    assert 0 < (near - exact).abs().max() < 0.03 * 2 * math.exp(float(m.temperature.detach()))


# --- symmetries and masks


def test_permuting_variables_permutes_the_logits():
    m, batch = model().double(), batch_of(nodes=6)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(5))
    moved = replace(batch, x=batch.x[:, :, order], intervened=batch.intervened[:, :, order])
    torch.testing.assert_close(m(moved), m(batch)[:, order][:, :, order], rtol=0, atol=1e-11)


def test_permuting_rows_changes_nothing():
    m, batch = model().double(), batch_of(rows=30)
    order = torch.randperm(30, generator=torch.Generator().manual_seed(5))
    moved = replace(batch, x=batch.x[:, order], intervened=batch.intervened[:, order])
    torch.testing.assert_close(m(moved), m(batch), rtol=0, atol=1e-11)


def padded(batch, rows, nodes, garbage):
    """The batch with further rows and variables that are masked and hold garbage."""
    tasks, n, d = batch.x.shape
    x = garbage * torch.randn(tasks, rows, nodes, generator=torch.Generator().manual_seed(9))
    adjacency, intervened = (
        torch.zeros(tasks, nodes, nodes),
        torch.ones(tasks, rows, nodes, dtype=torch.bool),
    )
    x[:, :n, :d], adjacency[:, :d, :d], intervened[:, :n, :d] = (
        batch.x,
        batch.adjacency,
        batch.intervened,
    )
    node_mask, row_mask = (torch.arange(size) < real for size, real in ((nodes, d), (rows, n)))
    return TaskBatch(
        x,
        adjacency,
        intervened,
        node_mask.expand(tasks, -1),
        row_mask.expand(tasks, -1),
        batch.seeds,
    )


@pytest.mark.parametrize(("rows", "nodes"), [(9, 8), (13, 5), (13, 8)])
def test_padding_changes_nothing(rows, nodes):
    m, batch = model().double(), batch_of()
    wide = padded(batch, rows, nodes, 100.0)
    torch.testing.assert_close(m(wide)[:, :5, :5], m(batch), rtol=0, atol=1e-10)
    torch.testing.assert_close(
        m.calculate_loss(m(wide), wide)[0], m.calculate_loss(m(batch), batch)[0], rtol=1e-10, atol=0
    )
    unmasked = replace(
        wide, node_mask=torch.ones_like(wide.node_mask), row_mask=torch.ones_like(wide.row_mask)
    )
    assert (m(unmasked)[:, :5, :5] - m(batch)).abs().max() > 1e-3  # so the masks are what did it


def test_gradients_under_padding_are_those_without():
    m, batch = model().double().train(), batch_of()
    gradients = []
    for each in (batch, padded(batch, 13, 8, 100.0)):
        m.zero_grad()
        for block in m.blocks:
            block.dropout = 0.0
        m.calculate_loss(m(each), each)[0].backward()
        gradients.append([p.grad.clone() for p in m.parameters()])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-11)


def test_tasks_of_a_padded_batch_do_not_touch_each_other():
    m, small, large = model().double(), batch_of(1, 6, 3, 1), batch_of(1, 11, 7, 2)
    both = padded(small, 11, 7, 10.0)
    mixed = TaskBatch(
        *(
            torch.cat((getattr(both, f), getattr(large, f)))
            for f in ("x", "adjacency", "intervened", "node_mask", "row_mask", "seeds")
        )
    )
    torch.testing.assert_close(m(mixed)[0, :3, :3], m(small)[0], rtol=0, atol=1e-10)
    torch.testing.assert_close(m(mixed)[1], m(large)[0], rtol=0, atol=1e-10)


# --- loss and training


def test_loss_by_hand():
    m, batch = model().train(), batch_of(tasks=3)
    m.penalty_weight.fill_(0.7)
    logits = m(batch)
    loss, parts = m.calculate_loss(logits, batch)
    p = 1 / (1 + np.exp(-logits.detach().double().numpy()))
    y, off = batch.adjacency.numpy(), ~np.eye(5, dtype=bool)
    bce = -np.mean(
        [np.where(y[b] == 1, np.log(p[b]), np.log1p(-p[b]))[off].sum() / 20 for b in range(3)]
    )
    radius = np.mean([np.abs(np.linalg.eigvals(p[b] * off)).max() for b in range(3)])
    assert float(parts["bce"]) == pytest.approx(bce, rel=1e-5)
    assert float(parts["penalty"]) == pytest.approx(radius, rel=1e-5)
    assert float(loss.detach()) == pytest.approx(bce + 0.7 * radius, rel=1e-5)
    assert float(m.penalty_latest) == float(parts["penalty"])
    with pytest.raises(ValueError, match="no adjacency"):
        m.calculate_loss(logits, batch.without_truth())


@pytest.mark.parametrize("checkpointed", [False, True])
def test_a_gradient_reaches_every_parameter(checkpointed):
    """But for the keys' shifts, which softmax cannot see: there it is rounding alone."""
    m, batch = model(replace(SMALL, checkpoint_blocks=checkpointed)).double().train(), batch_of()
    m.penalty_weight.fill_(0.5)
    m.calculate_loss(m(batch), batch)[0].backward()
    for name, parameter in m.named_parameters():
        assert parameter.grad is not None, name
        unseen = ".key.bias" in name or "key_norm.bias" in name
        assert (parameter.grad.abs().max() > 1e-9) != unseen, name


def test_checkpointing_changes_nothing_but_memory():
    batch, results = batch_of(), []
    for checkpointed in (False, True):
        m = model(replace(SMALL, checkpoint_blocks=checkpointed)).train()
        with torch.random.fork_rng(devices=[]):
            # dropout is drawn again in the backward pass, and must be the same
            torch.manual_seed(3)
            m.calculate_loss(m(batch), batch)[0].backward()
        results.append([p.grad for p in m.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_the_loss_falls_below_that_of_the_density():
    """Trained on one batch, the model learns it: far below the entropy of guessing every edge with
    the density."""
    m, batch = (
        ModelFactory.build(replace(SMALL, dropout=0.0), 0).train(),
        batch_of(tasks=4, rows=20),
    )
    optimizer = torch.optim.Adam(m.parameters(), 3e-3)
    for _ in range(80):
        loss, _ = m.calculate_loss(m(batch), batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    density = float(batch.adjacency[pair_mask(batch.node_mask)].mean())
    guess = -(density * math.log(density) + (1 - density) * math.log(1 - density))
    assert float(loss.detach()) < 0.5 * guess


def test_dual_ascent():
    """lambda and the average of h, step by step, against the recurrence with numbers of its own."""
    config = replace(
        SMALL,
        penalty_lr=0.1,
        penalty_every_n_steps=5,
        penalty_average_rate=0.3,
        penalty_warmup_steps=20,
    )
    m, batch = model(config).train(), batch_of()
    weight, average, heights = 0.0, None, np.random.default_rng(0).uniform(0, 2, 40)
    for step, h in enumerate(heights, start=1):
        m.penalty_latest.fill_(h)
        m.after_step(step)
        average = h if average is None else 0.7 * average + 0.3 * h
        if step % 5 == 0:
            weight += 0.1 * min(1, step / 20) * average
        assert float(m.penalty_average) == pytest.approx(average, rel=1e-5)
        assert float(m.penalty_weight) == pytest.approx(weight, rel=1e-5, abs=1e-12)
    kept = {name: value.clone() for name, value in m.state_dict().items()}
    other = AviciModel(config)
    other.load_state_dict(kept)
    # the state travels in the buffers
    assert float(other.penalty_weight) == float(m.penalty_weight)
    m.eval()
    m.calculate_loss(m(batch), batch)
    # validation does not disturb it
    assert float(m.penalty_latest) == float(kept["penalty_latest"])


# --- the spectral radius


D = 20


# --- dependence before edges


def test_absolute_correlations_are_those_of_the_real_rows():
    batch = batch_of(tasks=2, rows=30, nodes=4)
    wide = padded(batch, 37, 6, garbage=1e3)
    correlations = absolute_correlations(wide)
    for b in range(2):
        expected = np.abs(np.corrcoef(batch.x[b].double().numpy().T))
        np.testing.assert_allclose(correlations[b, :4, :4].numpy(), expected, atol=1e-5)
    assert not correlations[:, 4:].any()
    assert not correlations[:, :, 4:].any()
    # another task's are refused
    assert not np.allclose(correlations[0, :4, :4].numpy(), expected, atol=1e-3)


def test_the_first_steps_learn_dependence_and_the_others_edges():
    m, batch = (
        ModelFactory.build(
            replace(
                SMALL,
                dependence_steps=3,
                dropout=0.0,
                penalty_every_n_steps=1,
                penalty_warmup_steps=0,
            ),
            0,
        ),
        batch_of(),
    )
    other = replace(batch, adjacency=1 - batch.adjacency)

    def losses():
        return [float(m.calculate_loss(m(b), b)[0].detach()) for b in (batch, other)]

    m.eval()
    assert losses()[0] != pytest.approx(losses()[1])  # validation always looks at the edges
    m.train()
    pairs, target = pair_mask(batch.node_mask), absolute_correlations(batch)
    logits = m(batch)
    by_hand = torch.nn.functional.binary_cross_entropy_with_logits(
        logits[pairs], target[pairs]
    ).detach()
    for step in range(1, 4):
        first, second = losses()
        assert first == pytest.approx(second, abs=1e-7)
        assert first == pytest.approx(float(by_hand), abs=1e-6)
        m.after_step(step)
        assert float(m.penalty_weight) == 0
    assert losses()[0] != pytest.approx(losses()[1])
    _, parts = m.calculate_loss(m(batch), batch)
    m.after_step(4)
    # the average begins where the edges begin
    assert float(m.penalty_average) == pytest.approx(float(parts["penalty"]))
    assert float(m.penalty_weight) == pytest.approx(m.settings.penalty_lr * float(parts["penalty"]))


def dags(n, cyclic, seed):
    rng = np.random.default_rng(seed)
    matrices = np.triu(rng.random((n, D, D)) < 0.2, 1) * rng.uniform(0.3, 1, (n, D, D))
    for matrix in matrices:
        i, j, k = sorted(rng.choice(D, 3, replace=False))
        if cyclic:
            matrix[i, j], matrix[j, k], matrix[k, i] = rng.uniform(0.5, 1, 3)
        order = rng.permutation(D)
        matrix[:] = matrix[order][:, order]
    return matrices


def no_loops(matrices):
    return np.where(np.eye(D) > 0, 0, matrices)


def matrices(name, n=1000, seed=0):
    rng = np.random.default_rng(seed + 100)
    return {
        "random": lambda: no_loops(rng.random((n, D, D))),
        "trained": lambda: dags(n, False, seed) + 1e-4 * no_loops(rng.random((n, D, D))),
        "one 3-cycle": lambda: dags(n, True, seed),
        "acyclic": lambda: dags(n, False, seed),
    }[name]()


def reference_radius(w, iterations=10, seed=0):
    """The estimate of the paper's code: normally distributed starts, no shift."""
    rng = np.random.default_rng(seed)
    u, v = rng.standard_normal((2, len(w), D))
    for _ in range(iterations):
        v, u = np.einsum("bij,bj->bi", w, v), np.einsum("bij,bi->bj", w, u)
        v, u = (
            v / np.linalg.norm(v, axis=-1, keepdims=True),
            u / np.linalg.norm(u, axis=-1, keepdims=True),
        )
    return np.einsum("bi,bij,bj->b", u, w, v) / (u * v).sum(-1)


def within(estimate, w):
    """The share of estimates within 5 % of the largest absolute eigenvalue."""
    truth = np.abs(np.linalg.eigvals(w)).max(-1)
    return float((np.abs(estimate - truth) <= 0.05 * truth).mean())


def ours(w, iterations=10):
    return spectral_radius(torch.from_numpy(w), iterations).numpy()


@pytest.mark.parametrize("name", ["random", "trained", "one 3-cycle"])
def test_the_radius_is_right(name):
    """1,000 matrices of each class: all within 5 % (in fact within 1e-6 relative), also transposed
    and on another scale."""
    w = matrices(name)
    truth = np.abs(np.linalg.eigvals(w)).max(-1)
    assert within(ours(w), w) == 1.0
    np.testing.assert_allclose(ours(w), truth, rtol=1e-6)
    np.testing.assert_allclose(ours(w.swapaxes(1, 2)), truth, rtol=1e-6)
    np.testing.assert_allclose(ours(0.5 * w), 0.5 * truth, rtol=1e-3)


def test_the_radius_of_an_acyclic_matrix_keeps_its_bound():
    """0 <= h <= shift l / (2 n - l + 1) with n = 2^iterations and l <= D - 1 the longest path."""
    w = matrices("acyclic")
    for iterations in (5, 10):
        estimate = ours(w, iterations)
        assert (estimate >= 0).all()
        assert (estimate <= SHIFT * (D - 1) / (2 * 2**iterations - D + 2)).all()
    assert ours(w).max() < 1e-3


@pytest.mark.parametrize("name", ["trained", "one 3-cycle"])
def test_the_law_rejects_normal_starts_without_a_shift(name):
    estimate = reference_radius(matrices(name))
    assert within(estimate, matrices(name)) < 0.5
    assert estimate.min() < 0


@pytest.mark.parametrize("name", ["random", "trained", "one 3-cycle", "acyclic"])
@pytest.mark.parametrize("scale", [1.0, 1e-3, 0.0])
def test_the_radius_is_bounded(name, scale):
    """Never negative, never above the largest row or column sum, never NaN: so the loss is
    bounded."""
    w = scale * matrices(name)
    estimate = ours(w)
    assert (estimate >= 0).all()
    assert (estimate <= np.minimum(w.sum(-1).max(-1), w.sum(-2).max(-1)) * (1 + 1e-9) + 1e-12).all()


@pytest.mark.parametrize("nodes", [1, 2, 3, 100, 300])
def test_any_number_of_variables(nodes):
    full = torch.ones(1, nodes, nodes, dtype=torch.float64)
    # the longest path there is, through all variables
    assert float(spectral_radius(full.triu(1), 10)) <= SHIFT * nodes
    assert float(spectral_radius(full - torch.eye(nodes), 10)) == pytest.approx(nodes - 1)
    assert float(spectral_radius(torch.zeros(1, nodes, nodes), 10)) == 0


@pytest.mark.parametrize("name", ["random", "trained", "one 3-cycle"])
def test_the_gradient_is_that_of_the_radius(name):
    """Against the eigenvectors: d rho / d W = u v' / (u' v)."""
    w = matrices(name, n=20)
    matrix = torch.from_numpy(w).requires_grad_()
    spectral_radius(matrix, 10).sum().backward()
    for one, gradient in zip(w, matrix.grad.numpy(), strict=True):
        values, right = np.linalg.eig(one)
        at = np.argmax(values.real)
        values_left, left = np.linalg.eig(one.T)
        u, v = left[:, np.argmax(values_left.real)].real, right[:, at].real
        np.testing.assert_allclose(
            gradient, np.outer(u, v) / (u @ v), rtol=1e-4, atol=1e-8 * np.abs(gradient).max()
        )


@pytest.mark.parametrize("certainty", [5.0, 20.0, 80.0])
def test_the_gradient_to_the_logits_is_bounded(certainty):
    """The logits of a nearly certain acyclic graph: gradients are finite, nonnegative and sum to at
    most h per task."""
    m = model().train()
    logits = (
        torch.where(torch.from_numpy(matrices("acyclic", 50) > 0), certainty, -certainty)
        .float()
        .requires_grad_()
    )
    batch = full_batch(torch.zeros(50, 2, D), torch.zeros(50, D, D), range(50))
    m.penalty_weight.fill_(1.0)
    with_penalty, parts = m.calculate_loss(logits, batch)
    (a,) = torch.autograd.grad(with_penalty, logits)
    m.penalty_weight.fill_(0.0)
    (b,) = torch.autograd.grad(m.calculate_loss(logits, batch)[0], logits)
    assert torch.isfinite(a).all()
    assert float((a - b).abs().sum()) <= float(parts["penalty"]) + 1e-4
