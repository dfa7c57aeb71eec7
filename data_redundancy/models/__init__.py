"""Flax models by name; each returns `(logits, embedding)`."""

from data_redundancy.models.registry import create, names

__all__ = ["create", "names"]
