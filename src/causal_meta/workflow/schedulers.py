"""From a card to Parsl's provider of blocks: what is submitted to Slurm, HTCondor and Kubernetes,
and a block on this machine. Needs Parsl."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import sys
import time
from collections.abc import Sequence
from typing import Any

from parsl.jobs.states import JobState, JobStatus
from parsl.providers import CondorProvider, KubernetesProvider, LocalProvider, SlurmProvider
from parsl.providers.kubernetes.kube import translate_table

from causal_meta.conf.clusters import CardConfig, HTCondorCard, JobNeeds, KubernetesCard, SlurmCard
from causal_meta.conf.setting import ConfigError

_GRACE = 5.0  # seconds between asking the processes of a block to end and killing them


class LoopbackProvider(LocalProvider):  # type: ignore[misc]
    """Blocks on this machine that leave no process behind: every process of a block is ended, even
    if its first one has died."""

    def submit(self, command: str, tasks_per_node: int, job_name: str = "block") -> str:
        """Start a block; returns its id."""
        job: str = super().submit(command, tasks_per_node, job_name)
        with contextlib.suppress(ProcessLookupError):
            self.resources[job]["group"] = os.getpgid(int(job))
        return job

    def cancel(self, job_ids: Sequence[Any]) -> list[bool]:
        """End blocks."""
        groups = [self.resources[job]["group"] for job in job_ids if "group" in self.resources[job]]
        for job in job_ids:
            self.resources[job]["cancelled"] = True
        _signal(groups, signal.SIGTERM)
        end = time.monotonic() + _GRACE
        while groups and time.monotonic() < end:
            time.sleep(0.05)
            groups = [group for group in groups if _signal([group], 0)]
        _signal(groups, signal.SIGKILL)
        return [True for _ in job_ids]


class PodProvider(KubernetesProvider):  # type: ignore[misc]
    """Pods, where one that no longer exists (evicted, deleted) counts as failed."""

    def _status(self) -> None:
        """Ask for every pod that is not known to have ended."""
        for entry in self.resources.values():
            if entry["status"].terminal:
                continue
            try:
                pod: Any = self.kube_client.read_namespaced_pod(
                    name=entry["pod_name"], namespace=self.namespace
                )
            except Exception as error:
                if getattr(error, "status", None) == 404:
                    entry["status"] = JobStatus(JobState.FAILED, "the pod is gone")
                continue  # asked again at the next check
            entry["status"] = JobStatus(translate_table.get(pod.status.phase, JobState.UNKNOWN))


def _signal(groups: list[int], number: int) -> bool:
    """Send a signal to groups of processes; returns whether the last one had a process."""
    there = False
    for group in groups:
        try:
            os.killpg(group, number)
            there = True
        except ProcessLookupError:
            there = False
    return there


def provider_of(card: CardConfig, needs: JobNeeds) -> Any:
    """The provider of blocks for jobs with these needs. Raises `ConfigError` where Kubernetes has
    no configuration here."""
    blocks: dict[str, Any] = {
        "init_blocks": 0,
        "min_blocks": card.min_blocks,
        "max_blocks": card.max_blocks,
        "worker_init": worker_init(card, needs),
    }
    if isinstance(card, SlurmCard):
        return _slurm(card, needs, blocks)
    if isinstance(card, HTCondorCard):
        return _htcondor(card, needs, blocks)
    if isinstance(card, KubernetesCard):
        return _kubernetes(card, needs, blocks)
    return LoopbackProvider(**blocks)


def worker_init(card: CardConfig, needs: JobNeeds) -> str:
    """The lines of shell that a block begins with: threads, cores and memory of its workers, then
    those of the card."""
    lines = [
        f"export OMP_NUM_THREADS={needs.cores}",
        f"export PARSL_CORES={needs.cores * needs.per_block}",
        f"export PARSL_MEMORY_GB={needs.memory_gb * needs.per_block}",
    ]
    return "\n".join([*lines, *card.worker_init.splitlines()])


def interpreter(card: CardConfig) -> str:
    """The workers' interpreter, as a word of shell."""
    return shlex.quote(card.python or sys.executable)


def _slurm(card: SlurmCard, needs: JobNeeds, blocks: dict[str, Any]) -> SlurmProvider:
    lines = [f"#SBATCH --tmp={needs.storage_gb * needs.per_block}g"] if needs.storage_gb else []
    lines += [f"#SBATCH {option}" for option in card.options]
    provider = SlurmProvider(
        partition=card.partition or None,
        account=card.account or None,
        qos=card.qos or None,
        constraint=card.constraint or None,
        cores_per_node=needs.cores * needs.per_block,
        mem_per_node=needs.memory_gb * needs.per_block,
        gpus_per_node=needs.gpus * needs.per_block or None,
        walltime=needs.walltime,
        exclusive=card.exclusive,
        scheduler_options="\n".join(lines),
        cmd_timeout=60,
        **blocks,
    )
    # Slurm forgets jobs soon after their end, and then treats a query about one as an error
    if provider._cmd.startswith("squeue"):
        provider._cmd = f"""{provider._cmd} || case "$({
            provider._cmd
        } 2>&1)" in *'Invalid job id'*) ;; *) exit 1 ;; esac"""
    return provider


def _htcondor(card: HTCondorCard, needs: JobNeeds, blocks: dict[str, Any]) -> CondorProvider:
    over = f"(JobStatus == 2) && (time() - EnteredCurrentStatus > {needs.seconds})"
    lines = [f"+MaxRuntime = {needs.seconds}", f"periodic_remove = {over}"]
    lines += [f"request_gpus = {needs.gpus * needs.per_block}"] if needs.gpus else []
    lines += [f"request_disk = {needs.storage_gb * needs.per_block}GB"] if needs.storage_gb else []
    return CondorProvider(
        cores_per_slot=needs.cores * needs.per_block,
        mem_per_slot=float(needs.memory_gb * needs.per_block),
        walltime=needs.walltime,
        project=card.project,
        requirements=card.requirements,
        scheduler_options="\n".join([*lines, *card.options]),
        **blocks,
    )


def _kubernetes(
    card: KubernetesCard, needs: JobNeeds, blocks: dict[str, Any]
) -> KubernetesProvider:
    cores, memory = float(needs.cores * needs.per_block), f"{needs.memory_gb * needs.per_block}Gi"
    extra = {card.gpu_resource: str(needs.gpus * needs.per_block)} if needs.gpus else {}
    extra |= (
        {"ephemeral-storage": f"{needs.storage_gb * needs.per_block}Gi"} if needs.storage_gb else {}
    )
    try:
        return PodProvider(
            image=card.image,
            namespace=card.namespace,
            max_cpu=cores,
            init_cpu=cores,
            max_mem=memory,
            init_mem=memory,
            extra_requests=extra,
            extra_limits=extra,
            secret=card.pull_secret or None,
            service_account_name=card.service_account or None,
            persistent_volumes=list(card.volumes.items()),
            pod_name="causal-meta",
            **blocks,
        )
    except Exception as error:
        if type(error).__name__ == "ConfigException":
            raise ConfigError(
                "Kubernetes has no configuration here (no ~/.kube/config, and this is no pod); "
                "make one, or take another card."
            ) from None
        raise
