"""Keep the examples with the highest scores: EL2N, gradient norm or forgetting events."""

from collections.abc import Mapping

import numpy as np

from data_redundancy.errors import InputError
from data_redundancy.selection.by_class import highest, keep_by_class
from data_redundancy.selection.pool import Pool
from data_redundancy.selection.result import SelectionArrays

SCORES = ("el2n", "grad_norm", "forgetting")
"""The scores that `training.scores` computes; each is also the name of the method that keeps its highest values."""


def select(pool: Pool, num_pruned: Mapping[int, int], *, score: str) -> SelectionArrays:
    """Keeps, in every class, the examples with the highest score; of equal scores, the lowest indices.

    Scores are means over training runs. The papers rank the whole data set; here that is the case if the whole data set
    is one class (`scope="dataset"`). Within classes, as by default, all methods keep the same number of every class and
    differ only in which examples these are.

    `grad_norm` is measured early in several training runs, like GraNd. Vodrahalli et al. measure it once, at the end of
    training, which corresponds to one run and one seed with `score.epochs` of the whole training.

    Args:
        pool: with scores.
        num_pruned: for every label, how many of its examples to prune.
        score: one of `SCORES`.

    Raises:
        InputError: the pool does not have that score.

    References:
        el2n: Paul, Ganguli, Dziugaite, "Deep Learning on a Data Diet", NeurIPS 2021, definition 2.
        grad_norm: Vodrahalli, Li, Malik, "Are All Training Examples Created Equal? An Empirical Study", 2018; and GraNd
        of Paul et al. 2021, definition 1.
        forgetting: Toneva et al., "An Empirical Study of Example Forgetting during Deep Neural Network Learning", 2019.
    """
    values = scores_of(pool, score)
    return keep_by_class(score, pool, num_pruned, lambda members, num_kept, _: highest(values[members], num_kept))


def scores_of(pool: Pool, score: str) -> np.ndarray:
    """Returns a score of every example, [N] float64.

    Args:
        pool: the data set.
        score: the name of the score.

    Raises:
        InputError: the pool does not have that score.
    """
    if score not in pool.scores:
        raise InputError("scores", None, f"must have the score {score!r}", f"Pass scores={{{score!r}: ...}}")
    return np.asarray(pool.scores[score], np.float64)
