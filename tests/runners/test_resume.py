"""A killed training ends with the weights of an uninterrupted one, bit for bit; neither workers nor
processes change them.

One driver process pays for the imports and forks a child per run, so that children can be killed.
Each child builds the artifact through the store, as a user's command would: a restart is a new
attempt that takes over the checkpoint of the killed one.
"""

import json
import subprocess
import sys
import textwrap

import pytest

DRIVER = textwrap.dedent(
    """
    import dataclasses, hashlib, json, os, signal, socket, sys
    from pathlib import Path

    import numpy as np
    import torch
    torch.set_num_threads(1)
    import lightning_fabric
    from causal_meta.conf.pre_training import ExperimentConfig
    from causal_meta.conf.data import DataModuleConfig, FamilyConfig, TaskSetConfig
    from causal_meta.conf.ranges import IntRange
    from causal_meta.conf.models import AviciConfig
    from causal_meta.conf.training import LambConfig, TrainerConfig
    from causal_meta.datasets.data_module import CausalMetaModule
    from causal_meta.models.base import ModelFactory
    from causal_meta.runners.training import checkpoints
    from causal_meta.runners.training import pre_training
    from causal_meta.runners.build import make
    from causal_meta.runners.training.graph_training import train_graph_model as train
    from causal_meta.runners.training.loop import Training
    from causal_meta.store import Attempt, Store

    TOP = Path(sys.argv[1])
    FAMILY = FamilyConfig(n_nodes=IntRange(low=2, high=5), n_rows=IntRange(low=5, high=12))
    MODEL = AviciConfig(dim=8, n_pairs=1, n_heads=2, key_size=4, dropout=0.2,
    penalty_every_n_steps=3, penalty_lr=0.1, penalty_warmup_steps=9)

    def config(workers, steps=50, dropout=0.2):
        return ExperimentConfig(
            model=dataclasses.replace(MODEL, dropout=dropout),
            seed=3,
            data=DataModuleConfig(train=FAMILY, test={"er": TaskSetConfig(family=FAMILY,
            n_tasks=6)}, tasks_per_step=4, workers=workers),
            trainer=TrainerConfig(
                max_steps=steps, warmup_steps=5, schedule="cosine", optimizer=LambConfig(
                    learning_rate=0.01, weight_decay=0.01),
                val_check_interval=7, checkpoint_every_n_steps=4, log_every_n_steps=3, threads=1,
                device="cpu",
            ),
        )

    def build(config, attempt):
        return train(ModelFactory.build(config.model, config.seed), CausalMetaModule(config.data,
            config.seed), config.trainer, attempt, config.seed)

    def die(*_):
        os.kill(os.getpid(), signal.SIGKILL)

    def kill_in_step(step):
        train = Training.train
        def wrapped(self, batch):
            model = self.trainable.model
            after = model.after_step
            if self.step >= step:  # with the optimiser moved and the dual state not
                model.after_step = die
            train(self, batch)
            model.after_step = after
        Training.train = wrapped

    def kill_in_write(moment, number):
        # at call `number` of os.replace, before or after it, or with half of last.pt on the disk
        if moment == "half":
            save, calls = torch.save, []
            def halved(payload, file):
                save(payload, file)
                calls.append(file)
                if len(calls) == number:
                    os.truncate(file, os.path.getsize(file) // 2)
                    die()
            torch.save = halved
        else:
            replace, calls = os.replace, []
            def watched(old, new):
                calls.append(new)
                if moment == "before" and len(calls) == number:
                    die()
                replace(old, new)
                if moment == "after" and len(calls) == number:
                    die()
            def armed(attempt, *arguments, save=Attempt.save):
                os.replace = watched
                save(attempt, *arguments)
            Attempt.save = armed

    def child(work):
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                work()
                code = 0
            finally:
                sys.stderr.flush()
                os._exit(code)
        return pid

    def run(root, workers, arm=None, **more):
        def work():
            if arm:
                arm()
            Store(root, patience=0).build(config(workers, **more), None, build)
        status = os.waitpid(child(work), 0)[1]
        return "killed" if os.WIFSIGNALED(status) and os.WTERMSIG(
            status) == signal.SIGKILL else os.waitstatus_to_exitcode(status)

    def fingerprint(root):
        (line,) = Store(root).catalog()
        artifact = Store(root).find(line["target_id"])
        files = {name: hashlib.sha256((artifact.folder / "checkpoints" / name).read_bytes(
            )).hexdigest() for name in ("best.pt", "last.pt")}
        state = checkpoints.read(artifact.folder / "checkpoints" / "last.pt")
        tensors = hashlib.sha256()
        for part in ("model",):  # the optimiser is not published: its errors show in the weights
            for name, value in sorted(state[part].items()):
                tensors.update(name.encode() + value.numpy().tobytes())
        lines = [json.loads(line) for line in (
            artifact.folder / "facts" / "events.jsonl").read_text().splitlines()]
        return {
            "id": artifact.id, "digest": artifact.digest, "files": files,
            "weights": tensors.hexdigest(),
            "attempt": artifact.meta["attempt"], "best_step": artifact.meta["best_step"],
            "lambda": float(state["model"]["penalty_weight"]),
            "resumed": [line["step"] for line in lines if line["moment"] == "on_resume"],
            "problems": Store(root).verify(),
        }

    # steps between checkpoints, before the first one and late; calls of os.replace and torch.save
    PLACES = {
        0: ((5, 13, 22, 30, 38), (("half", 1), ("before", 2), ("after", 1), ("before", 3))),
        2: ((2, 11, 21, 29, 38), (("half", 2), ("before", 1), ("after", 2), ("after", 3))),
    }

    def kills(workers):
        root, (steps, writes) = TOP / f"killed_{workers}", PLACES[workers]
        ends = [run(root, workers, lambda: kill_in_step(steps[0]))]
        for write, step in zip(writes, steps[1:], strict=True):
            ends.append(run(root, workers, lambda: kill_in_write(*write)))
            ends.append(run(root, workers, lambda: kill_in_step(step)))
        return {"ends": ends, "last": run(root, workers), **fingerprint(root)}

    def two_processes():
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        def work(rank):
            os.environ.update(
                RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", LOCAL_WORLD_SIZE="2",
                GROUP_RANK="0", MASTER_ADDR="127.0.0.1",
                MASTER_PORT=str(port), TORCHELASTIC_RUN_ID="test", GLOO_SOCKET_IFNAME="lo",
            )
            pre_training.stream_summary = lambda family, seed: {"left_out": np.zeros(1)}
            state = {}
            def watched(model, *rest):
                result = train(model, *rest)
                state.update(model.state_dict())
                return result
            pre_training.train_graph_model = watched
            artifact = make(Store(TOP / "two", patience=20), config(0, steps=12, dropout=0.0))
            state.pop("penalty_latest")  # differs between processes
            digest = hashlib.sha256(b"".join(value.numpy().tobytes() for value in state.values(
                ))).hexdigest()
            (TOP / f"rank_{rank}.json").write_text(json.dumps({"id": artifact.id,
            "weights": digest, "penalty": float(state["penalty_average"])}))
        pids = [child(lambda rank=rank: work(rank)) for rank in range(2)]
        codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
        alone = run(TOP / "alone", 0, steps=12, dropout=0.0)
        states = [checkpoints.read(next((TOP / name).glob("targets/tgt_*/checkpoints/last.pt")))[
            "model"] for name in ("two", "alone")]
        start = ModelFactory.build(MODEL, 3).state_dict()
        gaps = [max(float((a[name] - b[name]).abs().max()) for name in start if
            name != "penalty_latest") for a, b in (states, (states[0], start))]
        return {"alone": alone, "gaps": gaps, "codes": codes,
            "ranks": [json.loads((TOP / f"rank_{rank}.json").read_text()) for rank in range(2)],
            **fingerprint(TOP / "two")}

    def forgetful():
        # a wrong answer that the comparison must see: going on without the optimiser's state
        root = TOP / "forgetful"
        def forget():
            checkpoints.load_optimizer = lambda optimizer, flat: None
        return {"ends": [run(root, 0, lambda: kill_in_step(20)), run(root, 0, forget)],
            **fingerprint(root)}

    def undisturbed(workers):
        root = TOP / f"plain_{workers}"
        return {"last": run(root, workers), **fingerprint(root)}

    print("RESULT" + json.dumps({"plain": undisturbed(0), "three": undisturbed(3),
        "killed_0": kills(0), "killed_2": kills(2), "forgetful": forgetful(), "two": two_processes(
            )}))
    """
)


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    folder = tmp_path_factory.mktemp("resume")
    script = folder / "driver.py"
    script.write_text(DRIVER, "utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(script), str(folder)],
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT")]
    assert done.returncode == 0, done.stderr[-4000:]
    assert lines, done.stderr[-4000:]
    return json.loads(lines[-1].removeprefix("RESULT"))


@pytest.mark.parametrize("workers", [0, 2])
def test_killed_runs_end_with_the_weights_of_an_uninterrupted_one(outcome, workers):
    plain, killed = outcome["plain"], outcome[f"killed_{workers}"]
    assert set(killed["ends"]) == {"killed"}
    assert len(killed["ends"]) == 9
    assert (plain["last"], killed["last"]) == (0, 0)
    assert killed["weights"] == plain["weights"]
    assert killed["files"] == plain["files"]
    assert killed["digest"] == plain["digest"]
    assert killed["id"] == plain["id"]
    assert plain["lambda"] > 0  # the dual variable has left its initial value


@pytest.mark.parametrize("workers", [0, 2])
def test_restarts_resume_from_the_checkpoint(outcome, workers):
    killed = outcome[f"killed_{workers}"]
    assert killed["attempt"] == len(killed["ends"]) + 1
    assert killed["resumed"] == sorted(killed["resumed"])
    assert max(killed["resumed"]) >= 36
    assert len(set(killed["resumed"])) >= 5
    assert killed["problems"] == []


def test_a_lost_optimiser_state_is_detected(outcome):
    assert outcome["forgetful"]["ends"] == ["killed", 0]
    assert outcome["forgetful"]["weights"] != outcome["plain"]["weights"]


def test_workers_change_no_weight(outcome):
    """One worker: `tests/datasets/test_data_module.py`."""
    assert outcome["three"]["weights"] == outcome["plain"]["weights"]
    assert outcome["three"]["digest"] == outcome["plain"]["digest"]


def test_two_processes_agree_and_the_first_alone_writes(outcome):
    two = outcome["two"]
    assert two["codes"] == [0, 0]
    first, second = two["ranks"]
    assert first["weights"] == second["weights"]
    assert first["penalty"] == second["penalty"] != 0
    assert first["id"] == second["id"] == two["id"]
    assert two["problems"] == []
    assert two["attempt"] == 1


def test_two_processes_reach_the_weights_of_one(outcome):
    """Without dropout the averaged gradient is that of the whole batch, so only rounding
    differs."""
    assert outcome["two"]["alone"] == 0
    apart, moved = outcome["two"]["gaps"]
    assert apart < 1e-4
    assert moved > 1e-2
