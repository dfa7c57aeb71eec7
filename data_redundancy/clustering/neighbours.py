"""All pairs of close vectors, by blocked matrix products on all local devices, in O(n + pairs) memory.

A first pass computes similarities in low precision, block by block, and selects the pairs that may be close enough, the
candidates. Their distances are then computed exactly. Similarities of the first pass differ from the exact ones by at
most `error_margin`, so that no pair is missed, whatever the precision, the device and the block size.
"""

import functools
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from data_redundancy.clustering.distances import Units, pair_distances
from data_redundancy.clustering.strategy import SMALL_CLASS_ROWS
from data_redundancy.runtime import devices

GROUP = 64
"""The number of similarities that are compared together; only groups with a candidate are copied to the host."""

CANDIDATES_PER_PAIR = 4
"""With more candidates than this per pair that the caller allows, another algorithm is faster."""

_Rows = tuple[np.ndarray, np.ndarray]
"""Pairs of rows: the first rows [P] int64, and the second rows [P] int64."""
_BlockArguments = tuple[jax.Array, int, int, np.float32]
"""The vectors, the first row and the first column of a block, and the lowest similarity of a candidate."""
_BlockResult = tuple[jax.Array, jax.Array, jax.Array]
"""See `_groups_with_candidates`."""


class TooManyPairs(Exception):  # noqa: N818 - not an error: the caller then uses another algorithm
    """More pairs are close than fit into memory."""


@dataclass(frozen=True)
class Precision:
    """The precision of products in the first pass.

    Attributes:
        dtype: the type that vectors are rounded to first.
        product: the precision of the matrix product.
        roundoff: the largest relative error of a rounded factor: 2^-p with p bits of significand.
        accumulation: the largest relative error of an addition.
    """

    dtype: str
    product: jax.lax.Precision
    roundoff: float
    accumulation: float


FLOAT32 = Precision("float32", jax.lax.Precision.HIGHEST, 2.0**-24, 2.0**-24)
# Tensor cores truncate sums instead of rounding them, which doubles the unit roundoff (Fasi, Higham, Mikaitis, Pranesh,
# "Numerical behavior of NVIDIA tensor cores", PeerJ Computer Science 7, 2021).
# They may also truncate factors, of which TensorFloat-32 keeps eleven bits: hence 2^-10 instead of 2^-11.
TENSOR_FLOAT32 = Precision("float32", jax.lax.Precision.DEFAULT, 2.0**-10, 2.0**-23)
BFLOAT16 = Precision("bfloat16", jax.lax.Precision.DEFAULT, 2.0**-8, 2.0**-23)
PRECISIONS = {"cpu": (FLOAT32,), "gpu": (TENSOR_FLOAT32, FLOAT32), "tpu": (BFLOAT16, FLOAT32)}
"""The useful precisions of every platform, the fastest first."""


def error_margin(num_dimensions: int, precision: Precision) -> float:
    """Returns the largest difference between a similarity of the first pass and one minus the exact cosine distance.

    Rounding the coordinates of u to `high`, and `high` to the p bits of the precision, moves u by at most r =
    sqrt(D) 2^-25 + roundoff (1 + sqrt(D) 2^-25), and therefore the product by (1 + r)^2 - 1. A sum of D products, added
    in any order, has an error of at most g = D a / (1 - D a) times the sum of their absolute values, where a is the
    unit roundoff of additions (Higham, "Accuracy and Stability of Numerical Algorithms", section 3.1); that sum is at
    most (1 + r)^2. The final 2^-22 accounts for comparing in float32 and for |u|^2 not being exactly one.

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
    """Returns the fastest precision whose margin is at most a tenth of the largest distance, otherwise float32.

    Args:
        num_dimensions: D.
        height: the largest distance of a pair.
        platform: of the devices, as JAX names it.
    """
    for precision in PRECISIONS.get(platform, (FLOAT32,)):
        if error_margin(num_dimensions, precision) <= height / 10:
            return precision
    return FLOAT32


@dataclass(frozen=True, eq=False)
class Graph:
    """Pairs of rows with their distances.

    Attributes:
        first: [P] int64, rows, less than `second`.
        second: [P] int64, rows.
        distance: [P] float64.
    """

    first: np.ndarray
    second: np.ndarray
    distance: np.ndarray

    def __len__(self) -> int:
        return len(self.first)


class Neighbours:
    """Finds close pairs among n unit vectors, which are stored on all local devices."""

    def __init__(
        self,
        units: Units,
        *,
        block_rows: int | None = None,
        precision: Precision | None = None,
        devices: list[jax.Device] | None = None,
        together: bool = False,
    ):
        """Prepares the search; vectors are copied to the devices when they are needed.

        Args:
            units: n unit vectors.
            block_rows: the rows of a block. By default they depend on n and the devices; on CPUs, up to
                SMALL_CLASS_ROWS vectors are one block, of which all similarities are kept.
            precision: of the first pass; by default it depends on the devices and the largest distance.
            devices: by default all local devices; on CPUs only the first, since virtual devices share the processor.
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
        on_cpu = self._devices[0].platform == "cpu" and precision is None and block_rows is None
        self.keeps_similarities = on_cpu and len(units) <= SMALL_CLASS_ROWS and not together

    @functools.cached_property
    def _similarities(self) -> np.ndarray:
        """The similarities of all pairs in the first pass, [n, n] float32."""
        vectors = self._units.high
        # NumPy computes only half of the product of a matrix with its own transpose, and mirrors it. For few
        # dimensions, mirroring takes longer than it saves; the copy avoids it.
        return vectors @ (vectors if self._units.num_dimensions >= 256 else vectors.copy()).T

    def within(
        self,
        height: float,
        *,
        max_pairs: int,
        expected_pairs: float = 0,
        progress: Callable[[int, int], None] | None = None,
    ) -> Graph:
        """Finds all pairs of rows up to a distance.

        Args:
            height: the largest distance.
            max_pairs: how many pairs fit into memory.
            expected_pairs: an estimate of their number; a good one saves time.
            progress: called with the number of blocks done and the number of blocks in all.

        Returns:
            The pairs, in no particular order.

        Raises:
            TooManyPairs: there are more than `max_pairs`.
        """
        (first, second, distance), too_many = self._find(height, max_pairs, expected_pairs, progress)
        if self._together:
            # Counts are gathered first, so that no process gathers more pairs than fit into memory.
            counts = devices.gather_rows(np.array([len(first), max_pairs + 1 if too_many else 0]))
            too_many = counts.sum() > max_pairs
        if too_many:
            raise TooManyPairs
        if self._together:
            first, second, distance = (devices.gather_rows(part) for part in (first, second, distance))
        return Graph(first, second, distance)

    def stream(
        self,
        height: Callable[[], float],
        *,
        wanted: Callable[[np.ndarray, np.ndarray], np.ndarray],
        progress: Callable[[int, int], None] | None = None,
    ) -> Iterator[Graph]:
        """Finds pairs of rows up to a distance that may shrink during the search, for callers that keep the nearest.

        Args:
            height: returns the largest distance; called at every block, must not grow.
            wanted: a function of first rows [p] and second rows [p] that returns whether each pair is wanted, [p] bool.
            progress: see `within`.

        Yields:
            The wanted pairs of a block, in no particular order.
        """
        for first, second in self._candidates(height, 0, progress):
            is_wanted = wanted(first, second)
            first, second = first[is_wanted], second[is_wanted]
            distance = pair_distances(self._units, first, second)
            close = distance <= height()
            yield Graph(first[close], second[close], distance[close])

    def roughly_within(self, height: float) -> Graph:
        """Returns about the same as `within` with distances of the first pass, cheaply; needs `keeps_similarities`."""
        parts = list(self._candidates_of_similarities(height))
        if not parts:
            return Graph(*(np.empty(0, np.int64),) * 2, np.empty(0))
        first, second = (np.concatenate(rows) for rows in zip(*parts, strict=True))
        return Graph(first, second, 1.0 - self._similarities[first, second].astype(np.float64))

    def _find(
        self, height: float, max_pairs: int, expected_pairs: float, progress: Callable[[int, int], None] | None
    ) -> tuple[tuple[np.ndarray, np.ndarray, np.ndarray], bool]:
        """Finds this process's pairs; returns the arrays of a graph and whether there are too many, then only some."""
        too_many = False
        parts, num_found, num_candidates = [(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))], 0, 0
        for first, second in self._candidates(lambda: height, expected_pairs, progress):
            distance = pair_distances(self._units, first, second)
            close = distance <= height
            parts.append((first[close], second[close], distance[close]))
            num_found += len(parts[-1][0])
            num_candidates += len(first)
            # If all distances are within the margin of error, there are many candidates but few pairs.
            too_many = max(num_found, num_candidates // CANDIDATES_PER_PAIR) > max_pairs
            if too_many:
                break
        first, second, distance = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        return (first, second, distance), too_many

    def height_for(self, pairs_per_row: float) -> float:
        """Estimates, from a sample of rows, the height up to which there are a given number of pairs per row.

        The result affects how much work is done, but not the clusters that are found.

        Args:
            pairs_per_row: the number of pairs divided by n.
        """
        num_rows = len(self._units)
        size = min(num_rows, max(64, min(512, num_rows // 16)))
        sample = np.sort(np.random.default_rng(num_rows).choice(num_rows, size, replace=False))
        wanted = min(int(np.ceil(2 * pairs_per_row * size)), size * (num_rows - 1))
        largest = np.empty(0, np.float32)  # the `wanted` largest similarities so far
        for start in range(0, num_rows, 1024):
            similarity = self._sampled(sample, start, min(start + 1024, num_rows))
            if len(largest) == wanted:
                similarity = similarity[similarity > largest.min()]
            largest = np.concatenate([largest, similarity.ravel()])
            if len(largest) > wanted:
                largest = np.partition(largest, len(largest) - wanted)[-wanted:]
        height = np.clip(1 - largest.min(), 0.0, 2.0)
        # Processes that search together must use the same height, to the last bit.
        return float(devices.gather_rows(np.array([height]))[0] if self._together else height)

    def _sampled(self, sample: np.ndarray, start: int, stop: int) -> np.ndarray:
        """Returns the similarities of sampled rows to rows from start to stop, with -inf for a row and itself."""
        if self.keeps_similarities:
            similarity = self._similarities[sample, start:stop]
        else:
            similarity = self._units.high[sample] @ self._units.high[start:stop].T
        own = (sample >= start) & (sample < stop)
        similarity[own, sample[own] - start] = -np.inf
        return similarity

    def _candidates(
        self, height: Callable[[], float], expected_pairs: float, progress: Callable[[int, int], None] | None
    ) -> Iterator[_Rows]:
        """Yields the candidates of every block of this process, with several blocks in flight on the devices."""
        if self.keeps_similarities:
            yield from self._candidates_of_similarities(height())
            return
        dimensions, platform = self._units.num_dimensions, self._devices[0].platform
        precision = self._precision or choose_precision(dimensions, height(), platform)
        margin = error_margin(dimensions, precision)
        vectors = self._on_devices(precision.dtype)
        blocks = [(a, b) for a in range(self._num_blocks) for b in range(a, self._num_blocks)]
        if self._together:
            blocks = blocks[devices.process_index() :: devices.process_count()]
        pending: deque[tuple[_BlockArguments, int, _BlockResult]] = deque()
        capacity = _Capacity(self._block)
        capacity.grow(int(2 * expected_pairs / self._num_blocks**2))
        for done, (a, b) in enumerate(blocks):
            device = done % len(self._devices)
            least = np.float32(1 - height() - margin)
            arguments = (vectors[device], a * self._block, b * self._block, least)
            pending.append((arguments, capacity.groups, self._dispatch(arguments, capacity.groups, precision)))
            if len(pending) > 2 * len(self._devices):
                yield self._collect(*pending.popleft(), capacity, precision)
            if progress is not None:
                progress(done + 1, len(blocks))
        while pending:
            yield self._collect(*pending.popleft(), capacity, precision)

    def _candidates_of_similarities(self, height: float) -> Iterator[_Rows]:
        """Yields the candidates among all pairs, from the similarities that are kept."""
        least = np.float32(1 - height - error_margin(self._units.num_dimensions, FLOAT32))
        first, second = np.divmod(np.flatnonzero(self._similarities.ravel() >= least), len(self._units))
        pairs = np.flatnonzero(first < second)
        for start in range(0, len(pairs), 2**16):  # in parts, since the caller may stop at too many
            some = pairs[start : start + 2**16]
            yield first[some], second[some]

    def _dispatch(self, arguments: _BlockArguments, capacity: int, precision: Precision) -> _BlockResult:
        return _groups_with_candidates(*arguments, block=self._block, capacity=capacity, precision=precision.product)

    def _collect(
        self,
        arguments: _BlockArguments,
        num_groups: int,
        result: _BlockResult,
        capacity: "_Capacity",
        precision: Precision,
    ) -> _Rows:
        """Returns the candidates of one block, once it is computed; computes it again if it did not fit the result.

        Args:
            arguments: of the block.
            num_groups: the capacity that the result was computed with.
            result: of the block.
            capacity: is grown if the result is too small.
            precision: of the first pass.
        """
        count = int(result[0])
        if count > num_groups:
            capacity.grow(count)
            result = self._dispatch(arguments, capacity.groups, precision)
        _, row, column, least = arguments
        group, similarity = (np.asarray(x)[:count] for x in result[1:])
        hit = np.flatnonzero(similarity.ravel() >= least)
        position = group[hit // GROUP].astype(np.int64) * GROUP + hit % GROUP
        first, second = np.divmod(position, self._block)
        first += row
        second += column
        valid = (first < second) & (second < len(self._units))
        return first[valid], second[valid]

    def _on_devices(self, dtype: str) -> list[jax.Array]:
        """Returns the vectors on every device, rounded to a type and padded to whole blocks."""
        if dtype not in self._vectors:
            padding = self._num_blocks * self._block - len(self._units)
            padded = np.pad(self._units.high, ((0, padding), (0, 0))) if padding else self._units.high
            rounded = jnp.asarray(padded, dtype)
            self._vectors[dtype] = [jax.device_put(rounded, device) for device in self._devices]
        return self._vectors[dtype]


class _Capacity:
    """The number of groups that the result of a block has room for: powers of two, to compile few programs."""

    def __init__(self, block: int):
        self._most = block * block // GROUP
        self.groups = min(self._most, 1024)

    def grow(self, needed: int) -> None:
        """Doubles the capacity until it is large enough, or as large as a block."""
        while self.groups < min(needed, self._most):
            self.groups = min(self._most, 2 * self.groups)


@functools.partial(jax.jit, static_argnames=("block", "capacity", "precision"))
def _groups_with_candidates(
    vectors: jax.Array,
    row: int,
    column: int,
    least: np.float32,
    *,
    block: int,
    capacity: int,
    precision: jax.lax.Precision,
) -> _BlockResult:
    """Finds the groups of a block of similarities in which at least one is `least` or more.

    Args:
        vectors: [N, D].
        row: the first row of the block.
        column: the first column of the block.
        least: the lowest similarity of a candidate.
        block: the number of rows and columns of the block.
        capacity: the number of groups to return.
        precision: of the matrix product.

    Returns:
        The number of such groups, their positions [capacity], and their similarities [capacity, GROUP]. If there are
        more than `capacity`, only the first are returned; if fewer, the rest is meaningless.
    """
    rows = jax.lax.dynamic_slice_in_dim(vectors, row, block)
    columns = jax.lax.dynamic_slice_in_dim(vectors, column, block)
    similarity = jnp.matmul(rows, columns.T, precision=precision, preferred_element_type=jnp.float32)
    groups = similarity.reshape(-1, GROUP)
    has_candidate = groups.max(axis=1) >= least
    (positions,) = jnp.nonzero(has_candidate, size=capacity, fill_value=0)
    return has_candidate.sum(), positions, groups[positions]


def _useful_devices() -> list[jax.Device]:
    local = jax.local_devices()
    return local[:1] if local[0].platform == "cpu" else local


def _block_rows(num_rows: int, platform: str) -> int:
    """Returns a multiple of GROUP: small enough for the cache, and for at least four blocks per side.

    With fewer blocks per side, more of the symmetric matrix would be computed twice.
    """
    largest = 1024 if platform == "cpu" else 8192
    return min(largest, -(-num_rows // (4 * GROUP)) * GROUP)
