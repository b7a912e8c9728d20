"""Task sets hold what their configuration says: the family's own draws, or a table that is
recognised by its bytes."""

import dataclasses
import hashlib
import json

import numpy as np
import pandas as pd
import pytest
import torch

from causal_meta.conf.convert import from_plain
from causal_meta.conf.data import FamilyConfig
from causal_meta.conf.graph_laws import ErdosRenyi
from causal_meta.conf.ranges import IntRange, fixed
from causal_meta.conf.task_sets import TasksConfig
from causal_meta.datasets.real import read_table
from causal_meta.datasets.scm import SCMFamily
from causal_meta.graphs import graph_hash
from causal_meta.randomness import seeds_of
from causal_meta.runners.build import make
from causal_meta.runners.tasks.task_sets import (
    centred,
    columns_of,
    load_tasks,
    store_table,
    table_config,
)
from causal_meta.store import Store

WIDE = from_plain(
    FamilyConfig,
    {"preset": "wide", "n_nodes": {"low": 3, "high": 6}, "n_rows": {"low": 10, "high": 30}},
)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    return read_table(
        pd.DataFrame(
            rng.normal(size=(20, 3)) * [1, 100, 1e-3] + [0, 1e6, 5], columns=["a", "b", "c"]
        )
    )


def test_every_task_is_the_familys_own_draw_of_its_seed(store):
    batch = load_tasks(make(store, TasksConfig(data=WIDE, n_tasks=70, seed=4)))
    family = SCMFamily(WIDE)
    for b in (0, 1, 63, 64, 69):
        task, instance = batch.task(b), family.sample_task(int(batch.seeds[b]))
        assert torch.equal(task.adjacency, instance.adjacency_matrix)
        torch.testing.assert_close(task.x, instance.sample(len(task.x)), rtol=1e-4, atol=1e-5)
    assert len(set(batch.seeds.tolist())) == 70
    assert not batch.intervened.any()
    assert not batch.x[~batch.row_mask].any()


def test_a_longer_set_begins_with_the_shorter_one_and_another_seed_shares_nothing(store):
    config = TasksConfig(
        data=dataclasses.replace(WIDE, n_nodes=fixed(4), n_rows=fixed(12)), n_tasks=3, seed=1
    )
    short, long, other = (
        load_tasks(make(store, dataclasses.replace(config, **change)))
        for change in ({}, {"n_tasks": 5}, {"seed": 2})
    )
    assert torch.equal(long.x[:3], short.x)
    assert not set(long.seeds.tolist()) & set(other.seeds.tolist())


def test_families_with_names_of_their_own_share_no_graph(store):
    """Without seed names two families of one graph law have equal graphs at equal seeds; with them
    the seeds are unrelated."""
    plain = dataclasses.replace(WIDE, graph=ErdosRenyi(), n_nodes=fixed(8), n_rows=fixed(12))
    families = [
        dataclasses.replace(plain, n_rows=fixed(rows), seed_name=name)
        for rows, name in ((12, ""), (13, ""), (12, "one"), (13, "two"))
    ]
    artifacts = [make(store, TasksConfig(data=family, n_tasks=10)) for family in families]
    hashes = [
        set(json.loads((artifact.folder / "registry.json").read_text())["hashes"]["graph"])
        for artifact in artifacts
    ]
    assert hashes[0] == hashes[1]
    assert not hashes[0] & hashes[2]
    assert not hashes[2] & hashes[3]
    assert load_tasks(artifacts[2]).seeds.tolist() == seeds_of(0, "tasks", "one", start=0, count=10)


def test_the_registry_tells_seeds_classes_and_statistics(store, table):
    artifact = make(store, TasksConfig(data=WIDE, n_tasks=5))
    batch = load_tasks(artifact)
    registry = json.loads((artifact.folder / "registry.json").read_text())
    assert registry["seeds"] == batch.seeds.tolist()
    assert registry["hashes"]["graph"] == [graph_hash(batch.task(b).adjacency) for b in range(5)]
    assert registry["statistics"]["n_edges"]["mean"] == pytest.approx(
        float(batch.adjacency.sum()) / 5
    )
    assert not (store_table(store, table).folder / "registry.json").exists()
    assert store.verify() == []


def test_columns_are_named_up_to_the_largest_task(store):
    artifact = make(store, TasksConfig(data=WIDE, n_tasks=8))
    assert columns_of(artifact) == [f"X{i + 1}" for i in range(load_tasks(artifact).n_nodes)]
    assert artifact.meta["dims"]["has_truth"]


def test_building_again_finds_the_set(store):
    config = TasksConfig(
        data=dataclasses.replace(WIDE, n_rows=IntRange(low=10, high=11)), n_tasks=2
    )
    assert make(store, config).meta["created_at"] == make(store, config).meta["created_at"]


def test_a_table_keeps_its_values_names_and_truth(store, table):
    truth = np.array([[0, 1, 0], [0, 0, 0], [1, 0, 0]], dtype=np.int8)
    artifact = store_table(store, table, truth=truth, name="mine")
    batch = load_tasks(artifact)
    assert columns_of(artifact) == ["a", "b", "c"]
    np.testing.assert_array_equal(batch.adjacency[0], truth)
    with np.load(artifact.folder / "data.npz") as arrays:
        np.testing.assert_allclose(
            arrays["location"] + arrays["scale"] * batch.x[0].double().numpy(),
            table.x,
            rtol=0,
            atol=5e-5,
        )  # float32 of a spread of 100
        np.testing.assert_allclose(
            (arrays["location"] + arrays["scale"] * batch.x[0].double().numpy())[:, [0, 2]],
            table.x[:, [0, 2]],
            atol=1e-6,
        )
    assert store.find("mine").id == artifact.id


def test_a_table_without_truth_has_none(store, table):
    batch = load_tasks(store_table(store, table))
    assert batch.adjacency is None
    assert batch.seeds.tolist() == [-1]


def test_identity_of_a_table_holds_its_bytes_truth_and_reading_but_no_path_or_title(
    store, table, tmp_path
):
    truth = np.zeros((3, 3), dtype=np.int8)
    renamed = dataclasses.replace(table, title="elsewhere")
    ids = {
        store.key(config).id
        for config in (table_config(table, (), None), table_config(renamed, (), None))
    }
    assert len(ids) == 1
    logged = dataclasses.replace(table, transform="log")
    changed = dataclasses.replace(table, sha256=hashlib.sha256(b"other").hexdigest())
    others = [
        table_config(table, (), truth),
        table_config(logged, (), None),
        table_config(changed, (), None),
        table_config(table, ("a", "b"), None),
    ]
    assert len(ids | {store.key(config).id for config in others}) == 5
    artifact = store_table(store, table)
    assert (
        str(tmp_path)
        not in (artifact.folder / "config.yaml").read_text()
        + (artifact.folder / "meta.json").read_text()
    )


def test_interventions_of_a_table_become_the_mask_and_part_of_its_identity(store, table, tmp_path):
    frame = table.frame().assign(who=["", "a", "a+c", "none"] * 5)
    named = read_table(frame, interventions=["who"])
    batch = load_tasks(store_table(store, named))
    assert batch.intervened[0].sum(0).tolist() == [10, 0, 5]
    assert batch.intervened[0, 2].tolist() == [True, False, True]
    with pytest.raises(ValueError, match="interventions of the table are not those"):
        make(
            Store(tmp_path / "other"),
            table_config(named, (), None),
            options={"table": dataclasses.replace(named, interventions=())},
        )
    mask = tmp_path / "mask.csv"
    pd.DataFrame({"b": [1] * 10 + [0] * 10}).to_csv(mask, index=False)
    masked = read_table(table.frame(), mask=mask)
    assert load_tasks(store_table(store, masked)).intervened[0].sum(0).tolist() == [0, 10, 0]
    assert len({store.key(table_config(t, (), None)).id for t in (table, named, masked)}) == 3


def test_a_table_that_is_not_at_hand_is_asked_for(store, table):
    config = table_config(table, (), None)
    with pytest.raises(ValueError, match=r"bytes of the table .* are not available"):
        make(store, config)
    with pytest.raises(ValueError, match="not available"):
        make(store, config, options={"table": dataclasses.replace(table, sha256="0" * 64)})
    with pytest.raises(ValueError, match="true graph is not the one"):
        make(store, config, options={"table": table, "truth": np.zeros((3, 3), dtype=np.int8)})


@pytest.mark.parametrize("factor", [1.0, 1e20, 1e-30, 1e300])
def test_centring_keeps_correlations_at_any_magnitude(factor):
    x = (
        np.random.default_rng(0).normal(size=(50, 3))
        @ np.array([[1, 0.5, 0], [0, 1, 0.5], [0, 0, 1]])
        + 1e3
    )
    moved, location, scale = centred(x * factor)
    assert np.isfinite(moved).all()
    np.testing.assert_allclose(np.corrcoef(moved.T), np.corrcoef(x.T), atol=1e-6)
    np.testing.assert_allclose(location + scale * moved, x * factor, rtol=1e-9)


def test_units_stay_where_they_are_safe():
    x = np.random.default_rng(0).normal(size=(50, 2)) * [1.0, 1e4]
    moved, _, scale = centred(x)
    assert (scale == 1).all()
    np.testing.assert_allclose(moved.std(axis=0), x.std(axis=0), rtol=1e-5)


def test_other_artifacts_are_no_task_sets(store, table):
    artifact = dataclasses.replace(store_table(store, table), kind="amortised")
    with pytest.raises(ValueError, match="give a task set"):
        load_tasks(artifact)
