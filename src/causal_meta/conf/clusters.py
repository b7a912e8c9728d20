"""Cards: where the jobs of a study are carried out, and what a job of each kind may use there. No
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
    """What one job of a study uses, and how many of them share a block. A job that uses a GPU has
    one of its own."""

    kind: ClassVar[str] = "job_needs"
    cores: int = setting(1, low=1, high=4096, unit="cores")
    memory_gb: int = setting(4, low=1, high=1 << 16, unit="GB")
    storage_gb: int = setting(
        0, low=0, high=1 << 20, unit="GB", help="scratch disk of a job; 0 asks for none"
    )
    gpus: int = setting(0, low=0, high=1, unit="GPUs of a job")
    walltime: str = setting(
        "01:00:00",
        help="of a block, HH:MM:SS; what is under way when it ends is begun again in another block",
    )
    per_block: int = setting(1, low=1, high=1024, unit="jobs at once in a block")

    def validate(self) -> None:
        """The walltime is HH:MM:SS and longer than nothing."""
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

    What is sent between here and the workers is encrypted unless a card says otherwise
    (`encrypted`): who could connect to an open port could run code as you. The keys lie in the
    study's folder of the store, readable by you alone.
    """

    jobs: JobNeeds = setting(JobNeeds())
    kinds: dict[str, JobNeeds] = setting({})
    min_blocks: int = setting(
        0,
        low=0,
        high=10_000,
        unit="blocks",
        help="for each of `jobs` and `kinds`; kept also while there is nothing to do",
    )
    max_blocks: int = setting(
        1, low=1, high=10_000, unit="blocks", help="for each of `jobs` and `kinds`"
    )
    tries: int = setting(
        3,
        low=1,
        high=1000,
        help="times that a job is begun whose worker dies (killed, out of memory, the end of its "
        "walltime)",
    )
    worker_init: str = setting(
        "", help="lines of shell that a block begins with, such as 'module load cuda'"
    )
    python: str = setting(
        "",
        help="the workers' interpreter; empty: the one that carries "
        "out the study, at the same path",
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
        help="between signs of life; six without any and a worker or driver counts as dead",
    )
    encrypted: bool = setting(True)

    def validate(self) -> None:
        """Blocks and ports are in order."""
        if self.min_blocks > self.max_blocks:
            raise ConfigError(
                f"{self.kind}.min_blocks is {self.min_blocks}, more than max_blocks, "
                f"{self.max_blocks}; exchange them."
            )
        if len(self.ports) != 2 or self.ports[0] >= self.ports[1]:
            raise ConfigError(
                f"{self.kind}.ports is {list(self.ports)}; give the first and the last port, such "
                "as [54000, 55000]."
            )

    def needs_of(self, kind: str) -> JobNeeds:
        """What a job of a kind needs."""
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
        """Options look like options."""
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
        """Options look like lines of a submit file."""
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
        """There is an image, and volumes are mounted at absolute paths."""
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
