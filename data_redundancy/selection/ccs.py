"""Coverage-centric coreset selection (CCS): prune the hardest examples, then keep examples of all difficulties."""

from collections.abc import Mapping

import numpy as np

from data_redundancy.errors import InputError
from data_redundancy.selection.by_class import keep_by_class
from data_redundancy.selection.pool import Pool
from data_redundancy.selection.result import SelectionArrays
from data_redundancy.selection.top_score import scores_of

NUM_STRATA = 50


def select(
    pool: Pool,
    num_pruned: Mapping[int, int],
    *,
    score: str = "el2n",
    hardest_pruned: float = 0.0,
    seed: int = 0,
) -> SelectionArrays:
    """Prunes the hardest examples of every class, then draws evenly from strata of the score.

    The range of the remaining scores is divided into 50 strata of equal width. The strata take turns, the smallest
    first. Each gives an equal share of the number that is still to be kept, or all its examples if it has fewer. Of
    equally hard examples, those with the highest indices are pruned first.

    Differences from the paper: The paper selects from the whole data set at once; here that is the case if the whole
    data set is one class (`scope="dataset"`). The paper chooses beta (`hardest_pruned`) by the best accuracy, and
    larger for larger prune fractions. Here it is an option, 0 by default, because nothing is chosen by test accuracy.

    Args:
        pool: with scores.
        num_pruned: for every label, how many of its examples to prune.
        score: the score that measures how hard an example is, a key of the pool's scores.
        hardest_pruned: the share of a class to prune as too hard, the paper's beta, at least 0 and less than 1. Never
            prunes more than `num_pruned`.
        seed: seeds the random draw.

    Raises:
        InputError: the pool does not have that score, or `hardest_pruned` is out of range.

    References:
        Zheng, Liu, Lai, Prakash, "Coverage-centric Coreset Selection for High Pruning Rates", ICLR 2023, algorithm 1.
    """
    if not 0 <= hardest_pruned < 1:
        raise InputError("hardest_pruned", hardest_pruned, "must be at least 0 and less than 1")
    values = scores_of(pool, score)

    def choose(members: np.ndarray, num_kept: int, label: int) -> np.ndarray:
        num_hard = min(round(hardest_pruned * len(members)), len(members) - num_kept)
        rest = np.sort(np.argsort(values[members], kind="stable")[: len(members) - num_hard])
        return rest[sample_strata(values[members[rest]], num_kept, np.random.default_rng([seed, label]))]

    return keep_by_class("ccs", pool, num_pruned, choose)


def sample_strata(score: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Draws positions evenly from strata of equal width, without replacement.

    Args:
        score: [n] floats.
        count: how many positions to draw, at most n.
        rng: the source of randomness.

    Returns:
        [count] int64, distinct positions in `score`.
    """
    edges = np.linspace(score.min(), score.max(), NUM_STRATA + 1)
    stratum = np.clip(np.searchsorted(edges, score, side="right") - 1, 0, NUM_STRATA - 1)
    # In ascending order of size, so that larger strata make up for what small ones lack and for rounding.
    strata = sorted((np.flatnonzero(stratum == s) for s in np.unique(stratum)), key=len)
    chosen, left = [], count
    for position, members in enumerate(strata):
        share = min(len(members), left // (len(strata) - position))
        chosen.append(rng.permutation(members)[:share])
        left -= share
    return np.concatenate(chosen)
