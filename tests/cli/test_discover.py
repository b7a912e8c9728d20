"""`discover` with explicit posteriors: every flag reaches the answer, its files hold what they
promise, knowledge binds every graph, and what cannot be answered is refused in one sentence."""

import json
import re

import numpy as np
import pandas as pd
import pytest

from causal_meta.runners.inference.answer_folder import FILES

QUICK = ("score=linear", "--n-samples", "40")


@pytest.fixture
def chain(tmp_path):
    """120 rows of a -> b -> c, with a site in words, a batch in numbers and three categories."""
    r = np.random.default_rng(0)
    site = np.where(r.random(120) < 0.5, "north", "south")
    batch, kind = r.integers(0, 3, 120), r.choice(["x", "y", "z"], 120)
    a = r.normal(size=120)
    b = a + 0.5 * r.normal(size=120) + 2.0 * (site == "north")
    c = b + 0.5 * r.normal(size=120) + 1.5 * (kind == "y")
    path = tmp_path / "chain.csv"
    columns = {"a": a, "b": b, "c": c, "site": site, "batch": batch, "kind": kind}
    pd.DataFrame(columns).to_csv(path, index=False)
    return path


@pytest.fixture
def asked(run, chain, tmp_path):
    """`discover` on columns of the chain: the summary and the arrays of the answer."""

    def ask(*words, columns="a,b,c", quick=QUICK):
        ran = run("discover", chain, "--columns", columns, *words, *quick)
        assert ran.status == 0, ran.err
        assert ran.last == "answer"
        folder = tmp_path / "answer"
        with np.load(folder / "graphs.npz", allow_pickle=False) as arrays:
            held = dict(arrays)
        return ran, json.loads((folder / "summary.json").read_text("utf-8")), held

    return ask


def edge(arrays, cause, effect):
    """The probability of an edge, and the share of graphs that hold it."""
    names = list(arrays["columns"])
    i, j = names.index(cause), names.index(effect)
    return arrays["edge_probabilities"][i, j], arrays["graphs"][:, i, j].mean()


# ------------------------------------------------------------------------------- files and contents


def test_by_default_the_answer_is_a_pool_with_all_files(asked, tmp_path):
    ran, summary, arrays = asked(quick=())
    assert {path.name for path in (tmp_path / "answer").iterdir()} == set(FILES)
    assert summary["method"] == "exact"
    names = {one["name"] for one in summary["members"]}
    assert {"linear", "additive", "noise", "variance"} < names
    assert sum(name.endswith(" (half)") for name in names) == 1
    assert arrays["graphs"].shape == (1000, 3, 3)
    p = arrays["edge_probabilities"]
    assert np.abs(arrays["graphs"].mean(axis=0) - p).max() < 5 * np.sqrt(0.25 / 1000)
    assert summary["expected_edges"] == pytest.approx(p.sum())
    assert "exact: run_exact_" in ran.out
    assert "under different assumptions, expected edges: " in ran.out
    assert summary["knowledge"] == {}


def test_the_tables_of_an_answer_agree_with_its_graphs(asked, tmp_path):
    _, summary, arrays = asked()
    frame = pd.read_csv(tmp_path / "answer" / "edge_probabilities.csv", index_col=0)
    assert list(frame.index) == list(frame.columns) == ["a", "b", "c"]
    np.testing.assert_allclose(frame, arrays["edge_probabilities"], atol=1e-12)
    effects = pd.read_csv(tmp_path / "answer" / "effects.csv")
    assert list(effects.columns) == ["cause", "effect", "probability", "mean", "low", "high"]
    assert len(effects) == 6
    graphs = arrays["graphs"].astype(int)
    reach = (graphs + graphs @ graphs) > 0
    for row in effects.itertuples():
        i, j = "abc".index(row.cause), "abc".index(row.effect)
        assert row.probability == pytest.approx(reach[:, i, j].mean())
        assert row.low <= row.mean <= row.high or row.probability < 0.2
    first = summary["strongest_edges"][0]
    assert first["probability"] == pytest.approx(frame.to_numpy().max(), rel=1e-5)
    assert {tuple(pair) for pair in summary["graph"]} <= {(c, e) for c in "abc" for e in "abc"}
    assert [row["variable"] for row in summary["mechanisms"]] == ["a", "b", "c"]
    effects_of = {effect for _, effect in summary["graph"]}
    for row in summary["mechanisms"]:
        assert 0 <= row["other_noise"] <= 1
        assert (row["nonlinear"] is None) == (row["variable"] not in effects_of)


def test_names_that_are_markup_are_shown_as_they_are(run, tmp_path):
    x = np.random.default_rng(0).normal(size=(30, 2))
    names = ["<script>alert(1)</script>", 'b&"]']
    pd.DataFrame(x + x[:, :1], columns=names).to_csv(tmp_path / "odd.csv", index=False)
    ran = run("discover", "odd.csv", *QUICK)
    assert ran.status == 0
    page = (tmp_path / "answer" / "answer.html").read_text("utf-8")
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert names[0] in ran.out
    assert list(np.load(tmp_path / "answer" / "graphs.npz")["columns"]) == names


def test_a_truth_is_scored_for_every_method(asked, tmp_path):
    (tmp_path / "g.csv").write_text("a,b,c\n0,1,0\n0,0,1\n0,0,0\n")
    ran, summary, _ = asked(
        *("--truth", tmp_path / "g.csv", "--method", "auto,correlation"), quick=("score=linear",)
    )
    assert 0 < summary["metrics"]["e_shd"] < 3
    assert "exact against the truth: e_shd" in ran.out
    assert "correlation against the truth: e_shd" in ran.out
    assert "Against the true graph" in (tmp_path / "answer" / "answer.html").read_text("utf-8")


# ------------------------------------------------------------------------------------------ methods


def test_methods_stand_side_by_side_and_the_first_is_the_answer(asked, tmp_path):
    ran, summary, arrays = asked("--method", "boss,auto,exact,correlation,empty", "starts=2")
    title = next(line for line in ran.out.splitlines() if line.strip().startswith("cause"))
    assert title.split() == ["cause", "effect", "boss", "exact", "correlation", "empty"]
    assert summary["method"] == "boss"
    for row in summary["strongest_edges"]:
        assert set(row) == {"cause", "effect", "probability", "exact", "correlation", "empty"}
        assert row["empty"] == 0
        assert row["probability"] == pytest.approx(edge(arrays, row["cause"], row["effect"])[0])
    assert re.search(r"exact: \d\.\d edges expected, differs by \d", ran.out)
    assert "by correlation" in (tmp_path / "answer" / "answer.html").read_text("utf-8")


def test_a_trained_model_is_a_method_among_others(asked):
    ran, summary, _ = asked("--method", "exact,amortised", "--model", "first")
    assert set(summary["strongest_edges"][0]) == {"cause", "effect", "probability", "amortised"}
    assert "amortised:" in ran.out
    _, summary, _ = asked("--model", "first", quick=("--n-samples", "5"))
    assert (summary["method"], summary["n_samples"]) == ("amortised", 5)


def test_many_variables_are_sampled(run, tmp_path):
    x = np.random.default_rng(0).normal(size=(20, 9))
    pd.DataFrame(x, columns=list("abcdefghi")).to_csv(tmp_path / "nine.csv", index=False)
    words = ("score=linear", "chains=1", "n_candidates=2", "--n-samples", "10")
    ran = run("discover", "nine.csv", *words)
    assert ran.status == 0
    assert "mcmc: run_mcmc_" in ran.out
    assert "1 chain" in ran.out


def test_settings_change_the_answer_and_nothing_else_is_kept(asked):
    _, _, few = asked("edge_penalty=4")
    _, summary, arrays = asked(
        quick=("score=linear", "edge_penalty=0", "n_samples=7", "--seed", "3")
    )
    assert arrays["edge_probabilities"].sum() > few["edge_probabilities"].sum() + 0.1
    assert (len(arrays["graphs"]), summary["seed"], summary["members"]) == (7, 3, [])


# ---------------------------------------------------------------------------------------- knowledge


def test_forbidden_and_required_edges_bind_every_graph(asked):
    _, summary, arrays = asked("--forbid", "a -> b", "--require", "c -> b", "--forbid", "* → c")
    assert edge(arrays, "a", "b") == (0, 0)
    assert edge(arrays, "c", "b") == (1, 1)
    assert edge(arrays, "b", "c") == edge(arrays, "a", "c") == (0, 0)
    assert summary["knowledge"] == {"forbid": ["a -> b", "* → c"], "require": ["c -> b"]}
    assert edge(asked()[2], "a", "b")[0] > 0.1


def test_tiers_and_the_most_parents_bind_every_graph(asked):
    _, _, arrays = asked("--tiers", "c; *; a", "--max-parents", "1")
    assert edge(arrays, "a", "b") == edge(arrays, "b", "c") == edge(arrays, "a", "c") == (0, 0)
    assert arrays["graphs"].sum(axis=1).max() == 1


def test_a_file_of_knowledge_adds_to_the_flags(asked, tmp_path):
    (tmp_path / "known.yaml").write_text(
        "tiers:\n  - [a, b]\n  - c\nforbid: 'a -> b'\nmax_parents: 1\n"
    )
    _, summary, arrays = asked("--knowledge", "known.yaml", "--forbid", "a -> c")
    assert edge(arrays, "c", "a") == edge(arrays, "a", "b") == edge(arrays, "a", "c") == (0, 0)
    assert summary["knowledge"]["tiers"] == ["a, b", "c"]
    assert summary["knowledge"]["max_parents"] == 1
    page = (tmp_path / "answer" / "answer.html").read_text("utf-8")
    assert "a -&gt; b" in page


@pytest.mark.parametrize("method", ["mcmc", "boss"])
def test_other_methods_obey_knowledge_and_contexts(asked, method):
    words = ("--forbid", "a -> b", "--require", "c -> b", "--context", "site")
    quick = ("chains=1",) if method == "mcmc" else ("starts=1",)
    score = ("score=linear",) if method == "mcmc" else ()
    _, _, arrays = asked(
        *words,
        *("--method", method),
        columns="a,b,c,site",
        quick=(*quick, *score, "--n-samples", "10"),
    )
    assert edge(arrays, "a", "b") == (0, 0)
    assert edge(arrays, "c", "b") == (1, 1)
    assert arrays["graphs"][:, :, 3].sum() == 0


def test_contexts_of_words_and_numbers_have_no_causes(asked, tmp_path):
    ran, summary, arrays = asked("--context", "site,batch", columns="a,b,site,batch")
    assert arrays["graphs"][:, :, 2:].sum() == 0
    assert edge(arrays, "site", "b")[0] > 0.99
    assert "Warning: The context site acts on b" in ran.err
    page = (tmp_path / "answer" / "answer.html").read_text("utf-8")
    assert "What speaks against this answer" in page
    assert "The context site acts on b" in page
    assert summary["table"]["context"] == ["site", "batch"]
    assert summary["table"]["categorical"] == ["site"]


def test_categories_are_read_and_their_effects_have_no_unit(asked, tmp_path):
    _, summary, arrays = asked("--categorical", "kind,site", columns="b,c,kind,site")
    assert edge(arrays, "kind", "c")[0] + edge(arrays, "c", "kind")[0] > 0.99
    assert summary["table"]["categorical"] == ["kind", "site"]
    effects = pd.read_csv(tmp_path / "answer" / "effects.csv")
    kinds = (effects[["cause", "effect"]] == "kind").any(axis=1)
    assert (effects["mean"].isna() == kinds).all()
    assert "has several categories" in (tmp_path / "answer" / "answer.html").read_text("utf-8")


# ------------------------------------------------------------------------------------------ refused


@pytest.mark.parametrize(
    ("words", "saying"),
    [
        (["--forbid", "a -> b", "--require", "a -> b"], "a -> b is both required and forbidden"),
        (["--tiers", "b; a", "--require", "a -> b"], "a -> b is both required and forbidden"),
        (["--require", "a -> b", "--require", "b -> a"], "cycle, a -> b -> a"),
        (["--require", "a -> c", "--require", "b -> c", "--max-parents", "1"], "c has 2 required"),
        (["--forbid", "a -> q"], "names 'q', which is no variable of the table"),
        (["--forbid", "a b"], "'a b' is no edge; write 'cause -> effect'"),
        (["--tiers", "a; q"], "The tier 'q' names 'q'"),
        (["--tiers", " ; "], "--tiers names no variable"),
        (["--max-parents", "0"], "not a whole number of at least 1"),
        (["--method", "bos"], "There is no method 'bos'; did you mean 'boss'?"),
        (["--method", ","], "No method is named"),
        (["--method", "auto,sortnregress", "--forbid", "a -> b"], "sortnregress cannot use know"),
        (["--method", "amortised", "--forbid", "a -> b"], "A trained model cannot use knowledge"),
        (["--model", "first", "--method", "mcmc"], "--model names a trained model"),
        (["--method", "exact,boss", "chains=2"], "There is no setting 'chains'"),
        (["expected_edges=9"], "acyclic graphs of 3 variables can expect between 0 and 3 edges"),
        (["score=cubic"], "cubic"),
    ],
)
def test_words_that_contradict_are_refused(refused, table, words, saying):
    refused("discover", table, *words, saying=saying)


@pytest.mark.parametrize(
    ("words", "saying"),
    [
        (["--context", "sit"], "has no context column 'sit'; did you mean 'site'?"),
        (["--columns", "a,b", "--context", "site"], "'site' is not among the chosen columns"),
        (["--columns", "a,site"], "are not numbers; leave such columns out"),
        (
            ["--columns", "a,site", "--context", "site", "--method", "amortised"],
            "A trained model cannot use contexts",
        ),
        (
            ["--columns", "a,site", "--context", "site", "--method", "correlation"],
            "correlation cannot use contexts",
        ),
        (
            ["--columns", "a,site", "--context", "site", "--require", "a -> site"],
            "A context has no causes: The edge a -> site is both required and forbidden",
        ),
        (
            ["--columns", "a,kind", "--categorical", "kind", "--method", "boss"],
            "'kind' holds more than two categories; leave it out, or use one of exact, mcmc",
        ),
        (
            ["--columns", "a,kind", "--categorical", "kind", "--method", "amortised"],
            "A trained model reads numbers",
        ),
        (["--columns", "a,b", "--categorical", "b"], "'b' has 120 categories in 120 rows"),
    ],
)
def test_columns_that_a_method_cannot_use_are_refused(refused, chain, words, saying):
    refused("discover", chain, *words, saying=saying)


@pytest.mark.parametrize(
    ("text", "saying"),
    [
        ("", "holds no knowledge; write forbid, require, tiers, max_parents"),
        ("- a -> b\n", "holds no knowledge"),
        ("forbidden: ['a -> b']\n", "no setting 'forbidden'; did you mean 'forbid'?"),
        ("forbid: {a: b}\n", "forbid in known.yaml is {'a': 'b'}; write a list"),
        ("forbid: [\n", "known.yaml, line 2 is not valid YAML"),
        ("max_parents: -1\n", "max_parents"),
        ("tiers: [[1, 2], c]\n", "The tier '1, 2' names '1'"),
    ],
)
def test_a_file_of_knowledge_that_cannot_be_read_is_refused(refused, table, tmp_path, text, saying):
    (tmp_path / "known.yaml").write_text(text)
    refused("discover", table, "--knowledge", "known.yaml", saying=saying)


def test_other_files_of_knowledge_are_refused(refused, table, tmp_path):
    refused("discover", table, "--knowledge", "none.yaml", saying="no file none.yaml")
    refused("discover", table, "--knowledge", tmp_path, saying="There is no file")
    (tmp_path / "known.yaml").write_text("tiers: [a]\n")
    words = ("--knowledge", "known.yaml", "--tiers", "a; b")
    refused("discover", table, *words, saying="Tiers stand in known.yaml and after --tiers")


def test_too_many_variables_for_exact_sums_are_refused(refused, tmp_path):
    x = np.random.default_rng(0).normal(size=(30, 21))
    pd.DataFrame(x).add_prefix("x").to_csv(tmp_path / "wide.csv", index=False)
    saying = "has 21 variables, and exact inference holds at most 20; use mcmc instead"
    refused("discover", "wide.csv", "--method", "exact", saying=saying)


# ------------------------------------------------------------------------------- tables of any kind


def odd_tables():
    r = np.random.default_rng(0)
    x = r.normal(size=(100, 3))
    huge = x.copy()
    huge[3, 1], huge[4, 2] = 1e300, -1e300
    return {
        "a copied column": np.column_stack([x, x[:, 0]]),
        "a sum of columns": np.column_stack([x, x.sum(axis=1)]),
        "fewer rows than columns": r.normal(size=(10, 12))[:, :12],
        "two columns": x[:, :2],
        "ten rows": x[:10],
        "heavy tails": huge,
        "tiny numbers": 1e-300 * x,
        "far from zero": x + 1e12,
        "integers with ties": r.integers(0, 3, (100, 3)),
        "one row differs": np.column_stack([x[:, 0], np.arange(100) == 5]),
        "every row seven times": np.repeat(x[:10], 7, axis=0),
    }


@pytest.mark.parametrize("name", odd_tables())
def test_odd_tables_are_answered(run, tmp_path, name):
    x = odd_tables()[name].astype(float)
    pd.DataFrame(x).add_prefix("x").to_csv(tmp_path / "odd.csv", index=False)
    wide = x.shape[1] > 8
    few = ("chains=1", "n_candidates=2", "score=linear") if wide else ()
    few = few or ("pool.additive=0", "pool.noise=0")
    ran = run("discover", "odd.csv", "--n-samples", "10", *few)
    assert ran.status == 0, ran.err
    assert "Traceback" not in ran.err
    with np.load(tmp_path / "answer" / "graphs.npz") as arrays:
        p = arrays["edge_probabilities"]
    assert ((p >= 0) & (p <= 1)).all()
    effects = pd.read_csv(tmp_path / "answer" / "effects.csv")
    assert np.isfinite(effects[["probability", "mean", "low", "high"]].to_numpy()).all()
    if name == "a sum of columns":
        assert p[:3, 3].min() > 0.9 or p[3, :3].max() > 0.5
