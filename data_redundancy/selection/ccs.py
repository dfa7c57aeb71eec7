"""Keep examples of all difficulties but the hardest: coverage-centric coreset selection."""

from collections.abc import Mapping

import numpy as np

from data_redundancy.errors import InputError
from data_redundancy.selection.by_class import keep_by_class
from data_redundancy.selection.pool import Pool
from data_redundancy.selection.result import Selection
from data_redundancy.selection.top_score import scores_of

NUM_STRATA = 50


def select(
    pool: Pool,
    num_pruned: Mapping[int, int],
    *,
    score: str = "el2n",
    hardest_pruned: float = 0.0,
    seed: int = 0,
) -> Selection:
    """Drops the hardest examples of every class, then draws evenly from strata of the score.

    The range of the scores that remain is cut into 50 strata of equal width. Beginning with the one of fewest examples,
    each gives an equal share of what is still to be kept, or all it has. The paper goes over the whole data set, as
    this does where the scope is that. It finds beta by trying which gives the best accuracy, and more the more is
    pruned; here it is an option, 0 by default, for nothing is chosen by test accuracy. Of equally hard examples those
    with the highest indices are dropped.

    Args:
      pool: with scores.
      num_pruned: for every label, how many of its examples go.
      score: which score says what is hard, a key of the pool's scores.
      hardest_pruned: the share of a class that is dropped as too hard, the paper's beta, from 0 to 1; never more than
        are to go.
      seed: of the drawing.

    Raises:
      InputError: the pool does not have that score, or a share out of range.

    References:
      Zheng, Liu, Lai, Prakash, "Coverage-centric Coreset Selection for High Pruning Rates", ICLR 2023, algorithm 1.
    """
    if not 0 <= hardest_pruned < 1:
        raise InputError(f"hardest_pruned: {hardest_pruned!r}, but at least 0 and less than 1 is needed")
    values = scores_of(pool, score)

    def choose(members: np.ndarray, num_kept: int, label: int) -> np.ndarray:
        num_hard = min(round(hardest_pruned * len(members)), len(members) - num_kept)
        rest = np.sort(np.argsort(values[members], kind="stable")[: len(members) - num_hard])
        return rest[sample_strata(values[members[rest]], num_kept, np.random.default_rng([seed, label]))]

    return keep_by_class("ccs", pool, num_pruned, choose)


def sample_strata(score: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Draws positions evenly from strata of equal width, [count] int64.

    Args:
      score: [n] floats.
      count: at most n.
      rng: draws without replacement.
    """
    edges = np.linspace(score.min(), score.max(), NUM_STRATA + 1)
    stratum = np.clip(np.searchsorted(edges, score, side="right") - 1, 0, NUM_STRATA - 1)
    # From the smallest on: what a share leaves over by rounding, the larger ones have room for.
    strata = sorted((np.flatnonzero(stratum == s) for s in np.unique(stratum)), key=len)
    chosen, left = [], count
    for position, members in enumerate(strata):
        share = min(len(members), left // (len(strata) - position))
        chosen.append(rng.permutation(members)[:share])
        left -= share
    return np.concatenate(chosen)
