"""Data sets: sources, canonical order, augmentation and batches."""

from data_redundancy.data.dataset import Dataset, Split, load

__all__ = ["Dataset", "Split", "load"]
