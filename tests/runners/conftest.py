"""Fixtures of several tests of the runners."""

import pytest

from causal_meta.models.base import ModelFactory
from causal_meta.runners.training import checkpoints
from causal_meta.store import Store


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "runs")


@pytest.fixture
def untrained():
    """A builder of kind `amortised` that keeps the first weights."""

    def keep_first_weights(config, attempt):
        model = ModelFactory.build(config.model, config.seed)
        checkpoints.write_best(
            attempt.folder / "checkpoints",
            checkpoints.payload(checkpoints.header_of(model), checkpoints.weights_of(model), 0),
        )
        return {}

    return keep_first_weights
