"""The answer, and the words for it.

Nothing here chooses a run, a step or a seed by its test accuracy: a trial's accuracy is that of its last step, and all
trials count.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from enum import StrEnum

from data_redundancy.evidence.difference import MIN_SEEDS, Difference
from data_redundancy.evidence.effects import Effect, compare, interval, p_different
from data_redundancy.evidence.limits import one_sided, require_confidence, require_margin
from data_redundancy.evidence.multiplicity import holm
from data_redundancy.evidence.noninferiority import MarginTest, Outcome, margin_test
from data_redundancy.evidence.power import MOST_SEEDS, more_seeds
from data_redundancy.evidence.sequential import Decision
from data_redundancy.evidence.trials import FULL, RANDOM, Trial, group_by_selection

_UNTESTED = MarginTest(noninferior_p=1.0, inferior_p=1.0)


class Versus(StrEnum):
    """How a selection does against random subsets of the same size."""

    BETTER = "better than random"
    WORSE = "worse than random"
    OPEN = "no difference from random shown"


@dataclass(frozen=True)
class RandomVerdict:
    """A selection against random subsets of the same size.

    Attributes:
        outcome: By `adjusted_p`.
        difference: Accuracy minus that of random subsets, with the interval of this fraction alone.
        confidence: Level of the interval.
        adjusted_p: Two-sided p-value of "no difference", corrected for the number of fractions by Holm's rule.
        repeated: Whether the interval is that of one of several looks, as in `Decision`.
    """

    outcome: Versus
    difference: Difference
    confidence: float
    adjusted_p: float
    repeated: bool = False


@dataclass(frozen=True)
class Verdict:
    """Whether a share of the training data can go.

    Attributes:
        method: The selection's method.
        prune_fraction: Share of the training examples removed, in (0, 1).
        outcome: By the adjusted p-values below.
        margin: The loss that is still accepted, a fraction.
        confidence: Level of the interval; each claim has half of 1 - confidence as its error over all fractions.
        num_seeds: Seeds that count: those of the difference, or of the side that has fewer where there is none.
        difference: Accuracy minus that of the full set, with the interval of this fraction alone; None for fewer than 2
            trials on either side.
        adjusted: The p-values against the margin, corrected for the number of fractions by Holm's rule.
        num_fractions: How many fractions of this method were corrected for.
        settled_alone: Whether the interval leaves out -margin; then, if still not shown, it is the correction that asks
            for more.
        more_seeds: If not shown yet, how many more seeds would probably settle it; None for more than 100.
        from_random: Against random subsets; None for random itself and for fewer than 2 trials on either side.
    """

    method: str
    prune_fraction: float
    outcome: Outcome
    margin: float
    confidence: float
    num_seeds: int
    difference: Difference | None
    adjusted: MarginTest
    num_fractions: int
    settled_alone: bool
    more_seeds: int | None
    from_random: RandomVerdict | None


def verdicts(
    trials: Iterable[Trial], margin: float = 0.005, confidence: float = 0.95, *, planned: Iterable[float] = ()
) -> list[Verdict]:
    """Judges every selection against the full set and against random subsets.

    Holm's correction is over the fractions of one method, on each side of the margin; a fraction without trials enough,
    or none yet, counts as one that was asked. It holds for trials whose number was fixed beforehand: whoever adds seeds
    until the answer comes out needs `sequential`.

    Args:
        trials: Finished trials in any order.
        margin: The loss that is still accepted, a fraction: 0.005 is half a point.
        confidence: Level of the intervals, in (0, 1).
        planned: Prune fractions that are asked of every method, besides those that have trials.

    Returns:
        By method name with random last, then by prune fraction.

    Raises:
        InputError: If a (method, fraction, seed) occurs twice, `margin` is outside (0, 0.5) or `confidence` is outside
            (0, 1).
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
    """The verdict as one line, differences in percentage points."""
    percent = _percent(verdict.prune_fraction)
    if verdict.difference is None:
        return (
            f"{Outcome.OPEN} for {percent}: needs at least {_seeds(MIN_SEEDS)}, of it and of the full set "
            f"(so far {verdict.num_seeds})"
        )
    needed = f": {_more(verdict.more_seeds)}"
    if verdict.settled_alone:
        needed = f" with Holm's correction for {verdict.num_fractions} fractions{needed}"
    found = _found(verdict.difference, f"{_percent(verdict.confidence)} CI")
    return _answer(verdict.outcome, percent, verdict.margin, needed, found)


def random_words(verdict: RandomVerdict) -> str:
    """How the selection does against random, as one line, differences in percentage points."""
    interval_name = f"{_percent(verdict.confidence)} {'repeated ' if verdict.repeated else ''}CI"
    return f"{verdict.outcome} ({_found(verdict.difference, interval_name)})"


def random_at_look(decision: Decision, effect: Effect) -> RandomVerdict:
    """Judges a selection against random subsets at the look that a decision speaks of.

    When to stop was decided by the difference from the full set, which shares the selection's trials. So the level is
    that of the look here as well: the interval holds whatever made one stop.

    Args:
        decision: What the looks say of the selection.
        effect: Its difference from random subsets at the same look.
    """
    level, p_value = decision.level, p_different(effect)
    return RandomVerdict(
        outcome=_versus(effect, p_value < 2 * level),
        difference=interval(effect, 1 - 2 * level),
        confidence=decision.confidence,
        adjusted_p=p_value,
        repeated=True,
    )


def other_at_look(decision: Decision, effect: Effect) -> Decision:
    """What can be said of another selection than the one asked about, against the full set at the same look.

    Args:
        decision: What the looks say of the selection that was asked about.
        effect: The difference of the other one from the full set at the same look.
    """
    return dataclasses.replace(
        decision,
        outcome=margin_test(effect, decision.margin).outcome(decision.level),
        effect=effect,
        difference=interval(effect, 1 - 2 * decision.level),
    )


def decision_words(decision: Decision, prune_fraction: float) -> str:
    """What the looks so far say about a fraction, as one line, differences in percentage points."""
    needed = _still_needed(decision) if decision.outcome is Outcome.OPEN else ""
    found = _found(decision.difference, f"{_percent(decision.confidence)} repeated CI")
    return _answer(decision.outcome, _percent(prune_fraction), decision.margin, needed, found)


def other_words(decision: Decision, prune_fraction: float) -> str:
    """What `other_at_look` says, as one line, differences in percentage points."""
    found = _found(decision.difference, f"{_percent(decision.confidence)} repeated CI")
    return _answer(decision.outcome, _percent(prune_fraction), decision.margin, "", found)


def _of_method(
    method: str,
    by_fraction: Mapping[float, Mapping[int, Trial]],
    full: Mapping[int, Trial],
    random: Mapping[float, Mapping[int, Trial]],
    planned: Set[float],
    margin: float,
    confidence: float,
) -> list[Verdict]:
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
            adjusted=p_values,
            num_fractions=len(asked),
            settled_alone=test.outcome(level) is not Outcome.OPEN,
            more_seeds=_missing_seeds(effect, margin, level, outcomes) if effect and outcome is Outcome.OPEN else None,
            from_random=versus,
        )
        for (fraction, trials), effect, test, p_values, outcome, versus in zip(
            by_fraction.items(), effects, tests, adjusted, outcomes, against_random, strict=False
        )
    ]


def _missing_seeds(effect: Effect, margin: float, level: float, outcomes: Sequence[Outcome]) -> int | None:
    """As `more_seeds`, at the level of Holm's next step on the side of the margin where the mean lies."""
    claim = Outcome.YES if effect.mean > -margin else Outcome.NO
    return more_seeds(effect, -margin, level / sum(outcome is not claim for outcome in outcomes))


def _against_random(
    by_fraction: Mapping[float, Mapping[int, Trial]],
    random: Mapping[float, Mapping[int, Trial]],
    num_asked: int,
    confidence: float,
) -> list[RandomVerdict | None]:
    effects = [_effect(trials, random.get(fraction, {})) for fraction, trials in by_fraction.items()]
    p_values = [p_different(effect) if effect else 1.0 for effect in effects]
    adjusted = holm([*p_values, *[1.0] * (num_asked - len(p_values))])
    return [
        RandomVerdict(_versus(effect, p_value < 1 - confidence), interval(effect, confidence), confidence, p_value)
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
    # Seeds that have been looked at cannot count again, so it takes all of them anew.
    fresh = f"more than {_seeds(used + MOST_SEEDS)}" if more is None else f"about {_seeds(used + more)}"
    return f" with all {_seeds(used)} that were planned: a new question would need {fresh}"


def _versus(effect: Effect, differs: bool) -> Versus:
    if not differs:
        return Versus.OPEN
    return Versus.BETTER if effect.mean > 0 else Versus.WORSE


def _answer(outcome: Outcome, percent: str, margin: float, needed: str, found: str) -> str:
    number = f"{100 * margin:.6g}"
    points = f"{number} point{'' if number == '1' else 's'}"
    match outcome:
        case Outcome.YES:
            return f"{percent} can go: accuracy stays within {points} of the full set ({found})"
        case Outcome.NO:
            return f"no: {percent} cannot go: accuracy falls by more than {points} ({found})"
        case Outcome.OPEN:
            return f"{outcome} for {percent} within {points}{needed} ({found})"


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


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.6g}%"
