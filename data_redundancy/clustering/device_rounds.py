"""Whole trees on accelerators, by rounds of merges on a matrix of distances that shrinks.

A round looks up the nearest cluster of every cluster, merges all pairs that are each other's nearest, and rewrites the
matrix of distances. Once only half of the clusters are left, they are moved to a matrix of half the size, so that the
total work is that of a few passes over the first matrix. The merges are equal, to the last bit, to those that `dense`
computes on the host.

Many small classes are clustered together: they are padded to a few sizes, stacked, and split over the devices. One
program runs on all devices, with an independent loop on every device, so that it is compiled only once.

Only complete and average linkage are supported. With single linkage, clusters grow by one neighbour at a time, which
takes thousands of rounds with few merges each (3,234 rounds for 5,000 rows). There, the host follows the minimum
spanning tree, see `dense.minimum_spanning_tree`.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding

from data_redundancy.clustering.distances import Units, distances_of_parts, padded_size
from data_redundancy.clustering.merges import Merges
from data_redundancy.errors import InputError
from data_redundancy.runtime import devices

_SMALLEST = 128  # rows; smaller matrices are hardly faster, and every size takes time to compile
_BLOCKS = 8  # of rows, computed one after another so that intermediate products are small
_ENTRIES_AT_ONCE = 2**27  # enough to keep a device busy; more would only use more memory


class _Part(NamedTuple):
    """Classes that are clustered in one batch."""

    members: np.ndarray  # [C] integers, the classes
    slots: int  # S, at least C, a multiple of the number of devices
    length: int  # n, at least the size of the largest class
    split: NamedSharding  # of the slots over devices


class _Batch(NamedTuple):
    """The vectors of a batch: arrays over S slots, padded to n rows."""

    high: np.ndarray  # [S, n, D] float32
    low: np.ndarray  # [S, n, D] float32
    sizes: np.ndarray  # [S, n] float64
    counts: np.ndarray  # [S] int32, rows that are not padding


class _Clusters(NamedTuple):
    """The clusters of a class at n positions, sorted by their lowest rows, and how merged clusters ended."""

    between: jax.Array  # [n, n] float64, sums for average linkage; infinite on the diagonal and for merged clusters
    sizes: jax.Array  # [n] float64
    rows: jax.Array  # [n] int32, the lowest row
    alive: jax.Array  # [n] bool, false for clusters that were merged into another, and for padding
    reached: jax.Array  # [n] float64, the height of the last merge
    into: jax.Array  # [n] int32, the lowest row of the cluster that this one was merged into
    round: jax.Array  # [n] int32, the round of that merge; -1 if there was none while the cluster had this position


class _Ends(NamedTuple):
    """How clusters ended, at L positions in all stages; at some positions none ended (round -1)."""

    height: jax.Array  # [S, L] float64
    low: jax.Array  # [S, L] int32
    high: jax.Array  # [S, L] int32
    round: jax.Array  # [S, L] int32


def trees(
    units: Sequence[Units],
    linkage: str,
    *,
    memory_limit: float,
    sizes: Sequence[np.ndarray] | None = None,
    devices: Sequence[jax.Device] | None = None,
) -> list[Merges]:
    """Computes all merges of every class.

    Args:
        units: for every class n_c unit vectors, all of D dimensions.
        linkage: `complete` or `average`.
        memory_limit: in bytes, for every device; see `class_bytes`.
        sizes: for every class [n_c] integers, how often each vector occurs; by default once.
        devices: the devices to use; by default all local ones.

    Returns:
        For every class the n_c-1 merges, as returned by `dense.agglomerate`: in the order of rounds, with clusters
        identified by their lowest position in `units`.

    Raises:
        InputError: a class does not fit into the memory of a device.
    """
    merges = [Merges.none()] * len(units)
    lengths = np.array([len(u) for u in units], np.int64)
    if lengths.max(initial=1) == 1:
        return merges
    usable = _local_devices() if devices is None else list(devices)
    all_sizes = [np.ones(len(u)) for u in units] if sizes is None else sizes
    parts, num_concurrent = _parts(lengths, units[0].num_dimensions, memory_limit, usable)

    def run(part: _Part) -> list[Merges]:
        batch = _stack([units[c] for c in part.members], [all_sizes[c] for c in part.members], part.slots, part.length)
        return _run(batch, linkage, part.split)

    # In threads, since a loop on a device that ends depending on the data blocks the thread that started it.
    with ThreadPoolExecutor(num_concurrent) as threads:
        for part, found in zip(parts, threads.map(run, parts), strict=True):
            for c, of_class in zip(part.members, found, strict=False):  # the remaining slots are empty
                merges[c] = of_class
    return merges


def class_bytes(num_rows: int, num_dimensions: int) -> int:
    """Returns the peak memory of a class on the device in bytes, if it is padded to `num_rows`.

    While a round runs, one float64 matrix is read and another one is written. Before the rounds, one matrix and the
    products of a block of rows are in memory, together with the vectors as float32 and as float64, the latter also
    transposed.
    """
    return 3 * 8 * num_rows**2 + 40 * num_rows * num_dimensions


def agglomerate_on_device(
    between: np.ndarray, sizes: np.ndarray, linkage: str, device: jax.Device | None = None
) -> Merges:
    """Computes all merges of complete or average linkage from a matrix; takes the memory of three such matrices.

    Args:
        between: [K, K] float64, as returned by `dense.cluster_distances`.
        sizes: [K] integers, the number of members of each cluster.
        linkage: `complete` or `average`.
        device: the device to use; by default the first local one.

    Returns:
        The K-1 merges, as returned by `dense.agglomerate`.
    """
    padding = padded_size(len(sizes)) - len(sizes)
    device = _local_devices()[0] if device is None else device
    with jax.enable_x64(True):
        arguments = jax.device_put(
            (
                np.pad(between, (0, padding))[None],
                np.pad(sizes, (0, padding), constant_values=1).astype(np.float64)[None],
                np.array([len(sizes)], np.int32),
            ),
            device,
        )
        ends = jax.device_get(_agglomerate(*arguments, linkage))
    return _merges_of(*(a[0] for a in ends))


def _local_devices() -> list[jax.Device]:
    local = jax.local_devices()
    # A TPU has no float64.
    return jax.local_devices(backend="cpu") if local[0].platform == "tpu" else local


def _padded_lengths(lengths: np.ndarray) -> np.ndarray:
    """Returns lengths to pad to: the padded largest length divided by powers of two.

    Every length is a program to compile, which takes seconds; so there are only few.
    """
    largest = padded_size(int(lengths.max(initial=1)))
    padded = np.full(len(lengths), largest)
    for c, length in enumerate(lengths):
        while padded[c] // 2 >= max(length, _SMALLEST) and padded[c] % (2 * _BLOCKS) == 0:
            padded[c] //= 2
    return padded


def _parts(
    lengths: np.ndarray, num_dimensions: int, memory_limit: float, usable: list[jax.Device]
) -> tuple[list[_Part], int]:
    """Divides classes into batches; also returns how many batches may be on the devices at the same time."""
    padded = _padded_lengths(lengths)
    needed = class_bytes(int(padded.max()), num_dimensions)
    if needed > memory_limit:
        raise InputError(
            "memory_limit_gb",
            float(f"{memory_limit / 1e9:.3g}"),
            f"must be at least {needed / 1e9:.3g} for the whole tree of {lengths.max():,} examples on one device",
        )
    num_concurrent = 2 if 2 * needed <= memory_limit else 1  # one is copied while the other is computed
    parts = []
    for length in np.unique(padded[lengths > 1])[::-1].tolist():  # the most expensive first
        members = np.flatnonzero((padded == length) & (lengths > 1))
        used = usable[: len(members)]
        fitting = int(memory_limit / num_concurrent / class_bytes(length, num_dimensions))
        most = len(used) * max(1, min(fitting, _ENTRIES_AT_ONCE // length**2))
        num_batches = -(-len(members) // most)
        slots = -(-len(members) // (num_batches * len(used))) * len(used)
        split = devices.split_over(used)
        parts += [_Part(members[i : i + slots], slots, length, split) for i in range(0, len(members), slots)]
    return parts, num_concurrent


def _stack(units: list[Units], sizes: list[np.ndarray], slots: int, length: int) -> _Batch:
    shape = slots, length, units[0].num_dimensions
    batch = _Batch(
        np.zeros(shape, np.float32), np.zeros(shape, np.float32), np.ones(shape[:2]), np.zeros(slots, np.int32)
    )
    for slot, (vectors, size) in enumerate(zip(units, sizes, strict=True)):
        rows = slot, slice(len(vectors))
        batch.high[rows], batch.low[rows], batch.sizes[rows] = vectors.high, vectors.low, size
        batch.counts[slot] = len(vectors)
    return batch


def _run(batch: _Batch, linkage: str, split: NamedSharding) -> list[Merges]:
    with jax.enable_x64(True):
        ends = jax.device_get(_cluster(jax.device_put(batch, split), linkage, split))
    return [_merges_of(*of_class) for of_class in zip(*ends, strict=True)]


def _merges_of(height: np.ndarray, low: np.ndarray, high: np.ndarray, round: np.ndarray) -> Merges:
    """Converts the ends of a class's clusters, [L] each on the host, to merges in the order of rounds."""
    merges = Merges(height, low.astype(np.int64), high.astype(np.int64), round.astype(np.int64))[round >= 0]
    return merges[np.lexsort((merges.low, merges.round))]


@partial(jax.jit, static_argnames=("linkage", "split"))
def _cluster(batch: _Batch, linkage: str, split: NamedSharding) -> _Ends:
    def on_one_device(batch: Any) -> _Ends:  # a _Batch of JAX arrays
        between = jax.vmap(_distances)(batch.high, batch.low)
        if linkage == "average":
            between *= batch.sizes[:, :, None] * batch.sizes[:, None, :]
        return _agglomerate(between, batch.sizes, batch.counts, linkage)

    return devices.on_each(on_one_device, split)(batch)


def _distances(high: jax.Array, low: jax.Array) -> jax.Array:
    """Computes all distances [n, n] between the vectors of a class, given as parts [n, D], one block after another."""
    num_rows = len(high) // _BLOCKS

    def of_block(number: jax.Array) -> jax.Array:
        start = number * num_rows
        rows = (jax.lax.dynamic_slice_in_dim(part, start, num_rows) for part in (high, low))
        return distances_of_parts(*rows, high, low)

    return jax.lax.map(of_block, jnp.arange(_BLOCKS)).reshape(len(high), len(high))


@partial(jax.jit, static_argnames="linkage")
def _agglomerate(between: jax.Array, sizes: jax.Array, counts: jax.Array, linkage: str) -> _Ends:
    """Computes all merges of S classes.

    Args:
        between: [S, n, n] float64.
        sizes: [S, n] float64.
        counts: [S] int32, rows that are not padding.
        linkage: `complete` or `average`.

    Returns:
        How all clusters ended except the last one of every class.
    """
    if linkage not in ("complete", "average"):
        raise ValueError(f"linkage {linkage!r}: rounds are only for complete and average linkage")
    clusters, num_rounds = jax.vmap(_singletons)(between, sizes, counts), jnp.int32(0)
    stages = []
    while True:
        length = clusters.rows.shape[1]
        num_left = -(-length // 2) if length > _SMALLEST else 1
        clusters, num_rounds = _merge_until(num_left, clusters, num_rounds, linkage)
        stages.append(_Ends(clusters.reached, clusters.into, clusters.rows, clusters.round))
        if num_left == 1:
            return _Ends(*(jnp.concatenate(arrays, axis=1) for arrays in zip(*stages, strict=True)))
        clusters = jax.vmap(partial(_compact, length=num_left))(clusters)


def _singletons(between: jax.Array, sizes: jax.Array, count: jax.Array) -> _Clusters:
    """Returns the clusters of a class before the first merge: every row is one."""
    rows = jnp.arange(len(sizes), dtype=jnp.int32)
    alive = rows < count
    is_distance = alive[:, None] & alive & (rows[:, None] != rows)
    none = jnp.full_like(rows, -1)
    return _Clusters(jnp.where(is_distance, between, jnp.inf), sizes, rows, alive, jnp.zeros_like(sizes), none, none)


def _merge_until(
    num_left: int, clusters: _Clusters, num_rounds: jax.Array, linkage: str
) -> tuple[_Clusters, jax.Array]:
    """Runs rounds until no class has more than `num_left` clusters. Rounds do not change finished classes."""
    one_round = jax.vmap(partial(_round, linkage=linkage), in_axes=(0, None))
    return jax.lax.while_loop(
        lambda state: state[0].alive.sum(axis=1).max() > num_left,
        lambda state: (one_round(*state), state[1] + 1),
        (clusters, num_rounds),
    )


def _round(clusters: _Clusters, number: jax.Array, linkage: str) -> _Clusters:
    """Merges all clusters of a class that are each other's nearest, like a round of `dense.agglomerate`."""
    between, sizes, rows, alive, reached, into, ended = clusters
    position = jnp.arange(len(rows), dtype=jnp.int32)
    means = between / (sizes[:, None] * sizes) if linkage == "average" else between
    nearest = jax.lax.argmin(means, 1, jnp.int32)  # the first, if several are equally near
    distance = between[position, nearest]
    if linkage == "average":
        distance /= sizes * sizes[nearest]
    merges = (nearest[nearest] == position) & (distance < jnp.inf)
    ends = merges & (nearest < position)
    grows = merges & ~ends
    height = jnp.maximum(distance, jnp.maximum(reached, reached[nearest]))
    return _Clusters(
        between=_joined(between, jnp.where(merges, nearest, position), ends, linkage),
        sizes=jnp.where(grows, sizes + sizes[nearest], sizes),
        rows=rows,
        alive=alive & ~ends,
        reached=jnp.where(merges, height, reached),
        into=jnp.where(ends, rows[nearest], into),
        round=jnp.where(ends, number, ended),
    )


def _joined(between: jax.Array, partner: jax.Array, ends: jax.Array, linkage: str) -> jax.Array:
    """Computes the matrix after a round. Every entry joins up to four old ones, in one pass over the matrix.

    Args:
        between: [n, n] float64, symmetric.
        partner: [n] int32, the position of the cluster that each merges with; its own position if it does not merge.
        ends: [n] bool, whether the cluster is merged into its partner.
        linkage: `complete` or `average`.

    Returns:
        [n, n] float64, symmetric.
    """
    of_row, of_column = between[partner], between[:, partner]
    of_both = of_row[:, partner]
    if linkage == "complete":
        joined = jnp.maximum(jnp.maximum(between, of_row), jnp.maximum(of_column, of_both))
    else:
        position = jnp.arange(len(partner))
        merges = partner != position
        of_row = jnp.where(merges[:, None], of_row, 0.0)
        of_column = jnp.where(merges, of_column, 0.0)
        of_both = jnp.where(merges[:, None] & merges, of_both, 0.0)
        # A sum depends on the order of its terms. Below the diagonal, the order is that of the mirrored entry.
        above, below = (between + of_row) + (of_column + of_both), (between + of_column) + (of_row + of_both)
        joined = jnp.where(position[:, None] < position, above, below)
    return jnp.where(ends[:, None] | ends, jnp.inf, joined)


def _compact(clusters: _Clusters, length: int) -> _Clusters:
    """Moves the remaining clusters, in their order, to the first of `length` positions."""
    kept = jnp.argsort(~clusters.alive, stable=True)[:length]
    none = jnp.full(length, -1, jnp.int32)
    sizes, rows, alive, reached = (a[kept] for a in (clusters.sizes, clusters.rows, clusters.alive, clusters.reached))
    return _Clusters(clusters.between[kept][:, kept], sizes, rows, alive, reached, none, none)
