"""The trials of a sweep: shared by the stages that run and that report them."""

import logging
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

from ml_collections import ConfigDict

from data_redundancy.experiment.selections import KeepLists
from data_redundancy.experiment.trials import FULL, Trials, TrialSpec
from data_redundancy.runtime import devices as parallel
from data_redundancy.store import metrics

log = logging.getLogger("data_redundancy")


def plans(config: ConfigDict, keep_lists: KeepLists, *, make: bool, chosen: slice = slice(None)) -> list[TrialSpec]:
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
        found.append(TrialSpec(selection=name, method=method, prune_fraction=fraction, seed=seed, keep=keep))
    return found


def run(trials: Trials, plans: Sequence[TrialSpec], *, together: bool, label: str) -> list[dict[str, Any]]:
    """Runs those of the trials that are not finished; says so of each of them.

    Args:
        trials: that run them.
        plans: the trials.
        together: whether they may run together.
        label: what they are run for, as messages begin.

    Returns:
        The result of each of the plans; the same on all processes.
    """
    todo = [plan for plan in plans if trials.result(plan) is None]
    if len(todo) < len(plans):
        log.info("%s: %d of %d trials already done, skipped", label, len(plans) - len(todo), len(plans))
    at_once, done = trials.at_once() if together and len(todo) > 1 else 1, len(plans) - len(todo)
    with metrics.progress(label, total=len(plans), unit="trials", initial=done) as bar:
        for batch in batches(todo, trials.alike, at_once=at_once, devices=parallel.local_devices()):
            for result in [trials.run(batch[0])] if len(batch) == 1 else trials.run_together(batch):
                done += 1
                log.info(
                    "%s: trial %d/%d, %s seed %d: test accuracy %.2f%% with %s images (%.1f s%s)",
                    label,
                    done,
                    len(plans),
                    result["selection"],
                    result["seed"],
                    100 * result["accuracy"],
                    f"{result['num_kept']:,}",
                    result["train_seconds"],
                    "" if len(batch) == 1 else f" each, {len(batch)} at once",
                )
            bar.update(done)
    return [trials.result(plan) for plan in plans]


def batches(
    plans: Sequence[TrialSpec], alike: Callable[[TrialSpec], Hashable], *, at_once: int, devices: int
) -> Iterator[list[TrialSpec]]:
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
    groups: dict[Hashable, list[TrialSpec]] = {}
    for plan in plans:
        groups.setdefault(alike(plan), []).append(plan)
    for group in groups.values():
        turns = -(-len(group) // at_once)
        size = devices * -(-len(group) // (devices * turns))
        yield from (group[first : first + size] for first in range(0, len(group), size))
