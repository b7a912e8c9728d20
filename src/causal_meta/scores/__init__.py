"""Local scores: the log marginal likelihood of one variable given a set of parents, in nats.

The score of a graph is the sum over its families (variable, parents). Scores are those of
standardised columns: the Jacobian of that is the same for every graph. Shape letters: N rows, D
variables, C columns (a categorical variable has several), F families, p parents, K candidates.
"""
