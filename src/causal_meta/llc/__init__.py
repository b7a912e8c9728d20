"""Local learning coefficients (LLC): loss landscapes, local posteriors around a point, samplers,
estimators, and exact values that the estimates are tested against.

Networks and formulas run in JAX; trained torch models have samplers of their own. The float
precision is chosen per call by the `jax.enable_x64` context, never globally.
"""
