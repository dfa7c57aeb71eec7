"""Data sets: sources, canonical order, augmentation and batches."""

from data_redundancy.data.loading import load
from data_redundancy.data.splits import Dataset, Split

__all__ = ["Dataset", "Split", "load"]
