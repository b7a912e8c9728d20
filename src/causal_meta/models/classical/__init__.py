"""Classical baselines, one table at a time."""
