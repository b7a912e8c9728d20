"""Tasks of the ready families: as many edges as the labels state, finite columns of the stated
scale, different tasks for different names.

Edge counts are means of 60 graphs, within 4.5 standard errors (false alarms 7e-6 each, 0.2 % over
all 200).
"""

import re

import torch

from causal_meta import randomness
from causal_meta.conf import ready
from causal_meta.conf.convert import from_plain
from causal_meta.conf.data import FamilyConfig
from causal_meta.datasets.scm import SCMFamily

FAMILIES = list(ready.ready_families())
WILD = 1e4  # a family with columns above this must say why


def er(e):
    return lambda d: e * d


def sf(m):
    return lambda d: m * d - m * (m + 1) / 2


# how many edges a graph label stands for, by the formula of its law; two points of the unit square
# are within 0.3 with probability 0.2147
LABELS = {
    **{f"er{20 * e}": er(e) for e in (1, 2, 3)},
    **{f"sf{m}": sf(m) for m in (1, 2, 3)},
    "ermatch_sbm": lambda d: 0.1342 * d * (d - 1) / 2,
    "ermatch_ws": lambda d: 0.2105 * d * (d - 1) / 2,
    "ermatch_grg": lambda d: 0.2147 * d * (d - 1) / 2,
    "sbm": lambda d: 0.6 * 4 * (d / 4) * (d / 4 - 1) / 2 + 0.01 * 6 * (d / 4) ** 2,
    "ws": lambda d: 2 * d,
    "grg": lambda d: 0.2147 * d * (d - 1) / 2,
}


def label(family, d):
    """The edges that the name of a family promises at d nodes, or None where its law is a mixture
    without a label."""
    if family.collection == "benchmark":
        names = [name for name in LABELS if re.search(rf"_{name}_", family.name)]
        return LABELS[max(names, key=len)](d) if names else None
    if family.collection == "bcnp" and re.search(r"_er\d0$", family.name):
        return int(family.name[-2:])
    if family.collection in ("dibs", "bayesdag"):
        return sf(1 if d == 5 else 2)(d) if "_sf_" in family.name else (d if d == 5 else 2 * d)
    if family.collection == "avici" and re.match("avici_id_(linear|rff)", family.name):
        return (6 * d + 2 * sum(sf(m)(d) for m in (1, 2, 3))) / 9
    if family.collection == "avici" and family.name.startswith("avici_id_grn"):
        return (6 * d + 5 * sum(sf(m)(d) for m in (1, 2, 3))) / 18
    return None


def drawn(family):
    return SCMFamily(from_plain(FamilyConfig, family.tree))


def test_edges_and_columns(every):
    every(check_edges_and_columns, {family.name: family for family in FAMILIES})


def check_edges_and_columns(family):
    worlds = drawn(family)
    nodes = worlds.n_nodes.high
    seeds = randomness.seeds_of(0, "tasks", family.name, start=0, count=60)
    edges = worlds.sample_graphs(seeds, nodes).sum(dim=(1, 2)).double()
    margin = 4.5 * float(edges.std()) / len(edges) ** 0.5 + 0.005 * float(edges.mean())
    assert abs(float(edges.mean()) - worlds.generator.expected_edges(nodes)) < margin
    if (promised := label(family, nodes)) is not None:
        assert abs(float(edges.mean()) - promised) < margin
    # scales of gene expression differ most from task to task
    count = 6 if "_grn" in family.name else 3
    batch = worlds.sample_tasks(seeds[:count], n_rows=min(50, worlds.n_rows.high))
    assert bool(torch.isfinite(batch.x).all())
    spread = torch.cat([batch.task(b).x.double().std(dim=0) for b in range(count)])
    assert family.column_std[0] <= float(spread.median()) <= family.column_std[1]
    assert float(spread.max()) < WILD or re.search(
        r"along paths|Cauchy|drop-seq|smart-seq", family.about, re.IGNORECASE
    ), "it must say so"


def test_labels_cover_the_matrix():
    """All 136 have a label, and the check would see the earlier system's densities, half of
    what their names state."""
    matrix = [
        family
        for family in FAMILIES
        if family.collection == "benchmark" and family.group != "training"
    ]
    assert all(label(family, 20) is not None for family in matrix)
    family = next(family for family in FAMILIES if family.name == "id_linear_er40_d20_n500")
    halved = from_plain(
        FamilyConfig,
        {**family.tree, "graph": {"kind": "erdos_renyi_p", "edge_probability": 0.1053}},
    )
    seeds = randomness.seeds_of(0, "tasks", start=0, count=60)
    edges = SCMFamily(halved).sample_graphs(seeds, 20).sum(dim=(1, 2)).double()
    assert abs(float(edges.mean()) - label(family, 20)) > 4.5 * float(edges.std()) / 60**0.5


def test_exact_edges_of_bcnp():
    for e in (20, 40, 60):
        edges = (
            drawn(ready.collection("bcnp")[f"bcnp_linear_er{e}"])
            .sample_graphs(range(50), 20)
            .sum(dim=(1, 2))
        )
        assert bool((edges == e).all())


def test_families_of_different_seed_names_have_different_tasks():
    """Two families of one graph law with equal seeds: other graphs, by the seed name."""
    graphs = []
    for name in ("id_linear_er20_d20_n500", "id_neuralnet_er20_d20_n500"):
        worlds = drawn(ready.collection("benchmark")[name])
        assert worlds.config.seed_name == name
        graphs.append(
            worlds.sample_graphs(
                randomness.seeds_of(0, "tasks", worlds.config.seed_name, start=0, count=25), 20
            )
        )
    assert not bool((graphs[0] == graphs[1]).all(dim=2).all(dim=1).any())


def test_rows_under_interventions():
    """AVICI's tables: 50 of 200 rows in about half of the training tasks; 500 of 1000 rows on half
    or all of the nodes in tests."""
    worlds = drawn(ready.collection("avici")["avici_train_linear"])
    batch = worlds.sample_tasks(randomness.seeds_of(0, "rows", start=0, count=100), n_nodes=10)
    rows = batch.intervened.any(dim=2).sum(dim=1)
    assert set(rows.tolist()) == {0, 50}
    assert abs(int((rows > 0).sum()) - 50) < 4.5 * 5
    for name, targets in (("avici_ood_linear_d30_int", 15), ("avici_id_linear_d30_int", 30)):
        batch = drawn(ready.collection("avici")[name]).sample_tasks(range(3))
        assert bool((batch.intervened.sum(dim=(1, 2)) == 500).all())
        assert bool((batch.intervened.any(dim=1).sum(dim=1) == targets).all())
    genes = drawn(ready.collection("avici")["avici_id_grn_d30_int"]).sample_tasks(
        range(2), n_rows=60
    )
    assert bool((genes.x[genes.intervened] == 0).all())
