"""The closed registry: each configuration class and the code that does what it describes.

A file can only name a tag that is listed here; nothing named in a file is ever imported. Adding a
member takes one line in `_MEMBERS`. Everything else about a kind (title, builder, …) is in its
configuration class (`conf.artifacts`).
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, overload

from causal_meta.conf import (
    clusters,
    data,
    evaluation,
    form_laws,
    forms,
    gene_laws,
    graph_laws,
    inference,
    interventions,
    knowledge,
    local_posterior,
    mechanism_laws,
    models,
    network_data,
    networks,
    noise_laws,
    pre_training,
    ranges,
    samplers,
    task_sets,
    training,
    tuning,
)
from causal_meta.conf.artifacts import ArtifactConfig
from causal_meta.conf.setting import Config, ConfigError
from causal_meta.conf.spelling import nearest

if TYPE_CHECKING:
    from causal_meta.store import Attempt

    Builder = Callable[[Any, Attempt], Mapping[str, Any] | None]

A = TypeVar("A", bound=ArtifactConfig)
C = TypeVar("C", bound=Config)


_GRAPHS = "causal_meta.datasets.graph_families"
_MECHANISMS = "causal_meta.datasets.mechanisms"
_BAYESIAN = "causal_meta.models.bayesian"
_CLASSICAL = "causal_meta.models.classical"
_SAMPLERS = "causal_meta.llc.samplers"

# configuration class -> "module:attribute" that takes the configuration whole ("" for plain
# records)
_MEMBERS: dict[type[Config], str] = {
    ranges.IntRange: "",
    ranges.FloatRange: "",
    graph_laws.ErdosRenyi: f"{_GRAPHS}.erdos_renyi:ErdosRenyiGenerator",
    graph_laws.ErdosRenyiP: f"{_GRAPHS}.erdos_renyi_p:ErdosRenyiPGenerator",
    graph_laws.ErdosRenyiM: f"{_GRAPHS}.erdos_renyi_m:ErdosRenyiMGenerator",
    graph_laws.StochasticBlock: f"{_GRAPHS}.stochastic_block:StochasticBlockGenerator",
    graph_laws.WattsStrogatz: f"{_GRAPHS}.watts_strogatz:WattsStrogatzGenerator",
    graph_laws.Geometric: f"{_GRAPHS}.geometric:GeometricGenerator",
    graph_laws.Layered: f"{_GRAPHS}.layered:LayeredGenerator",
    graph_laws.KnownGraph: f"{_GRAPHS}.known_graph:KnownGraphGenerator",
    graph_laws.NetworkSubgraph: f"{_GRAPHS}.network_subgraph:NetworkSubgraphGenerator",
    graph_laws.ScaleFree: f"{_GRAPHS}.scale_free:ScaleFreeGenerator",
    graph_laws.GraphMixture: f"{_GRAPHS}.mixture:MixtureGenerator",
    graph_laws.GraphPart: "",
    mechanism_laws.LinearHeteroskedastic: f"{_MECHANISMS}.linear:LinearFactory",
    mechanism_laws.MLP: f"{_MECHANISMS}.mlp:MLPFactory",
    mechanism_laws.RFF: f"{_MECHANISMS}.rff:RFFFactory",
    mechanism_laws.GPCDE: f"{_MECHANISMS}.gpcde:GPCDEFactory",
    form_laws.LinearRFFNoise: f"{_MECHANISMS}.linear:LinearRFFNoiseFactory",
    form_laws.MLPAdditive: f"{_MECHANISMS}.mlp:MLPAdditiveFactory",
    form_laws.PostNonlinear: f"{_MECHANISMS}.forms:PostNonlinearFactory",
    form_laws.Periodic: f"{_MECHANISMS}.forms:PeriodicFactory",
    form_laws.Polynomial: f"{_MECHANISMS}.forms:PolynomialFactory",
    form_laws.Logistic: f"{_MECHANISMS}.forms:LogisticFactory",
    form_laws.BGe: f"{_MECHANISMS}.linear:BGeFactory",
    gene_laws.GeneExpression: f"{_MECHANISMS}.gene_expression:GeneExpressionFactory",
    gene_laws.TechnicalNoiseConfig: "",
    mechanism_laws.MechanismPart: "",
    noise_laws.GaussianNoise: "causal_meta.datasets.noise:Gaussian",
    noise_laws.LaplaceNoise: "causal_meta.datasets.noise:Laplace",
    noise_laws.UniformNoise: "causal_meta.datasets.noise:Uniform",
    noise_laws.StudentTNoise: "causal_meta.datasets.noise:StudentT",
    noise_laws.GumbelNoise: "causal_meta.datasets.noise:Gumbel",
    noise_laws.CauchyNoise: "causal_meta.datasets.noise:Cauchy",
    noise_laws.NoiseMixture: "causal_meta.datasets.noise:Mixture",
    noise_laws.NoisePart: "",
    forms.QuadraticConfig: "causal_meta.llc.landscapes.forms:form_landscape",
    forms.PowerSumConfig: "causal_meta.llc.landscapes.forms:form_landscape",
    forms.NormalCrossingConfig: "causal_meta.llc.landscapes.forms:form_landscape",
    forms.LinearRegressionConfig: "causal_meta.llc.landscapes.forms:form_landscape",
    forms.MonomialRegressionConfig: "causal_meta.llc.landscapes.forms:form_landscape",
    forms.ReducedRankConfig: "causal_meta.llc.landscapes.forms:form_landscape",
    forms.DeepLinearConfig: "causal_meta.llc.landscapes.forms:form_landscape",
    interventions.InterventionConfig: "",
    knowledge.KnowledgeConfig: "",
    data.FamilyConfig: "causal_meta.datasets.scm:SCMFamily",
    data.TableConfig: "",
    data.TaskSetConfig: "",
    data.DataModuleConfig: "causal_meta.datasets.data_module:CausalMetaModule",
    models.AviciConfig: "causal_meta.models.amortised.avici:AviciModel",
    training.LambConfig: "causal_meta.runners.training.optimizers:Lamb",
    training.AdamWConfig: "causal_meta.runners.training.optimizers:AdamW",
    training.MuonConfig: "causal_meta.runners.training.muon:Muon",
    training.TrainerConfig: "",
    training.InferenceConfig: "",
    clusters.JobNeeds: "",
    clusters.LocalCard: "",
    clusters.SlurmCard: "",
    clusters.HTCondorCard: "",
    clusters.KubernetesCard: "",
    network_data.GaussIsoInputs: "",
    network_data.GaussAnisoInputs: "",
    network_data.MixtureInputs: "",
    network_data.LowdimManifoldInputs: "",
    network_data.HeavyTailInputs: "",
    network_data.GaussOutputNoise: "",
    network_data.HeteroOutputNoise: "",
    network_data.StudentTOutputNoise: "",
    network_data.OutlierOutputNoise: "",
    network_data.TeacherConfig: "",
    network_data.NetworkDataConfig: "",
    networks.StudentConfig: "",
    networks.NetworkTrainingConfig: "",
    networks.NetworkConfig: "causal_meta.runners.llc.network_training:build_network",
    pre_training.ExperimentConfig: "causal_meta.runners.training.pre_training:build_amortised",
    task_sets.TasksConfig: "causal_meta.runners.tasks.task_sets:build_tasks",
    task_sets.PortraitConfig: "causal_meta.runners.tasks.portraits:build_portrait",
    task_sets.DistanceConfig: "causal_meta.runners.tasks.distances:build_distance",
    evaluation.EvaluateConfig: "causal_meta.runners.evaluation.evaluation:evaluate",
    inference.DiscoverConfig: "causal_meta.runners.inference.amortised:infer_amortised",
    inference.EmptyConfig: f"{_CLASSICAL}.empty:Empty",
    inference.RandomConfig: f"{_CLASSICAL}.random_graphs:RandomGraphs",
    inference.CorrelationConfig: f"{_CLASSICAL}.correlation:Correlation",
    inference.PartialCorrelationConfig: f"{_CLASSICAL}.correlation:PartialCorrelation",
    inference.SortnregressConfig: f"{_CLASSICAL}.sortnregress:Sortnregress",
    inference.PCConfig: f"{_CLASSICAL}.pc:PC",
    inference.GESConfig: f"{_CLASSICAL}.ges:GES",
    inference.BOSSConfig: f"{_CLASSICAL}.boss:BOSS",
    inference.PoolConfig: "",
    inference.ExactConfig: f"{_BAYESIAN}.exact:Exact",
    inference.MCMCConfig: f"{_BAYESIAN}.structure_mcmc:StructureMCMC",
    local_posterior.LocalPosteriorConfig: "",
    samplers.HMCConfig: f"{_SAMPLERS}.hamiltonian:draw",
    samplers.NUTSConfig: f"{_SAMPLERS}.hamiltonian:draw",
    samplers.MCLMCConfig: f"{_SAMPLERS}.microcanonical:draw",
    samplers.MALAConfig: f"{_SAMPLERS}.hamiltonian:draw",
    samplers.SGLDConfig: f"{_SAMPLERS}.langevin:draw",
    samplers.SGNHTConfig: f"{_SAMPLERS}.thermostat:draw",
    samplers.VIConfig: f"{_SAMPLERS}.variational:draw",
    tuning.TuningBudgetConfig: "",
    tuning.TuneConfig: "causal_meta.runners.llc.tuning:tune_llc",
}


@functools.cache
def by_tag() -> dict[str, type[Config]]:
    """Every configuration class by its tag."""
    return {cls.kind: cls for cls in _MEMBERS}


def tags(base: type[Config]) -> list[str]:
    """The tags of all registered classes derived from `base`."""
    return sorted(cls.kind for cls in _MEMBERS if issubclass(cls, base))


def kinds(base: type[A]) -> list[type[A]]:
    """The registered configuration classes of artifacts derived from `base`, by rank and tag."""
    members = [cls for cls in _MEMBERS if issubclass(cls, base)]
    return sorted(members, key=lambda cls: (cls.table_rank, cls.kind))


@overload
def config_class(tag: str) -> type[Config]: ...
@overload
def config_class(tag: str, base: type[C]) -> type[C]: ...
def config_class(tag: str, base: type[Config] = Config) -> type[Config]:
    """The configuration class named `tag`, which must derive from `base`; raises `ConfigError`
    naming the nearest tag."""
    cls = by_tag().get(tag) if isinstance(tag, str) else None
    if cls is None or not issubclass(cls, base):
        base_name = base.__name__.removesuffix("Config").lower() or "configuration"
        raise ConfigError(f"There is no {base_name} called {tag!r}{nearest(str(tag), tags(base))}")
    return cls


def implementation(config: Config | type[Config]) -> Any:
    """The class or function that implements a configuration, imported now."""
    cls = config if isinstance(config, type) else type(config)
    return load(_MEMBERS[cls])


def builder(config: ArtifactConfig | type[ArtifactConfig]) -> Builder:
    """The function that makes an artifact of a configuration, imported now: the one its class
    names, or else its implementation."""
    cls = config if isinstance(config, type) else type(config)
    return load(cls.builder or _MEMBERS[cls])


def load(place: str) -> Any:
    """The object that a "module:attribute" of this table or of a configuration class names,
    imported now."""
    module, _, attribute = place.partition(":")
    return getattr(importlib.import_module(module), attribute)
