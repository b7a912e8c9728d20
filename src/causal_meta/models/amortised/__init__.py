"""Graph models that are trained on a stream of tasks before they can answer."""
