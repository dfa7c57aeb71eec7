"""The first merges of a tree, exactly, by whichever way is expected to be the fastest and fits.

Copies of a vector merge first. Then come the merges up to a height, which need only the pairs of vectors up to that
height (`neighbours`, `sparse`); that height is guessed, and raised until the merges are enough. Where many merges are
wanted, the rest are found on the matrix of distances between the clusters that are left (`dense`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from data_redundancy.clustering import dense, device_rounds, memory
from data_redundancy.clustering.distances import Units, float64_device, padded_size
from data_redundancy.clustering.merges import Merges
from data_redundancy.clustering.neighbours import CANDIDATES_PER_PAIR, Graph, Neighbours, TooManyPairs
from data_redundancy.clustering.partitions import partition
from data_redundancy.clustering.sparse import complete_linkage, single_linkage
from data_redundancy.clustering.strategy import Strategy, check_matrix_fits, choose_strategy, pairs_to_start_with

LINKAGES = ("complete", "average", "single")
FARTHEST = 2.0
"""No cosine distance is larger."""

_ON_GRAPH: dict[str, Callable[[int, Graph], Merges]] = {"complete": complete_linkage, "single": single_linkage}


def first_merges(
    units: Units,
    num_merges: int,
    method: str,
    *,
    memory_limit: float | None = None,
    way: str | None = None,
    block_rows: int | None = None,
    together: bool = False,
    on_block: Callable[[int, int], None] | None = None,
) -> Merges:
    """The first merges of the tree.

    Args:
      units: n unit vectors.
      num_merges: how many merges, up to n-1.
      method: the linkage.
      memory_limit: in bytes; by default a share of what is free.
      way: `graph`, `matrix` or `graph, then matrix`; by default the one expected to be the fastest of those that fit.
      block_rows: rows of a block of products; by default as suits the device.
      together: whether all processes call this at the same time, with the same arguments, to share the work.
      on_block: is told how many blocks of how many are done in a pass.

    Returns:
      The merges, in order.

    Raises:
      InputError: they need more memory than there is.
    """
    distinct = _Distinct.of(units)
    wanted = num_merges - len(distinct.copies)
    if wanted <= 0:
        return distinct.merges(Merges.none(), method)[:num_merges]
    limit = memory.default_limit() if memory_limit is None else memory_limit
    plan = choose_strategy(len(distinct.rows), units.num_dimensions, wanted, method, limit, way)
    units, found = distinct.units, Merges.none()
    if plan.graph_merges:
        neighbours = Neighbours(units, block_rows=block_rows, together=together)
        found = _on_graph(neighbours, plan, method, on_block).in_order(method)[: plan.graph_merges]
    if len(found) < wanted:
        if method == "single":
            found = Merges.none()  # ties go by rows, which the matrix between clusters does not know
        found = Merges.concatenate([found, _on_matrix(units, distinct.sizes, found, method, plan)])
    return distinct.merges(found, method)[:num_merges]


def whole_trees(units: Sequence[Units], method: str, device_memory: float) -> list[Merges]:
    """All merges of many classes at once, by rounds on the accelerators.

    Args:
      units: for every class n_c unit vectors.
      method: `complete` or `average`.
      device_memory: in bytes, of every device.

    Returns:
      For every class the n_c-1 merges, in order.

    Raises:
      InputError: a class does not fit.
    """
    distinct = [_Distinct.of(u) for u in units]
    found = device_rounds.trees(
        [d.units for d in distinct], method, sizes=[d.sizes for d in distinct], memory_limit=device_memory
    )
    return [d.merges(merges, method) for d, merges in zip(distinct, found, strict=True)]


@dataclass(frozen=True, eq=False)
class _Distinct:
    """The distinct ones among n vectors.

    Attributes:
      units: K unit vectors.
      rows: [K] int64, ascending, the first row of each.
      sizes: [K] int64, how often each occurs.
      copies: the merges of each with its copies.
    """

    units: Units
    rows: np.ndarray
    sizes: np.ndarray
    copies: Merges

    @classmethod
    def of(cls, units: Units) -> "_Distinct":
        rows, copies = _without_copies(units)
        sizes = 1 + np.bincount(np.searchsorted(rows, copies.low), minlength=len(rows))
        return cls(units[rows] if len(copies) else units, rows, sizes, copies)

    def merges(self, found: Merges, method: str) -> Merges:
        """Those among all n, in order, given those among the distinct ones.

        Copies come first, also before vectors that only point in the same direction, whose distance is zero as well.
        """
        return Merges.concatenate([self.copies.in_order(method), found.renamed(self.rows).in_order(method)])


def _without_copies(units: Units) -> tuple[np.ndarray, Merges]:
    """The first row of every distinct vector, ascending, and the merges of its copies with it."""
    some = np.linspace(0, units.num_dimensions - 1, 8).astype(np.int64)
    suspects = np.flatnonzero(_is_repeated(_checksum(units.high[:, some])))
    contents = np.hstack([units.high[suspects], units.low[suspects]])
    _, first, group = np.unique(_checksum(contents), return_index=True, return_inverse=True)
    original = first[group]
    # And not another vector with the same checksum.
    is_copy = (original != np.arange(len(suspects))) & (contents[original] == contents).all(axis=1)
    low, high = suspects[original[is_copy]], suspects[is_copy]
    is_distinct = np.ones(len(units), bool)
    is_distinct[high] = False
    return np.flatnonzero(is_distinct), Merges(np.zeros(len(high)), low, high, np.zeros(len(high), np.int64))


def _checksum(contents: np.ndarray) -> np.ndarray:
    """A number for every row [n, m] float32, [n] uint64: equal for equal rows, and hardly ever for others."""
    multipliers = np.random.default_rng(0).integers(2**64, size=contents.shape[1], dtype=np.uint64) | np.uint64(1)
    checksum = np.zeros(len(contents), np.uint64)
    for start in range(0, contents.shape[1], 64):  # columns at a time, of a matrix that may be large
        columns = slice(start, start + 64)
        checksum += (np.ascontiguousarray(contents[:, columns]).view(np.uint32) * multipliers[columns]).sum(axis=1)
    return checksum


def _is_repeated(values: np.ndarray) -> np.ndarray:
    """Which of the values occur more than once."""
    order = np.argsort(values)
    is_same = values[order[1:]] == values[order[:-1]]
    repeated = np.zeros(len(values), bool)
    repeated[order[1:][is_same]] = repeated[order[:-1][is_same]] = True
    return repeated


def _on_graph(
    neighbours: Neighbours, plan: Strategy, method: str, on_block: Callable[[int, int], None] | None
) -> Merges:
    """At least the wanted number of merges, from the pairs up to a height that is raised until they are enough.

    Fewer where there are more pairs than the plan allows.
    """
    num_rows, wanted = plan.num_rows, plan.graph_merges
    most = min(plan.max_pairs / num_rows, (num_rows - 1) / 2)
    merges, aim = Merges.none(), min(pairs_to_start_with(num_rows, wanted / num_rows), most)
    reached, refused, rough = -np.inf, np.inf, _rough_height(neighbours, plan, method, aim, most)
    while True:
        height = _height_for(neighbours, aim, num_rows) if rough is None else rough
        rough = None
        # Heights closer than the margin of error are the same work: what is farther away has to come with it.
        height = min(max(height, reached + neighbours.margin), FARTHEST)
        if height >= refused or aim * num_rows < 1:
            return merges
        try:
            graph = neighbours.within(
                height, max_pairs=plan.max_pairs, expected_pairs=aim * num_rows, progress=on_block
            )
        except TooManyPairs:
            refused, most, aim = height, 0.7 * aim, 0.5 * aim
            continue
        merges, reached = _ON_GRAPH[method](num_rows, graph), height
        if len(merges) >= wanted or height == FARTHEST or aim >= most:
            return merges
        # Never lower than before: what `height_for` estimates may be far from the truth.
        aim = min(max(_raised(graph, merges, wanted, num_rows), 1.5 * aim), most)


def _rough_height(neighbours: Neighbours, plan: Strategy, method: str, aim: float, most: float) -> float | None:
    """The height that is about high enough, where the first pass alone can tell; it decides how much work is done."""
    num_rows, wanted = plan.num_rows, plan.graph_merges
    while neighbours.is_whole:
        height = _height_for(neighbours, aim, num_rows)
        graph = neighbours.roughly_within(height)
        if len(graph) > CANDIDATES_PER_PAIR * plan.max_pairs:
            return None
        merges = _ON_GRAPH[method](num_rows, graph)
        if len(merges) >= wanted:
            return float(np.partition(merges.height, wanted - 1)[wanted - 1]) + 2 * neighbours.margin
        if height == FARTHEST or aim >= most:
            return None
        aim = min(max(_raised(graph, merges, wanted, num_rows), 1.5 * aim), most)
    return None


def _height_for(neighbours: Neighbours, pairs_per_row: float, num_rows: int) -> float:
    return neighbours.height_for(pairs_per_row) if pairs_per_row < (num_rows - 1) / 2 else FARTHEST


def _raised(graph: Graph, merges: Merges, wanted: int, num_rows: int) -> float:
    """How many pairs for every row should give the wanted merges: the logarithm of their number grows like merges."""
    pairs, made = len(graph), len(merges)
    if made < 10:
        return 4 * max(pairs, 1) / num_rows
    half_height = np.partition(merges.height, made // 2)[made // 2]
    pairs_at_half = max(1, np.count_nonzero(graph.distance <= half_height))
    growth = np.log(pairs / pairs_at_half) / (made - made // 2)
    return float(np.clip(1.3 * np.exp(growth * (wanted - made)), 1.5, 10)) * pairs / num_rows


def _on_matrix(units: Units, sizes: np.ndarray, found: Merges, method: str, plan: Strategy) -> Merges:
    """All merges that are left, on the matrix of distances between the clusters that those found make.

    Args:
      units: n unit vectors.
      sizes: [n] integers, how often each occurs.
      found: the first merges.
      method: the linkage.
      plan: says how much memory there is.
    """
    cluster = partition(len(units), found)
    order = np.argsort(cluster, kind="stable")
    starts = np.flatnonzero(np.diff(cluster[order], prepend=-1))
    if fits_accelerator(len(starts), units.num_dimensions, method):
        if len(starts) == len(units):
            return device_rounds.trees([units], method, sizes=[sizes], memory_limit=device_memory())[0]
        check_matrix_fits(len(starts), plan)
        between = dense.cluster_distances(units[order], starts, method)
        of_clusters = np.add.reduceat(sizes[order], starts)
        return device_rounds.agglomerate_on_device(between, of_clusters, method).renamed(order[starts])
    check_matrix_fits(len(starts), plan)
    between = dense.cluster_distances(units if len(starts) == len(units) else units[order], starts, method)
    if method == "single":
        return single_linkage(len(starts), dense.span(between)).renamed(order[starts])
    if method == "average":
        between *= np.outer(sizes, sizes)
    return dense.agglomerate(between, np.add.reduceat(sizes[order], starts), method).renamed(order[starts])


def fits_accelerator(num_rows: int, num_dimensions: int, method: str) -> bool:
    """Whether rounds run on an accelerator: it computes in float64, and the matrix fits."""
    return (
        method != "single"
        and float64_device().platform != "cpu"
        and device_rounds.class_bytes(padded_size(num_rows), num_dimensions) <= device_memory()
    )


def device_memory() -> float:
    """The bytes that clustering may use on each accelerator."""
    told = float64_device().memory_stats()
    if not told or "bytes_limit" not in told:
        return memory.default_limit()
    return memory.SHARE_OF_FREE * (told["bytes_limit"] - told["bytes_in_use"])
