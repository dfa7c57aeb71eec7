"""All pairs of vectors that are close, by blocked matrix products on all local devices, in O(n + pairs) memory.

A first pass computes similarities in low precision, block by block, and passes on the pairs that may be close enough;
the distances of those are then computed exactly. What the first pass computes is off by at most `error_margin`, so it
misses none, whatever the precision, the device and the block size.
"""

import functools
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from data_redundancy.clustering.distances import Units, pair_distances
from data_redundancy.clustering.strategy import WHOLE
from data_redundancy.runtime import devices

GROUP = 64
"""Similarities that are looked at together: only groups with a hit leave the device."""

CANDIDATES_PER_PAIR = 4
"""With more of them for every pair that the caller allows, it is better off another way."""


class TooManyPairs(Exception):  # noqa: N818 - not an error: the caller then goes another way
    """More pairs are close than there is memory for."""


@dataclass(frozen=True)
class Precision:
    """How products are computed in the first pass.

    Attributes:
      dtype: what vectors are rounded to first.
      product: the precision of the matrix product.
      roundoff: how much rounding changes a factor at the most, relatively: 2^-p with p bits of significand.
      accumulation: that of the sums.
    """

    dtype: str
    product: jax.lax.Precision
    roundoff: float
    accumulation: float


FLOAT32 = Precision("float32", jax.lax.Precision.HIGHEST, 2.0**-24, 2.0**-24)
# Tensor cores cut sums off instead of rounding them: twice the unit roundoff (Fasi, Higham, Mikaitis, Pranesh,
# "Numerical behavior of NVIDIA tensor cores", PeerJ Computer Science 7, 2021).
# They may do so with the factors as well, of which TensorFloat-32 keeps eleven bits: hence 2^-10 instead of 2^-11.
TENSOR_FLOAT32 = Precision("float32", jax.lax.Precision.DEFAULT, 2.0**-10, 2.0**-23)
BFLOAT16 = Precision("bfloat16", jax.lax.Precision.DEFAULT, 2.0**-8, 2.0**-23)
PRECISIONS = {"cpu": (FLOAT32,), "gpu": (TENSOR_FLOAT32, FLOAT32), "tpu": (BFLOAT16, FLOAT32)}
"""For every platform those worth while, the fastest first."""


def error_margin(num_dimensions: int, precision: Precision) -> float:
    """How far a similarity of the first pass can be from one minus the exact cosine distance.

    Rounding the coordinates of u to `high`, and that to the precision's p bits, moves u by at most r = sqrt(D) 2^-25 +
    roundoff (1 + sqrt(D) 2^-25), hence the product by (1 + r)^2 - 1. A sum of D products, added in any order, is off by
    at most g = D a / (1 - D a) times the sum of their absolute values, a being the unit roundoff of the sums
    (Higham, "Accuracy and Stability of Numerical Algorithms", section 3.1), and that sum is at most (1 + r)^2. The last
    2^-22 is for comparing in float32 and for |u|^2 being only nearly one.

    Args:
      num_dimensions: D.
      precision: of the first pass.
    """
    rounded_up_to = np.sqrt(num_dimensions) * 2.0**-25
    moved = rounded_up_to + precision.roundoff * (1 + rounded_up_to)
    accumulated = num_dimensions * precision.accumulation
    if accumulated >= 0.5:
        return np.inf
    return ((1 + moved) ** 2 - 1) + accumulated / (1 - accumulated) * (1 + moved) ** 2 + 2.0**-22


def choose_precision(num_dimensions: int, height: float, platform: str) -> Precision:
    """The fastest precision whose margin adds little, at most a tenth, to a bound of distances; else float32."""
    for precision in PRECISIONS.get(platform, (FLOAT32,)):
        if error_margin(num_dimensions, precision) <= height / 10:
            return precision
    return FLOAT32


@dataclass(frozen=True, eq=False)
class Graph:
    """Pairs of rows with their distances.

    Attributes:
      first, second: [P] int64, rows, first < second.
      distance: [P] float64.
    """

    first: np.ndarray
    second: np.ndarray
    distance: np.ndarray

    def __len__(self) -> int:
        return len(self.first)


class Neighbours:
    """Finds close pairs among n unit vectors, which lie on all local devices."""

    def __init__(
        self,
        units: Units,
        *,
        block_rows: int | None = None,
        precision: Precision | None = None,
        devices: list[jax.Device] | None = None,
        together: bool = False,
    ):
        """Puts the vectors on the devices.

        Args:
          units: n unit vectors.
          block_rows: rows of a block; by default as suits the size and the devices, and on processors a class of no
            more than WHOLE rows is one block, of which all similarities are kept.
          precision: of the first pass; by default as suits the devices and the bound on distances.
          devices: by default all local ones; of a processor only the first, for they share it.
          together: whether all processes do the same at the same time, each with its share of the blocks.
        """
        self._units = units
        self._devices = devices or _useful_devices()
        self._precision = precision
        self._together = together
        self.margin = error_margin(units.num_dimensions, FLOAT32)
        self._block = block_rows or _block_rows(len(units), self._devices[0].platform)
        self._num_blocks = -(-len(units) // self._block)
        self._vectors: dict[str, list[jax.Array]] = {}
        on_processor = self._devices[0].platform == "cpu" and precision is None and block_rows is None
        self.is_whole = on_processor and len(units) <= WHOLE and not together

    @functools.cached_property
    def _similarities(self) -> np.ndarray:
        """Those of all pairs, [n, n] float32."""
        vectors = self._units.high
        # Of a matrix and its own transpose NumPy computes one half. With few dimensions mirroring costs more than that.
        return vectors @ (vectors if self._units.num_dimensions >= 256 else vectors.copy()).T

    def within(
        self,
        height: float,
        *,
        max_pairs: int,
        expected_pairs: float = 0,
        progress: Callable[[int, int], None] | None = None,
    ) -> Graph:
        """All pairs of rows up to a distance.

        Args:
          height: the largest distance.
          max_pairs: how many there is memory for.
          expected_pairs: about how many there will be; a good guess saves time.
          progress: is told how many blocks of how many are done.

        Returns:
          The pairs, in no particular order.

        Raises:
          TooManyPairs: there are more than `max_pairs`.
        """
        found, too_many = self._found(height, max_pairs, expected_pairs, progress)
        if self._together:
            # Counts first: no process gathers more than there is memory for.
            counts = devices.gather_rows(np.array([len(found[0]), max_pairs + 1 if too_many else 0]))
            too_many = counts.sum() > max_pairs
        if too_many:
            raise TooManyPairs
        if self._together:
            found = [devices.gather_rows(part) for part in found]
        return Graph(*found)

    def stream(
        self,
        height: Callable[[], float],
        *,
        wanted: Callable[[np.ndarray, np.ndarray], np.ndarray],
        progress: Callable[[int, int], None] | None = None,
    ) -> Iterator[Graph]:
        """Pairs of rows up to a distance that may shrink on the way, block by block: for who looks for the closest.

        Args:
          height: gives the largest distance; asked at every block, and must not grow.
          wanted: of rows [p] and [p], whether each pair is of interest, [p] bool.
          progress: as of `within`.

        Yields:
          Those of a block, in no particular order.
        """
        for first, second in self._candidates(height, 0, progress):
            of_interest = wanted(first, second)
            first, second = first[of_interest], second[of_interest]
            distance = pair_distances(self._units, first, second)
            close = distance <= height()
            yield Graph(first[close], second[close], distance[close])

    def roughly_within(self, height: float) -> Graph:
        """About the same with distances from the first pass, at next to no cost, where all of these are kept."""
        graphs = [(first, second) for first, second in self._candidates_of_whole(height)]
        if not graphs:
            return Graph(*(np.empty(0, np.int64),) * 2, np.empty(0))
        first, second = (np.concatenate(rows) for rows in zip(*graphs, strict=True))
        return Graph(first, second, 1.0 - self._similarities[first, second].astype(np.float64))

    def _found(
        self, height: float, max_pairs: int, expected_pairs: float, progress: Callable[[int, int], None] | None
    ) -> tuple[list[np.ndarray], bool]:
        """The pairs of this process; or some of them, where there are too many."""
        too_many = False
        parts, num_found, num_candidates = [(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))], 0, 0
        for first, second in self._candidates(lambda: height, expected_pairs, progress):
            distance = pair_distances(self._units, first, second)
            close = distance <= height
            parts.append((first[close], second[close], distance[close]))
            num_found += len(parts[-1][0])
            num_candidates += len(first)
            # Where all distances are within the margin of error, candidates are the work, and few of them are found.
            too_many = max(num_found, num_candidates // CANDIDATES_PER_PAIR) > max_pairs
            if too_many:
                break
        return [np.concatenate(arrays) for arrays in zip(*parts, strict=True)], too_many

    def height_for(self, pairs_per_row: float) -> float:
        """Estimates from a sample of rows the height up to which there are so many pairs for every row.

        What is returned decides how much work is done, not what comes out of it.
        """
        num_rows = len(self._units)
        size = min(num_rows, max(64, min(512, num_rows // 16)))
        sample = np.sort(np.random.default_rng(num_rows).choice(num_rows, size, replace=False))
        wanted = min(int(np.ceil(2 * pairs_per_row * size)), size * (num_rows - 1))
        largest = np.empty(0, np.float32)  # similarities, of which only the `wanted` largest are kept
        for start in range(0, num_rows, 1024):
            similarity = self._sampled(sample, start, min(start + 1024, num_rows))
            if len(largest) == wanted:
                similarity = similarity[similarity > largest.min()]
            largest = np.concatenate([largest, similarity.ravel()])
            if len(largest) > wanted:
                largest = np.partition(largest, len(largest) - wanted)[-wanted:]
        height = np.clip(1 - largest.min(), 0.0, 2.0)
        # Processes that work together must go to the same height, to the last bit.
        return float(devices.gather_rows(np.array([height]))[0] if self._together else height)

    def _sampled(self, sample: np.ndarray, start: int, stop: int) -> np.ndarray:
        """The similarities of sampled rows to others; of a row to itself, minus infinity."""
        if self.is_whole:
            similarity = self._similarities[sample, start:stop]
        else:
            similarity = self._units.high[sample] @ self._units.high[start:stop].T
        own = (sample >= start) & (sample < stop)
        similarity[own, sample[own] - start] = -np.inf
        return similarity

    def _candidates(self, height, expected_pairs, progress) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        if self.is_whole:
            yield from self._candidates_of_whole(height())
            return
        dimensions, platform = self._units.num_dimensions, self._devices[0].platform
        precision = self._precision or choose_precision(dimensions, height(), platform)
        margin = error_margin(dimensions, precision)
        vectors = self._on_devices(precision.dtype)
        blocks = [(a, b) for a in range(self._num_blocks) for b in range(a, self._num_blocks)]
        if self._together:
            blocks = blocks[devices.process_index() :: devices.process_count()]
        pending: deque = deque()
        capacity = _Capacity(self._block)
        capacity.grow(int(2 * expected_pairs / self._num_blocks**2))
        for done, (a, b) in enumerate(blocks):
            device = done % len(self._devices)
            least = np.float32(1 - height() - margin)
            arguments = (vectors[device], a * self._block, b * self._block, least)
            pending.append((a, b, arguments, capacity.rows, self._dispatch(arguments, capacity.rows, precision)))
            if len(pending) > 2 * len(self._devices):
                yield self._collect(*pending.popleft(), capacity, precision)
            if progress is not None:
                progress(done + 1, len(blocks))
        while pending:
            yield self._collect(*pending.popleft(), capacity, precision)

    def _candidates_of_whole(self, height: float) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        least = np.float32(1 - height - error_margin(self._units.num_dimensions, FLOAT32))
        first, second = np.divmod(np.flatnonzero(self._similarities.ravel() >= least), len(self._units))
        pairs = np.flatnonzero(first < second)
        for start in range(0, len(pairs), 2**16):  # a part at a time: there may be too many
            some = pairs[start : start + 2**16]
            yield first[some], second[some]

    def _dispatch(self, arguments, capacity: int, precision: Precision):
        return _hits(*arguments, block=self._block, capacity=capacity, precision=precision.product)

    def _collect(self, a, b, arguments, rows, result, capacity, precision) -> tuple[np.ndarray, np.ndarray]:
        """The pairs of one block, once it is computed; it is computed again where it had more hits than room."""
        count = int(result[0])
        if count > rows:
            capacity.grow(count)
            result = self._dispatch(arguments, capacity.rows, precision)
        group, similarity = (np.asarray(x)[:count] for x in result[1:])
        hit = np.flatnonzero(similarity.ravel() >= arguments[3])
        position = group[hit // GROUP].astype(np.int64) * GROUP + hit % GROUP
        first, second = np.divmod(position, self._block)
        first += a * self._block
        second += b * self._block
        valid = (first < second) & (second < len(self._units))
        return first[valid], second[valid]

    def _on_devices(self, dtype: str) -> list[jax.Array]:
        if dtype not in self._vectors:
            padding = self._num_blocks * self._block - len(self._units)
            padded = np.pad(self._units.high, ((0, padding), (0, 0))) if padding else self._units.high
            padded = jnp.asarray(padded, dtype)
            self._vectors[dtype] = [jax.device_put(padded, device) for device in self._devices]
        return self._vectors[dtype]


class _Capacity:
    """Room for the groups with hits of a block: a power of two, so that few programs are compiled."""

    def __init__(self, block: int):
        self._most = block * block // GROUP
        self.rows = min(self._most, 1024)

    def grow(self, needed: int) -> None:
        while self.rows < min(needed, self._most):
            self.rows = min(self._most, 2 * self.rows)


@functools.partial(jax.jit, static_argnames=("block", "capacity", "precision"))
def _hits(vectors, row, column, least, *, block: int, capacity: int, precision):
    """The groups of a block of similarities in which any is `least` or more: their number, places and contents."""
    rows = jax.lax.dynamic_slice_in_dim(vectors, row, block)
    columns = jax.lax.dynamic_slice_in_dim(vectors, column, block)
    similarity = jnp.matmul(rows, columns.T, precision=precision, preferred_element_type=jnp.float32)
    groups = similarity.reshape(-1, GROUP)
    is_hit = groups.max(axis=1) >= least
    (places,) = jnp.nonzero(is_hit, size=capacity, fill_value=0)
    return is_hit.sum(), places, groups[places]


def _useful_devices() -> list[jax.Device]:
    local = jax.local_devices()
    return local[:1] if local[0].platform == "cpu" else local


def _block_rows(num_rows: int, platform: str) -> int:
    """A multiple of GROUP: small enough for the cache, and at least four to a side, as half of them are left out."""
    largest = 1024 if platform == "cpu" else 8192
    return min(largest, -(-num_rows // (4 * GROUP)) * GROUP)
