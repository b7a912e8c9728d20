"""A method of three touches: this file, its configuration with its registry line, and its test
(both in `test_toy_method.py`)."""

import torch

from causal_meta.models.task_method import NO_CHECKPOINT, TaskMethod
from causal_meta.posteriors import IndependentEdges


class Toy(TaskMethod):
    """Edges i -> j, i < j, with log odds `strength` |correlation|, and none the other way."""

    def answer(self, task, generator, checkpoint=NO_CHECKPOINT):
        correlations = torch.corrcoef(task.x.T.double()).abs()
        logits = (self.config.strength * correlations).triu(1)
        logits = logits.masked_fill(torch.ones_like(logits).tril() == 1, -torch.inf)
        return IndependentEdges(logits[None].float(), torch.ones(1, len(logits), dtype=torch.bool))
