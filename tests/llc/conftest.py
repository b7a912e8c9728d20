"""These tests import JAX and run in a process of their own (`make test`): JAX and processes that
fork do not meet."""

import importlib.metadata
import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest

from causal_meta.conf.networks import NetworkConfig
from causal_meta.draws import Draws
from causal_meta.llc.exact.quadrature import gaussian
from causal_meta.llc.landscapes.landscape import Landscape
from causal_meta.store import Store

P = 6

# Most programs of tests run for a fraction of the time that it takes to compile them: without
# LLVM's passes and with XLA's older emitter that is half. Another jaxlib may not know the options
# and would end the process.
if importlib.metadata.version("jaxlib").startswith("0.10."):
    os.environ["XLA_FLAGS"] = (
        f"{os.environ.get('XLA_FLAGS', '')} --xla_backend_optimization_level=0 "
        "--xla_cpu_use_fusion_emitters=false"
    ).strip()


@pytest.fixture(autouse=True, scope="session")
def _programs_compiled_once(tmp_path_factory):
    """Equal programs are compiled once in a session, as they are on the command line: resumed runs,
    other seeds and builds of the same shape read them back from a folder."""
    import jax
    from jax.experimental import compilation_cache

    settings = {
        "jax_compilation_cache_dir": str(tmp_path_factory.mktemp("compiled")),
        "jax_persistent_cache_min_compile_time_secs": 0.02,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    before = {name: getattr(jax.config, name) for name in settings}
    for values in (settings, before):
        for name, value in values.items():
            jax.config.update(name, value)
        compilation_cache.compilation_cache.reset_cache()
        if values is settings:
            yield


@pytest.fixture(scope="session")
def study():
    """The module of the calibration study, whose runs share their programs."""
    path = Path(__file__).parents[2] / "benchmarks" / "llc_calibration.py"
    spec = importlib.util.spec_from_file_location("llc_calibration", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Recorded:
    """A run whose states are all kept, so that one run is resumed from several of them; `draws` are
    its draws.

    The resumed runs use its compiled programs, which would be equal.
    """

    def __init__(self, compiled_once, landscape, config, progress):
        from causal_meta.llc.samplers import Kept

        class Every(Kept):
            def __init__(self):
                super().__init__()
                self.all = {}

            def save(self, arrays, done):
                super().save(arrays, done)
                self.all[done] = self.arrays

        self.compiled_once, self.held = compiled_once, {}
        self.landscape, self.config, states = landscape, config, Every()
        self.draws = self.again(checkpoint=states, progress=progress)
        self.states = states.all

    def again(self, **settings):
        """Another run, with the programs of the first one."""
        from causal_meta.llc.samplers import sample

        with self.compiled_once(self.held):
            return sample(self.landscape, self.config, **settings)

    def after(self, done):
        """A checkpoint that holds the state after `done` segments."""
        from causal_meta.llc.samplers import Kept

        there = Kept()
        there.save(self.states[done], done)
        return there

    def resumed(self, done, progress=None):
        """The draws of a run that resumes after `done` segments."""
        return self.again(checkpoint=self.after(done), progress=progress)


@pytest.fixture(scope="session")
def recorded(study):
    """A function that makes a run of a landscape and a configuration as `Recorded`."""

    def run(landscape, config, progress=None):
        return Recorded(study.compiled_once, landscape, config, progress)

    return run


@pytest.fixture
def long_runs(monkeypatch):
    """LLVM's cheaper passes, for samplers that run for longer than these take."""
    import jax

    compiled = jax.stages.Lowered.compile

    def with_passes(lowered, compiler_options=None):
        return compiled(lowered, compiler_options or {"xla_backend_optimization_level": "1"})

    monkeypatch.setattr(jax.stages.Lowered, "compile", with_passes)


@pytest.fixture(autouse=True)
def _single_precision_outside():
    """Nothing may switch JAX to 64 bit globally: width is chosen per call."""
    import jax

    yield
    assert not jax.config.jax_enable_x64


@pytest.fixture(scope="session")
def made_up():
    """A function that generates draws of a known distribution without a sampler; `made_up.p` is
    their number of parameters."""
    _draws.p = P
    return _draws


@pytest.fixture
def llc_store(tmp_path, monkeypatch):
    monkeypatch.setenv("CAUSAL_META_STORE", str(tmp_path / "runs"))
    return Store(tmp_path / "runs", patience=0)


@pytest.fixture
def made_up_target(llc_store):
    """A network target without training, for tests that need only its record."""
    record = {
        "dims": {"n": 1000, "d": 4, "p": 6},
        "metrics": {"L0": 0.25, "is_minimum": True},
        "jax_enable_x64": True,
    }
    return llc_store.build(NetworkConfig(), {}, lambda config, attempt: record, name="made_up")


@pytest.fixture
def made_up_sampler(monkeypatch, made_up):
    """Replace `llc.samplers.sample` by a function, by default one that generates 4000 draws of each
    configured chain."""
    landscape = Landscape(
        "made up", 1000, np.zeros(6), population_loss=lambda w: 0.5 * (w * w).sum(), exact={
            "lambda": 3.0, "multiplicity": 1},
        parameter_names={"w": slice(0, 6)}, expectation=lambda n_beta, gamma: gaussian(np.ones(6),
            n_beta, gamma),
    )  # fmt: skip
    monkeypatch.setattr(
        "causal_meta.runners.llc.network_training.load_landscape", lambda artifact: landscape
    )

    def put(function):
        monkeypatch.setattr("causal_meta.llc.samplers.sample", function)

    put(
        lambda landscape, config, checkpoint, progress: made_up(
            chains=config.chains, length=4000, seed=config.seed
        )
    )
    return put


def _draws(
    *,
    chains: int = 4,
    length: int = 400,
    seed: int = 0,
    bad_chain: int | None = None,
    independent: bool = False,
    **further,
) -> Draws:
    """Independent draws of a Gaussian posterior with unit curvature, P = 6 and nβ = 100, γ = 1: λ̂
    has mean 100 / 101 · P / 2."""
    generator = np.random.default_rng(seed)
    w = generator.normal(size=(chains, length, P)) / np.sqrt(101)
    square = (w**2).sum(2)
    loss = 0.25 + 0.5 * square
    if bad_chain is not None:
        loss[bad_chain, length // 2 :] = np.nan
    arrays = {
        "energy": generator.normal(size=(chains, length)),
        "acceptance": generator.uniform(0.6, 1, size=(chains, length)),
        "divergent": np.zeros((chains, length), bool),
    }
    return Draws(
        **{
            "loss": loss,
            "centre_loss": 0.25,
            "n_beta": 100.0,
            "gamma": 1.0,
            "distance": np.sqrt(square),
            "projection": w[:, :, :2],
            "gradients": np.cumsum(np.full((chains, length), 10.0), axis=1) + 500,
            "independent": independent,
            "seconds": {"compile": 1.5, "warmup": 0.25, "sampling": 0.5},
            "adapted": {"step_size": 0.1},
            **({} if independent else arrays),
            **further,
        }
    )
