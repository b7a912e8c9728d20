"""Artifacts read back: posteriors, traces, analyses, metrics, runs as tables."""
