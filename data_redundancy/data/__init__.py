"""Data sets: loading them, augmentation and batches; and embeddings from files."""

from data_redundancy.data.loading import load
from data_redundancy.data.splits import Dataset, Split

__all__ = ["Dataset", "Split", "load"]
