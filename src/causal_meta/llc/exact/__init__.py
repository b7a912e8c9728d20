"""Exact learning coefficients and finite-n expectations, which samplers are held to."""
