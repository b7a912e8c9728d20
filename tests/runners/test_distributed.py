"""Two processes train as one does: the same stream, the same losses and weights within rounding, one artifact written by rank 0."""

import os
import subprocess
import sys

import pytest
import torch

from causal_meta.facts import read_events, read_scalars
from causal_meta.models.base import ModelFactory
from causal_meta.runners.pre_training import load_weights
from causal_meta.store import Store

WORDS = "data.train=linear_er data.train.n_nodes=4 data.train.n_rows=30 data.tasks_per_step=4 trainer.max_steps=12 trainer.optimizer=adamw seed=3 "
WORDS += "model.dim=8 model.n_pairs=1 model.n_heads=2 model.key_size=4 model.dropout=0.0 trainer.log_every_n_steps=3"


def trained(root, *launcher):
    """The only artifact of a store in which the command was carried out by one process, or by those of a launcher."""
    words = [sys.executable, *launcher, "-m", "causal_meta", "build", "amortised", *WORDS.split(), "--store", str(root), "--quiet"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr[-4000:]
    (artifact,) = Store(root).artifacts()
    return artifact


@pytest.mark.skipif(not torch.distributed.is_available() or not torch.distributed.is_gloo_available(), reason="needs gloo")
def test_two_processes_train_as_one_does(tmp_path):
    alone = trained(tmp_path / "one")
    both = trained(tmp_path / "two", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    assert both.id == alone.id
    assert Store(tmp_path / "two").verify() == []
    curves = [read_scalars(artifact.folder) for artifact in (alone, both)]
    losses = [curve[curve["name"] == "train/loss"]["value"] for curve in curves]
    assert len(losses[0]) == len(losses[1]) == 4  # rank 0 alone writes
    torch.testing.assert_close(*(torch.tensor(loss.to_numpy()) for loss in losses), rtol=1e-5, atol=1e-6)
    assert [event["moment"] for event in read_events(both.folder)].count("on_train_end") == 1
    weights = [torch.cat([p.detach().flatten() for p in load_weights(artifact, "last").parameters()]) for artifact in (alone, both)]
    first = torch.cat([p.detach().flatten() for p in ModelFactory.build(both.config.model, both.config.seed).parameters()])
    moved = (weights[0] - first).norm()
    assert (weights[0] - weights[1]).norm() < 0.03 * moved  # where a gradient is all rounding, AdamW's step is of full size and either sign
    assert losses[0].std() > 1e-3  # they are about something
