"""Scores of training images: means over the runs that computed them."""

from collections.abc import Iterable

import numpy as np

from data_redundancy.experiment.fingerprints import Fingerprints
from data_redundancy.experiment.finished import require
from data_redundancy.selection.pool import check_scores
from data_redundancy.store import artifacts
from data_redundancy.store.workdir import Workdir


def read_mean_score(workdir: Workdir, fingerprints: Fingerprints, name: str, seeds: Iterable[int]) -> np.ndarray:
    """Returns the mean [N] float64 of a score over runs.

    Args:
        workdir: paths of the scores.
        fingerprints: fingerprints of the experiment.
        name: name of the score, one of `selection.SCORES`.
        seeds: seeds of the runs.

    Raises:
        InputError: if scores are missing, were made from other inputs, or are not one finite number per training image.
    """
    rows = []
    for seed in seeds:
        path = workdir.score(name, seed)
        require(path, fingerprints.scores([name], seed), "score")
        rows.append(artifacts.read_scores(path))
        check_scores(rows[-1], fingerprints.num_train, str(path))
    return np.stack(rows).mean(axis=0, dtype=np.float64)
