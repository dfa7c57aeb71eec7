"""What trials say about a selection, in words and numbers for the report."""

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
    """The answer first: what pruning costs, and what it saves.

    Args:
        results: of all finished trials; empty where there are none.
        name: of the selection that is asked about.
        method: that made it.
        fraction: the share to prune that was asked for.
        num_kept: how many images it keeps.
        num_train: of how many.
        equal: what trials share, steps or epochs.
        confidence: level of intervals.
        margin: the loss of accuracy that is still accepted, a fraction.
        planned: the prune fractions that are asked of every method.
        decided: what the stage `answer` found where it was asked, by method and fraction: "words", "versus_random". It
            added seeds until the answer came out, which the tests here know nothing of.

    Returns:
        "headline", "lines", and as "others" the answers about other selections.
    """
    share = percent(1 - num_kept / num_train, 4)
    images = f"Pruned: {num_train - num_kept:,} of {num_train:,} training images ({share}); {num_kept:,} are kept."
    if num_kept == num_train:
        return {"headline": "Nothing goes: this selection keeps every image", "lines": [images], "others": []}
    if not results:
        headline = f"No trial was run: what pruning {percent(fraction, 4)} costs is not known yet"
        lines = [images, "The stage 'sweep' trains on what is kept, and measures it."]
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
        headline = f"No trial of {name} is finished: what it costs is not known yet"
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
    """An answer as it holds for the selection that a veto has changed since."""
    told = "No trial was run on what the veto leaves: accuracies, and what can go, are of the selection before it."
    return {**answer, "headline": f"Before the veto: {answer['headline']}", "lines": [told, *answer["lines"]]}


def accuracy(rows: Sequence[evidence.Row]) -> list[dict[str, Any]]:
    """The rows of `evidence.summarise` as the report takes them."""
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
    """The classes whose accuracy fell against the full set, those that lost most first, and what there is to note."""
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
    which = f"those that lose accuracy are {shown}" if names else "none is shown to lose accuracy"
    return f"Intervals of classes are of each alone; with Holm's correction for all classes, {which}."


def _changes(own: Trials, full: Trials) -> list[dict[str, Any]]:
    """Without intervals, over the seeds there are."""
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
    of_own = f"Test accuracy is {_mean_accuracy(own)} on what is kept"
    return [f"{of_own}, {_mean_accuracy(full)} on all images." if full else f"{of_own}; no trial on all is finished."]


def _mean_accuracy(results: Sequence[Mapping[str, Any]]) -> str:
    seeds = "1 seed" if len(results) == 1 else f"mean of {len(results)} seeds"
    return f"{100 * np.mean([result['accuracy'] for result in results]):.2f}% ({seeds})"


def _random(verdict: evidence.Verdict) -> list[str]:
    if verdict.method == "random":
        return []
    if verdict.from_random is None:
        return ["There are too few trials on random subsets of this size to compare with."]
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
    """What is saved of training time, which is not what a trial measured where trials took equally many steps."""
    saved = percent(1 - share_kept, 4)
    # The median, since the first trial of a process compiles, and one that was cut off has timed only its end.
    seconds_own, seconds_full = (
        float(np.median([result["train_seconds"] for result in results] or [0.0])) for results in (own, full)
    )
    if equal == "steps":
        line = (
            f"All trials took {own[0]['steps']:,} steps, so none of them trained for less; at an equal number of "
            f"epochs a run on what is kept would save {saved} of the training time"
        )
        if not full:
            return [f"{line}."]
        return [f"{line}, about {(1 - share_kept) * seconds_full:.3g} of the {seconds_full:.3g} s of a trial (median)."]
    line = f"Trained for as many epochs, a run on what is kept saves {saved} of the steps"
    if not full:
        return [f"{line}."]
    return [
        f"{line} ({own[0]['steps']:,} instead of {full[0]['steps']:,}).",
        f"Measured: {seconds_own:.3g} s of training on what is kept, {seconds_full:.3g} s on all images (medians).",
    ]
