"""Local learning coefficients: loss landscapes, tempered posteriors around a point, samplers,
estimators, and the exact values to hold them to.

JAX throughout, but for checkpoints of torch models, which have a path of their own. Float width is
chosen per call by the `jax.enable_x64` context, never globally.
"""
