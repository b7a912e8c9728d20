"""One training step of the JAX original, for the ratio beside `avici_step.py`: same sizes, same
parts, one core, CPU seconds.

Run by an interpreter that has `jax<0.7 dm-haiku optax`, with a checkout of the original: `taskset
-c 0 python benchmarks/avici_peer.py CHECKOUT`. Only its network and its loss are used (its data
pipeline does not import on a current Python); rows are Gaussian. The step is: network with dropout,
edge loss, 10 power iterations, backward, global-norm clipping, LAMB. Compilation is timed apart.
"""

import importlib.util
import resource
import sys
import time
import types
from pathlib import Path


def original(checkout: Path):
    """The original's model module, without importing its package."""
    for name in ("avici", "avici.utils"):
        package = types.ModuleType(name)
        package.__path__ = [str(checkout / name.replace(".", "/"))]
        sys.modules[name] = package
    data = types.ModuleType("avici.utils.data_jax")
    data.jax_get_train_x = lambda key, data, p_obs_only: data["x"]
    data.jax_get_x = lambda data: data["x"]
    sys.modules["avici.utils.data_jax"] = data
    spec = importlib.util.spec_from_file_location("avici.model", checkout / "avici" / "model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main(
    checkout: str, n_tasks: int = 8, n_rows: int = 200, n_nodes: int = 20, layers: int = 8
) -> None:
    """Time one steady step after compilation."""
    import jax
    import jax.numpy as jnp
    import optax

    module = original(Path(checkout))
    settings = {"layers": layers, "cosine_temp_init": 2.0}
    model = module.InferenceModel(
        model_class=module.BaseModel,
        model_kwargs=settings,
        acyclicity=lambda penalty, t, dual: dual * penalty,
    )
    key = jax.random.PRNGKey(0)
    rows = jax.random.normal(key, (n_tasks, n_rows, n_nodes, 1))
    data = {
        "x": jnp.concatenate([rows, jnp.zeros_like(rows)], -1),
        "g": jnp.triu(jax.random.bernoulli(key, 0.2, (n_tasks, n_nodes, n_nodes)), 1) * 1.0,
    }
    params = model.net.init(key, data["x"], False)
    optimiser = optax.chain(optax.clip_by_global_norm(1.0), optax.lamb(1e-4))
    state = optimiser.init(params)

    @jax.jit
    def step(params, state, key):
        (loss, _), gradient = jax.value_and_grad(model.loss, has_aux=True)(
            params, 0.1, key, data, 0, True
        )
        updates, state = optimiser.update(gradient, state, params)
        return optax.apply_updates(params, updates), state, loss

    for name in ("first call, with compilation", "steady call", "steady call"):
        wall, cpu = time.perf_counter(), time.process_time()
        params, state, loss = jax.block_until_ready(step(params, state, key))
        print(
            f"{name}: {time.process_time() - cpu:.1f} CPU s, {time.perf_counter() - wall:.1f} s, "
            f"loss {float(loss):.3f}",
            flush=True,
        )
    n = sum(leaf.size for leaf in jax.tree_util.tree_leaves(params))
    print(
        f"{n:,} parameters, peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} "
        f"GiB, jax {jax.__version__}"
    )


if __name__ == "__main__":
    main(sys.argv[1], **{k: int(v) for k, v in (word.split("=") for word in sys.argv[2:])})
