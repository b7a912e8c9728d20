"""Runners: what builds artifacts. Each takes a configuration and an attempt, writes its results and
returns what goes into `meta.json`."""
