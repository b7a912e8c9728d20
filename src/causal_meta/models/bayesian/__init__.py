"""Bayesian methods, one table at a time: exact, sampled and variational posteriors."""
