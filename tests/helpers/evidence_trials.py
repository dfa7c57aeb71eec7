"""Artificial trials for the tests of the evidence."""

import numpy as np

from data_redundancy.evidence import Trial


def trial(method="full", fraction=0.0, seed=0, accuracy=0.9, classes=None, num_kept=None):
    classes = [accuracy, accuracy] if classes is None else classes
    num_kept = round(1000 * (1 - fraction)) if num_kept is None else num_kept
    return Trial(method, fraction, seed, num_kept, accuracy, np.array(classes, dtype=np.float64))


def runs(method, fraction, accuracies, first_seed=0):
    return [trial(method, fraction, seed, accuracy) for seed, accuracy in enumerate(accuracies, first_seed)]


def by_seed(trials):
    return {trial.seed: trial for trial in trials}
