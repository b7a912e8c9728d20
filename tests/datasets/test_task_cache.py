"""Task sets on disk: the same tasks, written once, completely or not at all, also after damage or a
killed writer."""

import dataclasses
import json
import os
import pickle
import signal
import subprocess
import sys

import pytest
import torch
from torch.utils.data import DataLoader

from causal_meta import randomness
from causal_meta.conf.data import FamilyConfig
from causal_meta.conf.mechanism_laws import LinearHeteroskedastic, MechanismPart
from causal_meta.conf.ranges import IntRange
from causal_meta.datasets.scm import SCMFamily
from causal_meta.datasets.streams import MetaFixedDataset
from causal_meta.datasets.task_cache import TaskCache
from causal_meta.tasks import collate

CONFIG = FamilyConfig(n_nodes=IntRange(low=3, high=7), n_rows=IntRange(low=10, high=30))
FAMILY = SCMFamily(CONFIG)
SEEDS = randomness.seeds_of(1, "cache", start=0, count=70)


class Counting(SCMFamily):
    """A family that counts the tasks drawn from it."""

    drawn = 0

    def sample_tasks(self, seeds, *args, **options):
        self.drawn += len(seeds)
        return super().sample_tasks(seeds, *args, **options)


def same(task, other):
    return (
        all(
            torch.equal(getattr(task, name), getattr(other, name))
            for name in ("adjacency", "intervened")
        )
        and task.seed == other.seed
    )


def test_the_tasks_are_those_of_the_family(tmp_path):
    dataset, plain = (
        MetaFixedDataset(FAMILY, SEEDS, cache_folder=tmp_path),
        MetaFixedDataset(FAMILY, SEEDS),
    )
    for index in (0, 69, 33, 33):
        assert same(dataset[index], plain[index])
        torch.testing.assert_close(dataset[index].x, plain[index].x, rtol=1e-4, atol=1e-5)
        assert dataset[index].x.dtype == torch.float32
    task = dataset[5]
    task.x.zero_()
    assert dataset[5].x.any(), "a task is a copy"
    assert not list(tmp_path.glob(".*")), "nothing is left over"


def test_written_once_and_read_by_others(tmp_path):
    first, second = Counting(CONFIG), Counting(CONFIG)
    one = TaskCache(first, SEEDS, tmp_path)
    x = [one[index].x for index in range(70)]
    assert first.drawn == 70
    two = TaskCache(second, SEEDS, tmp_path)
    assert all(torch.equal(two[index].x, x[index]) for index in range(70))
    assert second.drawn == 3, "the first, the middle and the last are drawn to compare"
    sent = pickle.dumps(MetaFixedDataset(FAMILY, SEEDS, cache_folder=tmp_path))
    assert len(sent) < 20_000, "a copy for a worker holds no tables"
    assert torch.equal(pickle.loads(sent)[4].x, x[4])


def test_other_families_and_lists_have_separate_folders(tmp_path):
    other = SCMFamily(dataclasses.replace(CONFIG, n_rows=IntRange(low=10, high=31)))
    for family, seeds in (
        (FAMILY, SEEDS),
        (other, SEEDS),
        (FAMILY, SEEDS[:5]),
        (FAMILY, SEEDS[4::-1]),
    ):
        assert TaskCache(family, seeds, tmp_path)[0].seed == seeds[0]
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize(
    "damage",
    [
        "truncated",
        "flipped",
        "missing",
        "no index",
        "half an index",
        "other sizes",
        "empty folder",
        "a file",
    ],
)
def test_damaged_files_are_written_again(tmp_path, damage):
    cache = TaskCache(FAMILY, SEEDS[:6], tmp_path)
    expected = [cache[index].x for index in range(6)]
    x, index = cache.folder / "x.f32", cache.folder / "index.json"
    if damage == "truncated":
        os.truncate(x, x.stat().st_size - 4)
    elif damage == "flipped":
        content = bytearray(x.read_bytes())
        content[40] ^= 1
        x.write_bytes(content)
    elif damage == "missing":
        x.unlink()
    elif damage == "no index":
        index.unlink()
    elif damage == "half an index":
        index.write_text(index.read_text()[:50])
    elif damage == "other sizes":
        entries = json.loads(index.read_text())
        index.write_text(json.dumps(entries | {"sizes": entries["sizes"][:-1]}))
    else:
        for file in cache.folder.iterdir():
            file.unlink()
        if damage == "a file":
            cache.folder.rmdir()
            cache.folder.write_text("")
    family = Counting(CONFIG)
    again = TaskCache(family, SEEDS[:6], tmp_path)
    assert [torch.equal(again[k].x, expected[k]) for k in range(6)] == [True] * 6
    assert family.drawn >= 6
    assert TaskCache(Counting(CONFIG), SEEDS[:6], tmp_path)._opened() is not None
    assert [path.name for path in tmp_path.iterdir()] == [cache.folder.name]


def test_a_list_whose_law_changed_is_drawn_again(tmp_path, monkeypatch):
    """The files are intact, but the family now draws other tasks from the same configuration."""
    TaskCache(FAMILY, SEEDS[:6], tmp_path)[0]
    changed = SCMFamily(
        dataclasses.replace(
            CONFIG,
            mechanisms={"linear": MechanismPart(mechanism=LinearHeteroskedastic(weight_scale=3.0))},
        )
    )
    changed.config = CONFIG
    again = TaskCache(changed, SEEDS[:6], tmp_path)
    torch.testing.assert_close(
        again[2].x, changed.sample_tasks([SEEDS[2]]).task(0).x, rtol=1e-4, atol=1e-5
    )


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_workers_share_the_files(tmp_path):
    dataset = MetaFixedDataset(FAMILY, SEEDS, cache_folder=tmp_path)
    loader = DataLoader(
        dataset, batch_size=10, collate_fn=collate, num_workers=3, generator=torch.Generator()
    )
    alone = DataLoader(
        MetaFixedDataset(FAMILY, SEEDS, cache_folder=tmp_path / "other"),
        batch_size=10,
        collate_fn=collate,
    )
    assert all(torch.equal(a.x, b.x) for a, b in zip(loader, alone, strict=True))
    assert [path.name for path in tmp_path.glob("*tasks_*")] == [
        TaskCache(FAMILY, SEEDS, tmp_path).folder.name
    ]


WRITER = """
import sys, time
import causal_meta.datasets.task_cache as task_cache
from causal_meta.conf.data import FamilyConfig
from causal_meta.conf.ranges import IntRange
from causal_meta.datasets.scm import SCMFamily
draw = SCMFamily.sample_tasks
def slow(*args):
    print("drawing", flush=True)
    time.sleep(60)
    return draw(*args)
SCMFamily.sample_tasks = slow
family = SCMFamily(FamilyConfig(n_nodes=IntRange(low=3, high=7), n_rows=IntRange(low=10, high=30)))
task_cache.TaskCache(family, [int(seed) for seed in sys.argv[2:]], sys.argv[1])[0]
"""


def test_a_killed_writer_leaves_nothing_that_is_taken_for_the_list(tmp_path):
    words = [sys.executable, "-c", WRITER, str(tmp_path), *map(str, SEEDS[:6])]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "drawing\n"
        process.send_signal(signal.SIGKILL)
    cache = TaskCache(FAMILY, SEEDS[:6], tmp_path)
    assert not cache.folder.exists()
    assert cache[0].seed == SEEDS[0]


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        TaskCache(FAMILY, SEEDS[:2], tmp_path / "file")[0]


def test_without_caching_no_file_is_written(tmp_path):
    MetaFixedDataset(FAMILY, SEEDS[:2], cache_instances=False, cache_folder=tmp_path)[0]
    assert not list(tmp_path.iterdir())
