"""The state of an unfinished build: three forms, read back as saved or not at all."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from causal_meta.conf.task_sets import TasksConfig
from causal_meta.facts import Facts, read_events
from causal_meta.store import Attempt
from causal_meta.store.checkpoints import FILES, verified, verified_step

STATES = {
    "tensors": {"w": torch.arange(3.0), "step": 4, "best": {"name": "a"}},
    "arrays": {"w": np.arange(3.0), "stage": np.asarray("warm-up")},
    "record": [{"number": 1, "value": 0.1, "flags": ["ok"]}, {"number": 2, "value": None}],
}


@pytest.fixture
def attempt(tmp_path):
    return Attempt(tmp_path, "tgt_0123456789ab", 1, {}, Facts(tmp_path, "tgt_0123456789ab", 1, 0))


def same(one, other):
    if isinstance(one, torch.Tensor | np.ndarray):
        return type(one) is type(other) and (one == other).all()
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    return one == other


@pytest.mark.parametrize("form", FILES)
def test_a_state_is_loaded_as_it_was_saved_from_a_file_of_its_form(attempt, form):
    assert attempt.load(form) is None
    attempt.save(STATES[form], 3, form)
    attempt.save(STATES[form], 4, form)
    assert same(attempt.load(form), STATES[form])
    assert {file.name for file in attempt.checkpoints.iterdir()} == {FILES[form], "last.json"}
    assert verified_step(attempt.checkpoints) == 4
    event = read_events(attempt.folder)[-1]
    assert (event["moment"], event["step"]) == ("on_checkpoint", 4)
    assert event["path"] == f"checkpoints/{FILES[form]}"
    assert event["digest"] == verified(attempt.checkpoints).sha256
    attempt.discard_checkpoints()
    assert attempt.load(form) is None


@pytest.mark.parametrize("form", FILES)
@pytest.mark.parametrize("other", FILES)
def test_a_state_of_another_form_is_never_read(attempt, form, other):
    attempt.save(STATES[form], 3, form)
    assert (attempt.load(other) is None) == (other != form)
    attempt.save(STATES[other], 5, other)
    assert same(attempt.load(other), STATES[other])
    assert verified_step(attempt.checkpoints) == 5


@pytest.mark.parametrize("form", ["arrays", "record"])
def test_arrays_and_records_that_earlier_versions_called_last_pt_are_not_read(attempt, form):
    attempt.save(STATES[form], 3, form)
    file = attempt.checkpoints / FILES[form]
    file.rename(attempt.checkpoints / "last.pt")
    entry = {"step": 3, "sha256": "0" * 64}
    (attempt.checkpoints / "last.json").write_text(json.dumps(entry))
    assert all(attempt.load(name) is None for name in FILES)


@pytest.mark.parametrize("form", FILES)
def test_a_changed_file_is_not_read(attempt, form):
    attempt.save(STATES[form], 3, form)
    file = attempt.checkpoints / FILES[form]
    text = file.read_bytes()
    file.write_bytes(text.replace(b"0.1", b"0.2") if form == "record" else text[:-1] + b"x")
    assert attempt.load(form) is None


def test_the_final_state_names_itself_alone(attempt):
    attempt.save(STATES["tensors"], 3, "tensors")
    attempt.save_final({"w": torch.ones(2)}, 9)
    note = json.loads((attempt.checkpoints / "last.json").read_text())
    assert note == {"step": 9, "sha256": verified(attempt.checkpoints).sha256}
    assert same(attempt.load("tensors"), {"w": torch.ones(2)})


def test_the_next_attempt_loads_what_the_failed_one_saved(store):
    loaded = []

    def builder(config, attempt):
        loaded.append(attempt.load("arrays"))
        attempt.save(STATES["arrays"], 1, "arrays")
        if len(loaded) == 1:
            raise RuntimeError("out of memory")
        attempt.discard_checkpoints()

    with pytest.raises(RuntimeError):
        store.build(TasksConfig(), {}, builder)
    made = store.build(TasksConfig(), {}, builder)
    assert loaded[0] is None
    assert same(loaded[1], STATES["arrays"])
    assert not (made.folder / "checkpoints").exists()


def test_saving_arrays_and_records_imports_no_torch(tmp_path):
    program = (
        "import sys, numpy as np\nfrom pathlib import Path\n"
        "from causal_meta.store import checkpoints\n"
        "folder = Path(sys.argv[1])\n"
        "checkpoints.write(folder, {'w': np.ones(2)}, 1, 'arrays')\n"
        "checkpoints.read(folder, 'arrays')\n"
        "checkpoints.write(folder, [1], 2, 'record')\n"
        "assert checkpoints.read(folder, 'record') == [1]\n"
        "assert not {'torch', 'jax'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True)
