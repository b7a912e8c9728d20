"""Data of teacher-student networks: laws of the inputs, laws of the noise, and the teacher."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from causal_meta.conf.setting import Config, ConfigError, setting

Activation = Literal["relu", "tanh", "gelu", "identity"]


@dataclass(frozen=True, kw_only=True)
class InputLawConfig(Config):
    """Base of the laws of a network's inputs x [N, D]; rows are independent."""


@dataclass(frozen=True, kw_only=True)
class GaussIsoInputs(InputLawConfig):
    """Standard normal coordinates."""

    kind: ClassVar[str] = "gauss_iso"


@dataclass(frozen=True, kw_only=True)
class GaussAnisoInputs(InputLawConfig):
    """Independent normal coordinates, coordinate i with variance decay^i."""

    kind: ClassVar[str] = "gauss_aniso"
    decay: float = setting(0.95, above=0, high=1)


@dataclass(frozen=True, kw_only=True)
class MixtureInputs(InputLawConfig):
    """Standard normal around one of `components` centres, drawn uniformly; the centres lie at
    distance `spread` from 0 in random directions."""

    kind: ClassVar[str] = "mixture"
    components: int = setting(4, low=1)
    spread: float = setting(2.0, low=0)


@dataclass(frozen=True, kw_only=True)
class LowdimManifoldInputs(InputLawConfig):
    """x = tanh(A z) of `latents` standard normal latents z, with A [D, latents] standard normal."""

    kind: ClassVar[str] = "lowdim_manifold"
    latents: int = setting(2, low=1)


@dataclass(frozen=True, kw_only=True)
class HeavyTailInputs(InputLawConfig):
    """Multivariate Student t: a standard normal row divided by the root of one χ²_df / df."""

    kind: ClassVar[str] = "heavy_tail"
    df: float = setting(4.0, above=0, unit="degrees of freedom")


@dataclass(frozen=True, kw_only=True)
class OutputNoiseConfig(Config):
    """Base of the laws of what is added to a teacher's outputs, in units of `noise_scale` (σ)."""


@dataclass(frozen=True, kw_only=True)
class GaussOutputNoise(OutputNoiseConfig):
    """Normal with standard deviation σ."""

    kind: ClassVar[str] = "gauss"


@dataclass(frozen=True, kw_only=True)
class HeteroOutputNoise(OutputNoiseConfig):
    """Normal with standard deviation σ (1 + slope |x|)."""

    kind: ClassVar[str] = "hetero"
    slope: float = setting(0.1, low=0)


@dataclass(frozen=True, kw_only=True)
class StudentTOutputNoise(OutputNoiseConfig):
    """σ times Student's t, per output."""

    kind: ClassVar[str] = "student_t_outputs"
    df: float = setting(4.0, above=0, unit="degrees of freedom")


@dataclass(frozen=True, kw_only=True)
class OutlierOutputNoise(OutputNoiseConfig):
    """Normal with standard deviation σ, or, with probability `fraction`, with standard deviation
    `scale`, per output."""

    kind: ClassVar[str] = "outliers"
    fraction: float = setting(0.05, low=0, high=1)
    scale: float = setting(2.0, above=0)


@dataclass(frozen=True, kw_only=True)
class TeacherConfig(Config):
    """The network that makes the outputs: by default the student's architecture with fresh weights.
    Zero and empty mean: as the student's."""

    kind: ClassVar[str] = "teacher"
    target_params: int = setting(0, low=0, unit="parameters")
    widths: tuple[int, ...] = setting((), low=1)
    depth: int = setting(0, low=0, unit="hidden layers")
    activation: Activation | None = setting(None)
    dropout: float = setting(
        0.0,
        low=0,
        high=0.99,
        help="probability that an output is 0; the others are divided by 1 - dropout",
    )


@dataclass(frozen=True, kw_only=True)
class NetworkDataConfig(Config):
    """Rows (x, y): y = teacher(x) + noise."""

    kind: ClassVar[str] = "network_data"
    n_rows: int = setting(20_000, low=2, unit="rows, since β = 1 / log n")
    inputs: InputLawConfig = setting(GaussIsoInputs())
    noise: OutputNoiseConfig = setting(GaussOutputNoise())
    noise_scale: float = setting(
        0.1, low=0, help="σ; 0 makes the student's problem realisable, with loss=mse"
    )
    teacher: TeacherConfig = setting(TeacherConfig())

    def validate(self) -> None:
        """Raise `ConfigError` for a noise that has no density."""
        if (
            isinstance(self.noise, HeteroOutputNoise | StudentTOutputNoise)
            and self.noise_scale == 0
        ):
            raise ConfigError(
                f"data.noise_scale is 0, which turns {self.noise.kind} noise off; take "
                "data.noise=gauss, or a scale above 0."
            )
