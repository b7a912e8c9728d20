"""What holds for the whole suite."""

import pytest

from causal_meta.threads import sleep_while_waiting

sleep_while_waiting()  # before any test module imports torch


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    """Small tensors on a machine that others use: more threads only wait for each other."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
