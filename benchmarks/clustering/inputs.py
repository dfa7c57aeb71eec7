"""Writes the embeddings that a workload clusters: real ones, an imitation of them, or synthetic classes."""

import json
import pathlib
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

# At these settings a class of 2,000 has as many pairs below the heights of 10%, 30% and 50% pruned as one of real
# CIFAR-10 embeddings, give or take a factor of two.
IMITATION_NOISE = 0.2
LATENT_DIMENSIONS = 32
EXAMPLES_PER_SUBCLUSTER = 64

Real = tuple[np.ndarray, np.ndarray]
"""Embeddings [N, D] float32 and labels [N] integers."""


def first_of_classes(real: Real, sizes: list[int]) -> Iterator[np.ndarray]:
    """The first examples of every class of the real embeddings, in the order of labels."""
    embeddings, labels = real
    classes, counts = np.unique(labels, return_counts=True)
    if len(classes) < len(sizes) or (counts[: len(sizes)] < sizes).any():
        raise SystemExit(f"{len(sizes)} classes of {max(sizes):,} are needed, but those given are of {counts.tolist()}")
    for label, size in zip(classes, sizes, strict=False):
        yield embeddings[np.flatnonzero(labels == label)[:size]]


def drawn_across_classes(real: Real, sizes: list[int]) -> Iterator[np.ndarray]:
    """Distinct real embeddings, whatever their class."""
    (size,) = sizes
    distinct = np.unique(real[0], axis=0)
    if size > len(distinct):
        raise SystemExit(f"{size:,} distinct embeddings are needed, but only {len(distinct):,} were given")
    yield np.random.default_rng(0).permutation(distinct)[:size]


def imitated_class(real: Real, sizes: list[int]) -> Iterator[np.ndarray]:
    """Points between two real examples of the first class, nearer to one of them, and noise on top.

    Noise alone would leave bunches around every real example; a class has gradual transitions too.
    """
    (size,) = sizes
    embeddings, labels = real
    rows = embeddings[labels == labels.min()]
    rng = np.random.default_rng(size)
    start, end = rows[rng.integers(len(rows), size=size)], rows[rng.integers(len(rows), size=size)]
    x = start + rng.uniform(0, 0.5, (size, 1)).astype(np.float32) * (end - start)
    x += rng.standard_normal(x.shape, np.float32) * (IMITATION_NOISE * rows.std(axis=0))
    yield np.maximum(x, 0) if rows.min() >= 0 else x


def synthetic_class(seed: int, size: int, dimensions: int) -> np.ndarray:
    """A class that looks like embeddings behind a ReLU: not negative, of low intrinsic dimension, in sub-clusters.

    The distance from a sub-cluster's centre varies from example to example, so that some are near-duplicates.

    Args:
        seed: the same seed gives the same class.
        size: examples.
        dimensions: columns.

    Returns:
        [size, dimensions] float32.
    """
    rng = np.random.default_rng([seed, size, dimensions])
    mean = np.abs(rng.standard_normal(dimensions, np.float32))
    basis = rng.standard_normal((LATENT_DIMENSIONS, dimensions), np.float32) / np.float32(np.sqrt(LATENT_DIMENSIONS))
    num_centres = max(1, size // EXAMPLES_PER_SUBCLUSTER)
    centres = np.float32(0.6) * rng.standard_normal((num_centres, LATENT_DIMENSIONS), np.float32)
    radii = 0.5 * rng.lognormal(-0.5, 0.5, (size, 1)).astype(np.float32)
    latent = radii * rng.standard_normal((size, LATENT_DIMENSIONS), np.float32)
    latent += centres[rng.integers(num_centres, size=size)]
    x = latent @ basis
    x += mean
    x += np.float32(0.05) * rng.standard_normal(x.shape, np.float32)
    return np.maximum(x, 0, out=x)


KINDS: dict[str, Callable[[Real, list[int]], Iterator[np.ndarray]]] = {
    "first_of_classes": first_of_classes,
    "drawn_across_classes": drawn_across_classes,
    "imitated_class": imitated_class,
}


def read_real(source: dict[str, str], dimensions: int) -> Real:
    """Reads embeddings and labels from two .npy files or from a work directory of data-redundancy."""
    if "workdir" in source:
        from data_redundancy.store import artifacts

        embeddings, labels = artifacts.read_embeddings(pathlib.Path(source["workdir"]) / "embeddings")
    else:
        embeddings, labels = np.load(source["embeddings"]), np.load(source["labels"])
    if embeddings.shape[1:] != (dimensions,):
        raise SystemExit(f"embeddings: shape {embeddings.shape}, but {dimensions} dimensions are needed")
    return embeddings, labels


def write(recipe: dict[str, Any], directory: pathlib.Path) -> None:
    """Writes x.npy [N, D] float32 and labels.npy [N] int32, class after class."""
    sizes = recipe["sizes"]
    if recipe["real"]:
        classes = list(KINDS[recipe["kind"]](read_real(recipe["real"], recipe["dimensions"]), sizes))
        np.save(directory / "x.npy", np.concatenate(classes).astype(np.float32, copy=False))
    else:
        # Straight to the file: the largest of these inputs takes 10 GB.
        shape = (sum(sizes), recipe["dimensions"])
        x = np.lib.format.open_memmap(directory / "x.npy", mode="w+", dtype=np.float32, shape=shape)
        ends = np.cumsum(sizes)

        def fill(label: int) -> None:
            rows = slice(ends[label] - sizes[label], ends[label])
            x[rows] = synthetic_class(label, sizes[label], recipe["dimensions"])

        with ThreadPoolExecutor() as threads:
            list(threads.map(fill, range(len(sizes))))
    np.save(directory / "labels.npy", np.repeat(np.arange(len(sizes), dtype=np.int32), sizes))


if __name__ == "__main__":
    write(json.loads(sys.argv[1]), pathlib.Path(sys.argv[2]))
