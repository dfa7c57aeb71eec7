"""The trials of a sweep: shared by the stages that run and that report them."""

from collections.abc import Callable, Hashable, Iterator, Sequence

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


def batches(
    plans: Sequence[Plan], alike: Callable[[Plan], Hashable], *, at_once: int, devices: int
) -> Iterator[list[Plan]]:
    """Splits trials into batches to be run together, in order.

    Batches are of one size as far as that goes, a multiple of the number of devices: each new size is compiled anew.

    Args:
        plans: the trials.
        alike: what trials of a batch must have in common.
        at_once: the most of a batch, a multiple of `devices`; or 1.
        devices: that trials are spread over.
    """
    if at_once == 1:
        yield from ([plan] for plan in plans)
        return
    groups: dict[Hashable, list[Plan]] = {}
    for plan in plans:
        groups.setdefault(alike(plan), []).append(plan)
    for group in groups.values():
        turns = -(-len(group) // at_once)
        size = devices * -(-len(group) // (devices * turns))
        yield from (group[first : first + size] for first in range(0, len(group), size))
