"""Two processes train as one does: the same stream, the same losses and weights within rounding,
one artifact written by rank 0; and when one of them is killed, both resume from the last checkpoint
and end with the same artifact, bit for bit."""

import os
import subprocess
import sys

import pytest
import torch

from causal_meta.cli import main
from causal_meta.cli.launching import UNSHARED
from causal_meta.facts import read_events, read_scalars
from causal_meta.models.base import ModelFactory
from causal_meta.runners.training.pre_training import load_weights
from causal_meta.store import Store

WORDS = (
    "data.train=linear_er data.train.n_nodes=4 data.train.n_rows=30 data.tasks_per_step=4 "
    "trainer.max_steps=12 trainer.optimizer=adamw seed=3 "
)
WORDS += (
    "model.dim=8 model.n_pairs=1 model.n_heads=2 model.key_size=4 model.dropout=0.0 "
    "trainer.log_every_n_steps=3 trainer.checkpoint_every_n_steps=3"
)
BUILD = ["build", "amortised", *WORDS.split(), "--quiet", "--no-plots"]
LIMIT = 300  # seconds after which a training that hangs has failed

pytestmark = pytest.mark.skipif(
    not torch.distributed.is_available() or not torch.distributed.is_gloo_available(),
    reason="needs gloo",
)

# torchrun's agent with `causal_meta` in two processes; that of rank R is killed before step S of
# attempt A, for each of the words "A:R:S". All imports are made once, before the forks.
MORTAL = """
import os, signal, sys
import lightning_fabric
from torch.distributed.launcher.api import LaunchConfig, elastic_launch
import causal_meta.runners.build, causal_meta.runners.training.pre_training
from causal_meta.cli import main
from causal_meta.runners.training.loop import Training

deaths = {tuple(map(int, word.split(":"))) for word in os.environ["DEATHS"].split()}
living = Training.train

def train(self, batch):
    if (int(os.environ["TORCHELASTIC_RESTART_COUNT"]), int(os.environ["RANK"]),
        self.step + 1) in deaths:
        os.kill(os.getpid(), signal.SIGKILL)
    living(self, batch)

Training.train = train
agent = elastic_launch(
    LaunchConfig(
        min_nodes=1, max_nodes=1, nproc_per_node=2, run_id="mortal", rdzv_backend="c10d",
        rdzv_endpoint="localhost:0", max_restarts=2, monitor_interval=0.1, start_method="fork",
    ),
    main,
)
raise SystemExit(max(agent(sys.argv[1:]).values()))
"""


def carried_out(words, root, **environment):
    """The only artifact of a store in which a command was executed, and the command's output."""
    words = [sys.executable, *words, "--store", str(root)]
    done = subprocess.run(
        words,
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    (artifact,) = Store(root).artifacts()
    return artifact, done


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """The outcome of two processes without interruption."""
    artifact, done = carried_out(
        ["-m", "causal_meta", *BUILD, "--processes", "2"], tmp_path_factory.mktemp("both") / "runs"
    )
    assert done.stdout.split() == [artifact.id]  # only the first process prints
    assert "Warning" not in done.stderr
    return artifact


def weights_of(artifact):
    return torch.cat([p.detach().flatten() for p in load_weights(artifact, "last").parameters()])


def test_two_processes_train_as_one_does(both, tmp_path):
    assert main([*BUILD, "--threads", "1", "--store", str(tmp_path / "one")]) == 0
    (alone,) = Store(tmp_path / "one").artifacts()
    assert both.id == alone.id
    assert Store(both.folder.parents[1]).verify() == []
    curves = [read_scalars(artifact.folder) for artifact in (alone, both)]
    losses = [curve[curve["name"] == "train/loss"]["value"] for curve in curves]
    assert len(losses[0]) == len(losses[1]) == 4  # rank 0 alone writes
    torch.testing.assert_close(
        *(torch.tensor(loss.to_numpy()) for loss in losses), rtol=1e-5, atol=1e-6
    )
    assert [event["moment"] for event in read_events(both.folder)].count("on_train_end") == 1
    weights = [weights_of(alone), weights_of(both)]
    first = torch.cat(
        [
            p.detach().flatten()
            for p in ModelFactory.build(both.config.model, both.config.seed).parameters()
        ]
    )
    moved = (weights[0] - first).norm()
    # where a gradient is all rounding, AdamW's step is of full size and either sign
    assert (weights[0] - weights[1]).norm() < 0.03 * moved
    assert losses[0].std() > 1e-3  # they are about something


def test_a_killed_process_costs_the_steps_since_the_last_checkpoint_and_nothing_else(
    both, tmp_path
):
    """First the process of rank 1 is killed, then that of rank 0, which writes."""
    (tmp_path / "mortal.py").write_text(MORTAL)
    made, _ = carried_out(
        [str(tmp_path / "mortal.py"), *BUILD],
        tmp_path / "runs",
        DEATHS="0:1:5 1:0:8",
        **{UNSHARED: "1"},
    )
    assert made.meta["attempt"] == 3
    moments = [
        (event["moment"], event["step"])
        for event in read_events(made.folder)
        if event["moment"] in ("on_start", "on_resume", "on_train_end")
    ]
    assert moments == [("on_start", 0), ("on_resume", 3), ("on_resume", 6), ("on_train_end", 12)]
    torch.testing.assert_close(weights_of(made), weights_of(both), rtol=1e-6, atol=1e-7)
    assert read_scalars(made.folder, all_attempts=True)["step"].max() == 12
    losses = [
        curve[curve["name"] == "train/loss"]["value"].to_numpy()
        for curve in (read_scalars(artifact.folder) for artifact in (made, both))
    ]
    torch.testing.assert_close(*map(torch.tensor, losses), rtol=1e-6, atol=1e-7)
    store = Store(tmp_path / "runs")
    assert store.verify() == []
    assert store.leftovers(idle=0) == []
