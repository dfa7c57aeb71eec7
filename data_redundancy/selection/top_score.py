"""Keep the examples with the highest scores: EL2N, gradient norm, forgetting events."""

from collections.abc import Mapping

import numpy as np

from data_redundancy.errors import InputError
from data_redundancy.selection.by_class import highest, keep_by_class
from data_redundancy.selection.pool import Pool
from data_redundancy.selection.result import Selection

SCORES = ("el2n", "grad_norm", "forgetting")
"""What `training.scores` computes; each is also the name of the method that keeps its highest."""


def select(pool: Pool, num_pruned: Mapping[int, int], *, score: str) -> Selection:
    """In every class keeps the examples with the highest score, averaged over runs; of equal ones the lowest index.

    The papers rank the whole data set, as this does where the scope is that; within classes, as by default, all methods
    keep as many of each as `random` does, and differ in nothing else. `grad_norm` is taken early in several runs, as
    GraNd is; Vodrahalli et al. take it once, of a trained network, which is `score.epochs` of a whole run and one seed.

    Args:
      pool: with scores.
      num_pruned: for every label, how many of its examples go.
      score: one of `SCORES`.

    Raises:
      InputError: the pool does not have that score.

    References:
      el2n: Paul, Ganguli, Dziugaite, "Deep Learning on a Data Diet", NeurIPS 2021, definition 2.
      grad_norm: Vodrahalli, Li, Malik, "Are All Training Examples Created Equal? An Empirical Study", 2018; and
        GraNd of Paul et al. 2021, definition 1.
      forgetting: Toneva et al., "An Empirical Study of Example Forgetting during Deep Neural Network Learning", 2019.
    """
    values = scores_of(pool, score)
    return keep_by_class(score, pool, num_pruned, lambda members, num_kept, _: highest(values[members], num_kept))


def scores_of(pool: Pool, score: str) -> np.ndarray:
    """A score of every example, [N] float64; raises InputError where the pool does not have it."""
    if score not in pool.scores:
        raise InputError(f"method needs the scores {score!r}: run the stage 'score' first")
    return np.asarray(pool.scores[score], np.float64)
