"""Trials made up for the tests of the evidence."""

import numpy as np

from data_redundancy.evidence import Trial


def trial(method="full", fraction=0.0, seed=0, accuracy=0.9, classes=None):
    classes = [accuracy, accuracy] if classes is None else classes
    return Trial(method, fraction, seed, round(1000 * (1 - fraction)), accuracy, np.array(classes, dtype=np.float64))


def runs(method, fraction, accuracies, first_seed=0):
    return [trial(method, fraction, seed, accuracy) for seed, accuracy in enumerate(accuracies, first_seed)]


def by_seed(trials):
    return {trial.seed: trial for trial in trials}
