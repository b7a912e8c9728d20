"""The worlds: laws over graphs, mechanisms and noise, the structural causal models they make, and
streams and sets of tables drawn from them."""
