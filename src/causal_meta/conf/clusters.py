"""Cards: the scheduler of a study's jobs, and the resources of a job of each kind. They are not
part of any artifact's identity.

A card is a YAML file whose `kind` names a scheduler (`local`, `slurm`, `kubernetes`, `htcondor`);
those in `conf/cards` come with the package. A *block* is one job of the scheduler (a Slurm job, a
pod): it holds `per_block` workers, and a worker carries out one job of a study at a time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from causal_meta.conf.setting import Config, ConfigError, setting

_WALLTIME = re.compile(r"([0-9]{1,4}):([0-5][0-9]):([0-5][0-9])")


@dataclass(frozen=True, kw_only=True)
class JobNeeds(Config):
    """The resources of one job of a study, and how many jobs share a block. A job that uses a GPU
    has it to itself."""

    kind: ClassVar[str] = "job_needs"
    cores: int = setting(1, low=1, high=4096, unit="cores")
    memory_gb: int = setting(4, low=1, high=1 << 16, unit="GB")
    storage_gb: int = setting(
        0, low=0, high=1 << 20, unit="GB", help="scratch disk of a job; 0 requests none"
    )
    gpus: int = setting(0, low=0, high=1, unit="GPUs of a job")
    walltime: str = setting(
        "01:00:00",
        help="of a block, HH:MM:SS; jobs running when it ends are restarted in another block",
    )
    per_block: int = setting(1, low=1, high=1024, unit="jobs at once in a block")

    def validate(self) -> None:
        """Check that the walltime is HH:MM:SS and above 0."""
        match = _WALLTIME.fullmatch(self.walltime)
        if match is None or not any(int(part) for part in match.groups()):
            raise ConfigError(
                f"job_needs.walltime is {self.walltime!r}; give hours, minutes and seconds, such "
                "as 02:30:00."
            )

    @property
    def seconds(self) -> int:
        """The walltime of a block in seconds."""
        hours, minutes, seconds = (int(part) for part in self.walltime.split(":"))
        return 3600 * hours + 60 * minutes + seconds


@dataclass(frozen=True, kw_only=True)
class CardConfig(Config):
    """Base of the cards. `kinds` holds what jobs of some kinds need instead of `jobs`; the others
    share the workers of `jobs`.

    Messages between this machine and the workers are encrypted unless a card says otherwise
    (`encrypted`): anyone who can connect to an open port could run code as you. The keys are in the
    study's folder in the store, readable by you alone.
    """

    jobs: JobNeeds = setting(JobNeeds())
    kinds: dict[str, JobNeeds] = setting({})
    min_blocks: int = setting(
        0,
        low=0,
        high=10_000,
        unit="blocks",
        help="for each of `jobs` and `kinds`; kept even if idle",
    )
    max_blocks: int = setting(
        1, low=1, high=10_000, unit="blocks", help="for each of `jobs` and `kinds`"
    )
    tries: int = setting(
        3,
        low=1,
        high=1000,
        help="attempts at a job whose worker dies (killed, out of memory, end of the walltime)",
    )
    worker_init: str = setting(
        "", help="shell commands at the start of a block, such as 'module load cuda'"
    )
    python: str = setting(
        "",
        help="the workers' interpreter; empty: the one that runs the study, at the same path",
    )
    address: str = setting(
        "",
        help="the address of this machine by which workers reach it; empty: the only one that "
        "it has",
    )
    ports: tuple[int, ...] = setting(
        (54_000, 55_000),
        low=1024,
        high=65_535,
        help="the first and last port that workers may connect to",
    )
    heartbeat: int = setting(
        10,
        low=1,
        high=600,
        unit="seconds",
        help="between heartbeats; a worker or driver counts as dead after six missing ones",
    )
    encrypted: bool = setting(True)

    def validate(self) -> None:
        """Check the numbers of blocks and the ports."""
        if self.min_blocks > self.max_blocks:
            raise ConfigError(
                f"{self.kind}.min_blocks is {self.min_blocks}, more than max_blocks, "
                f"{self.max_blocks}; swap them."
            )
        if len(self.ports) != 2 or self.ports[0] >= self.ports[1]:
            raise ConfigError(
                f"{self.kind}.ports is {list(self.ports)}; give the first and the last port, such "
                "as [54000, 55000]."
            )

    def needs_of(self, kind: str) -> JobNeeds:
        """The resources of a job of a kind."""
        return self.kinds.get(kind, self.jobs)


@dataclass(frozen=True, kw_only=True)
class LocalCard(CardConfig):
    """Worker processes on this machine, reached by its loopback address alone. Walltime is not
    enforced here."""

    kind: ClassVar[str] = "local"
    heartbeat: int = setting(2, low=1, high=600, unit="seconds")


@dataclass(frozen=True, kw_only=True)
class SlurmCard(CardConfig):
    """Blocks are submitted with `sbatch`. The store must lie on a file system that the nodes
    share."""

    kind: ClassVar[str] = "slurm"
    partition: str = setting("")
    account: str = setting("")
    qos: str = setting("")
    constraint: str = setting("")
    exclusive: bool = setting(False, help="whole nodes")
    options: tuple[str, ...] = setting(
        (), help="further options of sbatch, such as '--mail-type=END'"
    )

    def validate(self) -> None:
        """Check that options look like options."""
        super().validate()
        _check_options(self.kind, self.options, r"--?[A-Za-z][^\n]*", "--mail-type=END")


@dataclass(frozen=True, kw_only=True)
class HTCondorCard(CardConfig):
    """Blocks are submitted with `condor_submit`. The store must lie on a file system that the slots
    share."""

    kind: ClassVar[str] = "htcondor"
    project: str = setting("")
    requirements: str = setting("", help="an expression of HTCondor, such as 'OpSysMajorVer >= 9'")
    options: tuple[str, ...] = setting(
        (), help="further lines of the submit file, such as 'notification = never'"
    )

    def validate(self) -> None:
        """Check that options look like lines of a submit file."""
        super().validate()
        _check_options(
            self.kind, self.options, r"\+?[A-Za-z_][A-Za-z0-9_.]* *=[^\n]*", "notification = never"
        )


@dataclass(frozen=True, kw_only=True)
class KubernetesCard(CardConfig):
    """Blocks are pods. `volumes` are persistent volume claims and the folders at which they are
    mounted; one of them holds the store, at the same path as here."""

    kind: ClassVar[str] = "kubernetes"
    image: str = setting(help="an image with this package installed")
    python: str = setting("python", help="the workers' interpreter in the image")
    namespace: str = setting("default")
    volumes: dict[str, str] = setting({})
    service_account: str = setting("")
    pull_secret: str = setting("")
    gpu_resource: str = setting("nvidia.com/gpu")

    def validate(self) -> None:
        """Check that there is an image, and that volumes are mounted at absolute paths."""
        super().validate()
        if not self.image:
            raise ConfigError(
                "kubernetes.image is empty; name an image in which this package is installed."
            )
        _check_mounts(self.volumes)


def _check_options(where: str, options: tuple[str, ...], pattern: str, example: str) -> None:
    for option in options:
        if not re.fullmatch(pattern, option):
            raise ConfigError(
                f"{where}.options holds {option!r}; give one option a line, such as {example!r}."
            )


def _check_mounts(volumes: Mapping[str, str]) -> None:
    for claim, folder in volumes.items():
        if not folder.startswith("/"):
            raise ConfigError(
                f"kubernetes.volumes mounts {claim} at {folder!r}; give an absolute folder, such "
                "as /data."
            )
