"""Training: the loop, what is particular to graph models, optimisers, checkpoints."""
