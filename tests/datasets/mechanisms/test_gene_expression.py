"""Gene expression: the steady state against exact laws and direct integration, knock-outs, counts,
one task in any company.

Statistical bounds are 5 standard errors (false alarms below 1e-6 each) plus the share by which a
finite step may be off: 1 % of a mean, 2 % of a variance, 0.01 of a correlation, which is what the
scheme of the original simulator has at its own step of 0.01.
"""

import math

import numpy as np
import pytest
import scipy.sparse
import scipy.sparse.linalg
import scipy.stats
import torch

from causal_meta import randomness
from causal_meta.conf.convert import from_plain, to_plain
from causal_meta.conf.data import FamilyConfig
from causal_meta.conf.gene_laws import GeneExpression, TechnicalNoiseConfig
from causal_meta.conf.graph_laws import ErdosRenyi, KnownGraph, ScaleFree
from causal_meta.conf.interventions import InterventionConfig
from causal_meta.conf.mechanism_laws import LinearHeteroskedastic, MechanismPart
from causal_meta.conf.noise_laws import LaplaceNoise
from causal_meta.conf.ranges import FloatRange, IntRange, constant, fixed
from causal_meta.conf.setting import ConfigError
from causal_meta.datasets.scm import SCMFamily

SEEDS = randomness.seeds_of(0, "genes", start=0, count=12)
KNOCK_OUTS = InterventionConfig(
    value_law="constant", value_mean=0.0, rows=fixed(20), row_share=None, row_order="shuffled"
)


def family(mechanism=None, **settings):
    parts = {"genes": MechanismPart(mechanism=mechanism or GeneExpression())}
    return SCMFamily(
        FamilyConfig(
            **(
                {
                    "graph": ScaleFree(),
                    "n_nodes": fixed(6),
                    "n_rows": fixed(50),
                    "mechanisms": parts,
                }
                | settings
            )
        )
    )


def simple(sign="activates", **settings):
    """One cell type, the same numbers for every gene, concentrations as they are."""
    beta = (1e3, 1e-3) if sign == "activates" else (1e-3, 1e3)
    same = {
        name: constant(value)
        for name, value in {
            "hill": 2,
            "decay": 0.8,
            "noise_amplitude": 1,
            "interaction": 4,
            "basal_rate": 2,
        }.items()
    }
    return GeneExpression(
        **(
            {
                "cell_types": 1,
                "activator_a": beta[0],
                "activator_b": beta[1],
                "technical_noise": None,
                "output": "expression",
            }
            | same
            | settings
        )
    )


def pair(mechanism):
    return family(mechanism, graph=KnownGraph(edges=("a -> b",)), n_nodes=fixed(2))


class TestUnregulated:
    def test_mean_is_rate_over_decay(self):
        """With little noise the boundary at 0 is out of reach, and mean and variance are P / l and
        q² P / l."""
        x = (
            family(simple(noise_amplitude=constant(0.1)), graph=ErdosRenyi(edges_per_node=0.0))
            .sample_task(1)
            .sample(20_000)
            .double()
        )
        error = math.sqrt(0.01 * 2.5 / x.numel())
        assert abs(float(x.mean()) - 2 / 0.8) < 5 * error
        assert not abs(float(x.mean()) - 2 / 0.81) < 5 * error, (
            "the check must see a decay that is off by one per cent"
        )
        assert abs(float(x.var() / (0.01 * 2.5)) - 1) < 5 * math.sqrt(2 / x.numel())

    @pytest.mark.parametrize("rate", [0.5, 1.0, 3.0])
    def test_whole_law_with_full_noise(self, rate):
        """x + P/l has the Gamma law of shape 4 P/(l q²) and scale q²/2, cut at x = 0: the zero-flux
        solution of the Fokker-Planck equation."""
        x = (
            family(simple(basal_rate=constant(rate)), graph=ErdosRenyi(edges_per_node=0.0))
            .sample_task(1)
            .sample(8_000)
            .double()
            .flatten()
            .numpy()
        )
        level = rate / 0.8
        law = scipy.stats.gamma(4 * level, scale=0.5)
        y = np.linspace(level, level + 40, 200_001)
        weight = law.pdf(y) / law.pdf(y).sum()
        mean = (weight * (y - level)).sum()
        variance = (weight * (y - level - mean) ** 2).sum()
        assert abs(x.mean() - mean) < 5 * math.sqrt(variance / len(x)) + 0.01 * mean
        assert (
            abs(x.var() / variance - 1)
            < 5 * math.sqrt(scipy.stats.kurtosis(x) + 2) / math.sqrt(len(x)) + 0.02
        )
        distance = np.abs(
            np.arange(1, len(x) + 1) / len(x)
            - (law.cdf(np.sort(x) + level) - law.cdf(level)) / law.sf(level)
        ).max()
        assert distance < 0.02, (
            "Kolmogorov-Smirnov distance, of which 0.006 are the sample's (5 in a million above "
            "0.0115)"
        )

    def test_cell_types_have_rates_of_their_own(self):
        """Rows fall into types with equal chances: with little noise a root's values lie at the
        types' rates over the decay."""
        mechanism = simple(
            cell_types=3, basal_rate=FloatRange(low=1, high=3), noise_amplitude=constant(1e-3)
        )
        instance = family(mechanism, graph=ErdosRenyi(edges_per_node=0.0)).sample_task(2)
        x = instance.sample(3000).double()
        for j, gene in enumerate(instance.mechanisms):
            levels = gene.parameters["basal_rate"].double() / 0.8
            nearest = (x[:, j, None] - levels).abs()
            assert float(nearest.amin(dim=1).max()) < 0.02
            shares = torch.bincount(nearest.argmin(dim=1), minlength=3).double() / len(x)
            assert float((shares - 1 / 3).abs().max()) < 5 * math.sqrt(2 / 9 / len(x))


def steady_state(rate, half, strength, represses, cells=90):
    """Moments of two genes a -> b by the stationary solution of a birth-death process on a grid:
    independent of any time stepping."""
    top = (11.0, 13.0)
    step = [t / cells for t in top]
    a, b = np.meshgrid(
        (np.arange(cells) + 0.5) * step[0], (np.arange(cells) + 0.5) * step[1], indexing="ij"
    )
    hill = a**2 / (half**2 + a**2)
    number = np.arange(cells * cells).reshape(cells, cells)
    rows, columns, values = [], [], []
    for axis, (production, x) in enumerate(
        ((rate + 0 * a, a), (strength * (1 - hill if represses else hill), b))
    ):
        drift, diffusion = production - 0.8 * x, (production + 0.8 * x) / 2
        for sign in (1, -1):
            jump = np.maximum(diffusion / step[axis] ** 2 + sign * drift / (2 * step[axis]), 0)
            here = (
                np.moveaxis(number, axis, 0)[:-1] if sign > 0 else np.moveaxis(number, axis, 0)[1:]
            )
            there = (
                np.moveaxis(number, axis, 0)[1:] if sign > 0 else np.moveaxis(number, axis, 0)[:-1]
            )
            speed = np.moveaxis(jump, axis, 0)[:-1] if sign > 0 else np.moveaxis(jump, axis, 0)[1:]
            rows += [there.ravel(), here.ravel()]
            columns += [here.ravel(), here.ravel()]
            values += [speed.ravel(), -speed.ravel()]
    size = cells * cells
    flow = scipy.sparse.csc_matrix(
        (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))),
        shape=(size, size),
    ).tolil()
    flow[0, :] = 1
    mass = scipy.sparse.linalg.spsolve(flow.tocsc(), np.eye(1, size)[0]).reshape(cells, cells)
    mean = np.array([(mass * a).sum(), (mass * b).sum()])
    variance = np.array([(mass * (a - mean[0]) ** 2).sum(), (mass * (b - mean[1]) ** 2).sum()])
    return mean, variance, (mass * (a - mean[0]) * (b - mean[1])).sum() / math.sqrt(variance.prod())


@pytest.mark.parametrize("sign", ["activates", "represses"])
def test_two_genes_against_direct_integration(sign):
    """The effect's mean, variance and correlation with its cause: the cause moves while the effect
    responds."""
    instance = pair(simple(sign)).sample_task(5)
    cause = int(torch.nonzero(instance.adjacency_matrix.sum(dim=1))[0])
    half = float(instance.mechanisms[1 - cause].parameters["half"][0])
    x = instance.sample(60_000).double().numpy()[:, [cause, 1 - cause]]
    mean, variance, correlation = steady_state(2.0, half, 4.0, sign == "represses")

    def fits(mean, variance, correlation):
        error = np.sqrt(variance / len(x))
        found = np.corrcoef(x.T)[0, 1]
        return (
            (np.abs(x.mean(0) - mean) < 5 * error + 0.01 * mean).all()
            and (np.abs(x.var(0) / variance - 1) < 5 * math.sqrt(4 / len(x)) + 0.02).all()
            and abs(found - correlation) < 5 / math.sqrt(len(x)) + 0.01
        )

    assert fits(mean, variance, correlation)
    assert not fits(*steady_state(2.0, half, 4.0, sign != "represses")), (
        "the check must see the other sign"
    )
    assert not fits(*steady_state(2.0, half * 1.1, 4.0, sign == "represses")), (
        "and a half-response that is off by a tenth"
    )


def test_half_response_is_the_mean_concentration_of_the_cause():
    """Found from 128 reference cells: within 5 standard errors of 128 cells of what 20,000 further
    cells give."""
    instance = family(simple()).sample_task(3)
    x = instance.sample(20_000).double()
    for j, gene in enumerate(instance.mechanisms):
        for slot, cause in enumerate(torch.nonzero(instance.adjacency_matrix[:, j])[:, 0].tolist()):
            assert abs(
                float(gene.parameters["half"][slot]) - float(x[:, cause].mean())
            ) < 5 * float(x[:, cause].std()) / math.sqrt(128)


class TestKnockOut:
    def test_is_empty_and_moves_its_effects(self):
        """A lone activator's target falls to 0 with it, a lone repressor's rises to strength /
        decay."""
        for sign, expected in (("activates", 0.0), ("represses", 5.0)):
            mechanism = simple(sign, noise_amplitude=constant(0.05))
            instance = pair(mechanism).sample_task(5)
            cause = int(torch.nonzero(instance.adjacency_matrix.sum(dim=1))[0])
            x = instance.do(cause, 0.0).sample(400)
            assert bool((x[:, cause] == 0).all())
            assert abs(float(x[:, 1 - cause].mean()) - expected) < 0.05

    def test_spares_what_is_no_effect(self):
        instance = family(simple()).sample_task(SEEDS[2])
        target = instance.topological_order[3]
        before, after = instance.sample(40), instance.do(target, 0.0).sample(40)
        effects = instance.adjacency_matrix.clone()
        for _ in range(6):
            effects = ((effects + effects @ effects) > 0).float()
        spared = (effects[target] == 0).nonzero()[:, 0].tolist()
        spared.remove(target)
        assert torch.equal(before[:, spared], after[:, spared])
        assert not torch.equal(before, after)

    def test_shift_raises_the_production(self):
        instance = family(
            simple(noise_amplitude=constant(0.05)), graph=ErdosRenyi(edges_per_node=0.0)
        ).sample_task(0)
        assert abs(float(instance.shift(1, 2.0).sample(400)[:, 1].mean()) - 4.5) < 0.02

    def test_in_tables_of_a_family(self):
        batch = family(interventions=KNOCK_OUTS).sample_tasks(SEEDS)
        assert batch.x.shape == (12, 70, 6)
        assert bool((batch.intervened.sum(dim=(1, 2)) == 20).all())
        assert bool((batch.x[batch.intervened] == 0).all())
        assert bool((batch.intervened.any(dim=1)).all()), "every gene is knocked out somewhere"


class TestEveryTable:
    SETTINGS = (
        {},
        {
            "interventions": KNOCK_OUTS,
            "n_rows": IntRange(low=20, high=90),
            "n_nodes": IntRange(low=2, high=9),
        },
        {
            "mechanism": GeneExpression(
                output="log_cpm",
                cell_types=10,
                technical_noise=TechnicalNoiseConfig(library_log_mean=(10.8,)),
            )
        },
        {"mechanism": simple()},
    )

    @pytest.mark.parametrize("settings", SETTINGS)
    def test_row_b_of_a_batch_is_the_task_of_its_seed(self, settings):
        worlds = family(**settings)
        batch, other = worlds.sample_tasks(SEEDS), worlds.sample_tasks(SEEDS[5:9][::-1])
        for b, seed in enumerate(SEEDS):
            instance, task = worlds.sample_task(seed), batch.task(b)
            assert torch.equal(instance.table().x, task.x)
            assert torch.equal(instance.adjacency_matrix, task.adjacency)
        for b in range(4):
            assert torch.equal(other.task(b).x, batch.task(8 - b).x)

    def test_counts_are_whole_and_not_negative(self):
        x = family().sample_tasks(SEEDS).x
        assert bool((x >= 0).all())
        assert torch.equal(x, x.round())
        assert 0.3 < float((x == 0).double().mean()) < 0.95, "most values drop out in this setting"

    def test_rows_do_not_depend_on_their_number(self):
        instance = family().sample_task(SEEDS[0])
        assert torch.equal(instance.sample(90)[:40], instance.sample(40))
        assert not torch.equal(instance.sample(40, seed=1), instance.sample(40))

    def test_rows_are_independent(self):
        """Neighbouring rows are cells of their own, not moments of one path: no correlation along
        the table, within cell types."""
        x = family(simple()).sample_task(SEEDS[1]).sample(20_000).double()
        x = (x - x.mean(dim=0)) / x.std(dim=0)
        assert float((x[1:] * x[:-1]).mean(dim=0).abs().max()) < 5 / math.sqrt(len(x))

    def test_log_cpm_is_the_transform_of_the_counts(self):
        counts, logs = (
            family(GeneExpression(output=output)).sample_tasks(SEEDS).x
            for output in ("counts", "log_cpm")
        )
        assert bool(((logs != 0) <= (counts != 0)).all())
        assert bool((logs >= 0).all())
        assert bool(torch.isfinite(logs).all())

    def test_mixture_of_two_settings_by_task(self):
        parts = {
            name: MechanismPart(mechanism=GeneExpression(decay=constant(decay)))
            for name, decay in (("slow", 0.3), ("fast", 1.5))
        }
        worlds = family(mechanisms=parts, mechanism_mixing="task")
        batch = worlds.sample_tasks(SEEDS)
        for b, seed in enumerate(SEEDS):
            assert torch.equal(worlds.sample_task(seed).table().x, batch.task(b).x)

    def test_signs_follow_the_beta_law(self):
        """Shares of activators over genes: Beta(0.5, 0.5) has more at the ends than Beta(1, 1)."""
        for a, expected in ((1.0, 1 / 12), (0.5, 1 / 8)):
            mechanism = GeneExpression(activator_a=a, activator_b=a)
            law = family(mechanism).mechanism_factory.laws[0]
            chance = law._activator_chance(
                randomness.seeds_of(0, start=0, count=2000), ("m",), 6
            ).double()
            assert abs(float(chance.mean()) - 0.5) < 5 * math.sqrt(expected / chance.numel())
            assert abs(float(chance.var()) / expected - 1) < 0.05


def test_settings_that_make_no_sense():
    with pytest.raises(ConfigError, match="counts and log_cpm need it"):
        GeneExpression(technical_noise=None)
    with pytest.raises(ConfigError, match="must be above 0"):
        GeneExpression(decay=FloatRange(low=0, high=1))
    with pytest.raises(ConfigError, match="mixes gene_expression"):
        family(
            mechanisms={
                "g": MechanismPart(mechanism=GeneExpression()),
                "l": MechanismPart(mechanism=LinearHeteroskedastic()),
            }
        )
    with pytest.raises(ConfigError, match="needs noise=gaussian"):
        family(noise=LaplaceNoise())
    config = family(interventions=KNOCK_OUTS).config
    assert from_plain(FamilyConfig, to_plain(config)) == config
