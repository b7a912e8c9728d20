"""Graph models: from rows to a posterior over graphs."""

from causal_meta.models.avici import AviciModel
from causal_meta.models.base import BaseModel, InferenceResult, ModelFactory

__all__ = ["AviciModel", "BaseModel", "InferenceResult", "ModelFactory"]
