"""Artifacts read back, one reader for each of their files: analyses, metrics, posteriors, task sets
and traces."""
