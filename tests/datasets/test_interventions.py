"""Interventions in the tables of a family: which cells, which values, and that each row of a
table equals the row of its intervention alone.

Statistical bounds are 4.5 standard errors with fixed seeds: false alarms of 7e-6 for each number
that is compared.
"""

import json
import math

import numpy as np
import pytest
import scipy.stats
import torch

from causal_meta import graphs, randomness
from causal_meta.conf.convert import from_plain, to_plain
from causal_meta.conf.data import FamilyConfig
from causal_meta.conf.graph_laws import ErdosRenyi
from causal_meta.conf.interventions import InterventionConfig
from causal_meta.conf.mechanism_laws import MLP, RFF, LinearHeteroskedastic, MechanismPart
from causal_meta.conf.ranges import IntRange, fixed
from causal_meta.conf.setting import ConfigError
from causal_meta.datasets.interventions import InterventionLaw, no_interventions
from causal_meta.datasets.scm import SCMFamily
from causal_meta.datasets.streams import MetaFixedDataset, MetaIterableDataset
from causal_meta.tasks import collate

SEEDS = randomness.seeds_of(5, "interventions", start=0, count=12)
LINEAR = {"linear": MechanismPart(mechanism=LinearHeteroskedastic(bias_bound=1.0))}
NETWORK = {"mlp": MechanismPart(mechanism=MLP())}
FEATURES = {"rff": MechanismPart(mechanism=RFF(n_features=20))}
SINGLE = InterventionConfig()
SEVERAL = InterventionConfig(
    targets_per_row=IntRange(low=1, high=3),
    targets=fixed(4),
    target_share=None,
    row_order="shuffled",
)
ADDED = InterventionConfig(
    rows=IntRange(low=5, high=9), row_share=None, observational_share=0.5, value_per="target"
)
SHIFTS = InterventionConfig(
    change="shift",
    targets_per_row=fixed(2),
    target_share=0.5,
    value_law="normal",
    value_mean=1.0,
    value_std=2.0,
)
CONSTANT = InterventionConfig(
    value_law="constant", value_mean=0.0, targets=IntRange(low=1, high=4), target_share=None
)
HALF_OR_ALL = InterventionConfig(target_share=(0.5, 1.0))
LAWS = {
    "single": SINGLE,
    "several": SEVERAL,
    "added": ADDED,
    "shifts": SHIFTS,
    "constant": CONSTANT,
}
FAMILIES = {
    f"{kind} {name}": FamilyConfig(
        mechanisms=mechanisms, n_nodes=fixed(7), n_rows=fixed(29), interventions=law
    )
    for kind, mechanisms in (
        ("linear", LINEAR),
        ("mlp", NETWORK),
        ("rff", FEATURES),
        ("mixed", LINEAR | NETWORK),
    )
    for name, law in LAWS.items()
    if kind == "mixed" or name == "several" or (kind == "linear" and name == "shifts")
}
FAMILIES |= {
    f"standardised {mode}": FamilyConfig(
        mechanisms=LINEAR | NETWORK,
        n_nodes=fixed(7),
        n_rows=fixed(29),
        interventions=SEVERAL,
        internal_standardising=mode,
    )
    for mode in ("values", "inputs")
}
SIZES = FamilyConfig(
    mechanisms=LINEAR | NETWORK,
    n_nodes=IntRange(low=4, high=8),
    n_rows=IntRange(low=10, high=40),
    interventions=ADDED,
)


@pytest.mark.parametrize("config", [*FAMILIES.values(), SIZES], ids=[*FAMILIES, "sizes"])
class TestEveryFamily:
    def test_a_batch_is_the_tables_of_its_seeds(self, config):
        family = SCMFamily(config)
        batch = family.sample_tasks(SEEDS)
        for b, seed in enumerate(SEEDS):
            task, alone = batch.task(b), family.sample_task(seed).table()
            assert torch.equal(task.x, alone.x)
            assert torch.equal(task.intervened, alone.intervened)
            assert torch.equal(task.adjacency, alone.adjacency)

    def test_rows_and_graphs_without_interventions_are_the_observational_ones(self, config):
        batch = SCMFamily(config).sample_tasks(SEEDS)
        plain = SCMFamily(from_plain(FamilyConfig, to_plain(config) | {"interventions": None}))
        for b, seed in enumerate(SEEDS):
            task, instance = batch.task(b), plain.sample_task(seed)
            assert torch.equal(task.adjacency, instance.adjacency_matrix)
            untouched = ~task.intervened.any(dim=1)
            assert torch.equal(task.x[untouched], instance.sample(len(task.x))[untouched])

    def test_every_row_is_that_of_its_intervention_alone(self, config):
        """Each interventional row against the changed model, which is evaluated node by node."""
        family = SCMFamily(config)
        change, moved = config.interventions.change, 0
        for seed in SEEDS[:4]:
            instance = family.sample_task(seed)
            task, observed = instance.table(), instance.sample(instance.n_rows)
            tolerance = 1e-5 * float(observed.abs().amax() + task.x.abs().amax())
            for r in torch.nonzero(task.intervened.any(dim=1))[:, 0].tolist():
                targets = torch.nonzero(task.intervened[r])[:, 0].tolist()
                noise = instance.noise(instance.n_rows)[r : r + 1]
                if change == "do":
                    values = task.x[r, targets].tolist()
                else:  # the shift, recovered from the mechanisms
                    values = [
                        float(
                            task.x[r, j]
                            - instance.mechanisms[j](
                                task.x[r : r + 1, instance.adjacency_matrix[:, j] != 0], noise[:, j]
                            )
                        )
                        for j in targets
                    ]
                changed = getattr(instance, change)(targets, values)
                torch.testing.assert_close(
                    changed.rows_of(noise)[0], task.x[r], rtol=0, atol=tolerance
                )
                moved += not torch.allclose(task.x[r], observed[r], rtol=0, atol=tolerance)
        assert moved > 10, "and the check would see a row without its intervention"

    def test_neither_order_nor_the_other_tasks_of_a_batch_matter(self, config):
        family = SCMFamily(config)
        batch, alone = family.sample_tasks(SEEDS), family.sample_tasks(SEEDS[3:7][::-1])
        for b in range(4):
            assert torch.equal(alone.task(b).x, batch.task(6 - b).x)
            assert torch.equal(alone.task(b).intervened, batch.task(6 - b).intervened)


class TestCells:
    def test_targets_take_turns(self):
        """With one target per row, targets differ by at most one row, and the target list has the
        stated length."""
        for config, lengths in (
            (SINGLE, {7}),
            (CONSTANT, {1, 2, 3, 4}),
            (InterventionConfig(target_share=0.5), {4}),
            (HALF_OR_ALL, {4, 7}),
        ):
            mask = (
                SCMFamily(FamilyConfig(n_nodes=fixed(7), n_rows=fixed(100), interventions=config))
                .sample_tasks(SEEDS)
                .intervened
            )
            assert (mask.sum(dim=2).sum(dim=1) == 25).all()
            assert not mask[:, :75].any(), "observational rows first"
            assert mask[:, 75:].any(dim=2).all()
            counts = mask.sum(dim=1)
            assert {int(n) for n in (counts > 0).sum(dim=1)} == lengths
            assert all(int(row[row > 0].max() - row[row > 0].min()) <= 1 for row in counts)

    def test_several_targets_are_different_members_of_the_list(self):
        config = InterventionConfig(
            targets=fixed(5),
            target_share=None,
            targets_per_row=IntRange(low=1, high=3),
            row_share=1.0,
        )
        family = SCMFamily(FamilyConfig(n_nodes=fixed(9), n_rows=fixed(600), interventions=config))
        batch = family.sample_tasks(SEEDS)
        per_row = batch.intervened.sum(dim=2)
        assert scipy.stats.chisquare(np.bincount(per_row.flatten(), minlength=4)[1:]).pvalue > 1e-5
        for b, seed in enumerate(SEEDS):
            counts = batch.intervened[b].sum(dim=0)
            assert (
                torch.nonzero(counts)[:, 0].tolist()
                == family.sample_task(seed).intervention_targets
            )
            # a bound: the first target of a row is not random, further ones vary less than
            # independent ones
            error = math.sqrt(600 * 0.2 * 0.8)
            assert (counts[counts > 0] - 600 * 2 / 5).abs().max() < 4.5 * error
        cells = torch.nonzero(batch.intervened[0])
        assert len(torch.unique(cells, dim=0)) == len(cells)

    def test_shuffled_rows_lie_anywhere(self):
        config = InterventionConfig(row_order="shuffled", row_share=0.3)
        seeds = randomness.seeds_of(8, start=0, count=400)
        mask = (
            SCMFamily(FamilyConfig(n_nodes=fixed(3), n_rows=fixed(20), interventions=config))
            .sample_tasks(seeds)
            .intervened.any(dim=2)
        )
        assert (mask.sum(dim=1) == 6).all()
        z = (mask.double().mean(dim=0) - 0.3) / math.sqrt(0.3 * 0.7 / 400)
        assert z.abs().max() < 4.5

    @pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
    def test_so_many_tasks_are_observational(self, share):
        config = InterventionConfig(observational_share=share, rows=fixed(10), row_share=None)
        seeds = randomness.seeds_of(9, start=0, count=1000)
        batch = SCMFamily(
            FamilyConfig(n_nodes=fixed(3), n_rows=fixed(30), interventions=config)
        ).sample_tasks(seeds)
        assert batch.x.shape == (1000, 40, 3)
        assert batch.row_mask.all(), "a table has the same size with and without interventions"
        none = float((~batch.intervened.any(dim=(1, 2))).double().mean())
        assert abs(none - share) <= 4.5 * math.sqrt(share * (1 - share) / 1000)
        assert set(batch.intervened.any(dim=2).sum(dim=1).tolist()) <= {0, 10}

    def test_rows_in_addition_have_the_stated_law(self):
        law = InterventionLaw(InterventionConfig(rows=IntRange(low=2, high=5), row_share=None))
        seeds = randomness.seeds_of(10, start=0, count=4000)
        counts = law.rows(seeds, [100] * 4000)
        assert all(n == 100 + m for n, m in counts)
        assert scipy.stats.chisquare(np.bincount([m for _, m in counts])[2:]).pvalue > 1e-5
        assert InterventionLaw(InterventionConfig(row_share=0.25)).rows([1, 2], [200, 10]) == [
            (200, 50),
            (10, 3),
        ]


def signed_uniform(v):
    """Distribution function of ± U(1, 3)."""
    return (np.clip(v + 3, 0, 2) + np.clip(v - 1, 0, 2)) / 4


LAWS_OF_VALUES = {
    "uniform_sign": (InterventionConfig(value_low=1, value_high=3), signed_uniform),
    "normal": (
        InterventionConfig(value_law="normal", value_mean=-1, value_std=0.5),
        scipy.stats.norm(-1, 0.5).cdf,
    ),
}


@pytest.mark.parametrize("name", LAWS_OF_VALUES)
def test_values_have_the_stated_law(name):
    """Kolmogorov-Smirnov at 1e-5 on 6,000 values, each a new one; the check refuses the law of the
    other."""
    config, cdf = LAWS_OF_VALUES[name]
    batch = SCMFamily(
        FamilyConfig(n_nodes=fixed(5), n_rows=fixed(2000), interventions=config)
    ).sample_tasks(SEEDS)
    values = batch.x[batch.intervened].numpy()
    assert scipy.stats.kstest(values, cdf).pvalue > 1e-5
    other = next(law for key, (_, law) in LAWS_OF_VALUES.items() if key != name)
    assert scipy.stats.kstest(values, other).pvalue < 1e-5
    assert len(np.unique(values)) > 0.99 * len(values)


def test_one_value_for_each_target():
    config = InterventionConfig(value_per="target")
    batch = SCMFamily(
        FamilyConfig(n_nodes=fixed(5), n_rows=fixed(200), interventions=config)
    ).sample_tasks(SEEDS)
    for x, mask in zip(batch.x, batch.intervened, strict=True):
        values = [torch.unique(x[mask[:, j], j]) for j in range(5)]
        assert all(len(v) == 1 for v in values)
        assert len({float(v) for v in values}) == 5
    constant = SCMFamily(FamilyConfig(n_nodes=fixed(5), interventions=CONSTANT)).sample_tasks(SEEDS)
    assert (constant.x[constant.intervened] == 0).all()


def random_cells(batch, n_rows, slots, seed):
    """Interventions on all rows of all tasks, hard and soft mixed in one row, some slots unused."""
    config = InterventionConfig(row_share=1.0, targets_per_row=IntRange(low=1, high=slots))
    drawn = InterventionLaw(config).draw(seed, n_rows, n_rows, batch.adjacency.shape[-1])
    soft = randomness.uniforms([3], ("soft",), tuple(drawn.hard.shape))[0] < 0.4
    return type(drawn)(
        drawn.task, drawn.row, drawn.target, drawn.value, drawn.hard & ~soft, drawn.used
    )


@pytest.mark.parametrize("slots", [1, 2, 4])
def test_affine_tables_with_all_targets_at_once_are_those_of_the_pass_over_the_graph(slots):
    """Hard and soft targets mixed in one row; the check refuses targets that are set in an order
    that is not causal."""
    family = SCMFamily(
        FamilyConfig(mechanisms=LINEAR, graph=ErdosRenyi(edges_per_node=3.0), n_nodes=fixed(10))
    )
    graph = family.sample_graphs(SEEDS, 10)
    batch = family.mechanism_factory.draw(SEEDS, graph)
    noise = family.noise.sample(SEEDS, 50, 10)
    cells = random_cells(batch, 50, slots, SEEDS)
    at_once, by_level = batch.rows(noise, cells), batch.rows(noise, cells, by_level=True)
    scale = by_level.abs().amax(dim=1, keepdim=True)
    assert float(((at_once - by_level) / scale).abs().max()) < 1e-5
    hard = cells.used & cells.hard
    where = (
        cells.task[:, None].expand_as(hard)[hard],
        cells.row[:, None].expand_as(hard)[hard],
        cells.target[hard],
    )
    assert torch.equal(at_once[where], cells.value[hard])
    if slots > 1:
        backwards = batch.rows(noise).contiguous()
        total = torch.linalg.inv(torch.eye(10) - dense_weights(batch)).contiguous()
        cells.apply_to_affine(backwards, total, -graphs.depths(graph))
        assert float(((backwards - by_level) / scale).abs().max()) > 1e-2


def dense_weights(batch):
    weights = torch.zeros(len(batch.adjacency), *batch.adjacency.shape[1:])
    return weights.scatter_add_(
        2, batch.parents.index, batch.parameters[0]["weight"]
    ).mT.contiguous()


def test_selecting_tasks_keeps_their_interventions():
    drawn = InterventionLaw(InterventionConfig(observational_share=0.5)).draw(SEEDS, 40, 10, 6)
    mask = drawn.mask(12, 40, 6)
    tasks = torch.tensor([7, 2, 9])
    assert torch.equal(drawn.select(tasks).mask(3, 40, 6), mask[tasks])
    assert torch.equal(drawn.part(3, 8).mask(5, 40, 6), mask[3:8])
    assert not no_interventions().mask(2, 3, 4).any()
    assert not len(no_interventions().select(tasks))


class TestStreamsAndSets:
    CONFIG = FamilyConfig(
        n_nodes=fixed(5),
        n_rows=IntRange(low=20, high=40),
        interventions=InterventionConfig(observational_share=0.5),
    )

    def test_a_stream_carries_the_mask(self):
        family = SCMFamily(self.CONFIG)
        stream = MetaIterableDataset(family, 3, tasks_per_step=16)
        batch = stream.batch(4)
        nodes, rows = stream.shape(4)
        raw = family.sample_tasks(batch.seeds.tolist(), n_rows=rows, n_nodes=nodes)
        assert batch.intervened.any()
        assert torch.equal(batch.intervened, raw.intervened)
        torch.testing.assert_close(batch.x.mean(dim=1), torch.zeros(16, 5), rtol=0, atol=1e-5)
        for b, seed in enumerate(batch.seeds.tolist()):
            alone = family.sample_task(seed, n_nodes=nodes).table(n_rows=rows)
            assert torch.equal(alone.x, raw.x[b])
            assert torch.equal(alone.intervened, raw.intervened[b])

    def test_a_stream_of_tables_with_rows_in_addition(self):
        config = FamilyConfig(
            n_nodes=fixed(5),
            n_rows=fixed(20),
            interventions=InterventionConfig(rows=IntRange(low=2, high=9), row_share=None),
        )
        batch = MetaIterableDataset(
            SCMFamily(config), 3, tasks_per_step=16, reserved=frozenset({"none"})
        ).batch(0)
        assert 22 < batch.n_rows <= 29
        assert (batch.row_mask.sum(dim=1) - 20 == batch.intervened.any(dim=2).sum(dim=1)).all()

    def test_a_set_and_its_collation_keep_the_mask(self):
        tasks = MetaFixedDataset(SCMFamily(self.CONFIG), SEEDS)
        batch = collate([tasks[i] for i in range(12)])
        for b in range(12):
            assert torch.equal(batch.task(b).intervened, tasks[b].intervened)
        assert batch.intervened.any()


class TestBadConfigurations:
    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"targets": fixed(3)}, "targets and target_share"),
            ({"target_share": None}, "targets and target_share"),
            ({"target_share": ()}, "empty list"),
            ({"target_share": (0.5, 0.0)}, "target_share is 0.0; it must be above 0"),
            ({"rows": fixed(3)}, "rows and row_share"),
            ({"row_share": 0.0}, "row_share is 0.0; it must be above 0"),
            ({"target_share": 1.5}, "at most 1"),
            ({"observational_share": -0.1}, "at least 0"),
            ({"value_low": 3.0, "value_high": 1.0}, "swap them"),
            ({"value_law": "normal", "value_std": 0.0}, "value_std is 0.0"),
            ({"value_mean": math.nan}, "value_mean is nan"),
            ({"change": "set"}, "allowed are 'do', 'shift'"),
        ],
    )
    def test_a_wrong_configuration_is_refused_in_one_sentence(self, changes, words):
        with pytest.raises(ConfigError, match=words):
            InterventionConfig(**changes)

    @pytest.mark.parametrize(
        ("law", "words"),
        [
            (
                InterventionConfig(targets=fixed(6), target_share=None),
                "goes up to 6, but a task may have 5 variables",
            ),
            (
                InterventionConfig(target_share=0.2, targets_per_row=fixed(2)),
                "goes up to 2, but a task may have 1 targets",
            ),
        ],
    )
    def test_a_family_must_have_so_many_variables(self, law, words):
        with pytest.raises(ConfigError, match=words):
            FamilyConfig(n_nodes=IntRange(low=5, high=20), interventions=law)

    def test_identity_and_plain_form(self):
        config = FamilyConfig(interventions=ADDED)
        assert from_plain(FamilyConfig, to_plain(config)) == config
        assert "interventions" not in to_plain(FamilyConfig(), identity_only=True)
        assert to_plain(config, identity_only=True)["interventions"]["observational_share"] == 0.5
        several = FamilyConfig(interventions=HALF_OR_ALL)
        assert from_plain(FamilyConfig, json.loads(json.dumps(to_plain(several)))) == several
        assert from_plain(
            FamilyConfig, {"interventions": {"rows": 3, "row_share": None}}
        ).interventions.rows == fixed(3)
