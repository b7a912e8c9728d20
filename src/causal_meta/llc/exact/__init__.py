"""Exact learning coefficients and finite-n expectations, against which samplers are tested."""
