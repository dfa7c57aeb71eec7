"""The trials of a sweep: shared by the stages that run and that report them."""

from ml_collections import ConfigDict

from data_redundancy.stages.keeplists import KeepLists
from data_redundancy.stages.trials import FULL, Plan


def plans(config: ConfigDict, keep_lists: KeepLists, *, make: bool, chosen: slice = slice(None)) -> list[Plan]:
    """The full set, then every method at every fraction, each with every seed.

    Args:
        config: its section `sweep` says which.
        keep_lists: where keep lists come from.
        make: whether to make keep lists that are not there, or to leave their trials out.
        chosen: which of the trials.
    """
    wanted = [(FULL, 0.0, seed) for seed in config.sweep.seeds]
    wanted += [
        (method, fraction, seed)
        for fraction in config.sweep.fractions
        for method in config.sweep.methods
        for seed in config.sweep.seeds
    ]
    found = []
    for method, fraction, seed in wanted[chosen]:
        if method == FULL:
            keep = None
        elif make:
            keep = keep_lists.make(method, fraction, seed)
        elif (keep := keep_lists.load(method, fraction, seed)) is None:
            continue
        name = FULL if method == FULL else keep_lists.name(method, fraction, seed)
        found.append(Plan(selection=name, method=method, prune_fraction=fraction, seed=seed, keep=keep))
    return found
