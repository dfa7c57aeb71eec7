"""What methods share that choose, class by class, which examples to keep, without saying what stands for the others."""

from collections.abc import Callable, Mapping

import numpy as np

from data_redundancy.errors import InputError
from data_redundancy.selection.pool import Pool
from data_redundancy.selection.result import Selection


def keep_by_class(
    method: str,
    pool: Pool,
    num_pruned: Mapping[int, int],
    choose: Callable[[np.ndarray, int, int], np.ndarray],
) -> Selection:
    """Makes a selection from a choice in every class.

    Args:
      method: its name.
      pool: the data set.
      num_pruned: for every label, how many of its examples go.
      choose: from a class's members [n] int64, ascending, the number to keep (1 to n) and the label: the positions kept
        among the members, [k] integers in any order. Not asked where nothing goes.

    Returns:
      The selection, without clusters; redundant examples have no representative.
    """
    num_examples = len(pool.labels)
    kept = np.ones(num_examples, bool)
    for label, members in pool.members_by_class().items():
        if num_pruned[label]:
            kept[members] = False
            kept[members[choose(members, len(members) - num_pruned[label], label)]] = True
    return Selection(
        method=method,
        prune_fraction=sum(num_pruned.values()) / num_examples,
        keep=np.flatnonzero(kept),
        cluster=np.full(num_examples, -1, np.int64),
        representative=np.where(kept, np.arange(num_examples), -1),
        distance=np.where(kept, 0.0, np.nan),
    )


def embeddings_of(pool: Pool, method: str) -> np.ndarray:
    """The pool's embeddings [N, D]; raises InputError where it has none."""
    if pool.embeddings is None:
        raise InputError(f"method {method!r} needs embeddings: run the stage 'embed' first")
    return pool.embeddings


def without_last_digits(cosine: np.ndarray) -> np.ndarray:
    """Rounds cosines [n] to 1e-12, so that equal ones are equal: their last digits depend on the machine."""
    return np.round(cosine, 12)


def highest(score: np.ndarray, count: int) -> np.ndarray:
    """The positions of the `count` highest scores [n], [count] int64; of equal ones the first."""
    return np.argsort(-score, kind="stable")[:count]
