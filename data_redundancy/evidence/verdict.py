"""Verdicts on selections, and the sentences that state them.

No run, step or seed is chosen by its test accuracy: the accuracy of a trial is that of its last step, and all trials
count.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from enum import StrEnum

from data_redundancy.evidence.difference import MIN_SEEDS, Difference
from data_redundancy.evidence.effects import Effect, compare, interval, p_different
from data_redundancy.evidence.formatting import percent
from data_redundancy.evidence.limits import one_sided, require_confidence, require_margin
from data_redundancy.evidence.multiplicity import holm
from data_redundancy.evidence.noninferiority import MarginTest, Outcome, margin_test
from data_redundancy.evidence.power import MOST_SEEDS, more_seeds
from data_redundancy.evidence.sequential import Decision
from data_redundancy.evidence.trials import FULL, RANDOM, Trial, group_by_selection

_UNTESTED = MarginTest(noninferior_p=1.0, inferior_p=1.0)


class Versus(StrEnum):
    """The result of comparing a selection with random subsets of the same size."""

    BETTER = "better than random"
    WORSE = "worse than random"
    OPEN = "no difference from random shown"


@dataclass(frozen=True)
class RandomVerdict:
    """The comparison of a selection with random subsets of the same size.

    Attributes:
        outcome: The answer, by the two-sided p-value of "no difference".
        difference: Accuracy minus that of random subsets, with the interval of this fraction alone.
        confidence: Level of the interval.
        repeated: Whether the interval is a repeated one, valid at each of several looks, as in `Decision`.
    """

    outcome: Versus
    difference: Difference
    confidence: float
    repeated: bool = False


@dataclass(frozen=True)
class Verdict:
    """The answer to whether a share of the training data can be pruned.

    Attributes:
        method: The selection's method.
        prune_fraction: Share of the training examples removed, in (0, 1).
        outcome: The answer, by p-values that are corrected for the number of fractions by Holm's rule.
        margin: The largest acceptable loss, a fraction.
        confidence: Level of the interval; the error rate of each claim over all fractions is half of 1 - confidence.
        num_seeds: Number of seeds of the difference; without a difference, that of the side that has fewer seeds.
        difference: Accuracy minus that of the full set, with the interval of this fraction alone; None where either
            side has fewer than 2 trials.
        num_fractions: The number of fractions of this method that were corrected for.
        settled_alone: Whether the interval leaves out -margin. If the outcome is still open, only the correction
            requires more seeds.
        more_seeds: How many more seeds would probably settle an open outcome; None for more than 100.
        from_random: The comparison with random subsets; None for random itself and where either side has fewer than 2
            trials.
    """

    method: str
    prune_fraction: float
    outcome: Outcome
    margin: float
    confidence: float
    num_seeds: int
    difference: Difference | None
    num_fractions: int
    settled_alone: bool
    more_seeds: int | None
    from_random: RandomVerdict | None


def verdicts(
    trials: Iterable[Trial], margin: float = 0.005, confidence: float = 0.95, *, planned: Iterable[float] = ()
) -> list[Verdict]:
    """Judges every selection against the full set and against random subsets.

    Holm's correction is over the fractions of one method, on each side of the margin. A fraction with too few trials
    counts in the correction too. The verdicts are valid for numbers of trials that were fixed beforehand; use
    `sequential` to add seeds until there is an answer.

    Args:
        trials: Finished trials in any order.
        margin: The largest acceptable loss, a fraction: 0.005 is half a percentage point.
        confidence: Level of the intervals, in (0, 1).
        planned: Prune fractions that count for every method, in addition to those that have trials.

    Returns:
        The verdicts by method name, with random last, then by prune fraction.

    Raises:
        InputError: If a (method, fraction, seed) occurs twice, the trials of a selection kept different numbers of
            examples, `margin` is outside (0, 0.5) or `confidence` is outside (0, 1).
    """
    require_margin(margin)
    require_confidence(confidence)
    selections = group_by_selection(trials)
    methods = sorted({method for method, _ in selections} - {FULL}, key=lambda method: (method == RANDOM, method))
    full, planned = selections.get((FULL, 0.0), {}), set(planned)
    random = {fraction: by_seed for (method, fraction), by_seed in selections.items() if method == RANDOM}
    return [
        verdict
        for method in methods
        for verdict in _of_method(
            method,
            {fraction: selections[name, fraction] for name, fraction in sorted(selections) if name == method},
            full,
            {} if method == RANDOM else random,
            planned,
            margin,
            confidence,
        )
    ]


def verdict_words(verdict: Verdict) -> str:
    """Returns the verdict as one line, with differences in percentage points."""
    share = percent(verdict.prune_fraction)
    if verdict.difference is None:
        return (
            f"{Outcome.OPEN} for {share}: needs at least {_seeds(MIN_SEEDS)}, of it and of the full set "
            f"(so far {verdict.num_seeds})"
        )
    needed = f": {_more(verdict.more_seeds)}"
    if verdict.settled_alone:
        needed = f" with Holm's correction for {verdict.num_fractions} fractions{needed}"
    found = _found(verdict.difference, f"{percent(verdict.confidence)} CI")
    return _answer(verdict.outcome, share, verdict.margin, needed, found)


def random_words(verdict: RandomVerdict) -> str:
    """Returns the comparison with random subsets as one line, with differences in percentage points."""
    interval_name = f"{percent(verdict.confidence)} {'repeated ' if verdict.repeated else ''}CI"
    return f"{verdict.outcome} ({_found(verdict.difference, interval_name)})"


def random_at_look(decision: Decision, effect: Effect) -> RandomVerdict:
    """Judges a selection against random subsets at the look of a decision.

    The difference from the full set, which shares the selection's trials, decided when to stop. So the level is that of
    the look here too: the interval is valid for any reason to stop.

    Args:
        decision: The decision on the selection.
        effect: The selection's difference from random subsets at the same look.
    """
    level = decision.level
    return RandomVerdict(
        outcome=_versus(effect, p_different(effect) < 2 * level),
        difference=interval(effect, 1 - 2 * level),
        confidence=decision.confidence,
        repeated=True,
    )


def other_at_look(decision: Decision, effect: Effect) -> Decision:
    """Judges another selection against the full set at the look of a decision.

    Args:
        decision: The decision on the selection in question.
        effect: The other selection's difference from the full set at the same look.
    """
    return dataclasses.replace(
        decision,
        outcome=margin_test(effect, decision.margin).outcome(decision.level),
        effect=effect,
        difference=interval(effect, 1 - 2 * decision.level),
    )


def decision_words(decision: Decision, prune_fraction: float) -> str:
    """Returns the decision on a fraction as one line, with differences in percentage points."""
    needed = _still_needed(decision) if decision.outcome is Outcome.OPEN else ""
    found = _found(decision.difference, f"{percent(decision.confidence)} repeated CI")
    return _answer(decision.outcome, percent(prune_fraction), decision.margin, needed, found)


def other_words(decision: Decision, prune_fraction: float) -> str:
    """Returns the result of `other_at_look` as one line, with differences in percentage points."""
    found = _found(decision.difference, f"{percent(decision.confidence)} repeated CI")
    return _answer(decision.outcome, percent(prune_fraction), decision.margin, "", found)


def _of_method(
    method: str,
    by_fraction: Mapping[float, Mapping[int, Trial]],
    full: Mapping[int, Trial],
    random: Mapping[float, Mapping[int, Trial]],
    planned: Set[float],
    margin: float,
    confidence: float,
) -> list[Verdict]:
    """Judges one method at every fraction that has trials; `verdicts` describes the arguments."""
    level = one_sided(confidence)
    effects = [_effect(trials, full) for trials in by_fraction.values()]
    tests = [margin_test(effect, margin) if effect else _UNTESTED for effect in effects]
    asked = [*tests, *[_UNTESTED] * len(planned - by_fraction.keys())]
    adjusted = [
        MarginTest(*pair)
        for pair in zip(
            holm([test.noninferior_p for test in asked]), holm([test.inferior_p for test in asked]), strict=True
        )
    ]
    outcomes = [test.outcome(level) for test in adjusted]
    against_random = _against_random(by_fraction, random, len(asked), confidence)
    return [
        Verdict(
            method=method,
            prune_fraction=fraction,
            outcome=outcome,
            margin=margin,
            confidence=confidence,
            num_seeds=effect.num_seeds if effect else min(len(trials), len(full)),
            difference=interval(effect, confidence) if effect else None,
            num_fractions=len(asked),
            settled_alone=test.outcome(level) is not Outcome.OPEN,
            more_seeds=_missing_seeds(effect, margin, level, outcomes) if effect and outcome is Outcome.OPEN else None,
            from_random=versus,
        )
        for (fraction, trials), effect, test, outcome, versus in zip(
            by_fraction.items(), effects, tests, outcomes, against_random, strict=False
        )
    ]


def _missing_seeds(effect: Effect, margin: float, level: float, outcomes: Sequence[Outcome]) -> int | None:
    """Returns `more_seeds` at the level of Holm's next step, on the side of the margin where the mean lies."""
    claim = Outcome.YES if effect.mean > -margin else Outcome.NO
    return more_seeds(effect, -margin, level / sum(outcome is not claim for outcome in outcomes))


def _against_random(
    by_fraction: Mapping[float, Mapping[int, Trial]],
    random: Mapping[float, Mapping[int, Trial]],
    num_asked: int,
    confidence: float,
) -> list[RandomVerdict | None]:
    """Compares every fraction of one method with random subsets, with Holm's correction for `num_asked` fractions."""
    effects = [_effect(trials, random.get(fraction, {})) for fraction, trials in by_fraction.items()]
    p_values = [p_different(effect) if effect else 1.0 for effect in effects]
    adjusted = holm([*p_values, *[1.0] * (num_asked - len(p_values))])
    return [
        RandomVerdict(_versus(effect, p_value < 1 - confidence), interval(effect, confidence), confidence)
        if effect
        else None
        for effect, p_value in zip(effects, adjusted, strict=False)
    ]


def _effect(trials: Mapping[int, Trial], others: Mapping[int, Trial]) -> Effect | None:
    return compare(trials, others) if min(len(trials), len(others)) >= MIN_SEEDS else None


def _still_needed(decision: Decision) -> str:
    if decision.next_look is not None:
        return f": the next look is at {_seeds(decision.next_look)}"
    used, more = decision.effect.num_seeds, more_seeds(decision.effect, -decision.margin, decision.level)
    # Seeds that have been looked at cannot count again, so a new question needs new seeds only.
    fresh = f"more than {_seeds(used + MOST_SEEDS)}" if more is None else f"about {_seeds(used + more)}"
    return f" with all {_seeds(used)} that were planned: a new question would need {fresh}"


def _versus(effect: Effect, differs: bool) -> Versus:
    if not differs:
        return Versus.OPEN
    return Versus.BETTER if effect.mean > 0 else Versus.WORSE


def _answer(outcome: Outcome, share: str, margin: float, needed: str, found: str) -> str:
    number = f"{100 * margin:.6g}"
    points = f"{number} point{'' if number == '1' else 's'}"
    match outcome:
        case Outcome.YES:
            return f"{share} can go: accuracy stays within {points} of the full set ({found})"
        case Outcome.NO:
            return f"no: {share} cannot go: accuracy falls by more than {points} ({found})"
        case Outcome.OPEN:
            return f"{outcome} for {share} within {points}{needed} ({found})"


def _more(seeds: int | None) -> str:
    count = f"more than {MOST_SEEDS} more seeds" if seeds is None else f"about {_seeds(seeds, 'more ')}"
    return f"{count} would settle it"


def _found(difference: Difference, interval_name: str) -> str:
    ends = f"{interval_name} {100 * difference.low:+z.2f} to {100 * difference.high:+z.2f}"
    if not difference.has_interval:
        ends = f"no {interval_name} as nothing varies"
    return f"difference {100 * difference.mean:+z.2f}, {ends}, {_seeds(difference.num_seeds)}"


def _seeds(number: int, before: str = "") -> str:
    return f"{number} {before}seed{'' if number == 1 else 's'}"
