"""The trials of a sweep: every fraction, method and seed, and the full set."""

import logging
from collections.abc import Callable, Hashable, Iterator, Sequence

from ml_collections import ConfigDict

from data_redundancy.errors import InputError
from data_redundancy.experiment.selections import KeepLists
from data_redundancy.experiment.trials import FULL, TrialResult, Trials, TrialSpec
from data_redundancy.runtime import devices
from data_redundancy.store import metrics

log = logging.getLogger("data_redundancy")

Key = tuple[str, float, int]
"""Method, prune fraction and seed of a trial."""


def keys(config: ConfigDict) -> list[Key]:
    """Returns the trials of the section `sweep`: the full set, then every method at every fraction, with every seed."""
    sweep = config.sweep
    return [
        *((FULL, 0.0, seed) for seed in sweep.seeds),
        *((method, fraction, seed) for fraction in sweep.fractions for method in sweep.methods for seed in sweep.seeds),
    ]


def shard(keys: Sequence[Key], index: int, count: int) -> list[Key]:
    """Returns every `count`-th trial from the `index`-th on.

    Raises:
        InputError: if there is no such trial.
    """
    chosen = list(keys[index::count])
    if not chosen:
        raise InputError(
            "shard", f"{index}/{count}", f"has no trial: there are only {len(keys)}", f"Use at most {len(keys)} jobs"
        )
    return chosen


def make_specs(keys: Sequence[Key], keep_lists: KeepLists) -> list[TrialSpec]:
    """Returns the specifications of trials; makes keep lists that do not exist."""
    return [
        TrialSpec.full(seed)
        if method == FULL
        else TrialSpec(
            selection=keep_lists.name(method, fraction, seed),
            method=method,
            prune_fraction=fraction,
            seed=seed,
            keep=keep_lists.make(method, fraction, seed),
        )
        for method, fraction, seed in keys
    ]


def find_specs(keys: Sequence[Key], keep_lists: KeepLists) -> list[TrialSpec]:
    """Returns the specifications of the trials whose keep lists exist."""
    found = []
    for method, fraction, seed in keys:
        if method == FULL:
            found.append(TrialSpec.full(seed))
        elif (keep := keep_lists.load(method, fraction, seed)) is not None:
            name = keep_lists.name(method, fraction, seed)
            found.append(TrialSpec(selection=name, method=method, prune_fraction=fraction, seed=seed, keep=keep))
    return found


def find_results(trials: Trials, specs: Sequence[TrialSpec]) -> list[TrialResult]:
    """Returns the results of the finished trials."""
    return [result for spec in specs if (result := trials.result(spec)) is not None]


def run(trials: Trials, specs: Sequence[TrialSpec], *, parallel: bool, label: str) -> list[TrialResult]:
    """Runs the trials that are not finished; logs each.

    Args:
        trials: the trials of the experiment.
        specs: specifications of the trials to run.
        parallel: whether several trials may be trained at the same time.
        label: name of the command, with which the messages begin.

    Returns:
        The result of each trial; the same on all processes.
    """
    todo = [spec for spec in specs if trials.result(spec) is None]
    done = len(specs) - len(todo)
    if done:
        log.info("%s: %d of %d trials already done, skipped", label, done, len(specs))
    trials.announce(label, len(todo))
    max_parallel = trials.max_parallel() if parallel and len(todo) > 1 else 1
    with metrics.progress(label, total=len(specs), unit="trials", initial=done) as bar:
        for batch in batches(todo, trials.shape, max_parallel=max_parallel, num_devices=devices.local_devices()):
            for result in [trials.run(batch[0])] if len(batch) == 1 else trials.run_in_parallel(batch):
                done += 1
                _log_result(label, result, done=done, total=len(specs), num_parallel=len(batch))
            bar.update(done)
    return find_results(trials, specs)


def _log_result(label: str, result: TrialResult, *, done: int, total: int, num_parallel: int) -> None:
    log.info(
        "%s: trial %d/%d, %s seed %d: test accuracy %.2f%% with %s images (%.1f s%s)",
        label,
        done,
        total,
        result["selection"],
        result["seed"],
        100 * result["accuracy"],
        f"{result['num_kept']:,}",
        result["train_seconds"],
        "" if num_parallel == 1 else f" each, {num_parallel} at once",
    )


def batches(
    specs: Sequence[TrialSpec], shape: Callable[[TrialSpec], Hashable], *, max_parallel: int, num_devices: int
) -> Iterator[list[TrialSpec]]:
    """Splits trials in order into batches, whose trials are trained at the same time.

    The size of a batch is a multiple of the number of devices. Batches have the same size as far as possible, because
    every new size must be compiled.

    Args:
        specs: specifications of the trials.
        shape: function that returns a value which the trials of a batch must have in common.
        max_parallel: the largest size of a batch, a multiple of `num_devices`; or 1.
        num_devices: number of devices over which trials are distributed.
    """
    if max_parallel == 1:
        yield from ([spec] for spec in specs)
        return
    groups: dict[Hashable, list[TrialSpec]] = {}
    for spec in specs:
        groups.setdefault(shape(spec), []).append(spec)
    for group in groups.values():
        num_batches = -(-len(group) // max_parallel)
        size = num_devices * -(-len(group) // (num_devices * num_batches))
        yield from (group[first : first + size] for first in range(0, len(group), size))
