"""What there is to cluster, and who does what."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from data_redundancy.clustering import memory
from data_redundancy.clustering.dendrograms import check_labels, members_by_class
from data_redundancy.clustering.linkage import check_method
from data_redundancy.clustering.strategy import Strategy, choose_strategy
from data_redundancy.errors import InputError


@dataclass(frozen=True)
class Workload:
    """What there is to cluster.

    Attributes:
      classes: for every label its members, [n] int64, ascending.
      num_dimensions: D.
      num_merges: for every label, how many merges of its tree are wanted.
      method: the linkage.
      memory_limit: in bytes.
    """

    classes: Mapping[int, np.ndarray]
    num_dimensions: int
    num_merges: Mapping[int, int]
    method: str
    memory_limit: float

    def strategy(self, label: int) -> Strategy:
        """How a class will be clustered.

        Raises:
          InputError: it does not fit into memory.
        """
        size = len(self.classes[label])
        try:
            return choose_strategy(size, self.num_dimensions, self.num_merges[label], self.method, self.memory_limit)
        except InputError as error:
            of_class = f"memory: class {label}: " if len(self.classes) > 1 else "memory: "
            raise InputError(str(error).replace("memory: ", of_class, 1)) from None


def make_workload(
    embeddings: np.ndarray,
    labels: np.ndarray,
    *,
    method: str = "complete",
    num_merges: Mapping[int, int] | None = None,
    memory_limit: float | None = None,
) -> Workload:
    """Says what there is to cluster.

    Args:
      embeddings: [N, D] floats.
      labels: [N] integers, not negative.
      method: the linkage.
      num_merges: for every label, how many merges of its tree are wanted; by default all.
      memory_limit: in bytes; by default a share of what is free.

    Returns:
      What there is to do.

    Raises:
      InputError: an unknown linkage, or labels that are not integers from 0 or not one for every embedding.
    """
    check_method(method)
    classes = members_by_class(check_labels(labels, len(embeddings)))
    whole = {label: len(members) - 1 for label, members in classes.items()}
    wanted = whole if num_merges is None else {label: min(num_merges[label], m) for label, m in whole.items()}
    limit = memory.default_limit() if memory_limit is None else memory_limit
    return Workload(classes, embeddings.shape[1], wanted, method, limit)


def side_by_side(work: Workload, labels: Sequence[int]) -> int:
    """How many of some small classes are clustered at the same time: one on every core, as far as there is memory."""
    fitting = min((work.memory_limit / work.strategy(label).peak_bytes for label in labels), default=1)
    return max(1, min(os.cpu_count() or 1, int(fitting), len(labels)))


def share_out(work: Workload, labels: Sequence[int], num_processes: int) -> tuple[list[int], list[list[int]]]:
    """Divides classes among processes by what they cost, n^2 D operations.

    A class that costs more than the share of one process is clustered by all of them together, where it goes by close
    pairs: looking for these can be shared, the matrix cannot. The others go, the most expensive first, to the process
    with the least to do.

    Args:
      work: from `prepare`.
      labels: the classes.
      num_processes: how many share the work.

    Returns:
      The classes to cluster together, and those of every process.
    """
    cost = {label: float(len(work.classes[label])) ** 2 * work.num_dimensions for label in labels}
    share = sum(cost.values()) / num_processes
    large = [label for label in labels if num_processes > 1 and cost[label] > share]
    joint = [label for label in large if work.strategy(label).way == "graph"]
    own: list[list[int]] = [[] for _ in range(num_processes)]
    load = np.zeros(num_processes)
    for label in sorted(set(labels) - set(joint), key=lambda label: (-cost[label], label)):
        process = int(load.argmin())
        own[process].append(label)
        load[process] += cost[label]
    return joint, own
