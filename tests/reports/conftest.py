"""A small store whose artifacts are fabricated, so that every number in a report is known."""

import json

import numpy as np
import pytest
import torch

from causal_meta.conf.data import FamilyConfig, TableConfig
from causal_meta.conf.evaluation import EvaluateConfig
from causal_meta.conf.inference import BOSSConfig, DiscoverConfig, EmptyConfig, SortnregressConfig
from causal_meta.conf.pre_training import ExperimentConfig
from causal_meta.conf.ranges import fixed
from causal_meta.conf.task_sets import TasksConfig
from causal_meta.conf.training import TrainerConfig
from causal_meta.posteriors import EmpiricalGraphs, IndependentEdges
from causal_meta.store import Store

COLUMNS = ["age", "<script>alert(1)</script>", "bmi", "a|b & $x_{", "progression"]
D = len(COLUMNS)


class Workshop:
    """Puts fabricated artifacts into a store."""

    def __init__(self, root):
        self.store = Store(root)

    def model(self, name="first", steps=200, seed=0):
        config = ExperimentConfig(trainer=TrainerConfig(max_steps=steps), seed=seed)

        def build(_, attempt):
            for step in range(10, steps + 1, 10):
                attempt.facts.scalars(
                    step,
                    "train",
                    {
                        "train/loss": 1 / step,
                        "train/gradient_norm": 0.3,
                        "train/tasks_per_second": 100.0,
                    },
                )
                attempt.facts.scalars(
                    step,
                    "val",
                    {
                        "val/er/loss": 1.1 / step,
                        "val/loss": 1.1 / step,
                        "val/er/auroc": 0.8,
                        "val/auroc": 0.8,
                    },
                )
            attempt.facts.event("on_train_end", step=steps)
            return {
                "dims": {"p": 4321},
                "metrics": {"val/auroc": 0.8},
                "best_step": steps,
                "steps": steps,
                "tasks": 32 * steps,
            }

        return self.store.build(config, {}, build, name=name)

    def tasks(self, name="bench", n_tasks=4, seed=0):
        return self.store.build(
            TasksConfig(data=FamilyConfig(n_nodes=fixed(D)), n_tasks=n_tasks, seed=seed),
            {},
            self._data(n_tasks),
            name=name,
        )

    def table(self, name="people", truth=False):
        data = TableConfig(
            sha256="0" * 64, title="<b>people</b>", truth_sha256="1" * 64 if truth else ""
        )
        return self.store.build(
            TasksConfig(data=data, n_tasks=1), {}, self._data(1, truth=truth), name=name
        )

    def _data(self, n_tasks, truth=True):
        def build(_, attempt):
            adjacency = (
                {"adjacency": np.triu(np.ones((n_tasks, D, D), np.int8), 3)} if truth else {}
            )
            np.savez(
                attempt.folder / "data.npz", x=np.zeros((n_tasks, 30, D), np.float32), **adjacency
            )
            (attempt.folder / "columns.json").write_text(json.dumps(COLUMNS))
            return {"dims": {"n_tasks": n_tasks, "n_rows": 30, "n_nodes": D, "has_truth": truth}}

        return build

    def baseline(self, config, tasks, p=0.5):
        def build(_, attempt):
            draws = np.random.default_rng(0).random(
                (tasks.meta["dims"]["n_tasks"], config.n_samples, D, D)
            )
            graphs = np.triu(draws < (0 if config.kind == "empty" else p), 1)
            posterior = EmpiricalGraphs(
                torch.from_numpy(graphs.astype(np.int8)),
                torch.ones(len(graphs), D, dtype=torch.bool),
            )
            np.savez(attempt.folder / "posterior.npz", **posterior.arrays())
            return {}

        return self.store.build(config, {"of": tasks}, build)

    def discover(self, model, tasks, probabilities, warnings=(), **options):
        def build(config, attempt):
            matrix = torch.as_tensor(probabilities, dtype=torch.float64)[None] * (
                1 - torch.eye(D, dtype=torch.float64)
            )
            posterior = IndependentEdges.from_probabilities(
                matrix, torch.ones(1, D, dtype=torch.bool)
            )
            graphs = posterior.sample(50, torch.Generator().manual_seed(0)).numpy().astype(np.uint8)
            np.savez(attempt.folder / "posterior.npz", **posterior.arrays(), graphs=graphs)
            return {} if warnings is None else {"warnings": list(warnings)}

        return self.store.build(DiscoverConfig(**options), {"of": model, "tasks": tasks}, build)

    def evaluate(self, values, errors=0.01, n_tasks=4, **inputs):
        options = {
            key: inputs.pop(key) for key in ("shd_reversal", "n_samples", "seed") if key in inputs
        }

        def build(config, attempt):
            summary = {
                key: {"mean": value, "se": errors if n_tasks > 1 else None, "n": n_tasks}
                for key, value in values.items()
            }
            reliability = [
                {
                    "low": k / 10,
                    "high": (k + 1) / 10,
                    "count": 90 - 9 * k,
                    "mean_probability": k / 10 + 0.05,
                    "frequency": k / 10,
                }
                for k in range(10)
            ]
            tree = {
                "kind": "any",
                "n_tasks": n_tasks,
                "summary": {"density": {"mean": 0.1, "se": None, "n": n_tasks}} | summary,
                "reliability": reliability,
                "conventions": {
                    "e_shd": "mean over <all> samples",
                    "shd_reversal": f"a reversed edge costs {config.shd_reversal}",
                },
                "seconds_per_task": {"mean": 0.25},
            }
            (attempt.folder / "metrics.json").write_text(json.dumps(tree))
            return {}

        return self.store.build(EvaluateConfig(**options), inputs, build)


@pytest.fixture
def workshop(tmp_path):
    return Workshop(tmp_path / "store")


@pytest.fixture
def full(workshop):
    """Two models, a benchmark with the empty graph and two alternatives, and a real table with
    answers."""
    first, second = workshop.model("first"), workshop.model("second", steps=100)
    bench, people = workshop.tasks(), workshop.table()
    workshop.evaluate({"auroc": 0.80, "auprc": 0.40, "e_shd": 6.0}, of=first, tasks=bench)
    workshop.evaluate({"auroc": 0.795, "auprc": 0.30, "e_shd": 7.0}, of=second, tasks=bench)
    for config, scores in (
        (EmptyConfig(), {"auroc": 0.5, "auprc": 0.1, "e_shd": 6.5}),
        (BOSSConfig(n_samples=20), {"auroc": 0.7, "auprc": 0.5, "e_shd": 3.0}),
        (SortnregressConfig(order="variance"), {"auroc": 0.6, "auprc": None, "e_shd": 9.0}),
    ):
        workshop.evaluate(scores, of=bench, posterior=workshop.baseline(config, bench))
        workshop.baseline(config, people)
    p = np.full((D, D), 0.02)
    p[2, 4], p[1, 3], p[2, 0] = 0.93, 0.61, 0.07
    workshop.discover(
        first, people, p, warnings=["The table <i>differs</i> from the training worlds."]
    )
    return workshop
