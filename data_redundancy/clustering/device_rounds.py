"""Whole trees on accelerators: rounds that merge all clusters that are each other's nearest, on a shrinking matrix.

A round looks up the nearest cluster of every cluster, merges all pairs that are each other's nearest, and writes the
matrix of distances anew. Once only half of the clusters are left, they move to a matrix of half the size, so that the
work is that of a few passes over the first one. What is found is, to the last bit, what `dense` finds on the host.

Many small classes go together: padded to a few sizes, stacked, and spread over the devices. One program over all
devices runs them, in which every device has a loop of its own, so that it is compiled once.

Complete and average linkage only. Under single linkage clusters grow by one neighbour at a time, hence thousands of
rounds with few merges each (3,234 for 5,000 rows); there the host follows the minimum spanning tree, see `dense.span`.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding

from data_redundancy.clustering.distances import Units, distances_of_parts, padded_size
from data_redundancy.clustering.merges import Merges
from data_redundancy.errors import InputError
from data_redundancy.runtime import devices

_SMALLEST = 128  # rows; smaller matrices are hardly faster, and every size takes time to compile
_BLOCKS = 8  # of the rows, one after the other, so that the products do not need several matrices
_ENTRIES_AT_ONCE = 2**27  # keep a device busy; more would only use more memory


class _Part(NamedTuple):
    """Classes that go together."""

    members: np.ndarray  # [C] integers, which classes
    slots: int  # S, at least C, a multiple of the devices
    length: int  # n, of the longest at least
    split: NamedSharding  # of the slots over devices


class _Batch(NamedTuple):
    """Classes that are clustered together: arrays over S classes, padded to n rows."""

    high: np.ndarray  # [S, n, D] float32
    low: np.ndarray  # [S, n, D] float32
    sizes: np.ndarray  # [S, n] float64
    counts: np.ndarray  # [S] int32, rows that are no padding


class _Clusters(NamedTuple):
    """The clusters of a class at n positions, ascending by their lowest rows, and how those ended that are no more."""

    between: jax.Array  # [n, n] float64, sums under average linkage; infinite on the diagonal and where one is no more
    sizes: jax.Array  # [n] float64
    rows: jax.Array  # [n] int32, the lowest row
    alive: jax.Array  # [n] bool
    reached: jax.Array  # [n] float64, the height of the last merge
    into: jax.Array  # [n] int32, the lowest row of the cluster that it became a part of
    round: jax.Array  # [n] int32, when; -1: not at these positions


class _Ends(NamedTuple):
    """How clusters ended, over L positions, among them some where nothing did (round -1)."""

    height: jax.Array  # [S, L] float64
    low: jax.Array  # [S, L] int32
    high: jax.Array  # [S, L] int32
    round: jax.Array  # [S, L] int32


def trees(
    units: Sequence[Units],
    method: str,
    *,
    memory_limit: float,
    sizes: Sequence[np.ndarray] | None = None,
    devices: Sequence[jax.Device] | None = None,
) -> list[Merges]:
    """All merges of every class.

    Args:
      units: for every class n_c unit vectors, all of D dimensions.
      method: `complete` or `average`.
      memory_limit: in bytes, of every device; see `class_bytes`.
      sizes: for every class [n_c] integers, how often each vector occurs; by default once.
      devices: those to use; by default all local ones.

    Returns:
      For every class the n_c-1 merges, as from `dense.agglomerate`: round by round, clusters called by their lowest
      position in `units`.

    Raises:
      InputError: a class does not fit.
    """
    merges = [Merges.none()] * len(units)
    lengths = np.array([len(u) for u in units], np.int64)
    if lengths.max(initial=1) == 1:
        return merges
    devices = _local_devices() if devices is None else list(devices)
    sizes = [np.ones(len(u)) for u in units] if sizes is None else sizes
    parts, at_once = _parts(lengths, units[0].num_dimensions, memory_limit, devices)

    def run(part: _Part) -> list[Merges]:
        batch = _stack([units[c] for c in part.members], [sizes[c] for c in part.members], part.slots, part.length)
        return _run(batch, method, part.split)

    # In threads, since a loop on the device whose end depends on the data keeps the thread that started it.
    with ThreadPoolExecutor(at_once) as threads:
        for part, found in zip(parts, threads.map(run, parts), strict=True):
            for c, of_class in zip(part.members, found, strict=False):  # the other slots are empty
                merges[c] = of_class
    return merges


def class_bytes(num_rows: int, num_dimensions: int) -> int:
    """The memory that a class takes on the device at the peak, in bytes, where it is padded to `num_rows`.

    A matrix of float64 is read while another is written; before, there are one and the products of a block of rows, at
    the same time as the vectors, as float32 and as float64, the latter also transposed.
    """
    return 3 * 8 * num_rows**2 + 40 * num_rows * num_dimensions


def agglomerate_on_device(
    between: np.ndarray, sizes: np.ndarray, method: str, device: jax.Device | None = None
) -> Merges:
    """All merges of complete or average linkage, from the matrix; takes three matrices of memory on the device.

    Args:
      between: [K, K] float64 as from `dense.cluster_distances`.
      sizes: [K] integers, members of each cluster.
      method: `complete` or `average`.
      device: the one to use; by default the first local one.

    Returns:
      The K-1 merges, as from `dense.agglomerate`.
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
        ends = jax.device_get(_agglomerate(*arguments, method))
    return _merges_of(_Ends(*(a[0] for a in ends)))


def _local_devices() -> list[jax.Device]:
    devices = jax.local_devices()
    # A TPU has no float64.
    return jax.local_devices(backend="cpu") if devices[0].platform == "tpu" else devices


def _padded_lengths(lengths: np.ndarray) -> np.ndarray:
    """Halves, quarters, ... of the padded largest: every one of them is a program to compile, which takes seconds."""
    largest = padded_size(int(lengths.max(initial=1)))
    padded = np.full(len(lengths), largest)
    for c, length in enumerate(lengths):
        while padded[c] // 2 >= max(length, _SMALLEST) and padded[c] % (2 * _BLOCKS) == 0:
            padded[c] //= 2
    return padded


def _parts(
    lengths: np.ndarray, num_dimensions: int, memory_limit: float, usable: list[jax.Device]
) -> tuple[list[_Part], int]:
    """Splits the classes into batches; says how many of them may be on the devices at the same time."""
    padded = _padded_lengths(lengths)
    needed = class_bytes(int(padded.max()), num_dimensions)
    if needed > memory_limit:
        raise InputError(
            f"memory: the whole tree of {lengths.max():,} examples needs {needed / 1e9:.3g} GB on the device, but the "
            f"limit is {memory_limit / 1e9:.3g} GB"
        )
    at_once = 2 if 2 * needed <= memory_limit else 1  # one is copied while the other is computed
    parts = []
    for length in np.unique(padded[lengths > 1])[::-1].tolist():  # the longest work first
        members = np.flatnonzero((padded == length) & (lengths > 1))
        used = usable[: len(members)]
        fitting = int(memory_limit / at_once / class_bytes(length, num_dimensions))
        most = len(used) * max(1, min(fitting, _ENTRIES_AT_ONCE // length**2))
        num_batches = -(-len(members) // most)
        slots = -(-len(members) // (num_batches * len(used))) * len(used)
        split = devices.split_over(used)
        parts += [_Part(members[i : i + slots], slots, length, split) for i in range(0, len(members), slots)]
    return parts, at_once


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


def _run(batch: _Batch, method: str, split: NamedSharding) -> list[Merges]:
    with jax.enable_x64(True):
        ends = jax.device_get(_cluster(jax.device_put(batch, split), method, split))
    return [_merges_of(_Ends(*of_class)) for of_class in zip(*ends, strict=True)]


def _merges_of(ends: _Ends) -> Merges:
    merges = Merges(ends.height, *(a.astype(np.int64) for a in ends[1:]))[ends.round >= 0]
    return merges[np.lexsort((merges.low, merges.round))]


@partial(jax.jit, static_argnames=("method", "split"))
def _cluster(batch: _Batch, method: str, split: NamedSharding) -> _Ends:
    def on_one_device(batch: _Batch) -> _Ends:
        between = jax.vmap(_distances)(batch.high, batch.low)
        if method == "average":
            between *= batch.sizes[:, :, None] * batch.sizes[:, None, :]
        return _agglomerate(between, batch.sizes, batch.counts, method)

    return devices.on_each(on_one_device, split)(batch)


def _distances(high: jax.Array, low: jax.Array) -> jax.Array:
    """All distances between the vectors of a class, a block of rows at a time."""
    num_rows = len(high) // _BLOCKS

    def of_block(number: jax.Array) -> jax.Array:
        start = number * num_rows
        rows = (jax.lax.dynamic_slice_in_dim(part, start, num_rows) for part in (high, low))
        return distances_of_parts(*rows, high, low)

    return jax.lax.map(of_block, jnp.arange(_BLOCKS)).reshape(len(high), len(high))


@partial(jax.jit, static_argnames="method")
def _agglomerate(between: jax.Array, sizes: jax.Array, counts: jax.Array, method: str) -> _Ends:
    """All merges of S classes.

    Args:
      between: [S, n, n] float64.
      sizes: [S, n] float64.
      counts: [S] int32, rows that are no padding.
      method: the linkage.

    Returns:
      How all clusters but one of every class ended.
    """
    if method not in ("complete", "average"):
        raise ValueError(f"method {method!r}: rounds are for complete and average linkage")
    clusters, num_rounds = jax.vmap(_singletons)(between, sizes, counts), jnp.int32(0)
    stages = []
    while True:
        length = clusters.rows.shape[1]
        num_left = -(-length // 2) if length > _SMALLEST else 1
        clusters, num_rounds = _merge_until(num_left, clusters, num_rounds, method)
        stages.append(_Ends(clusters.reached, clusters.into, clusters.rows, clusters.round))
        if num_left == 1:
            return _Ends(*(jnp.concatenate(arrays, axis=1) for arrays in zip(*stages, strict=True)))
        clusters = jax.vmap(partial(_move, length=num_left))(clusters)


def _singletons(between: jax.Array, sizes: jax.Array, count: jax.Array) -> _Clusters:
    rows = jnp.arange(len(sizes), dtype=jnp.int32)
    alive = rows < count
    meaningful = alive[:, None] & alive & (rows[:, None] != rows)
    none = jnp.full_like(rows, -1)
    return _Clusters(jnp.where(meaningful, between, jnp.inf), sizes, rows, alive, jnp.zeros_like(sizes), none, none)


def _merge_until(num_left: int, clusters: _Clusters, num_rounds: jax.Array, method: str) -> tuple[_Clusters, jax.Array]:
    """Rounds until no class has more clusters than `num_left`. A round does nothing to a class that is done."""
    one_round = jax.vmap(partial(_round, method=method), in_axes=(0, None))
    return jax.lax.while_loop(
        lambda state: state[0].alive.sum(axis=1).max() > num_left,
        lambda state: (one_round(*state), state[1] + 1),
        (clusters, num_rounds),
    )


def _round(clusters: _Clusters, number: jax.Array, method: str) -> _Clusters:
    """Merges all clusters of a class that are each other's nearest, as a round of `dense.agglomerate` does."""
    between, sizes, rows, alive, reached, into, ended = clusters
    position = jnp.arange(len(rows), dtype=jnp.int32)
    means = between / (sizes[:, None] * sizes) if method == "average" else between
    nearest = jax.lax.argmin(means, 1, jnp.int32)  # the first one
    distance = between[position, nearest]
    if method == "average":
        distance /= sizes * sizes[nearest]
    merges = (nearest[nearest] == position) & (distance < jnp.inf)
    ends = merges & (nearest < position)
    grows = merges & ~ends
    height = jnp.maximum(distance, jnp.maximum(reached, reached[nearest]))
    return _Clusters(
        between=_joined(between, jnp.where(merges, nearest, position), ends, method),
        sizes=jnp.where(grows, sizes + sizes[nearest], sizes),
        rows=rows,
        alive=alive & ~ends,
        reached=jnp.where(merges, height, reached),
        into=jnp.where(ends, rows[nearest], into),
        round=jnp.where(ends, number, ended),
    )


def _joined(between: jax.Array, partner: jax.Array, ends: jax.Array, method: str) -> jax.Array:
    """The matrix after a round: every entry is made of up to four, in one pass over the matrix.

    Args:
      between: [n, n] float64, symmetric.
      partner: [n] int32, the position that a cluster merges with; its own: it does not.
      ends: [n] bool, whether it becomes a part of its partner.
      method: the linkage.

    Returns:
      [n, n] float64, symmetric.
    """
    of_row, of_column = between[partner], between[:, partner]
    of_both = of_row[:, partner]
    if method == "complete":
        joined = jnp.maximum(jnp.maximum(between, of_row), jnp.maximum(of_column, of_both))
    else:
        position = jnp.arange(len(partner))
        merges = partner != position
        of_row = jnp.where(merges[:, None], of_row, 0.0)
        of_column = jnp.where(merges, of_column, 0.0)
        of_both = jnp.where(merges[:, None] & merges, of_both, 0.0)
        # Sums depend on the order of adding: below the diagonal it is that of the mirrored entry.
        above, below = (between + of_row) + (of_column + of_both), (between + of_column) + (of_row + of_both)
        joined = jnp.where(position[:, None] < position, above, below)
    return jnp.where(ends[:, None] | ends, jnp.inf, joined)


def _move(clusters: _Clusters, length: int) -> _Clusters:
    """Moves those that are left, in their order, to the first of `length` positions."""
    kept = jnp.argsort(~clusters.alive, stable=True)[:length]
    none = jnp.full(length, -1, jnp.int32)
    sizes, rows, alive, reached = (a[kept] for a in (clusters.sizes, clusters.rows, clusters.alive, clusters.reached))
    return _Clusters(clusters.between[kept][:, kept], sizes, rows, alive, reached, none, none)
