"""Flax models by name; each maps images to logits and embeddings."""

from data_redundancy.models.imagenet_resnet import STEMS
from data_redundancy.models.registry import create, names

__all__ = ["STEMS", "create", "names"]
