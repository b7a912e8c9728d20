"""Attention and set encoders."""

from causal_meta.layers.axial import (
    AxialBlock,
    Axis,
    axial_attention,
    empty_linear,
    folded,
    variance_scaling,
)

__all__ = ["AxialBlock", "Axis", "axial_attention", "empty_linear", "folded", "variance_scaling"]
