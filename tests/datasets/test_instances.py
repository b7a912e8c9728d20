"""One structural causal model: interventions in closed form, counterfactuals, densities and
metadata.

Statistical bounds are 5 standard errors over at most 27 entries with fixed seeds: false alarms
below 2e-5 for each comparison of moments.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
import torch

from causal_meta import graphs, randomness
from causal_meta.conf.convert import from_plain
from causal_meta.conf.data import FamilyConfig
from causal_meta.conf.graph_laws import ErdosRenyi
from causal_meta.conf.interventions import InterventionConfig
from causal_meta.conf.mechanism_laws import MLP, RFF, LinearHeteroskedastic, MechanismPart
from causal_meta.conf.noise_laws import GaussianNoise, LaplaceNoise, NoiseMixture, NoisePart
from causal_meta.conf.ranges import fixed
from causal_meta.datasets.instances import linear_model
from causal_meta.datasets.scm import SCMFamily

GAUSSIAN_TEST = (
    Path(__file__).parents[3] / "shared" / "data" / "gaussian_test" / "gaussian.test.npz"
)
LINEAR = {
    "linear": MechanismPart(
        mechanism=LinearHeteroskedastic(weight_law="uniform_sign", bias_bound=2.0)
    )
}
FEATURES = {"rff": MechanismPart(mechanism=RFF(n_features=20))}
HETEROSKEDASTIC = {"rff": MechanismPart(mechanism=RFF(n_features=20, heteroskedastic=True))}
NETWORK = {"mlp": MechanismPart(mechanism=MLP())}
NOISES = NoiseMixture(
    parts={"g": NoisePart(noise=GaussianNoise()), "l": NoisePart(noise=LaplaceNoise())}
)
DENSE = ErdosRenyi(edges_per_node=1.5)
N = 60_000


def instance_of(mechanisms, seed=0, n_nodes=6, noise=None, **settings):
    config = FamilyConfig(
        mechanisms=mechanisms,
        graph=DENSE,
        n_nodes=fixed(n_nodes),
        noise=noise or GaussianNoise(),
        **settings,
    )
    return SCMFamily(config).sample_task(seed)


def coefficients(instance):
    """Weights [D, D], biases [D] and noise standard deviations [D] of a linear model, in
    float64."""
    adjacency = instance.adjacency_matrix.numpy()
    weights, bias, std = (
        np.zeros(adjacency.shape),
        np.zeros(len(adjacency)),
        np.zeros(len(adjacency)),
    )
    for j, mechanism in enumerate(instance.mechanisms):
        parents = np.nonzero(adjacency[:, j])[0]
        weights[parents, j] = mechanism.parameters["weight"].double().numpy()[: len(parents)]
        bias[j], std[j] = (
            float(mechanism.parameters["bias"]),
            float(mechanism.parameters["noise_std"]),
        )
    return weights, bias, std


def moments(weights, bias, std):
    total = np.linalg.inv(np.eye(len(weights)) - weights)
    return bias @ total, total.T @ np.diag(std**2) @ total


def mutilated(weights, bias, std, changes):
    """Coefficients after do: incoming weights and noise of the targets gone, the value as their
    constant."""
    weights, bias, std = weights.copy(), bias.copy(), std.copy()
    for j, value in changes.items():
        weights[:, j], bias[j], std[j] = 0, value, 0
    return weights, bias, std


def fits(x, mean, covariance):
    x = x.double().numpy()
    variance = np.diag(covariance)
    error = np.sqrt((np.outer(variance, variance) + covariance**2) / len(x))
    close = np.abs(np.cov(x.T, bias=True) - covariance) <= 5 * error + 1e-6
    return close.all() and (np.abs(x.mean(0) - mean) <= 5 * np.sqrt(variance / len(x)) + 1e-5).all()


class TestLinearInterventions:
    @pytest.mark.parametrize("changes", [{0: 2.0}, {3: -1.5}, {1: 1.0, 4: -2.0, 5: 0.0}], ids=str)
    @pytest.mark.parametrize("seed", [1, 2])
    def test_do_in_closed_form(self, changes, seed):
        """The check refuses the observational law, conditioning instead of doing, and a shift by
        the same numbers."""
        instance = instance_of(LINEAR, seed)
        linear = coefficients(instance)
        changed = instance.do(list(changes), list(changes.values()))
        x = changed.sample(N, seed=1)
        assert fits(x, *moments(*mutilated(*linear, changes)))
        mean, covariance = moments(*linear)
        assert not fits(x, mean, covariance)
        shifted = linear[1] + np.array([changes.get(j, 0.0) for j in range(6)])
        assert not fits(x, *moments(linear[0], shifted, linear[2]))
        targets = list(changes)
        assert not changed.adjacency_matrix[:, targets].any()
        kept = [j for j in range(6) if j not in changes]
        assert torch.equal(changed.adjacency_matrix[:, kept], instance.adjacency_matrix[:, kept])
        assert torch.equal(x[:, targets], torch.tensor(list(changes.values())).expand(N, -1))

    @pytest.mark.parametrize("changes", [{0: 2.0}, {1: 1.0, 4: -2.0}], ids=str)
    def test_shift_in_closed_form(self, changes):
        instance = instance_of(LINEAR, 3)
        weights, bias, std = coefficients(instance)
        shifted = bias + np.array([changes.get(j, 0.0) for j in range(6)])
        changed = instance.shift(list(changes), list(changes.values()))
        x = changed.sample(N, seed=1)
        assert fits(x, *moments(weights, shifted, std))
        assert not fits(x, *moments(weights, bias, std))
        assert not fits(x, *moments(*mutilated(weights, bias, std, changes)))
        assert torch.equal(changed.adjacency_matrix, instance.adjacency_matrix)

    def test_a_shift_moves_every_row_by_its_total_effect(self):
        """Without statistics, since the noise is shared."""
        instance = instance_of(LINEAR, 4)
        weights, _, _ = coefficients(instance)
        total = np.linalg.inv(np.eye(6) - weights)
        for j in range(6):
            moved = (instance.shift(j, 1.5).sample(20) - instance.sample(20)).double().numpy()
            np.testing.assert_allclose(moved, np.tile(1.5 * total[j], (20, 1)), atol=2e-4)

    @pytest.mark.skipif(
        not GAUSSIAN_TEST.exists(), reason="the benchmark's samples are not at hand"
    )
    def test_a_published_network_and_its_interventional_rows(self):
        """100 rows of each do(x_t = mean + 2 sd) that were drawn elsewhere: their moments, and
        their density under the right model is the highest."""
        with np.load(GAUSSIAN_TEST) as file:
            arrays = {name: file[name] for name in file.files if file[name].dtype.kind in "fi"}
        model = linear_model(
            *(torch.tensor(arrays[name]) for name in ("weights", "intercept", "noise_sd"))
        )
        assert torch.equal(
            model.adjacency_matrix, torch.tensor(arrays["adjacency"], dtype=torch.float32)
        )
        assert fits(
            torch.tensor(arrays["X"]),
            *moments(arrays["weights"], arrays["intercept"], arrays["noise_sd"]),
        )
        for target, value, rows in zip(
            arrays["int_targets"].tolist(),
            arrays["int_values"].tolist(),
            arrays["X_int"],
            strict=True,
        ):
            changed = model.do(target, value)
            x = torch.tensor(rows)
            assert fits(
                x,
                *moments(
                    *mutilated(
                        arrays["weights"], arrays["intercept"], arrays["noise_sd"], {target: value}
                    )
                ),
            )
            if graphs.ancestors(model.adjacency_matrix)[target].any():
                assert not fits(
                    x,
                    *moments(
                        *mutilated(
                            arrays["weights"],
                            arrays["intercept"],
                            arrays["noise_sd"],
                            {target: value + 3},
                        )
                    ),
                )
            unit = changed.sample(100).double().mean() - x.double().mean()
            assert abs(float(unit)) < 2.0


class TestAnyMechanism:
    @pytest.mark.parametrize("mode", ["none", "values", "inputs"])
    @pytest.mark.parametrize(
        "mechanisms",
        [LINEAR, FEATURES, NETWORK, LINEAR | NETWORK],
        ids=["linear", "rff", "mlp", "mixed"],
    )
    def test_rows_of_the_changed_model_by_hand(self, mechanisms, mode):
        """Ancestral sampling from the public parts of the changed model, which keeps the constants
        of standardising inside; variables that are no effect of a target keep their bits."""
        for seed in range(3):
            instance = instance_of(mechanisms, seed, internal_standardising=mode)
            changed = instance.do(2, 1.25).shift([0, 4], [0.5, -1.0])
            noise, x = changed.noise(30), torch.zeros(30, 6)
            assert torch.equal(noise, instance.noise(30))
            for j in changed.topological_order:
                x[:, j] = changed.mechanisms[j](
                    x[:, changed.adjacency_matrix[:, j] != 0], noise[:, j]
                )
            rows, plain = changed.sample(30), instance.sample(30)
            torch.testing.assert_close(rows, x, rtol=0, atol=2e-5 * float(x.abs().max()))
            reached = graphs.ancestors(changed.adjacency_matrix)[[0, 2, 4]].any(dim=0)
            reached[[0, 2, 4]] = True
            assert torch.equal(rows[:, ~reached], plain[:, ~reached])
            assert not torch.allclose(rows[:, reached], plain[:, reached], atol=1e-3)

    def test_standardising_inside_keeps_the_observational_constants(self):
        """A model standardised over the changed rows would give every effect of a far target mean 0
        and variance 1 again."""
        weights = LinearHeteroskedastic(weight_law="uniform_sign", weight_low=1.0)
        instance = instance_of(
            {"linear": MechanismPart(mechanism=weights)}, 3, internal_standardising="values"
        )
        root = instance.topological_order[0]
        effects = torch.nonzero(graphs.ancestors(instance.adjacency_matrix)[root])[:, 0]
        assert len(effects)
        plain, x = instance.sample(2000), instance.do(root, 10.0).sample(2000)
        assert (plain[:, effects].mean(dim=0).abs() < 0.3).all()
        assert (x[:, effects].mean(dim=0).abs() > 1).any()

    def test_interventions_follow_one_another(self):
        instance = instance_of(FEATURES, 1)
        assert torch.equal(instance.do(1, 5.0).do(1, 2.0).sample(9), instance.do(1, 2.0).sample(9))
        assert torch.equal(
            instance.shift(1, 5.0).do(1, 2.0).sample(9), instance.do(1, 2.0).sample(9)
        )
        assert torch.equal(
            instance.do(1, 2.0).shift(1, 1.0).sample(9), instance.do(1, 3.0).sample(9)
        )
        assert torch.equal(
            instance.shift(1, 2.0).shift(1, 1.0).sample(9), instance.shift(1, 3.0).sample(9)
        )
        assert torch.equal(
            instance.do([1, 3], 2.0).sample(9), instance.do(3, 2.0).do(1, 2.0).sample(9)
        )
        assert torch.equal(instance.shift(1, 0.0).sample(9), instance.sample(9))
        assert not instance.changes, "the model itself is as it was"
        for variables in (np.int64(3), torch.tensor(3), np.array([3]), torch.tensor([3])):
            assert torch.equal(instance.do(variables, 2.0).sample(9), instance.do(3, 2.0).sample(9))

    def test_values_by_row(self):
        instance = instance_of(NETWORK, 2)
        values = torch.linspace(-1, 1, 12)
        by_row, pairs = (
            instance.do(3, values).sample(12),
            instance.do([3, 0], torch.stack((values, values.flip(0)), dim=1)).sample(12),
        )
        for r in range(12):
            torch.testing.assert_close(
                by_row[r], instance.do(3, float(values[r])).sample(12)[r], rtol=0, atol=1e-5
            )
            torch.testing.assert_close(
                pairs[r],
                instance.do([0, 3], [float(-values[r]), float(values[r])]).sample(12)[r],
                rtol=0,
                atol=1e-5,
            )


class TestCounterfactuals:
    @pytest.mark.parametrize(
        "mechanisms", [LINEAR, FEATURES, HETEROSKEDASTIC], ids=["linear", "rff", "heteroskedastic"]
    )
    def test_the_noise_comes_back(self, mechanisms):
        instance = instance_of(mechanisms, 5, noise=LaplaceNoise())
        noise = instance.abduct(instance.sample(50))
        torch.testing.assert_close(noise, instance.noise(50), rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(
            instance.rows_of(noise), instance.sample(50), rtol=1e-4, atol=1e-4
        )

    @pytest.mark.parametrize(
        "mechanisms", [LINEAR, FEATURES, HETEROSKEDASTIC], ids=["linear", "rff", "heteroskedastic"]
    )
    def test_setting_a_variable_to_its_observed_value_changes_nothing(self, mechanisms):
        instance = instance_of(mechanisms, 6)
        rows = instance.sample(40)
        for j in range(6):
            torch.testing.assert_close(
                instance.counterfactual(rows, do={j: rows[:, j]}), rows, rtol=1e-4, atol=1e-4
            )
            other = instance.counterfactual(rows, do={j: rows[:, j] + 1})
            assert not torch.allclose(other, rows, atol=1e-2), "and doing something else does"

    def test_recovered_noise_and_shared_seeds_agree(self):
        instance = instance_of(FEATURES, 7)
        changed = instance.do(0, 2.0).shift(3, -1.0)
        rows = instance.counterfactual(instance.sample(40, seed=2), do={0: 2.0}, shift={3: -1.0})
        torch.testing.assert_close(rows, changed.sample(40, seed=2), rtol=1e-4, atol=1e-3)
        assert not torch.allclose(rows, changed.sample(40, seed=3), atol=1e-1)

    def test_networks_hide_their_noise(self):
        instance = instance_of(NETWORK, 1)
        for call in (
            instance.abduct,
            instance.log_prob,
            lambda rows: instance.counterfactual(rows, do={0: 1.0}),
        ):
            with pytest.raises(
                ValueError, match=r"noise of the mechanism 'mlp' .* is not additive"
            ):
                call(instance.sample(5))


class TestDensity:
    @pytest.mark.parametrize("seed", range(3))
    def test_linear_gaussian_rows_are_multivariate_normal(self, seed):
        """The check refuses the density of reversed edges."""
        instance = instance_of(LINEAR, seed)
        rows = instance.sample(50)
        mean, covariance = moments(*coefficients(instance))
        expected = scipy.stats.multivariate_normal(mean, covariance).logpdf(rows.double().numpy())
        np.testing.assert_allclose(instance.log_prob(rows).numpy(), expected, rtol=1e-4, atol=1e-3)
        weights, bias, std = coefficients(instance)
        wrong = scipy.stats.multivariate_normal(*moments(weights.T, bias, std)).logpdf(
            rows.double().numpy()
        )
        assert np.abs(wrong - expected).max() > 1

    def test_variables_that_are_set_drop_out(self):
        """p(x | do(x_t)) of the others, by multivariate normal; the same by a mask of cells; and a
        shift moves the density."""
        instance = instance_of(LINEAR, 3)
        linear = coefficients(instance)
        kept = [0, 1, 3, 4]
        rows = instance.do([2, 5], [1.0, -1.0]).sample(50)
        mean, covariance = moments(*mutilated(*linear, {2: 1.0, 5: -1.0}))
        expected = scipy.stats.multivariate_normal(
            mean[kept], covariance[np.ix_(kept, kept)]
        ).logpdf(rows[:, kept].double().numpy())
        np.testing.assert_allclose(
            instance.do([2, 5], 9.0).log_prob(rows).numpy(), expected, rtol=1e-4, atol=1e-3
        )
        mask = torch.zeros(50, 6, dtype=torch.bool)
        mask[:, [2, 5]] = True
        np.testing.assert_allclose(
            instance.log_prob(rows, mask).numpy(), expected, rtol=1e-4, atol=1e-3
        )
        assert np.abs(instance.log_prob(rows).numpy() - expected).max() > 1
        shifted = instance.shift(0, 4.0)
        moved = linear[1] + np.array([4.0, 0, 0, 0, 0, 0])
        rows = shifted.sample(50)
        expected = scipy.stats.multivariate_normal(*moments(linear[0], moved, linear[2])).logpdf(
            rows.double().numpy()
        )
        np.testing.assert_allclose(shifted.log_prob(rows).numpy(), expected, rtol=1e-4, atol=1e-3)

    @pytest.mark.parametrize(
        "mechanisms", [FEATURES, HETEROSKEDASTIC], ids=["rff", "heteroskedastic"]
    )
    def test_it_integrates_to_one(self, mechanisms):
        """Two variables on a grid, Gaussian or Laplace noise by seed; without the Jacobian of the
        scale it would not."""
        wrong = []
        for seed in range(2):
            config = FamilyConfig(
                mechanisms=mechanisms,
                graph=ErdosRenyi(edges_per_node=1.0),
                n_nodes=fixed(2),
                noise=NOISES,
            )
            instance = SCMFamily(config).sample_task(seed)
            mean, std = instance._batch.location_scale(torch.zeros(1, 1, 2, dtype=torch.float64))
            spread = float(std.max())
            ticks = [
                torch.linspace(-1, 1, 801, dtype=torch.float64) * (14 * spread + 40)
                + float(mean[0, 0, j])
                for j in range(2)
            ]
            points = torch.cartesian_prod(*ticks)
            density = instance.log_prob(points).exp().reshape(801, 801).numpy()
            mass = scipy.integrate.trapezoid(
                scipy.integrate.trapezoid(density, ticks[1].numpy()), ticks[0].numpy()
            )
            assert mass == pytest.approx(1.0, abs=2e-2)
            wrong.append(mass * float(std.prod()))
        assert max(abs(m - 1) for m in wrong) > 0.1

    def test_tables_with_interventions_have_a_density_too(self):
        instance = instance_of(FEATURES, 2, interventions=InterventionConfig())
        task = instance.table()
        assert torch.isfinite(instance.log_prob(task.x, task.intervened)).all()
        assert instance.log_prob(task.x, task.intervened).mean() > instance.log_prob(task.x).mean()


class TestBadCalls:
    @pytest.mark.parametrize(
        ("variables", "value", "words"),
        [
            (6, 1.0, "There is no variable 6; the model has the variables 0 to 5"),
            (-1, 1.0, "There is no variable -1"),
            ("x", 1.0, "There is no variable 'x'"),
            (True, 1.0, "There is no variable True"),
            ([0, 0], 1.0, "none twice"),
            ([], 1.0, "name at least one"),
            (0, float("nan"), "not a number"),
            ([0, 1], [1.0, float("inf")], "infinite"),
            ([0, 1], [1.0, 2.0, 3.0], r"shape \(3,\); give a number, 2 numbers"),
            (0, [[1.0, 2.0]], "give a number or one per row"),
            (0, [], "missing"),
            (0, "high", "value of an intervention is 'high'; give a number"),
            ([0, 1], [[1.0], [1.0, 2.0]], "equally long rows"),
            (None, 1.0, "There is no variable None"),
            (1.5, 1.0, "There is no variable 1.5"),
        ],
    )
    def test_interventions_that_make_no_sense(self, variables, value, words):
        instance = instance_of(LINEAR)
        for method in (instance.do, instance.shift):
            with pytest.raises(ValueError, match=words):
                method(variables, value)

    def test_rows_that_do_not_fit(self):
        instance = instance_of(LINEAR)
        with pytest.raises(ValueError, match="5 values for 7 rows"):
            instance.do(0, [1.0] * 5).sample(7)
        with pytest.raises(ValueError, match="different numbers of rows"):
            instance.do(0, [1.0] * 5).do(1, [1.0] * 4)
        with pytest.raises(ValueError, match=r"shape \(3, 5\); the model has 6 variables"):
            instance.log_prob(torch.zeros(3, 5))
        with pytest.raises(ValueError, match="missing or infinite"):
            instance.abduct(torch.full((3, 6), float("nan")))
        with pytest.raises(ValueError, match="one flag per cell"):
            instance.log_prob(torch.zeros(3, 6), torch.zeros(3, dtype=torch.bool))
        with pytest.raises(ValueError, match="needs an intervention"):
            instance.counterfactual(torch.zeros(3, 6))
        for call in (
            lambda: instance.do(0, 1.0).table(),
            lambda: instance.shift(0, 1.0).abduct(torch.zeros(3, 6)),
        ):
            with pytest.raises(ValueError, match="belongs to the model without interventions"):
                call()

    def test_linear_models_that_make_no_sense(self):
        one, cycle = torch.ones(2), torch.tensor([[0.0, 1.0], [1.0, 0.0]])
        with pytest.raises(ValueError, match="cycle"):
            linear_model(cycle, one, one)
        with pytest.raises(ValueError, match="above 0"):
            linear_model(torch.zeros(2, 2), one, torch.tensor([1.0, 0.0]))
        with pytest.raises(ValueError, match="give"):
            linear_model(torch.zeros(2, 3), one, one)


class TestWhatItSays:
    def test_metadata_is_complete_and_plain(self):
        config = InterventionConfig(targets=fixed(2), target_share=None)
        instance = instance_of(
            LINEAR | {"rff": MechanismPart(mechanism=RFF(n_features=50))}, 3, interventions=config
        )
        changed = instance.do(0, 1.0).shift(2, [0.5, 1.5])
        facts = json.loads(json.dumps(changed.metadata()))
        assert facts["changes"] == [
            {"variable": 0, "change": "do", "value": 1.0},
            {"variable": 2, "change": "shift", "value": [0.5, 1.5]},
        ]
        assert facts["intervention_targets"] == instance.intervention_targets
        assert len(instance.intervention_targets) == 2
        assert facts["nodes"][0]["parents"] == []
        assert [tuple(edge) for edge in facts["edges"]] == [
            tuple(edge) for edge in torch.nonzero(changed.adjacency_matrix).tolist()
        ]
        linear = [
            j for j, mechanism in enumerate(instance.mechanisms) if mechanism.name == "linear"
        ]
        for j in linear:
            assert facts["nodes"][j]["law"] == "linear"
            stated = torch.tensor(facts["nodes"][j]["parameters"]["noise_std"])
            assert torch.equal(stated, instance.mechanisms[j].parameters["noise_std"])
        wide = [node["parameters"] for node in facts["nodes"] if node["law"] == "rff"]
        assert wide
        assert any(
            isinstance(value, dict) and value["min"] <= value["mean"] <= value["max"]
            for node in wide
            for value in node.values()
        )

    def test_metadata_of_a_family(self):
        config = FamilyConfig(
            mechanisms=LINEAR | FEATURES, interventions=InterventionConfig(), n_nodes=fixed(5)
        )
        facts = json.loads(json.dumps(SCMFamily(config).metadata()))
        assert from_plain(FamilyConfig, facts["config"]) == config
        assert facts["mechanism_proportions"] == {"linear": 0.5, "rff": 0.5}
        assert facts["n_nodes"] == [5, 5]
        assert facts["interventions"]["change"] == "do"
        assert SCMFamily(FamilyConfig()).metadata()["interventions"] is None

    def test_a_linear_model_from_coefficients(self):
        weights = torch.tensor([[0.0, 2.0, 0.0], [0.0, 0.0, 0.0], [1.0, -1.0, 0.0]])
        model = linear_model(
            weights,
            torch.tensor([1.0, 0.0, 2.0]),
            torch.tensor([1.0, 0.5, 2.0]),
            noise=LaplaceNoise(),
            seed=4,
        )
        noise = model.noise(10)
        x2 = 2 + 2 * noise[:, 2]
        x0 = 1 + x2 + noise[:, 0]
        expected = torch.stack((x0, 2 * x0 - x2 + 0.5 * noise[:, 1], x2), dim=1)
        torch.testing.assert_close(model.sample(10), expected)
        assert torch.equal(noise, randomness.laplaces([4], ("noise",), (10, 3))[0])
