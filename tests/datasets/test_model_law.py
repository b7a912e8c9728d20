"""Models whose values overflow: drawn again at their own index, counted, bounded; no table holds
anything infinite, however many rows it has."""

import pytest
import torch

from causal_meta import graphs, randomness
from causal_meta.conf.data import FamilyConfig
from causal_meta.conf.form_laws import Polynomial, PostNonlinear
from causal_meta.conf.graph_laws import ErdosRenyi
from causal_meta.conf.interventions import InterventionConfig
from causal_meta.conf.mechanism_laws import LinearHeteroskedastic, MechanismPart
from causal_meta.conf.noise_laws import CauchyNoise
from causal_meta.conf.ranges import IntRange, fixed
from causal_meta.datasets.mechanisms import MechanismFactory
from causal_meta.datasets.mechanisms.mixture import LARGEST
from causal_meta.datasets.model_law import MOST_DRAWS
from causal_meta.datasets.scm import SCMFamily
from causal_meta.datasets.streams import MetaIterableDataset

SEEDS = randomness.seeds_of(0, "overflow", start=0, count=60)
STEEP = {
    "cubic": MechanismPart(mechanism=Polynomial(degree=3, weight_scale=2.0)),
    "linear": MechanismPart(mechanism=LinearHeteroskedastic(weight_scale=3.0)),
}
BASE = {"graph": ErdosRenyi(edges_per_node=1.2), "n_nodes": fixed(15), "n_rows": fixed(40)}
FAMILIES = {
    "steep": FamilyConfig(mechanisms=STEEP, **BASE),
    "heavy": FamilyConfig(mechanisms=STEEP, noise=CauchyNoise(), **BASE),
    "sizes": FamilyConfig(mechanisms=STEEP, **(BASE | {"n_rows": IntRange(low=10, high=60)})),
    "last rows": FamilyConfig(
        mechanisms=STEEP, interventions=InterventionConfig(row_share=None, rows=fixed(12)), **BASE
    ),
    "any rows": FamilyConfig(
        mechanisms=STEEP, interventions=InterventionConfig(row_order="shuffled"), **BASE
    ),
}


def raw(model, seeds, n_rows=40):
    """Tables without drawing again."""
    adjacency = model.sample_graphs(seeds, 15)
    return model.mechanism_factory.draw(seeds, adjacency).rows(
        model.noise.sample(seeds, n_rows, 15)
    ), adjacency


@pytest.mark.parametrize("name", FAMILIES)
class TestEveryFamily:
    def test_nothing_infinite_and_all_of_it_counted(self, name):
        model = SCMFamily(FAMILIES[name])
        batch = model.sample_tasks(SEEDS)
        assert torch.isfinite(batch.x).all()
        assert torch.isfinite(batch.standardised().x).all()
        tables, adjacency = raw(model, SEEDS, model.n_rows.low)
        wild = (tables.abs() >= LARGEST).any(dim=1).any(dim=1)
        assert wild.any(), "the family must overflow, or nothing is tested"
        assert not wild.all()
        assert model.models.redraws >= wild.sum()
        assert torch.equal(batch.adjacency, adjacency), "the graph is kept"

    def test_row_b_of_a_batch_is_the_task_of_its_seed(self, name):
        model = SCMFamily(FAMILIES[name])
        batch = model.sample_tasks(SEEDS)
        for b, seed in enumerate(SEEDS):
            torch.testing.assert_close(
                model.sample_task(seed).table().x,
                batch.task(b).x,
                rtol=1e-4,
                atol=1e-6 * float(batch.x[b].abs().max()),
            )

    def test_neither_order_nor_the_other_tasks_of_a_batch_matter(self, name):
        model = SCMFamily(FAMILIES[name])
        batch, alone = model.sample_tasks(SEEDS), model.sample_tasks(SEEDS[20:30][::-1])
        for b in range(10):
            assert torch.equal(alone.task(b).x, batch.task(29 - b).x)


def test_the_number_of_rows_does_not_matter():
    """Fewer rows than are checked, or more: the same models, redrawn or not."""
    model = SCMFamily(FAMILIES["steep"])
    batch = model.sample_tasks(SEEDS)
    for n_rows in (5, 200):
        other, rows = model.sample_tasks(SEEDS, n_rows=n_rows), min(n_rows, 40)
        for b in range(len(SEEDS)):
            torch.testing.assert_close(
                other.x[b, :rows],
                batch.x[b, :rows],
                rtol=1e-4,
                atol=1e-6 * float(batch.x[b].abs().max()),
            )


def test_models_that_do_not_overflow_stay_as_they_were():
    model = SCMFamily(FAMILIES["steep"])
    tables, _ = raw(model, SEEDS)
    calm = ~(tables.abs() >= LARGEST).any(dim=1).any(dim=1)
    batch = model.sample_tasks(SEEDS)
    assert torch.equal(batch.x[calm], tables[calm])
    assert not torch.equal(batch.x[~calm], tables[~calm])
    assert (batch.x.abs() < LARGEST).all()


def test_a_family_of_nothing_but_overflows_is_refused():
    config = FamilyConfig(
        graph=ErdosRenyi(edges_per_node=6.0),
        mechanisms={"m": MechanismPart(mechanism=PostNonlinear(nonlinearity="cube"))},
    )
    with pytest.raises(
        ValueError, match=f"{MOST_DRAWS} draws .* internal_standardising=inputs"
    ) as caught:
        SCMFamily(config).sample_tasks(SEEDS[:2], n_rows=10)
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="all gave values beyond"):
        SCMFamily(config).sample_task(SEEDS[0])


@pytest.mark.parametrize(
    "mechanism",
    [
        LinearHeteroskedastic(weight_scale=1e9),
        Polynomial(degree=9),
        PostNonlinear(nonlinearity="cube"),
    ],
)
def test_rows_are_bounded_as_they_come(mechanism):
    """A chain of 12: float32 would end in infinities and their differences; the same rows solved at
    once and from causes to effects."""
    chain = torch.diag(torch.ones(11), 1) + torch.diag(torch.ones(10), 2)
    batch = MechanismFactory({"m": MechanismPart(mechanism=mechanism)}).draw(
        SEEDS[:20], chain.expand(20, 12, 12)
    )
    noise = 3 * randomness.normals(SEEDS[:20], ("noise",), (16, 12))
    rows = batch.rows(noise)
    assert torch.isfinite(rows).all()
    assert rows.abs().max() == LARGEST
    assert torch.equal(
        batch.rows(noise, by_level=True)[rows.abs().amax(dim=(1, 2)) == LARGEST],
        rows[rows.abs().amax(dim=(1, 2)) == LARGEST],
    )
    assert torch.isfinite(rows.square()).all()
    assert len(graphs.topological_order(chain)) == 12


def test_streams_count_redrawn_models():
    stream = MetaIterableDataset(SCMFamily(FAMILIES["heavy"]), 7, tasks_per_step=16)
    batches = [stream.batch(step) for step in range(3)]
    assert all(torch.isfinite(batch.x).all() for batch in batches)
    assert stream.overflows > 0
    quiet = MetaIterableDataset(SCMFamily(FamilyConfig(n_rows=fixed(20))), 7, tasks_per_step=16)
    quiet.batch(0)
    assert quiet.overflows == 0
