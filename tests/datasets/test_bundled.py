"""The bundled tables are those of scikit-learn."""

import numpy as np
import pytest
from sklearn import datasets

from causal_meta.datasets import bundled


@pytest.mark.parametrize("source", bundled.BUNDLED)
def test_tables_are_those_that_scikit_learn_loads(source):
    title = source.partition(":")[2]
    more = {"scaled": False} if title == "diabetes" else {}
    theirs = getattr(datasets, f"load_{title}")(as_frame=True, **more).frame
    ours = bundled.bundled_frame(title)
    assert list(ours.columns)[:-1] == list(theirs.columns)[:-1]
    assert list(ours.dtypes) == list(theirs.dtypes)
    np.testing.assert_array_equal(ours.to_numpy(), theirs.to_numpy())


def test_diabetes_does_not_need_the_files_to_lie_where_they_do(monkeypatch):
    directly = bundled.bundled_frame("diabetes")
    monkeypatch.setattr(bundled, "_diabetes", lambda: None)
    np.testing.assert_array_equal(bundled.bundled_frame("diabetes").to_numpy(), directly.to_numpy())
