"""Cards up to what is submitted, and through it: a stand-in for each scheduler carries out what it
was given, and so does a real Slurm."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from parsl.jobs.states import JobState, JobStatus
from schedulers_for_tests import Pods, put_on_path

from causal_meta.workflow import carry_out, plan_of
from causal_meta.workflow.cards import executor_of

STUDY = "targets:\n  - {target: sleep, name: s, seed: 0..3, seconds: 0.3}\n  - {target: nap}\n"
NEEDS = """
address: 127.0.0.1
heartbeat: 1
worker_init: export FROM_THE_CARD=1
jobs: {cores: 2, memory_gb: 3, storage_gb: 5, walltime: "00:10:00"}
kinds:
  sleep: {cores: 4, memory_gb: 6, storage_gb: 7, gpus: 1, walltime: "24:00:00", per_block: 2}
"""
CARDS = {
    "slurm": "kind: slurm\npartition: gpu\naccount: mine\noptions: ['--mail-type=END', '-J "
    "named']\n",
    "htcondor": "kind: htcondor\nproject: mine\nrequirements: OpSysMajorVer >= 9\noptions: "
    "['notification = never']\n",
    "kubernetes": "kind: kubernetes\nimage: here/ours:1\nnamespace: science\nvolumes: {claim: "
    "/data}\nservice_account: robot\n"
    f"python: {sys.executable}\n",
}
# what must stand in what is submitted for jobs of kind sleep, two of which share a block, and for
# the others
EXPECTED = {
    "slurm": (
        [
            "--cpus-per-task=8",
            "--mem=12g",
            "--time=1440",
            "--gpus-per-node=2",
            "--tmp=14g",
            "--partition=gpu",
            "--account=mine",
            "--mail-type=END",
        ],
        [
            "--cpus-per-task=2",
            "--mem=3g",
            "--time=10",
            "--tmp=5g",
            "--nodes=1",
            "--ntasks-per-node=1",
            "-J named",
        ],
    ),
    "htcondor": (
        [
            "RequestCpus = 8",
            "RequestMemory = 12288.0",
            "request_gpus = 2",
            "request_disk = 14GB",
            "+MaxRuntime = 86400",
            "notification = never",
        ],
        [
            "RequestCpus = 2",
            "RequestMemory = 3072.0",
            "request_disk = 5GB",
            "+MaxRuntime = 600",
            "+projectname            = mine",
            "OpSysMajorVer >= 9",
        ],
    ),
}


@pytest.fixture(params=CARDS)
def card(request, tmp_path, monkeypatch, sleep):
    """A card of each kind, its scheduler, and the folder with what was submitted."""
    kept = put_on_path(request.param, tmp_path, monkeypatch)
    file = tmp_path / "card.yaml"
    file.write_text(CARDS[request.param] + NEEDS)
    if request.param != "kubernetes":
        yield request.param, file, kept
        return
    kube_config = pytest.importorskip("kubernetes.config.kube_config")
    server = Pods(kept)
    server.configure(tmp_path / "kube.json")
    monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "kube.json"))
    yield request.param, file, kept
    server.close()


def test_submissions_state_the_needs_of_jobs_and_carry_them_out(plan, store, card):
    kind, file, kept = card
    requested = plan(STUDY)
    outcome = carry_out(requested, store, executor=executor_of(str(file), 1))
    assert outcome.ok, [answer.cause for answer in outcome.answers.values()]
    pids = {answer.worker for answer in outcome.answers.values()}
    assert len(pids) == 3
    assert not any(worker.endswith(f":{os.getpid()}") for worker in pids)
    slept = [
        store.read(store.root / cell.path).meta["gpu"]
        for cell in requested.cells
        if cell.kind == "sleep"
    ]
    assert set(slept) == {"0", "1"}  # a worker on each GPU
    submitted = [path.read_text() for path in sorted(kept.iterdir()) if path.name != "asked"]
    assert len(submitted) >= 2
    if kind == "kubernetes":
        _check_pods([json.loads(text) for text in submitted])
        return
    with_gpus = [text for text in submitted if re.search("gpus", text)]
    without = [text for text in submitted if text not in with_gpus]
    assert all(words in text for text in with_gpus for words in EXPECTED[kind][0])
    assert all(words in text for text in without for words in EXPECTED[kind][1])
    assert with_gpus
    assert without
    assert plan_of(requested.study, store).to_make == []


def _check_pods(pods):
    by_gpu = {
        ("nvidia.com/gpu" in pod["spec"]["containers"][0]["resources"]["limits"]): pod
        for pod in pods
    }
    assert set(by_gpu) == {True, False}
    for pod in pods:
        container = pod["spec"]["containers"][0]
        assert container["resources"]["limits"] == container["resources"]["requests"]
        assert container["image"] == "here/ours:1"
        assert container["volumeMounts"] == [{"mountPath": "/data", "name": "claim"}]
        assert pod["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"] == "claim"
        assert pod["spec"]["serviceAccountName"] == "robot"
        assert pod["path"].endswith("/namespaces/science/pods")
        assert "export FROM_THE_CARD=1" in container["args"][1]
    resources, seconds = (
        {has: value_of(pod["spec"]["containers"][0]) for has, pod in by_gpu.items()}
        for value_of in (_limits, _seconds)
    )
    assert resources[True] == {
        "cpu": "8.0",
        "memory": "12Gi",
        "ephemeral-storage": "14Gi",
        "nvidia.com/gpu": "2",
    }
    assert resources[False] == {"cpu": "2.0", "memory": "3Gi", "ephemeral-storage": "5Gi"}
    assert seconds == {True: "86400", False: "600"}


def _limits(container):
    return container["resources"]["limits"]


def _seconds(container):
    return re.search(r"timeout (\d+) ", container["args"][1]).group(1)


def test_a_block_that_the_scheduler_forgot_has_ended_and_silence_changes_nothing(
    card, tmp_path, monkeypatch
):
    """Otherwise a study would wait for them for ever."""
    from causal_meta.conf.clusters import JobNeeds
    from causal_meta.workflow.schedulers import provider_of

    kind, file, kept = card
    provider = provider_of(executor_of(str(file), 1).card, JobNeeds())
    provider.script_dir = str(tmp_path)
    job = provider.submit("sleep 60" if kind != "kubernetes" else "exec sleep 60", 1, "block")
    assert not provider.status([job])[0].terminal
    if kind == "slurm":
        (kept / "down").touch()
        provider.cancel([job])
        # as if it had ended by itself
        provider.resources[job]["status"] = JobStatus(JobState.RUNNING)
        assert not provider.status([job])[0].terminal
        (kept / "down").unlink()
    elif kind == "kubernetes":
        monkeypatch.setattr(provider.kube_client, "read_namespaced_pod", _gone)
    else:
        subprocess.run(["condor_rm", job], check=True)
    deadline = time.monotonic() + 20
    while not provider.status([job])[0].terminal:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _gone(name, namespace):
    from kubernetes.client.exceptions import ApiException

    raise ApiException(status=404)


# ------------------------------------------------------------------------------------- a real Slurm

SLURM_CONF = """
ClusterName=test
SlurmctldHost=localhost(127.0.0.1)
AuthType=auth/none
CredType=cred/none
SlurmUser=root
SlurmdUser=root
SlurmctldPort=17001
SlurmdPort=17002
StateSaveLocation=HOME/state
SlurmdSpoolDir=HOME/spool
SlurmctldPidFile=HOME/ctld.pid
SlurmdPidFile=HOME/d.pid
SlurmctldLogFile=HOME/ctld.log
SlurmdLogFile=HOME/d.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=sched_interval=1,batch_sched_delay=0,bf_interval=1
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
ReturnToService=2
KillWait=1
GresTypes=gpu
NodeName=localhost NodeAddr=127.0.0.1 NodeHostname=localhost CPUs=CORES RealMemory=4000 \\
  TmpDisk=100 State=UNKNOWN Gres=gpu:1
PartitionName=debug Nodes=localhost Default=YES MaxTime=INFINITE State=UP
"""
# In a network of its own: an address beside loopback, since Slurm resolves names only where there
# is one. One block is cancelled from outside.
SLURM_RUN = """
ip link set lo up && ip addr add 10.77.0.1/32 dev lo || exit 77
export SLURM_CONF=HOME/slurm.conf
slurmctld -c -D 2>/dev/null & slurmd -D -N localhost 2>/dev/null &
for i in $(seq 200); do sinfo -h -o %T 2>/dev/null | grep -q idle && break; sleep 0.25; done
sinfo -h -o %T | grep -q idle || exit 78
( for i in $(seq 240); do sleep 0.25
  ls STORE/targets/tgt_*/meta.json >/dev/null 2>&1 && break; done
  squeue -h -o '%i %T %b %C %m' > HOME/seen; scancel $(squeue -h -o %i | head -1) ) &
"$@"; code=$?; squeue -h > HOME/left; exit $code
"""


def needs_slurm():
    """Why there can be no real Slurm here, or nothing."""
    missing = [
        command
        for command in ("slurmctld", "slurmd", "sbatch", "unshare", "ip")
        if shutil.which(command, path=f"{os.environ['PATH']}:/usr/sbin") is None
    ]
    if missing:
        return f"no {missing[0]} here (Debian: apt-get install slurmctld slurmd slurm-client)"
    apart = subprocess.run(
        [
            "unshare",
            "--net",
            "--mount",
            "--pid",
            "--fork",
            "--mount-proc",
            "ip",
            "link",
            "set",
            "lo",
            "up",
        ],
        capture_output=True,
    )
    return (
        ""
        if apart.returncode == 0 and os.getuid() == 0
        else "no namespaces of our own, or not root"
    )


@pytest.mark.skipif(bool(needs_slurm()), reason=needs_slurm() or "never")
def test_a_real_slurm_carries_out_a_study_and_a_cancelled_block_costs_only_time(
    store, sleep, tmp_path, monkeypatch
):
    monkeypatch.setenv("PATH", f"{os.environ['PATH']}:/usr/sbin")
    home = tmp_path / "slurm"
    for name in ("state", "spool"):
        (home / name).mkdir(parents=True)
    (home / "slurm.conf").write_text(
        SLURM_CONF.replace("HOME", str(home)).replace("CORES", str(os.cpu_count()))
    )
    (home / "gres.conf").write_text("NodeName=localhost Name=gpu File=/dev/null\n")
    card, study, script = tmp_path / "card.yaml", tmp_path / "s.yaml", tmp_path / "run.sh"
    card.write_text(
        "kind: slurm\nheartbeat: 1\naddress: 127.0.0.1\njobs: {memory_gb: 2, gpus: 1, walltime: "
        '"00:05:00"}\n'
    )
    study.write_text("targets:\n  - {target: sleep, name: s, seed: 0..3, seconds: 1.5}\n")
    script.write_text(SLURM_RUN.replace("HOME", str(home)).replace("STORE", str(store.root)))
    apart = [
        "unshare",
        "--net",
        "--mount",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
        "bash",
        str(script),
    ]
    words = [
        sys.executable,
        "-m",
        "causal_meta",
        "study",
        str(study),
        "--store",
        str(store.root),
        "--executor",
        str(card),
    ]
    done = subprocess.run([*apart, *words], capture_output=True, text=True, timeout=300)
    if done.returncode in (77, 78):
        log = home / "ctld.log"
        pytest.skip(
            "Slurm did not start in a namespace of its own: "
            f"{log.read_text()[-300:] if log.exists() else done.stderr}"
        )
    assert done.returncode == 0, done.stderr
    assert (home / "seen").read_text().split()[1:] == ["RUNNING", "gres:gpu:1", "1", "2G"]
    assert (home / "left").read_text() == ""
    made = [
        json.loads(path.read_text()) for path in (store.root / "targets").glob("tgt_*/meta.json")
    ]
    assert [meta["gpu"] for meta in made] == ["0"] * 4
    log = (store.root / "experiments" / "s" / "study.log").read_text()
    assert re.search(r"jobs: block \d+ ended", log) or "its worker was lost" in log
    assert store.verify() == []
    refused = tmp_path / "large.yaml"
    refused.write_text(card.read_text().replace("memory_gb: 2", "memory_gb: 400"))
    more = [
        word.replace(str(card), str(refused)).replace(str(store.root), str(tmp_path / "other"))
        for word in words
    ]
    (tmp_path / "run.sh").write_text(
        SLURM_RUN.replace("HOME", str(home)).replace("STORE", "/nowhere").replace("240", "1")
    )
    refusal = subprocess.run([*apart, *more], capture_output=True, text=True, timeout=300)
    assert refusal.returncode == 2
    assert (
        "line 4: Slurm accepts no block for jobs of kind sleep (Requested node configuration is "
        "not "
        "available)" in refusal.stderr
    )
    assert not Path(tmp_path / "other" / "targets").exists()
