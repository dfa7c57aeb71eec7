"""What a selection will take, told from counts before it begins.

Operations are counted, and each has a price in nanoseconds, measured on one core of an AMD EPYC (virtual machine, one
thread, 64 and 512 dimensions, 1,000 to 50,000 examples in a class), rounded up; two cores take less. Where how often
something is done depends on the data (k-means, lazy evaluation), it is what was seen in embeddings that imitate those
of natural images (`benchmarks.selection`), rounded up. Methods that are not in `_WORK` sort or draw, which takes no
time worth telling, or cut trees, whose clustering tells what it takes.
"""

import dataclasses
import math
from collections.abc import Callable

import numpy as np

from data_redundancy.selection import facility_location, prototypes, semdedup
from data_redundancy.selection.pool import Pool

_FLOP = 1 / 25
"""Of a product of float64 matrices."""
_ENTRY = 1.5
"""For each entry of such a product, to look at it once."""
_GIVEN = 0.75
"""For each float64 of a matrix that is multiplied by a single vector: the memory's speed. In the caches it is less."""
_EVALUATIONS = 14
"""Gains that facility location evaluates for each example it keeps."""
_ROUNDS = 100
"""Of k-means."""
_COPIES = 3
"""Of the embeddings of a class in float64, at the peak of making unit vectors."""


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a selection is expected to take.

    Attributes:
      seconds: on a core as above.
      peak_bytes: with the embeddings, without what the process holds beside these.
    """

    seconds: float
    peak_bytes: float


@dataclasses.dataclass(frozen=True)
class Block:
    """A class to choose from.

    Attributes:
      size: n, its examples.
      num_kept: k.
      num_dimensions: D.
    """

    size: int
    num_kept: int
    num_dimensions: int


Work = Callable[[Block], tuple[float, float]]
"""From a class to nanoseconds, and the bytes needed beside copies of its embeddings."""


def expected(pool: Pool, method: str, num_pruned: dict[int, int], *, centre: str) -> Cost:
    """What a method is expected to take.

    Args:
      pool: the data set; of its embeddings only the shape is looked at.
      method: its name.
      num_pruned: for every label, how many of its examples go; where none do, nothing is done.
      centre: of `prototypes`.
    """
    if pool.embeddings is None:
        return Cost(0.0, 0.0)
    num_examples, num_dimensions = pool.embeddings.shape
    held = pool.embeddings.nbytes
    if method == "prototypes":
        classes = pool.labels if pool.classes is None else pool.classes
        num_centres = prototypes.num_prototypes(classes) if centre == "kmeans" else 0
        return Cost(
            1e-9 * _kmeans(num_examples, num_centres, num_dimensions),
            held + _COPIES * 8 * pool.embeddings.size + 4 * pool.embeddings.size,
        )
    if method not in _WORK:
        return Cost(0.0, held)
    sizes = pool.class_sizes()
    blocks = [Block(n, n - num_pruned[label], num_dimensions) for label, n in sizes.items() if num_pruned[label]]
    found = [_WORK[method](block) for block in blocks]
    copies = _COPIES * 8 * num_dimensions * max((block.size for block in blocks), default=0)
    return Cost(
        1e-9 * sum(nanoseconds for nanoseconds, _ in found),
        held + copies + max((num_bytes for _, num_bytes in found), default=0),
    )


def _kcenter(block: Block) -> tuple[float, float]:
    entries = block.size * block.num_kept
    return entries * (2 * block.num_dimensions * _FLOP + _ENTRY), 0


def _herding(block: Block) -> tuple[float, float]:
    return block.size * block.num_kept * (block.num_dimensions * _GIVEN + _ENTRY), 0


def _facility_location(block: Block) -> tuple[float, float]:
    matrix = 4 * block.size**2
    looks = block.num_kept * _EVALUATIONS
    # Where not all fit, most evaluations still find what they need.
    fetched = block.size if matrix <= facility_location.HELD_BYTES else max(block.size, looks / 2)
    entries = fetched * block.size * (2 * block.num_dimensions * _FLOP + 4 * _ENTRY) + looks * block.size * _ENTRY
    return entries, min(matrix, facility_location.HELD_BYTES)


def _semdedup(block: Block) -> tuple[float, float]:
    num_clusters = math.ceil(block.size / semdedup.CLUSTER_SIZE)
    pairs = block.size * semdedup.CLUSTER_SIZE * 2  # clusters are of different sizes
    compared = pairs * (2 * block.num_dimensions * _FLOP + _ENTRY)
    return _kmeans(block.size, num_clusters, block.num_dimensions) + compared, 4 * block.size * block.num_dimensions


def _kmeans(size: int, num_clusters: int, num_dimensions: int) -> float:
    if num_clusters < 2:
        return 0.0
    # The start, k-means++, tries some 2 + log(k) candidates for every centre.
    rounds = _ROUNDS + 2 + np.log(num_clusters)
    return size * num_clusters * rounds * (2 * num_dimensions * _FLOP + _ENTRY)


_WORK: dict[str, Work] = {
    "kcenter": _kcenter,
    "herding": _herding,
    "facility_location": _facility_location,
    "semdedup": _semdedup,
}
