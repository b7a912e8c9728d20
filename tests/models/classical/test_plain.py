"""`bootstrap: false`: one fit to the rows as they are, and the ids of what was stored before."""

from collections import Counter

import numpy as np
import pytest

from causal_meta.conf import registry
from causal_meta.conf.convert import to_plain
from causal_meta.conf.inference import BOSSConfig, GESConfig, PCConfig, SortnregressConfig
from causal_meta.knowledge import Knowledge
from causal_meta.models.classical.sortnregress import sort_and_regress
from causal_meta.store.key import key_of

from .linear_tables import drawn

KINDS = [PCConfig, GESConfig, BOSSConfig, SortnregressConfig]


def particles(config, x, seed=0):
    return registry.implementation(config)(config).particles(x, np.random.default_rng(seed))[0]


@pytest.mark.parametrize("cls", KINDS)
def test_the_plain_method_is_fitted_once_to_the_rows_as_they_are(cls, monkeypatch):
    """The rows of every fit: all of them once; a bootstrap's are others."""
    implementation = registry.implementation(cls)
    x, _ = drawn(0, 4, 60)
    rows = []

    def fit(self, table, generator, knowledge, record):
        rows.append(sorted(map(tuple, np.sort(table, axis=1))))
        return np.zeros((4, 4), dtype=np.int8)

    monkeypatch.setattr(implementation, "fit", fit)
    particles(cls(n_samples=3, bootstrap=False), x)
    assert rows == [sorted(map(tuple, np.sort(x, axis=1)))]
    particles(cls(n_samples=3), x)
    assert len(rows) == 4
    assert rows[1] != rows[0]


def test_plain_sort_and_regress_is_the_method_of_the_paper():
    x, _ = drawn(1, 6, 200)
    r2 = 1 - 1 / np.diagonal(np.linalg.inv(np.corrcoef(x.T)))
    expected = sort_and_regress(x, np.argsort(r2))
    graphs = particles(SortnregressConfig(n_samples=2, bootstrap=False), x)
    np.testing.assert_array_equal(graphs, [expected] * 2)
    # the check rejects another order
    assert (sort_and_regress(x, np.argsort(-r2)) != expected).any()


def test_several_graphs_of_a_plain_method_are_members_of_one_class():
    draws = np.random.default_rng(0)
    cause = draws.normal(size=500)
    x = np.column_stack([cause, cause + draws.normal(size=500)])
    graphs = particles(GESConfig(n_samples=400, bootstrap=False), x)
    assert (graphs.sum(axis=(1, 2)) == 1).all()
    assert abs(graphs[:, 0, 1].mean() - 0.5) < 4 * 0.5 / 20  # 400 draws


def test_singular_rows_are_made_regular_and_counted():
    x, _ = drawn(0, 4, 60)
    x[:, 3] = x[:, 0]
    config = GESConfig(n_samples=1, bootstrap=False)
    method = registry.implementation(config)(config)
    assert method.particles(x, np.random.default_rng(0))[1]["jittered"] == 1
    known = Knowledge.none(4)
    assert method.fit(x, np.random.default_rng(0), known, Counter()).shape == (4, 4)


@pytest.mark.parametrize("cls", KINDS)
def test_a_bootstrap_keeps_its_id_and_the_plain_method_has_another(cls):
    of = {"of": "tgt_0123456789ab"}
    assert "bootstrap" not in to_plain(cls(), identity_only=True)
    assert key_of(cls(bootstrap=False), of).id != key_of(cls(), of).id


def test_golden_ids_of_the_methods():
    """BOSS and GES are of revision 2; the others keep the ids that they had before they could be
    plain."""
    of = {"of": "tgt_0123456789ab"}
    assert {cls.kind: cls.revision for cls in KINDS} == {
        "pc": 1,
        "ges": 2,
        "boss": 2,
        "sortnregress": 1,
    }
    assert key_of(PCConfig(), of).id == "run_pc_87db5fe7"
    assert key_of(SortnregressConfig(), of).id == "run_sortnregress_e4d77226"


def test_names_in_tables():
    assert PCConfig().name_in_tables == "PC bootstrap"
    assert PCConfig(bootstrap=False).name_in_tables == "PC"
    assert SortnregressConfig().name_in_tables == "sort-and-regress by R²"
    assert (
        SortnregressConfig(bootstrap=False).name_in_tables
        == "sort-and-regress by R² without bootstrap"
    )
