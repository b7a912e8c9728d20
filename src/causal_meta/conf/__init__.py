"""Configuration: frozen dataclasses, the closed registry of tags, and composition. Loads neither
torch nor JAX."""
