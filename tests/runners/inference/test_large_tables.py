"""Tables with many rows are answered in parts that use all rows evenly; small ones are answered
whole."""

import numpy as np
import pytest
import torch

from causal_meta.conf.models import AviciConfig
from causal_meta.models.base import ModelFactory
from causal_meta.runners.inference.large_tables import (
    MAX_PARTS,
    parts,
    parts_warning,
    table_posterior,
)
from causal_meta.tasks import full_batch


@pytest.fixture(scope="module")
def model():
    return ModelFactory.build(AviciConfig(dim=8, n_pairs=1, n_heads=2, key_size=4), seed=0)


def batch(n_rows, n_nodes=4):
    return full_batch(
        torch.from_numpy(
            np.random.default_rng(0).normal(size=(1, n_rows, n_nodes)).astype(np.float32)
        ),
        None,
        [-1],
    )


@pytest.mark.parametrize("n_rows", [11, 20, 25, 99, 100])
def test_parts_use_every_row_and_none_much_more_often_than_another(n_rows):
    rows_of_parts = parts(n_rows, 10, seed=1)
    assert rows_of_parts.shape == (-(-n_rows // 10), 10)
    assert all(len(set(part)) == 10 for part in rows_of_parts)
    counts = np.bincount(rows_of_parts.ravel(), minlength=n_rows)
    assert counts.min() >= 1
    assert counts.max() <= 2


def test_very_many_rows_are_answered_in_a_bounded_number_of_parts():
    assert parts(1_000_000, 100, seed=0).shape == (MAX_PARTS, 100)
    assert "the other rows are not used" in parts_warning(1_000_000, 100)[0]


def test_parts_depend_on_the_seed_alone():
    assert (parts(95, 10, seed=1) == parts(95, 10, seed=1)).all()
    assert not (parts(95, 10, seed=1) == parts(95, 10, seed=2)).all()


def test_a_table_within_the_limit_is_answered_whole(model):
    whole = batch(30)
    assert torch.equal(table_posterior(model, whole, 30).logits, model.posterior(whole).logits)
    assert parts_warning(30, 30) == []


def test_more_rows_give_the_mean_log_odds_of_the_parts(model):
    whole = batch(70)
    answer = table_posterior(model, whole, 30, seed=5)
    alone = torch.stack(
        [
            model.posterior(full_batch(whole.x[:, rows], None, [-1])).logits[0]
            for rows in parts(70, 30, seed=5)
        ]
    )
    off = ~torch.eye(4, dtype=torch.bool)
    torch.testing.assert_close(answer.logits[0][off], alone.mean(dim=0)[off], rtol=1e-5, atol=1e-5)
    assert (answer.edge_probabilities[0].diagonal() == 0).all()
    assert "mean log odds over 3 random parts of 30 rows" in parts_warning(70, 30)[0]


def test_several_tables_or_padding_are_refused(model):
    two = full_batch(torch.zeros(2, 20, 3), None, [-1, -1])
    with pytest.raises(ValueError, match="give one table"):
        table_posterior(model, two, 10)
    padded = batch(20)
    padded.row_mask[0, -1] = False
    with pytest.raises(ValueError, match="without padded rows"):
        table_posterior(model, padded, 10)
