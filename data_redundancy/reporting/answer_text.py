"""The results of trials of a selection, in words and numbers for the report."""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from data_redundancy import evidence
from data_redundancy.errors import InputError
from data_redundancy.evidence.formatting import percent
from data_redundancy.experiment.results import evidence_trial

Trials = Mapping[int, evidence.Trial]


def answer(
    results: Sequence[Mapping[str, Any]],
    *,
    name: str,
    method: str,
    fraction: float,
    num_kept: int,
    num_train: int,
    equal: str,
    confidence: float,
    margin: float,
    planned: Iterable[float] = (),
    decided: Mapping[tuple[str, float], Mapping[str, Any]] = MappingProxyType({}),
) -> dict[str, Any]:
    """Returns the verdict about a selection, its accuracy and the saved training time, in words.

    Args:
        results: results of all finished trials; may be empty.
        name: name of the selection.
        method: method of the selection.
        fraction: requested prune fraction of the selection.
        num_kept: number of images that the selection keeps.
        num_train: number of training images.
        equal: what all trials have in common, `steps` or `epochs`.
        confidence: confidence level of intervals.
        margin: accuracy loss that is still accepted, a fraction.
        planned: prune fractions that are tested for every method.
        decided: results of the command `answer`, by method and fraction, with "words", "versus_random" and "random".
            They replace the tests of this function, which assume a fixed number of seeds.

    Returns:
        "headline", "lines", and "others", the verdicts about other selections.
    """
    share = percent(1 - num_kept / num_train, 4)
    images = f"Pruned: {num_train - num_kept:,} of {num_train:,} training images ({share}); {num_kept:,} are kept."
    if num_kept == num_train:
        return {"headline": "Nothing is pruned: this selection keeps every image", "lines": [images], "others": []}
    if not results:
        headline = f"No trial was run: the accuracy after pruning {percent(fraction, 4)} is not known yet"
        lines = [images, "Run 'data-redundancy sweep' to train on the kept images and measure the accuracy."]
        return {"headline": headline, "lines": lines, "others": []}
    verdicts = evidence.verdicts([evidence_trial(result) for result in results], margin, confidence, planned=planned)
    words = {
        (v.method, v.prune_fraction): found["words"]
        if (found := decided.get((v.method, v.prune_fraction)))
        else evidence.verdict_words(v)
        for v in verdicts
    }
    own = next((v for v in verdicts if (v.method, v.prune_fraction) == (method, fraction)), None)
    others = [f"{of}: {told}." for (of, share), told in words.items() if (of, share) != (method, fraction)]
    if own is None:
        headline = f"No trial of {name} is finished: its accuracy is not known yet"
        return {"headline": headline, "lines": [images], "others": others}
    found, headline = decided.get((method, fraction)), words[method, fraction]
    of_own, of_full = (
        [r for r in results if (r["method"], r["prune_fraction"]) == key] for key in ((method, fraction), ("full", 0.0))
    )
    lines = [
        images,
        *_accuracy(of_own, of_full),
        *(_random_decided(found) if found else _random(own)),
        *_savings(of_own, of_full, equal, num_kept / num_train),
    ]
    return {"headline": headline[0].upper() + headline[1:], "lines": lines, "others": others}


def before_veto(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the answer about a selection for the same selection after a veto."""
    told = "No trial was run on the selection after the veto: accuracies and verdicts are of the selection before it."
    return {**answer, "headline": f"Before the veto: {answer['headline']}", "lines": [told, *answer["lines"]]}


def accuracy(rows: Sequence[evidence.Row]) -> list[dict[str, Any]]:
    """Returns the rows of `evidence.summarise` in the form that the report reads."""
    return [
        {
            "method": row.method,
            "fraction": row.prune_fraction,
            "num_kept": row.num_kept,
            "num_seeds": row.num_seeds,
            "mean": row.accuracy_mean,
            "std": row.accuracy_std,
            "full": _difference(row.difference_from_full),
            "random": _difference(row.difference_from_random),
        }
        for row in rows
    ]


def losing_classes(
    results: Sequence[Mapping[str, Any]], *, method: str, fraction: float, class_names: Sequence[str], confidence: float
) -> tuple[list[dict[str, Any]], list[str]]:
    """Returns the classes whose accuracy is lower than on the full set, largest loss first, and notes about them."""
    own, full = (
        {r["seed"]: evidence_trial(r) for r in results if (r["method"], r["prune_fraction"]) == key}
        for key in ((method, fraction), ("full", 0.0))
    )
    try:
        effects = evidence.class_effects(own, full, class_names, confidence)
    except InputError:  # too few seeds for an interval
        return _changes(own, full), []
    classes = [
        {"label": class_names.index(e.name), "change": e.change, "low": e.low, "high": e.high}
        | ({} if e.has_interval else {"low": None, "high": None})
        for e in effects
        if e.change < 0
    ]
    return classes, [_paying([e.name for e in effects if e.pays])] if classes else []


def _paying(names: Sequence[str]) -> str:
    shown = ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
    which = f"the classes that lose accuracy are {shown}" if names else "no class is shown to lose accuracy"
    return f"The intervals of classes are not corrected; with Holm's correction for all classes, {which}."


def _changes(own: Trials, full: Trials) -> list[dict[str, Any]]:
    """Returns the classes whose mean accuracy over all common seeds is lower, without intervals."""
    seeds = sorted(own.keys() & full.keys())
    if not seeds:
        return []
    changes = np.mean([own[seed].class_accuracy - full[seed].class_accuracy for seed in seeds], axis=0)
    falling = [label for label in np.argsort(changes, kind="stable").tolist() if changes[label] < 0]
    return [{"label": label, "change": float(changes[label]), "low": None, "high": None} for label in falling]


def _difference(difference: evidence.Difference | None) -> dict[str, float | None] | None:
    if difference is None:
        return None
    low, high = (difference.low, difference.high) if difference.has_interval else (None, None)
    return {"mean": difference.mean, "low": low, "high": high}


def _accuracy(own: Sequence[Mapping[str, Any]], full: Sequence[Mapping[str, Any]]) -> list[str]:
    of_own = f"Test accuracy is {_mean_accuracy(own)} after training on the kept images"
    if not full:
        return [f"{of_own}; no trial on all images is finished."]
    return [f"{of_own}, and {_mean_accuracy(full)} after training on all images."]


def _mean_accuracy(results: Sequence[Mapping[str, Any]]) -> str:
    seeds = "1 seed" if len(results) == 1 else f"mean of {len(results)} seeds"
    return f"{100 * np.mean([result['accuracy'] for result in results]):.2f}% ({seeds})"


def _random(verdict: evidence.Verdict) -> list[str]:
    if verdict.method == "random":
        return []
    if verdict.from_random is None:
        return ["Too few trials on random subsets of this size are finished for a comparison."]
    words = evidence.random_words(verdict.from_random)
    return [f"Against random subsets of the same size: {words}."]


def _random_decided(decided: Mapping[str, Any]) -> list[str]:
    versus, random = decided["versus_random"], decided["random"]
    if versus is None:
        return []
    return [
        f"Against random subsets of the same size: {versus['words']}.",
        f"Random subsets themselves: {random['words']}.",
    ]


def _savings(
    own: Sequence[Mapping[str, Any]], full: Sequence[Mapping[str, Any]], equal: str, share_kept: float
) -> list[str]:
    """Returns the saved training time; trials with an equal number of steps do not measure it."""
    saved = percent(1 - share_kept, 4)
    # The median, since the first trial of a process compiles, and an interrupted trial measures only its last part.
    seconds_own, seconds_full = (
        float(np.median([result["train_seconds"] for result in results] or [0.0])) for results in (own, full)
    )
    if equal == "steps":
        line = (
            f"All trials took {own[0]['steps']:,} steps, so that pruning saved no time; at an equal number of epochs, "
            f"training on the kept images would save {saved} of the training time"
        )
        if not full:
            return [f"{line}."]
        return [f"{line}, about {(1 - share_kept) * seconds_full:.3g} of the {seconds_full:.3g} s of a trial (median)."]
    line = f"At an equal number of epochs, training on the kept images saves {saved} of the steps"
    if not full:
        return [f"{line}."]
    return [
        f"{line} ({own[0]['steps']:,} instead of {full[0]['steps']:,}).",
        f"Median training time: {seconds_own:.3g} s on the kept images, {seconds_full:.3g} s on all images.",
    ]
