"""Structural causal models: laws over graphs, mechanisms and noise, the models they define, and
streams and sets of tables drawn from them."""
