"""The classes to cluster, and their assignment to threads and processes."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from data_redundancy.clustering import memory
from data_redundancy.clustering.linkage import check_linkage
from data_redundancy.clustering.strategy import Strategy, choose_strategy
from data_redundancy.selection.grouping import check_labels, members_by_class


@dataclass(frozen=True)
class Workload:
    """The classes to cluster.

    Attributes:
        classes: for every label the indices of its examples, [n] int64, ascending.
        num_dimensions: D.
        num_merges: for every label, how many merges of its tree to compute.
        linkage: the linkage.
        memory_limit: in bytes.
    """

    classes: Mapping[int, np.ndarray]
    num_dimensions: int
    num_merges: Mapping[int, int]
    linkage: str
    memory_limit: float

    def strategy(self, label: int) -> Strategy:
        """Returns how to cluster a class.

        Raises:
            InputError: about the argument `memory_limit_gb`, if the class does not fit into memory.
        """
        return choose_strategy(
            len(self.classes[label]),
            self.num_dimensions,
            self.num_merges[label],
            self.linkage,
            self.memory_limit,
            label=self.label_in_errors(label),
        )

    def label_in_errors(self, label: int) -> int | None:
        """Returns the label to name in an error; None if there is only one class."""
        return label if len(self.classes) > 1 else None


def make_workload(
    embeddings: np.ndarray,
    labels: np.ndarray,
    *,
    linkage: str = "complete",
    num_merges: Mapping[int, int] | None = None,
    memory_limit: float | None = None,
) -> Workload:
    """Makes the workload of a data set.

    Args:
        embeddings: [N, D] floats.
        labels: [N] integers, not negative.
        linkage: the linkage.
        num_merges: for every label, how many merges of its tree to compute; by default all.
        memory_limit: in bytes; by default a share of the free memory.

    Raises:
        InputError: the linkage is unknown, or `labels` is not one integer of at least 0 per embedding.
    """
    check_linkage(linkage)
    classes = members_by_class(check_labels(labels, len(embeddings)))
    whole = {label: len(members) - 1 for label, members in classes.items()}
    wanted = whole if num_merges is None else {label: min(num_merges[label], m) for label, m in whole.items()}
    limit = memory.default_limit() if memory_limit is None else memory_limit
    return Workload(classes, embeddings.shape[1], wanted, linkage, limit)


def num_concurrent(workload: Workload, labels: Sequence[int]) -> int:
    """Returns how many of some small classes to cluster at the same time: one per core, if memory suffices.

    Args:
        workload: contains the classes.
        labels: the small classes.
    """
    fitting = min((workload.memory_limit / workload.strategy(label).peak_bytes for label in labels), default=1)
    return max(1, min(os.cpu_count() or 1, int(fitting), len(labels)))


def assign_to_processes(
    workload: Workload, labels: Sequence[int], num_processes: int
) -> tuple[list[int], list[list[int]]]:
    """Assigns classes to processes so that each has about the same work, n^2 D operations per class.

    A class with more work than the share of one process is clustered by all processes together, if its algorithm is the
    graph of close pairs: the search for pairs can be divided, but the matrix cannot. The other classes are assigned in
    descending order of work, each to the process with the least work so far.

    Args:
        workload: contains the classes.
        labels: the classes to assign.
        num_processes: the number of processes.

    Returns:
        The classes to cluster together, and the classes of every process.
    """
    cost = {label: float(len(workload.classes[label])) ** 2 * workload.num_dimensions for label in labels}
    share = sum(cost.values()) / num_processes
    large = [label for label in labels if num_processes > 1 and cost[label] > share]
    joint = [label for label in large if workload.strategy(label).algorithm == "graph"]
    own: list[list[int]] = [[] for _ in range(num_processes)]
    load = np.zeros(num_processes)
    for label in sorted(set(labels) - set(joint), key=lambda label: (-cost[label], label)):
        process = int(load.argmin())
        own[process].append(label)
        load[process] += cost[label]
    return joint, own
