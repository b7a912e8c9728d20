"""One structural causal model: its rows, its interventions, its counterfactuals, its density and
its picture."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from causal_meta import graphs, randomness
from causal_meta.conf.mechanism_laws import LinearHeteroskedastic, MechanismPart
from causal_meta.conf.noise_laws import GaussianNoise, NoiseConfig
from causal_meta.datasets.changes import (
    Change,
    ChangedMechanism,
    Value,
    cells_of,
    values_by_variable,
)
from causal_meta.datasets.interventions import InterventionLaw
from causal_meta.datasets.mechanisms import Mechanism, MechanismBatch, MechanismFactory, parents_of
from causal_meta.datasets.noise import NoiseLaw, make_noise
from causal_meta.datasets.portraits import portrait
from causal_meta.datasets.threads import one_thread
from causal_meta.tasks import Task

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class SCMInstance:
    """One structural causal model.

    Attributes: `adjacency_matrix` float32 [D, D], `mechanisms` (one callable per node),
    `topological_order` (list of node numbers), `seed`, `n_nodes`, `n_rows` (rows of its table).
    Under interventions (`do`, `shift`) adjacency and mechanisms are those of the changed model.
    """

    def __init__(
        self,
        seed: int,
        batch: MechanismBatch,
        noise: NoiseLaw,
        n_rows: int,
        config: dict[str, Any],
        *,
        interventions: InterventionLaw | None = None,
        n_interventional: int = 0,
        changes: Mapping[int, Change] | None = None,
        drawn_from: int | None = None,
    ) -> None:
        self.seed, self.n_rows = seed, n_rows
        # the seed of mechanisms and noise: another one if the first overflowed
        self._drawn_from = seed if drawn_from is None else drawn_from
        self.changes: dict[int, Change] = dict(sorted((changes or {}).items()))
        self._batch, self._noise, self._config = batch, noise, config
        self._interventions, self._n_interventional = interventions, n_interventional
        self.adjacency_matrix = batch.adjacency[0].clone()
        self.n_nodes = len(self.adjacency_matrix)
        self.adjacency_matrix[:, [j for j, change in self.changes.items() if change.hard]] = 0
        self.mechanisms: list[Mechanism | ChangedMechanism] = [
            batch.mechanism(0, j) for j in range(self.n_nodes)
        ]
        for j, change in self.changes.items():
            self.mechanisms[j] = ChangedMechanism(cast(Mechanism, self.mechanisms[j]), change)
        self.topological_order: list[int] = graphs.topological_order(self.adjacency_matrix).tolist()

    # ----------------------------------------------------------------------------------------- rows

    def noise(self, n_samples: int, seed: int | None = None) -> Float[Tensor, "N D"]:
        """The exogenous noise behind `sample(n_samples, seed)`; interventions do not change it."""
        rows_seed = (
            self._drawn_from
            if seed is None
            else randomness.seeds_of(self._drawn_from, "rows", start=seed, count=1)[0]
        )
        return self._noise.sample([rows_seed], n_samples, self.n_nodes)[0]

    def sample(self, n_samples: int, seed: int | None = None) -> Float[Tensor, "N D"]:
        """N = `n_samples` rows as measured, not standardised.

        Without `seed` the noise is that of the rows which `SCMFamily.sample_tasks` puts into a
        batch; any `seed` gives further, independent rows. The model with an intervention has, row
        for row, the same noise as the one without: rows of equal seed are counterfactuals of each
        other, and a variable that is no effect of a target is the same in both.
        """
        return self.rows_of(self.noise(n_samples, seed))

    def rows_of(self, noise: Float[Tensor, "N D *numbers"]) -> Float[Tensor, "N D"]:
        """The rows that follow from the exogenous noise: one number per value, or several for laws
        that make whole tables."""
        _check_rows(
            noise[..., 0] if self._batch.factory.whole_table else noise, self.n_nodes, "The noise"
        )
        with one_thread():
            rows = self._batch.rows(noise[None])[0].contiguous()
            if not self.changes:
                return rows
            changed = self._batch.rows(
                noise[None], cells_of(self.changes, len(noise)), by_level=True
            )[0]
            return torch.where(self._affected(), changed, rows)

    def table(self, n_rows: int | None = None) -> Task:
        """The table of this model's seed in `SCMFamily.sample_tasks`, with the family's
        interventions, as measured; `n_rows` as there.

        A row without interventions equals that of `sample`. Raises ValueError on a model under
        interventions.
        """
        self._refuse_changes("A table")
        total, some = self.n_rows, self._n_interventional
        if n_rows is not None:
            total, some = (
                (n_rows, 0)
                if self._interventions is None
                else self._interventions.rows([self.seed], [n_rows])[0]
            )
        noise = self.noise(total)[None]
        mask = torch.zeros(total, self.n_nodes, dtype=torch.bool)
        drawn = None
        if self._interventions is not None:
            drawn = self._interventions.draw([self.seed], total, some, self.n_nodes)
            mask = drawn.mask(1, total, self.n_nodes)[0]
        with one_thread():
            return Task(
                x=self._batch.rows(noise, drawn)[0].contiguous(),
                adjacency=self.adjacency_matrix,
                intervened=mask,
                seed=self.seed,
            )

    # -------------------------------------------------------------------------------- interventions

    def do(self, variables: int | Sequence[int], value: Value) -> SCMInstance:
        """The model in which the variables are set to values, whatever their parents are: their
        incoming edges are gone.

        Args:
            variables: a number of a variable, or several.
            value: a number; for several variables also one number each; or values by row, [N] for
                one variable and [N, k] for k variables; then `sample` gives exactly N rows.

        Raises:
            ValueError: a variable that the model does not have or that is named twice, values that
            do not fit or are not finite.
        """
        return self._with(
            {
                j: Change(True, v)
                for j, v in values_by_variable(variables, value, self.n_nodes).items()
            }
        )

    def shift(self, variables: int | Sequence[int], by: Value) -> SCMInstance:
        """The model in which `by` is added to the values of the variables; their edges stay.
        Arguments as in `do`.

        On a variable that `do` has set, `by` is added to the set value.
        """
        changes = {}
        for j, value in values_by_variable(variables, by, self.n_nodes).items():
            before = self.changes.get(j, Change(False, torch.zeros(())))
            changes[j] = Change(before.hard, before.value + value)
        return self._with(changes)

    def _with(self, changes: Mapping[int, Change]) -> SCMInstance:
        merged = self.changes | dict(changes)
        if len({len(change.value) for change in merged.values() if change.value.ndim}) > 1:
            raise ValueError(
                "The interventions have values for different numbers of rows; give equally many "
                "for every variable."
            )
        return SCMInstance(
            self.seed,
            self._batch,
            self._noise,
            self.n_rows,
            self._config,
            interventions=self._interventions,
            n_interventional=self._n_interventional,
            changes=merged,
            drawn_from=self._drawn_from,
        )

    def _affected(self) -> Tensor:
        """Bool [D]: the variables that are changed or effects of one that is; all of them where a
        law makes whole tables."""
        if self._batch.factory.whole_table:  # a cell's library size is divided among all its genes
            return torch.ones(self.n_nodes, dtype=torch.bool)
        targets = list(self.changes)
        affected = (graphs.ancestors(self.adjacency_matrix)[targets] != 0).any(dim=0)
        affected[targets] = True
        return affected

    def _refuse_changes(self, subject: str) -> None:
        if self.changes:
            raise ValueError(
                f"{subject} belongs to the model without interventions; ask the model that do or "
                "shift was called on."
            )

    # -------------------------------------------------------------------- noise and density of rows

    def abduct(self, rows: Float[Tensor, "N D"]) -> Float[Tensor, "N D"]:
        """The exogenous noise behind rows of this model: e_j = (x_j - m_j(parents)) / s_j(parents).

        Raises ValueError where a mechanism is not of the form m + s e, or the model is under
        interventions.
        """
        self._refuse_changes("The noise behind rows")
        _check_rows(rows, self.n_nodes, "The table")
        mean, std = self._batch.location_scale(rows[None].to(torch.float64))
        return ((rows - mean[0]) / std[0]).to(torch.float32)

    def counterfactual(
        self,
        rows: Float[Tensor, "N D"],
        do: Mapping[int, Value] | None = None,
        shift: Mapping[int, Value] | None = None,
    ) -> Float[Tensor, "N D"]:
        """The values that the units of `rows` would have had under interventions, variable -> value
        as in `do` and `shift`.

        The noise is recovered from the rows (`abduct`) and put into the changed model (Pearl 2009,
        theorem 7.1.7). Variables that are no effects of the targets keep their values bit for
        bit. Raises ValueError where the noise cannot be recovered: sample then both models with one
        seed instead.
        """
        changed = self
        for j, value in (do or {}).items():
            changed = changed.do(j, value)
        for j, value in (shift or {}).items():
            changed = changed.shift(j, value)
        if not changed.changes:
            raise ValueError(
                "A counterfactual needs an intervention; give do={variable: value} or "
                "shift={variable: value}."
            )
        noise = self.abduct(rows)
        with one_thread():
            altered = self._batch.rows(
                noise[None], cells_of(changed.changes, len(rows)), by_level=True
            )[0]
        return torch.where(changed._affected(), altered, rows.to(torch.float32))

    def log_prob(
        self, rows: Float[Tensor, "N D"], intervened: Bool[Tensor, "N D"] | None = None
    ) -> Float64[Tensor, " N"]:
        """The log density of each row in nats: sum over variables of log p((x_j - m_j) / s_j) -
        log s_j, p the density of the noise.

        Variables that are set in this model, and the cells of `intervened`, give no term. Raises
        ValueError where a mechanism is not of the form m + s e or the noise has no density in
        closed form.
        """
        _check_rows(rows, self.n_nodes, "The table")
        known = (
            torch.zeros(rows.shape, dtype=torch.bool)
            if intervened is None
            else intervened.to(torch.bool)
        )
        if known.shape != rows.shape:
            raise ValueError(
                f"intervened has shape {tuple(known.shape)} for rows {tuple(rows.shape)}; give "
                "one flag per cell."
            )
        x = rows.to(torch.float64)
        mean, std = (part[0].clone() for part in self._batch.location_scale(x[None]))
        free = ~known
        for j, change in self.changes.items():
            free[:, j] &= not change.hard
            mean[:, j] += 0.0 if change.hard else change.value
        terms = self._noise.log_prob((x - mean) / std) - std.log()
        return torch.where(free, terms, 0.0).sum(dim=1)

    # ----------------------------------------------------------------------------------- for people

    @property
    def intervention_targets(self) -> list[int]:
        """The possible targets of the family's interventions in this model's table; none if it has
        no interventional rows."""
        if self._interventions is None:
            return []
        targets, length = self._interventions.targets([self.seed], self.n_nodes)
        return sorted(targets[0, : int(length[0])].tolist())

    def metadata(self) -> dict[str, Any]:
        """The model's graph, mechanisms, parameters and family, in plain values that JSON can
        hold."""
        return {
            "seed": self.seed,
            "n_nodes": self.n_nodes,
            "n_rows": self.n_rows,
            "n_edges": int(self.adjacency_matrix.sum()),
            "edges": torch.nonzero(self.adjacency_matrix).tolist(),
            "graph_hash": graphs.graph_hash(self.adjacency_matrix),
            "topological_order": self.topological_order,
            "mechanisms": [mechanism.name for mechanism in self.mechanisms],
            "nodes": [self._node(j) for j in range(self.n_nodes)],
            "noise": self._noise.config.kind,
            "intervention_targets": self.intervention_targets,
            "changes": [
                {
                    "variable": j,
                    "change": "do" if change.hard else "shift",
                    "value": change.value.tolist(),
                }
                for j, change in self.changes.items()
            ],
            "family": self._config,
        }

    def _node(self, j: int) -> dict[str, Any]:
        """Parents, law and parameters of one variable."""
        mechanism = self.mechanisms[j]
        drawn = mechanism.mechanism if isinstance(mechanism, ChangedMechanism) else mechanism
        return {
            "parents": torch.nonzero(self.adjacency_matrix[:, j])[:, 0].tolist(),
            "mechanism": mechanism.name,
            "law": drawn.law.config.kind,
            "parameters": {name: _summary(value) for name, value in drawn.parameters.items()},
        }

    @property
    def whole_table(self) -> bool:
        """Whether a law makes whole tables, so that `mechanisms` cannot be called one by one."""
        return self._batch.factory.whole_table

    def visualize(self) -> Figure:
        """The graph and the mechanisms as a matplotlib figure: every variable as a function of each
        of its causes, with the band of its noise."""
        return portrait(self)


def linear_model(
    weights: Float[Tensor, "D D"],
    bias: Float[Tensor, " D"],
    noise_std: Float[Tensor, " D"],
    *,
    noise: NoiseConfig | None = None,
    seed: int = 0,
) -> SCMInstance:
    """The linear model x_j = sum_i weights[i, j] x_i + bias[j] + noise_std[j] e_j with known
    coefficients, e by default standard normal.

    Args:
        weights: entry (i, j) is the effect of i on j, 0 where there is no edge.
        bias, noise_std: one number per variable.
        noise: the law of e.
        seed: the seed of the noise of `sample`.

    Raises:
        ValueError: shapes that do not fit, a cycle, a noise standard deviation that is not above 0.

    >>> model = linear_model(torch.tensor([[0.0, 2.0], [0.0, 0.0]]), torch.tensor([1.0, 0.0]),
    ... torch.ones(2))
    >>> model.do(0, 3.0).mechanisms[1](torch.tensor([[3.0]]), torch.tensor([0.5]))
    tensor([6.5000])
    """
    arrays = [torch.as_tensor(value, dtype=torch.float32) for value in (weights, bias, noise_std)]
    n_nodes = arrays[0].shape[-1]
    if [tuple(value.shape) for value in arrays] != [
        (n_nodes, n_nodes),
        (n_nodes,),
        (n_nodes,),
    ] or not n_nodes:
        shapes = ", ".join(str(tuple(value.shape)) for value in arrays)
        raise ValueError(
            f"weights, bias and noise_std have the shapes {shapes}; give [D, D], [D] and [D]."
        )
    if not all(bool(torch.isfinite(value).all()) for value in arrays) or not bool(
        (arrays[2] > 0).all()
    ):
        raise ValueError("weights, bias and noise_std must be finite, and noise_std above 0.")
    adjacency = (arrays[0] != 0).to(torch.float32)[None]
    graphs.topological_order(adjacency)
    parents = parents_of(adjacency)
    parameters = {
        "weight": arrays[0].mT[None].gather(2, parents.index) * parents.mask,
        "bias": arrays[1][None],
        "noise_std": arrays[2][None],
    }
    factory = MechanismFactory({"linear": MechanismPart(mechanism=LinearHeteroskedastic())})
    nothing = torch.zeros(1, n_nodes, dtype=torch.int64)
    batch = MechanismBatch(factory, adjacency, parents, nothing, [parameters], nothing[:, :1])
    return SCMInstance(seed, batch, make_noise(noise or GaussianNoise()), n_rows=0, config={})


_FEW = 32


def _summary(value: Tensor) -> Any:
    """A parameter as plain values; of more than 32 numbers only the shape, mean, standard
    deviation, minimum and maximum."""
    if value.numel() <= _FEW:
        return value.tolist()
    numbers = value.to(torch.float64)
    moments = {
        "mean": numbers.mean(),
        "std": numbers.std(correction=0),
        "min": numbers.min(),
        "max": numbers.max(),
    }
    return {"shape": list(value.shape)} | {name: float(number) for name, number in moments.items()}


def _check_rows(rows: Tensor, n_nodes: int, subject: str) -> None:
    if rows.ndim != 2 or rows.shape[1] != n_nodes:
        raise ValueError(
            f"{subject} has shape {tuple(rows.shape)}; the model has {n_nodes} variables: give "
            f"[rows, {n_nodes}]."
        )
    if not math.isfinite(float(rows.abs().sum())) and not bool(torch.isfinite(rows).all()):
        raise ValueError(
            f"{subject} holds values that are missing or infinite; give finite numbers."
        )
