"""Posteriors for task sets and for a user's table."""
