"""Configuration of the gene-expression simulator (room `datasets`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from causal_meta.conf.mechanism_laws import MechanismConfig
from causal_meta.conf.ranges import FloatRange
from causal_meta.conf.setting import Config, ConfigError, setting


@dataclass(frozen=True, kw_only=True)
class TechnicalNoiseConfig(Config):
    """How a sequencing experiment sees concentrations x of genes in cells (Dibaeinia & Sinha 2020):
    four distortions, one after another.

    1. Outlier genes: with `outlier_probability` a gene's values are multiplied by
       exp(N(outlier_log_mean, outlier_log_std²)).
    2. Library size: a cell's values are scaled to the sum exp(N(library_log_mean,
       library_log_std²)).
    3. Dropout: a value survives with probability 1 / (1 + exp(-dropout_shape (ln(x + 1) - m))), m
       the `dropout_percentile` of ln(x + 1) over genes and cells; else it becomes 0.
    4. Counts: Poisson with this mean.

    A tuple holds the settings found for different experiments, one of which every task draws, for
    each field by itself. The ready settings `chromium_10x`, `illumina`, `drop_seq` and `smart_seq`
    are those fitted to real data by the simulator's authors. Here m is computed once for each
    model, from its reference cells: knocking out a gene does not move it.
    """

    kind: ClassVar[str] = "technical_noise"
    outlier_probability: tuple[float, ...] = setting((0.01,), low=0, high=1)
    outlier_log_mean: tuple[float, ...] = setting((3.0,), low=-20, high=20)
    outlier_log_std: tuple[float, ...] = setting((1.0,), low=0, high=10)
    library_log_mean: tuple[float, ...] = setting((6.0,), low=-5, high=15)
    library_log_std: tuple[float, ...] = setting((0.3,), low=0, high=5)
    dropout_shape: tuple[float, ...] = setting((8.0,), low=0, high=1000)
    dropout_percentile: tuple[float, ...] = setting((74.0,), low=0, high=100, unit="percent")

    def validate(self) -> None:
        for name in (
            "outlier_probability",
            "outlier_log_mean",
            "outlier_log_std",
            "library_log_mean",
            "library_log_std",
        ):
            if not getattr(self, name):
                raise ConfigError(f"technical_noise.{name} is empty; give at least one number.")
        if not self.dropout_shape or not self.dropout_percentile:
            raise ConfigError(
                "technical_noise.dropout_shape or dropout_percentile is empty; give at least one "
                "number for each."
            )


@dataclass(frozen=True, kw_only=True)
class GeneExpression(MechanismConfig):
    """Concentrations of genes in cells at the steady state of chemical Langevin dynamics on the
    graph, and what a sequencer makes of them.

    dx_j = (P_j - l_j x_j) dt + q_j (sqrt(P_j) dW + sqrt(l_j x_j) dW'), reflected at 0, with decay
    l_j and noise amplitude q_j (SERGIO, Dibaeinia & Sinha 2020). A gene without causes produces at
    the rate P_j ~ basal_rate of the cell's type (one of `cell_types`, drawn for every row with
    equal chances). Any other at P_j = sum_i k_ij H(x_i), where H = x^n / (K^n + x^n) if i activates
    j and 1 - H if it represses it: strength k_ij ~ interaction, exponent n_ij ~ hill, K_i the mean
    concentration of i over all types. Each gene i has a probability ~ Beta(activator_a,
    activator_b) with which it activates each of its effects. Setting a gene to 0 is a knock-out; a
    shift by v adds l_j v to P_j.

    `output`: "counts" (needs `technical_noise`), "expression" (the concentrations) or "log_cpm":
    log2 of counts per million of the cell, less its minimum over the table, divided by its standard
    deviation over the table, 0 where there is no count (AVICI's rule for counts); such a value
    therefore depends on the other rows of its table.

    Every cell has a path of `lifetimes` mean lifetimes 1/l of the slowest gene, whose last step has
    length `step` (in lifetimes of the fastest gene), earlier ones a tenth more each, up to half a
    lifetime. A task with this law has no other.
    """

    kind: ClassVar[str] = "gene_expression"
    whole_table: ClassVar[bool] = True
    cell_types: int = setting(5, low=1, high=1000)
    basal_rate: FloatRange = setting(FloatRange(low=1.0, high=3.0), unit="concentration per time")
    interaction: FloatRange = setting(FloatRange(low=1.0, high=5.0), unit="concentration per time")
    activator_a: float = setting(1.0, above=0, high=1000)
    activator_b: float = setting(1.0, above=0, high=1000)
    hill: FloatRange = setting(FloatRange(low=1.9, high=2.1))
    decay: FloatRange = setting(FloatRange(low=0.7, high=0.9), unit="per time")
    noise_amplitude: FloatRange = setting(FloatRange(low=0.9, high=1.1))
    technical_noise: TechnicalNoiseConfig | None = setting(TechnicalNoiseConfig())
    output: Literal["counts", "expression", "log_cpm"] = setting("counts")
    step: float = setting(0.1, above=0, high=0.5, unit="mean lifetimes")
    lifetimes: float = setting(6.0, low=1, high=100, unit="mean lifetimes")

    def validate(self) -> None:
        self.basal_rate.check("gene_expression.basal_rate", above=0)
        self.interaction.check("gene_expression.interaction", above=0)
        self.hill.check("gene_expression.hill", above=0, high=20)
        self.decay.check("gene_expression.decay", above=0)
        self.noise_amplitude.check("gene_expression.noise_amplitude", low=0)
        if (self.technical_noise is None) != (self.output == "expression"):
            raise ConfigError(
                f"gene_expression.output is {self.output!r} "
                f"{'without' if self.technical_noise is None else 'with'} technical_noise; "
                "counts and log_cpm need it, expression has none (technical_noise: null)."
            )
