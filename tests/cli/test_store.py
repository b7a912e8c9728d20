"""`store …` as a user types it: what it prints, its exit status, and what it refuses."""

import json
import os
import time

import pytest

from causal_meta.store import Store


@pytest.fixture
def ran(run, store):
    """The id of a run on the task set."""
    done = run("infer", "empty", "of=held_in", "--quiet")
    assert done.status == 0, done.err
    return done.last


def test_path_prints_the_folder(run, store, ran):
    assert run("store", "path", ran).out == f"{Store(store).find(ran).folder}\n"


def test_an_archive_moves_a_target_with_its_runs_and_its_name(run, store, ran, tmp_path):
    assert run("store", "export", "held_in", "all.tar", "--runs").out == "all.tar\n"
    other = tmp_path / "other"
    there = run("store", "import", "all.tar", "--store", other)
    assert there.out.split() == [Store(store).find("held_in").id, ran]
    assert Store(other).names() == {"held_in": Store(store).find("held_in").id}
    assert run("store", "verify", "--store", other).status == 0
    assert run("store", "import", "all.tar", "--store", other).out == there.out
    run("store", "name", ran, "x", "--store", other)
    assert run("store", "export", ran, "held_in", "first", "three.tar", "--inputs").status == 0


def test_a_name_that_means_something_else_stays(run, store, ran, tmp_path):
    run("store", "export", "held_in", "one.tar")
    run("store", "name", "first", "held_in", "--force")
    first = Store(store).find("first").id
    outcome = run("store", "import", "one.tar")
    assert outcome.status == 0
    assert "was imported without its name. The name 'held_in' means tgt_" in outcome.err
    assert Store(store).names()["held_in"] == first
    assert run("store", "import", "one.tar", "--force").status == 0
    assert Store(store).find("held_in").id == outcome.last


def test_what_cannot_be_exported_or_imported(refused, run, store, tmp_path):
    refused(
        "store",
        "export",
        "first",
        "held_in",
        "folder",
        saying="is a folder, which takes one artifact",
    )
    refused(
        "store",
        "export",
        "first",
        "folder",
        "--runs",
        saying="is a folder, which takes one artifact",
    )
    refused("store", "import", "nowhere.tar", saying="There is no archive")
    run("store", "export", "held_in", "one.tar")
    refused("store", "export", "held_in", "one.tar", saying="exists")
    refused("store", "import", "one.tar", "--name", "x", saying="its own settings and names")
    refused("store", "import", "one.tar", "seed=1", saying="its own settings and names")
    content = bytearray((tmp_path / "one.tar").read_bytes())
    content[-2000] ^= 1
    (tmp_path / "one.tar").write_bytes(content)
    refused("store", "import", "one.tar", "--store", tmp_path / "other", saying="is refused")
    assert not Store(tmp_path / "other").artifacts()


def test_rm_lists_dependent_artifacts_and_forced_removals(refused, run, store, ran):
    assert ran in refused("store", "rm", "held_in", saying="cannot be removed")
    done = run("store", "rm", "held_in", "--force")
    assert done.status == 0
    assert done.out.split("\n")[:-1] == sorted(
        f"removed {id_}" for id_ in (ran, done.last.removeprefix("removed "))
    )
    assert "held_in" not in Store(store).names()
    assert run("store", "verify").status == 0
    refused("store", "rm", "held_in", saying="holds nothing called")
    refused("store", "rm", "../first", saying="cannot be a name")


def test_gc_shows_first_and_removes_then(run, store):
    assert run("store", "gc").out == "There are no leftovers.\n"
    broken = store / ".staging" / "import-0"
    broken.mkdir(parents=True, exist_ok=True)
    (broken / "half").write_bytes(bytes(1500))
    assert run("store", "gc").out == "There are no leftovers.\n"  # it may be in use
    for path in (broken / "half", broken):
        os.utime(path, (time.time() - 7200,) * 2)
    shown = run("store", "gc")
    assert (
        shown.out.splitlines()[0] == "removable  1.5 kB  .staging/import-0  an interrupted import"
    )
    assert "give --yes" in shown.last
    assert broken.exists()
    assert run("store", "gc", "--yes").out.startswith("removed  1.5 kB")
    assert not broken.exists()
    orphan = store / "targets" / "tgt_000000000000"
    orphan.mkdir()
    assert "kept (needs --orphans)" in run("store", "gc", "--yes").out
    assert orphan.exists()
    assert run("store", "gc", "--yes", "--orphans").out.startswith("removed")
    assert not orphan.exists()


def test_rebuild_catalog_says_how_many(run, store, ran):
    (store / "targets" / "_catalog.jsonl").unlink()
    done = run("store", "rebuild-catalog")
    assert (done.status, done.out) == (0, "The lists hold 3 artifacts.\n")
    assert len((store / "targets" / "_catalog.jsonl").read_text().splitlines()) == 2
    (Store(store).find(ran).folder / "meta.json").write_text("{")
    done = run("store", "rebuild-catalog")
    assert (done.status, done.out) == (
        1,
        "The lists hold 2 artifacts, and 1 cannot be read (store verify names them).\n",
    )


def test_query_prints_a_table_csv_or_json(refused, run, store, ran):
    pytest.importorskip("duckdb")
    question = "select sampler, seed, name from runs"
    assert run("store", "query", question).out.split() == ["sampler", "seed", "name", "empty", "0"]
    assert run("store", "query", question, "--format", "csv").out == "sampler,seed,name\nempty,0,\n"
    assert json.loads(run("store", "query", question, "--format", "json").out) == {
        "sampler": "empty",
        "seed": 0,
        "name": None,
    }
    assert run("store", "query", "select name from targets order by 1").out.split() == [
        "name",
        "first",
        "held_in",
    ]
    refused("store", "query", "select * from '/etc/passwd'", saying="The query failed")
    refused("store", "query", "drop table runs", saying="takes one query")


def test_promote_prints_the_path_of_the_snippet(refused, run, store, tmp_path):
    refused(
        "store",
        "promote",
        "gallery",
        "first",
        "--to",
        "pictures",
        saying="has no plots or tables to promote",
    )
    figures = Store(store).find("first").folder / "figures"
    figures.mkdir()
    (figures / "losses.png").write_bytes(b"picture")
    done = run("store", "promote", "gallery", "first", "--to", "pictures")
    assert done.out == "pictures/first/snippet.md\n"
    assert (tmp_path / "pictures" / "first" / "amortised_losses.png").read_bytes() == b"picture"
    assert (
        run("store", "promote", "single", "first", "--plot", "losses").out
        == "gallery/first/snippet.md\n"
    )
    refused("store", "promote", "single", "held_in", saying="has no plots; give a run")
    refused("store", "promote", "everything", "first", saying="invalid choice")
