"""The first merges of a tree, exactly, by whichever way is expected to be the fastest and fits.

Copies of a vector merge first. Then come the merges up to a height, which need only the pairs of vectors up to that
height (`neighbours`, `sparse`); that height is guessed, and raised until the merges are enough. Where many merges are
wanted, the rest are found on the matrix of distances between the clusters that are left (`dense`).
"""

from collections.abc import Callable

import numpy as np

from data_redundancy.clustering import dense, memory
from data_redundancy.clustering.distances import Units
from data_redundancy.clustering.merges import Merges
from data_redundancy.clustering.neighbours import Graph, Neighbours, TooManyPairs
from data_redundancy.clustering.partitions import partition
from data_redundancy.clustering.plan import Plan, check_matrix_fits, make_plan, pairs_per_row
from data_redundancy.clustering.sparse import complete_linkage, single_linkage

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
    rows, copies = _distinct(units)
    wanted = num_merges - len(copies)
    if wanted <= 0:
        return copies.in_order(method)[:num_merges]
    limit = memory.default_limit() if memory_limit is None else memory_limit
    plan = make_plan(len(rows), units.num_dimensions, wanted, method, limit, way)
    if len(copies):
        units = units[rows]
    found = Merges.none()
    if plan.graph_merges:
        neighbours = Neighbours(units, block_rows=block_rows, together=together)
        found = _on_graph(neighbours, plan, method, on_block).in_order(method)[: plan.graph_merges]
    if len(found) < wanted:
        if method == "single":
            found = Merges.none()  # ties go by rows, which the matrix between clusters does not know
        sizes = 1 + np.bincount(np.searchsorted(rows, copies.low), minlength=len(rows))
        found = Merges.concatenate([found, _on_matrix(units, sizes, found, method, plan)])
    # Copies come first, also before vectors that only point in the same direction, whose distance is zero as well.
    return Merges.concatenate([copies.in_order(method), found.renamed(rows).in_order(method)])[:num_merges]


def _distinct(units: Units) -> tuple[np.ndarray, Merges]:
    """The first row of every distinct vector, ascending, and the merges of its copies with it."""
    contents = np.hstack([units.high, units.low]).view(np.uint32)
    multipliers = np.random.default_rng(0).integers(2**64, size=contents.shape[1], dtype=np.uint64) | np.uint64(1)
    checksum = np.zeros(len(units), np.uint64)
    for column, multiplier in zip(contents.T, multipliers, strict=True):
        checksum += column * multiplier
    _, first, group = np.unique(checksum, return_index=True, return_inverse=True)
    high = np.flatnonzero(first[group] != np.arange(len(units)))
    low = first[group[high]]
    is_copy = (contents[low] == contents[high]).all(axis=1)  # and not another vector with the same checksum
    low, high = low[is_copy], high[is_copy]
    is_first = np.ones(len(units), bool)
    is_first[high] = False
    return np.flatnonzero(is_first), Merges(np.zeros(len(high)), low, high, np.zeros(len(high), np.int64))


def _on_graph(neighbours: Neighbours, plan: Plan, method: str, on_block: Callable[[int, int], None] | None) -> Merges:
    """At least the wanted number of merges, from the pairs up to a height that is raised until they are enough.

    Fewer where there is no memory for more pairs.
    """
    num_rows, wanted = plan.num_rows, plan.graph_merges
    most = min(plan.max_pairs / num_rows, (num_rows - 1) / 2)
    merges, aim = Merges.none(), min(pairs_per_row(wanted / num_rows), most)
    while True:
        height = neighbours.height_for(aim) if aim < (num_rows - 1) / 2 else FARTHEST
        try:
            graph = neighbours.within(
                height, max_pairs=plan.max_pairs, expected_pairs=aim * num_rows, progress=on_block
            )
        except TooManyPairs:
            most, aim = 0.7 * aim, 0.5 * aim
            if aim * num_rows < 1:
                return merges
            continue
        merges = _ON_GRAPH[method](num_rows, graph)
        if len(merges) >= wanted or height == FARTHEST or aim >= most:
            return merges
        # Never lower than before: what `height_for` estimates may be far from the truth.
        aim = min(max(_raised(graph, merges, wanted, num_rows), 1.5 * aim), most)


def _raised(graph: Graph, merges: Merges, wanted: int, num_rows: int) -> float:
    """How many pairs for every row should give the wanted merges: the logarithm of their number grows like merges."""
    pairs, made = len(graph), len(merges)
    if made < 10:
        return 4 * max(pairs, 1) / num_rows
    half_height = np.partition(merges.height, made // 2)[made // 2]
    pairs_at_half = max(1, np.count_nonzero(graph.distance <= half_height))
    growth = np.log(pairs / pairs_at_half) / (made - made // 2)
    return float(np.clip(1.3 * np.exp(growth * (wanted - made)), 1.5, 10)) * pairs / num_rows


def _on_matrix(units: Units, sizes: np.ndarray, found: Merges, method: str, plan: Plan) -> Merges:
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
    check_matrix_fits(len(starts), plan)
    between = dense.cluster_distances(units if len(starts) == len(units) else units[order], starts, method)
    if method == "single":
        return single_linkage(len(starts), dense.span(between)).renamed(order[starts])
    if method == "average":
        between *= np.outer(sizes, sizes)
    return dense.agglomerate(between, np.add.reduceat(sizes[order], starts), method).renamed(order[starts])
