"""Graph models: from rows to a posterior over graphs."""

from causal_meta.models.amortised.avici import AviciModel
from causal_meta.models.base import BaseModel, InferenceResult, ModelFactory

__all__ = ["AviciModel", "BaseModel", "InferenceResult", "ModelFactory"]
