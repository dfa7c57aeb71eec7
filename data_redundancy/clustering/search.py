"""The first merges of a tree, exact, by the fastest algorithm that fits into memory.

Copies of a vector merge first (`duplicates`). Next are the merges up to a height, which need only the pairs of vectors
up to that height (`neighbours`, `sparse`). The height is estimated, and raised until there are enough merges. If many
merges are wanted, the remaining ones are found on the matrix of distances between the clusters that are left (`dense`,
or `device_rounds` on accelerators).
"""

from collections.abc import Callable, Sequence

import numpy as np

from data_redundancy.clustering import dense, device_rounds, memory
from data_redundancy.clustering.distances import Units, float64_device, padded_size
from data_redundancy.clustering.duplicates import DistinctUnits
from data_redundancy.clustering.merges import Merges
from data_redundancy.clustering.neighbours import CANDIDATES_PER_PAIR, Graph, Neighbours, TooManyPairs
from data_redundancy.clustering.partitions import partition
from data_redundancy.clustering.sparse import complete_linkage, single_linkage
from data_redundancy.clustering.strategy import Strategy, check_matrix_fits, choose_strategy, first_pairs_per_row

MAX_DISTANCE = 2.0
"""The largest cosine distance."""

_ON_GRAPH: dict[str, Callable[[int, Graph], Merges]] = {"complete": complete_linkage, "single": single_linkage}


def first_merges(
    units: Units,
    num_merges: int,
    linkage: str,
    *,
    memory_limit: float | None = None,
    algorithm: str | None = None,
    block_rows: int | None = None,
    together: bool = False,
    on_block: Callable[[int, int], None] | None = None,
    label: int | None = None,
) -> Merges:
    """Computes the first merges of a tree.

    Args:
        units: n unit vectors.
        num_merges: how many merges, up to n-1.
        linkage: the linkage.
        memory_limit: in bytes; by default a share of the free memory.
        algorithm: `graph`, `matrix` or `graph, then matrix`; by default the fastest that fits.
        block_rows: the rows of a block of products; by default suitable for the device.
        together: whether all processes call this at the same time with the same arguments, to divide the work.
        on_block: called during a search for pairs with the number of blocks done and the number of blocks in all.
        label: the class, to name it in an error; None if there is only one.

    Returns:
        The merges, in order.

    Raises:
        InputError: memory does not suffice.
    """
    distinct = DistinctUnits.of(units)
    wanted = num_merges - len(distinct.copies)
    if wanted <= 0:
        return distinct.merges_of_all(Merges.none(), linkage)[:num_merges]
    limit = memory.default_limit() if memory_limit is None else memory_limit
    num_dimensions = units.num_dimensions
    strategy = choose_strategy(len(distinct.rows), num_dimensions, wanted, linkage, limit, algorithm, label=label)
    units, found = distinct.units, Merges.none()
    if strategy.graph_merges:
        neighbours = Neighbours(units, block_rows=block_rows, together=together)
        found = _on_graph(neighbours, strategy, linkage, on_block).in_order(linkage)[: strategy.graph_merges]
    if len(found) < wanted:
        if linkage == "single":
            found = Merges.none()  # ties are broken by rows, which the matrix of clusters does not have
        found = Merges.concatenate([found, _on_matrix(units, distinct.sizes, found, linkage, strategy, label)])
    return distinct.merges_of_all(found, linkage)[:num_merges]


def whole_trees(units: Sequence[Units], linkage: str, device_memory: float) -> list[Merges]:
    """Computes all merges of many classes at once, by rounds on the accelerators.

    Args:
        units: for every class n_c unit vectors.
        linkage: `complete` or `average`.
        device_memory: in bytes, for every device.

    Returns:
        For every class the n_c-1 merges, in order.

    Raises:
        InputError: a class does not fit into the memory of a device.
    """
    distinct = [DistinctUnits.of(u) for u in units]
    found = device_rounds.trees(
        [d.units for d in distinct], linkage, sizes=[d.sizes for d in distinct], memory_limit=device_memory
    )
    return [d.merges_of_all(merges, linkage) for d, merges in zip(distinct, found, strict=True)]


def _on_graph(
    neighbours: Neighbours, strategy: Strategy, linkage: str, on_block: Callable[[int, int], None] | None
) -> Merges:
    """Computes at least the wanted merges from the pairs up to a height, which is raised until there are enough.

    Returns fewer merges if there are more pairs than the strategy allows.
    """
    num_rows, wanted = strategy.num_rows, strategy.graph_merges
    most = min(strategy.max_pairs / num_rows, (num_rows - 1) / 2)
    merges, target = Merges.none(), min(first_pairs_per_row(num_rows, wanted / num_rows), most)  # pairs per row
    reached, refused, rough = -np.inf, np.inf, _rough_height(neighbours, strategy, linkage, target, most)
    while True:
        height = _height_for(neighbours, target, num_rows) if rough is None else rough
        rough = None
        # Raising the height by less than the margin of error would give the same candidates again.
        height = min(max(height, reached + neighbours.margin), MAX_DISTANCE)
        if height >= refused or target * num_rows < 1:
            return merges
        try:
            graph = neighbours.within(
                height, max_pairs=strategy.max_pairs, expected_pairs=target * num_rows, progress=on_block
            )
        except TooManyPairs:
            refused, most, target = height, 0.7 * target, 0.5 * target
            continue
        merges, reached = _ON_GRAPH[linkage](num_rows, graph), height
        if len(merges) >= wanted or height == MAX_DISTANCE or target >= most:
            return merges
        # The target must rise by a minimum, since the estimate of `height_for` may be far off.
        target = min(max(_raised(graph, merges, wanted, num_rows), 1.5 * target), most)


def _rough_height(neighbours: Neighbours, strategy: Strategy, linkage: str, target: float, most: float) -> float | None:
    """Estimates the height that gives the wanted merges, if similarities of all pairs are kept.

    The result affects how much work is done, but not the clusters that are found.

    Args:
        neighbours: of the vectors.
        strategy: says how many merges are wanted.
        linkage: `complete` or `single`.
        target: the number of pairs per row to start with.
        most: the largest number of pairs per row.
    """
    num_rows, wanted = strategy.num_rows, strategy.graph_merges
    while neighbours.keeps_similarities:
        height = _height_for(neighbours, target, num_rows)
        graph = neighbours.roughly_within(height)
        if len(graph) > CANDIDATES_PER_PAIR * strategy.max_pairs:
            return None
        merges = _ON_GRAPH[linkage](num_rows, graph)
        if len(merges) >= wanted:
            return float(np.partition(merges.height, wanted - 1)[wanted - 1]) + 2 * neighbours.margin
        if height == MAX_DISTANCE or target >= most:
            return None
        target = min(max(_raised(graph, merges, wanted, num_rows), 1.5 * target), most)
    return None


def _height_for(neighbours: Neighbours, pairs_per_row: float, num_rows: int) -> float:
    return neighbours.height_for(pairs_per_row) if pairs_per_row < (num_rows - 1) / 2 else MAX_DISTANCE


def _raised(graph: Graph, merges: Merges, wanted: int, num_rows: int) -> float:
    """Estimates the number of pairs per row that gives the wanted merges.

    The logarithm of the number of pairs is assumed to grow linearly with the number of merges.
    """
    pairs, made = len(graph), len(merges)
    if made < 10:
        return 4 * max(pairs, 1) / num_rows
    half_height = np.partition(merges.height, made // 2)[made // 2]
    pairs_at_half = max(1, int(np.count_nonzero(graph.distance <= half_height)))
    growth = np.log(pairs / pairs_at_half) / (made - made // 2)
    return float(np.clip(1.3 * np.exp(growth * (wanted - made)), 1.5, 10)) * pairs / num_rows


def _on_matrix(
    units: Units, sizes: np.ndarray, found: Merges, linkage: str, strategy: Strategy, label: int | None
) -> Merges:
    """Computes all remaining merges, on the matrix of distances between the clusters that the first merges make.

    Args:
        units: n unit vectors.
        sizes: [n] integers, how often each occurs.
        found: the first merges.
        linkage: the linkage.
        strategy: says how much memory may be used.
        label: the class, to name it in an error; None if there is only one.
    """
    cluster = partition(len(units), found)
    order = np.argsort(cluster, kind="stable")
    starts = np.flatnonzero(np.diff(cluster[order], prepend=-1))
    if fits_accelerator(len(starts), units.num_dimensions, linkage):
        if len(starts) == len(units):
            return device_rounds.trees([units], linkage, sizes=[sizes], memory_limit=device_memory())[0]
        check_matrix_fits(len(starts), strategy, label)
        between = dense.cluster_distances(units[order], starts, linkage)
        of_clusters = np.add.reduceat(sizes[order], starts)
        return device_rounds.agglomerate_on_device(between, of_clusters, linkage).renumbered(order[starts])
    check_matrix_fits(len(starts), strategy, label)
    between = dense.cluster_distances(units if len(starts) == len(units) else units[order], starts, linkage)
    if linkage == "single":
        return single_linkage(len(starts), dense.minimum_spanning_tree(between)).renumbered(order[starts])
    if linkage == "average":
        between *= np.outer(sizes, sizes)
    return dense.agglomerate(between, np.add.reduceat(sizes[order], starts), linkage).renumbered(order[starts])


def fits_accelerator(num_rows: int, num_dimensions: int, linkage: str) -> bool:
    """Returns whether rounds can run on an accelerator: it has float64, and the matrix fits into its memory.

    Args:
        num_rows: n.
        num_dimensions: D.
        linkage: the linkage; rounds are not used for `single`.
    """
    return (
        linkage != "single"
        and float64_device().platform != "cpu"
        and device_rounds.class_bytes(padded_size(num_rows), num_dimensions) <= device_memory()
    )


def device_memory() -> float:
    """Returns the number of bytes that clustering may use on each accelerator."""
    statistics = float64_device().memory_stats()
    if not statistics or "bytes_limit" not in statistics:
        return memory.default_limit()
    return memory.SHARE_OF_FREE * (statistics["bytes_limit"] - statistics["bytes_in_use"])
