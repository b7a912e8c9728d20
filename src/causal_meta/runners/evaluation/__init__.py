"""Scores of posteriors against true graphs."""
