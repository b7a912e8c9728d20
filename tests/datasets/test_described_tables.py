"""A published table is accepted only if it is the described one; descriptions are complete and hold
no data."""

from importlib import resources
from pathlib import Path

import networkx as nx
import numpy as np
import pandas as pd
import pytest

from causal_meta.conf.convert import from_plain, preset
from causal_meta.conf.data import FamilyConfig
from causal_meta.conf.setting import ConfigError
from causal_meta.conf.table_descriptions import (
    TableDescription,
    table_description,
    table_descriptions,
)
from causal_meta.datasets.bundled import BUNDLED
from causal_meta.datasets.described_tables import described_table
from causal_meta.datasets.real import TableError
from causal_meta.datasets.scm import SCMFamily
from causal_meta.datasets.truths import read_truth

SHARED = Path(__file__).parents[3] / "shared" / "data"
FOLDERS = {"sachs": "adjacency.csv", "sachs_20": "adjacency_20edge.csv"}


@pytest.mark.parametrize("name", list(table_descriptions()))
def test_every_description_is_complete_and_small(name):
    description = table_descriptions()[name]
    assert all(
        (
            description.line,
            description.title,
            description.published,
            description.source,
            description.licence,
        )
    )
    assert nx.is_directed_acyclic_graph(nx.DiGraph(description.pairs))
    assert len(set(description.pairs)) == len(description.edges)
    assert (
        resources.files("causal_meta.conf") / "tables" / f"{name}.yaml"
    ).stat().st_size < 5000, "a description, not the data"


def test_the_two_graphs_of_sachs_are_not_nested():
    one, two = (set(table_description(name).edges) for name in ("sachs", "sachs_20"))
    assert (len(one), len(two)) == (17, 20)
    assert one - two == {"Plcg -> PIP3"}
    assert two - one == {"Plcg -> PKC", "PIP2 -> PKC", "PIP3 -> Plcg", "PIP3 -> Akt"}


@pytest.mark.parametrize("table", ["sachs", "sachs_20"])
def test_families_on_a_graph_of_sachs_have_it_up_to_the_order_of_the_nodes(table):
    description = table_description(table)
    truth = nx.DiGraph(description.pairs)
    for law in ("linear", "mlp", "rff", "gpcde", "mixed"):
        config = from_plain(FamilyConfig, preset(FamilyConfig, f"{table}_{law}"))
        assert set(config.graph.edges) == set(description.edges)
        graphs = SCMFamily(config).sample_graphs(range(6), 11).numpy()
        digraphs = [nx.from_numpy_array(graph, create_using=nx.DiGraph) for graph in graphs]
        assert all(nx.is_isomorphic(graph, truth) for graph in digraphs)
        assert len({graph.tobytes() for graph in graphs}) > 1, "renumbered"
    assert not nx.is_isomorphic(
        digraphs[0],
        nx.DiGraph(table_description({"sachs": "sachs_20", "sachs_20": "sachs"}[table]).pairs),
    )


@pytest.mark.parametrize(
    "name", [name for name, description in table_descriptions().items() if description.bundled]
)
def test_bundled_tables_load_without_a_network(name):
    description = table_description(name)
    assert description.bundled in BUNDLED
    table, truth = described_table(description)
    assert table.x.shape == (description.rows, len(description.columns))
    assert truth is None


@pytest.mark.skipif(not SHARED.is_dir(), reason="the published tables are not here")
@pytest.mark.parametrize(
    "name", [name for name, description in table_descriptions().items() if not description.bundled]
)
def test_published_tables_are_recognised_with_their_graph(name):
    description = table_description(name)
    folder = SHARED / name.removesuffix("_20")
    table, truth = described_table(description, folder)
    assert table.columns == description.columns
    np.testing.assert_array_equal(
        truth, read_truth(folder / FOLDERS.get(name, "adjacency.csv"), description.columns)
    )
    same, _ = described_table(description, folder / "data.csv", transform="none")
    assert np.array_equal(table.x, np.log(same.x) if description.transform == "log" else same.x)


@pytest.fixture
def known():
    """A description of a made-up table, and the table with its columns in another order."""
    rows = np.random.default_rng(0).uniform(1, 3, size=(15, 3)).round(3)
    description = TableDescription(
        title="made up", published="here", source="nowhere", licence="none", values="continuous",
        transform="log", rows=15,
        columns=("a", "b", "c"), mean=tuple(float(f"{m:.5g}") for m in rows.mean(0)), edges=(
            "a -> c", "b->c"),
    )  # fmt: skip
    return description, pd.DataFrame(rows, columns=["a", "b", "c"])[["c", "a", "b"]]


def test_a_table_gets_its_order_truth_and_transformation(known, tmp_path):
    description, frame = known
    frame.to_csv(tmp_path / "data.csv", index=False)
    table, truth = described_table(description, tmp_path)
    np.testing.assert_allclose(table.x, np.log(frame[["a", "b", "c"]].to_numpy()))
    assert truth.tolist() == [[0, 0, 1], [0, 0, 1], [0, 0, 0]]
    assert table.title == "made up"


@pytest.mark.parametrize(
    ("change", "saying"),
    [
        (lambda frame: np.log(frame), "the mean of 'a' is"),
        (lambda frame: frame.assign(b=frame["b"] * 1.01), "the mean of 'b' is"),
        (lambda frame: frame.iloc[:14], "has 14 rows and made up 15"),
        (lambda frame: frame.rename(columns={"a": "A"}), "lacks the column 'a'"),
        (lambda frame: frame.assign(d=frame["a"]), "has a column 'd' too many"),
    ],
)
def test_another_table_is_refused(known, tmp_path, change, saying):
    description, frame = known
    change(frame).to_csv(tmp_path / "data.csv", index=False)
    with pytest.raises(TableError) as caught:
        described_table(description, tmp_path)
    assert saying in str(caught.value)


def test_descriptions_that_make_no_sense_are_refused(known):
    description, _ = known
    for change in (
        {"edges": ("a -> x",)},
        {"edges": ("a",)},
        {"mean": (1.0,)},
        {"columns": ("a", "a", "c")},
    ):
        values = {
            name: getattr(description, name)
            for name in (
                "title",
                "published",
                "source",
                "licence",
                "values",
                "rows",
                "columns",
                "mean",
                "edges",
            )
        }
        with pytest.raises(ConfigError):
            TableDescription(**values | change)
    with pytest.raises(ConfigError, match="did you mean 'sachs'"):
        table_description("sacks")
