"""The house stands: imports go down one floor at a time, light doors stay light, nothing read can
run code, every docstring says something."""

import ast
import inspect
import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

import causal_meta

SRC = Path(causal_meta.__file__).parent
MODULES = sorted(path for path in SRC.rglob("*.py"))
FLOOR = {
    "cli": 5, "__main__": 5, "run": 5, "workflow": 4, "runners": 3, "monitoring": 3, "reports": 3,
    "models": 2, "llc": 2,
    "datasets": 1, "representation": 1, "records": 1,
    "graphs": 0, "graph_classes": 0, "randomness": 0, "tasks": 0, "posteriors": 0, "layers": 0,
    "drawing": 0, "store": 0, "facts": 0, "conf": 0,
    "clock": 0, "threads": 0, "draws": 0,
}  # fmt: skip
# all that monitoring and reports may know
SHOWING = {"records", "store", "facts", "conf", "graphs", "posteriors", "drawing"}
# science takes tensors and returns tensors: it never writes
RECORDS = {"store", "facts", "records"}


def room(path: Path) -> str:
    return path.relative_to(SRC).parts[0].removesuffix(".py")


def name_of(path: Path) -> str:
    return ".".join(("causal_meta", *path.relative_to(SRC).with_suffix("").parts)).removesuffix(
        ".__init__"
    )


def imported_rooms(source: str) -> set[str]:
    """Rooms of causal_meta that a module's text imports, at any depth of its functions."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = (
                [f"{node.module}.{alias.name}" for alias in node.names]
                if node.module == "causal_meta"
                else [node.module]
            )
        found |= {name.split(".")[1] for name in names if name.startswith("causal_meta.")}
    return found


def forbidden(here: str, there: str) -> bool:
    """Whether room `here` may not import from room `there`."""
    if here == there or there == "__version__":
        return False
    # the front door opens lazily, to the public names of the runners and below
    if here == "__init__":
        return there in ("cli", "workflow")
    if here in ("monitoring", "reports"):
        return there not in SHOWING and not (here == "reports" and there == "monitoring")
    if here in ("models", "llc", "datasets", "representation") and there in RECORDS:
        return True
    if (
        here
        in (
            "graphs",
            "graph_classes",
            "randomness",
            "tasks",
            "posteriors",
            "layers",
            "drawing",
            "draws",
        )
        and there in RECORDS
    ):
        return True
    if {here, there} == {"models", "llc"} or {here, there} == {"datasets", "representation"}:
        return True
    if FLOOR[here] == 3 and there in ("monitoring", "reports"):
        return True
    return FLOOR[there] > FLOOR[here]


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_go_down(path):
    here = room(path)
    assert here == "__init__" or here in FLOOR, f"{here} has no floor: give it one in FLOOR"
    assert not {
        there for there in imported_rooms(path.read_text("utf-8")) if forbidden(here, there)
    }


def test_the_floor_rule_refuses_a_wrong_import():
    assert imported_rooms("def f():\n    from causal_meta.store import objects\n") == {"store"}
    assert forbidden("models", "store")
    assert forbidden("graphs", "models")
    assert forbidden("runners", "reports")
    assert forbidden("datasets", "models")
    assert not forbidden("runners", "models")


def test_no_two_modules_import_each_other():
    known = {name_of(path) for path in MODULES}

    def targets(path: Path) -> set[str]:
        found = set()
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if (
                isinstance(node, ast.ImportFrom)
                and node.module
                and node.module.startswith("causal_meta")
            ):
                inner = {f"{node.module}.{alias.name}" for alias in node.names}
                # `from package import module` is an arrow to the module
                found |= (inner & known) or {node.module}
        return found

    arrows = {name_of(path): targets(path) for path in MODULES}
    both = {
        (a, b)
        for a, out in arrows.items()
        for b in out
        if b in arrows and a in arrows[b] and a < b and "causal_meta" not in (a, b)
    }
    assert not both


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_names_and_sizes(path):
    assert path.stem not in ("utils", "helpers", "common", "misc")
    assert len(path.read_text("utf-8").splitlines()) <= 500
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 80, f"{node.name} is longer than a screen"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_nothing_read_can_run_code(path):
    source = path.read_text("utf-8")
    for pattern in (
        r"\bpickle\.loads?\(",
        r"allow_pickle\s*=\s*True",
        r"weights_only\s*=\s*False",
        r"\byaml\.(unsafe_|full_)?load\(",
        r"(?<![\w.])(eval|exec)\(",
    ):
        assert not re.search(pattern, source), pattern
    loads = re.findall(r"torch\.load\([^)]*\)", source)
    assert all("weights_only=True" in call for call in loads)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_public_things_have_docstrings(path):
    tree = ast.parse(path.read_text("utf-8"))
    assert ast.get_docstring(tree), "the module says nothing"
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{node.name} says nothing"


def run_light(code: str) -> tuple[float, str]:
    """CPU seconds of a fresh interpreter that carries out `code`, and what it printed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"COLUMNS": "100"},
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout


HEAVY = (
    "heavy = [m for m in ('torch', 'jax', 'lightning_fabric', 'pandas', 'matplotlib', 'scipy', "
    "'sklearn', 'hydra') if m in sys.modules];"
    "print('HEAVY', heavy)"
)


@pytest.mark.parametrize(
    "code",
    [
        f"import sys, causal_meta; {HEAVY}",
        "import sys\nfrom causal_meta.cli import main\ntry:\n    main(['--help'])\nexcept "
        f"SystemExit:\n    pass\n{HEAVY}",
        "import sys\nfrom causal_meta.cli import main\ntry:\n    main(['build', "
        f"'--help'])\nexcept SystemExit:\n    pass\n{HEAVY}",
        "import sys\nfrom causal_meta.cli import main\ntry:\n    main(['llc', 'compare', "
        f"'--help'])\nexcept SystemExit:\n    pass\n{HEAVY}",
    ],
    ids=["import", "--help", "build --help", "llc compare --help"],
)
def test_the_front_door_is_light(code):
    """Neither torch nor JAX nor any other heavy library, and under 0.4 CPU-seconds (the best of
    three: the machine may be busy)."""
    runs = [run_light(code) for _ in range(3)]
    assert "HEAVY []" in runs[0][1]
    assert min(seconds for seconds, _ in runs) < 0.4


def test_listing_a_store_loads_neither_torch_nor_jax(tmp_path):
    _, out = run_light(
        "import sys\nfrom causal_meta.cli import main\nmain(['store', 'ls', '--store', "
        f"{str(tmp_path)!r}])\n{HEAVY}"
    )
    assert not {"torch", "jax", "blackjax", "matplotlib"} & set(
        re.findall(r"'(\w+)'", out.splitlines()[-1])
    )


SPINE = [
    "conf.compose",
    "conf.registry",
    "store.objects",
    "facts",
    "records.analyses",
    "runners.llc.comparison",
    "llc.estimates.estimators",
    "randomness",
]


@pytest.mark.parametrize("room", SPINE)
def test_the_spine_loads_neither_torch_nor_jax(room):
    _, out = run_light(
        f"import sys, causal_meta.{room}; print([m for m in ('torch', 'jax') if m in sys.modules])"
    )
    assert out.strip() == "[]"


@pytest.mark.parametrize("path", [p for p in MODULES if "__main__" not in p.name], ids=name_of)
def test_importing_changes_nothing_outside(path):
    """No seeds drawn, no default dtype, no validation flag, no log level: shown by the text, since
    all modules share this process."""
    source = path.read_text("utf-8")
    for node in ast.parse(source).body:
        for call in (
            (n for n in ast.walk(node) if isinstance(n, ast.Call))
            if not isinstance(node, ast.FunctionDef | ast.ClassDef)
            else ()
        ):
            text = ast.unparse(call.func)
            assert not text.endswith(
                (
                    "manual_seed",
                    "set_default_dtype",
                    "set_num_threads",
                    "basicConfig",
                    "simplefilter",
                    "filterwarnings",
                )
            ), text


NAMES = {
    "datasets.data_module": {"CausalMetaModule": {"train_dataloader", "test_dataloader"}},
    "conf.data": {"FamilyConfig": {"graph", "mechanisms", "noise"}, "DataModuleConfig": {"train",
    "test"}},
    "datasets.streams": {"MetaIterableDataset": {"__iter__"}, "MetaFixedDataset": {"__getitem__",
    "__len__"}},
    "datasets.scm": {"SCMFamily": {"sample_task", "sample_tasks", "plot_example"}, "SCMInstance": {
        "sample", "visualize", "metadata"}},
    "datasets.graph_families": {"GraphGenerator": {"__call__"}},
    "datasets.mechanisms": {"MechanismFactory": set()},
    "conf.artifacts": {"ExperimentConfig": {"name", "model", "data", "trainer", "inference"}},
    "conf.training": {
        "TrainerConfig": {"max_steps", "val_check_interval", "log_every_n_steps",
        "limit_val_batches"}, "InferenceConfig": {"n_samples"},
    },
    "models.base": {
        "BaseModel": {"needs_pretraining", "forward", "calculate_loss", "sample",
        "infer_graph_posterior", "infer_mechanism_posterior"},
        "ModelFactory": {"build"}, "InferenceResult": set(),
    },
}  # fmt: skip
FUNCTIONS = {
    ("runners.evaluation.eval_metrics", "compute_graph_metrics"): ["pred_adj", "true_adj"],
    ("runners.training.train_metrics", "compute_predictive_nll"): ["model", "x_test"],
    ("facts", "discover_runs"): [], ("facts", "load_runs"): [], ("facts", "aggregate_results"): [],
    ("facts", "build_event_payload"): [],
    ("facts", "append_jsonl_event"): [], ("facts", "append_scalars_csv"): [],
    ("monitoring", "handle_event"): [], ("reports", "run_report"): [],
}  # fmt: skip


@pytest.mark.parametrize(("module", "name"), [(m, n) for m, names in NAMES.items() for n in names])
def test_names_that_users_expect(module, name):
    import dataclasses
    import importlib

    cls = getattr(importlib.import_module(f"causal_meta.{module}"), name)
    fields = {f.name for f in dataclasses.fields(cls)} if dataclasses.is_dataclass(cls) else set()
    annotated = set(getattr(cls, "__annotations__", {}))
    assert not {
        wanted
        for wanted in NAMES[module][name]
        if not hasattr(cls, wanted) and wanted not in fields | annotated
    }


@pytest.mark.parametrize(("module", "name"), list(FUNCTIONS))
def test_functions_that_users_expect(module, name):
    import importlib

    function = getattr(importlib.import_module(f"causal_meta.{module}"), name)
    assert (
        list(inspect.signature(function).parameters)[: len(FUNCTIONS[module, name])]
        == FUNCTIONS[module, name]
    )


def test_attributes_of_families_and_instances():
    import torch

    from causal_meta.conf.data import FamilyConfig
    from causal_meta.conf.ranges import fixed
    from causal_meta.datasets.scm import SCMFamily

    family = SCMFamily(FamilyConfig(n_nodes=fixed(4), n_rows=fixed(10)))
    assert all(
        hasattr(family, name)
        for name in ("n_nodes", "sparsity_param", "mechanism_proportions", "noise_type")
    )
    instance = family.sample_task(seed=3)
    assert instance.adjacency_matrix.shape == (4, 4)
    assert isinstance(instance.adjacency_matrix, torch.Tensor)
    assert sorted(instance.topological_order) == [0, 1, 2, 3]
    assert len(instance.mechanisms) == 4
    assert instance.sample(7).shape == (7, 4)
