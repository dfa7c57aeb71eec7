"""The verdicts in words: from the command `answer` if it was run, else from tests for a fixed number of seeds."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from data_redundancy import evidence
from data_redundancy.experiment.answers import Saved, SavedAnswers
from data_redundancy.experiment.experiment import Experiment
from data_redundancy.experiment.results import evidence_trial
from data_redundancy.experiment.trials import TrialResult

Key = tuple[str, float]
"""Method and prune fraction."""
Found = Mapping[Key, Mapping[str, Any]]
"""Results of the command `answer`, by method and fraction."""


def decided(experiment: Experiment, results: Sequence[TrialResult]) -> dict[Key, dict[str, Any]]:
    """Returns the results of `answer` with the margin and confidence of this config, by method and fraction."""
    return _with_same_settings(experiment, experiment.answers.find(results))


def lines(experiment: Experiment, results: Sequence[TrialResult]) -> list[str]:
    """Returns one line with the verdict for every method and fraction, and notes about the verdicts.

    Args:
        experiment: experiment of the trials; its margin, confidence and answers are used.
        results: results of all finished trials.
    """
    trials, settings = [evidence_trial(result) for result in results], experiment.config.evidence
    planned = experiment.config.sweep.fractions
    verdicts = evidence.verdicts(trials, settings.margin, settings.confidence, planned=planned)
    saved = experiment.answers.find(results)
    found = _with_same_settings(experiment, saved)
    by_tests = [verdict for verdict in verdicts if _key(verdict) not in found]
    return [
        *(
            f"{v.method}: {found[_key(v)]['words'] if _key(v) in found else evidence.verdict_words(v)}."
            for v in verdicts
        ),
        *_against_random(verdicts, found),
        *_how_many_seeds(by_tests, saved, found),
        *_asked_separately(experiment, found),
    ]


def _with_same_settings(experiment: Experiment, saved: SavedAnswers) -> dict[Key, dict[str, Any]]:
    return {key: of["found"] for key, of in saved.items() if _has_same_settings(experiment, of)}


def _has_same_settings(experiment: Experiment, saved: Saved) -> bool:
    settings = experiment.config.evidence
    return all(saved["plan"].get(name) == settings[name] for name in ("margin", "confidence"))


def _key(verdict: evidence.Verdict) -> Key:
    return verdict.method, verdict.prune_fraction


def _against_random(verdicts: Sequence[evidence.Verdict], found: Found) -> list[str]:
    """Returns lines that list the selections that are better or worse than random subsets of the same size."""
    shown: dict[str, list[Key]] = {evidence.Versus.BETTER: [], evidence.Versus.WORSE: []}
    for verdict in verdicts:
        by_answer = found.get(_key(verdict), {}).get("versus_random")
        by_test = None if verdict.from_random is None else verdict.from_random.outcome
        outcome = by_answer["outcome"] if by_answer else by_test
        if outcome in shown:
            shown[outcome].append(_key(verdict))
    return [f"Shown to be {outcome} subsets: {_names(keys)}." for outcome, keys in shown.items() if keys]


def _how_many_seeds(by_tests: Sequence[evidence.Verdict], saved: SavedAnswers, found: Found) -> list[str]:
    """Returns notes about the assumption of a fixed number of seeds."""
    notes = []
    if any(verdict.outcome is evidence.Outcome.OPEN for verdict in by_tests):
        notes.append(
            "Adding seeds until a result is significant inflates the error rate; 'answer' uses a sequential test that "
            "controls it."
        )
    if otherwise := "; ".join(f"{key[0]}: {of['found']['words']}" for key, of in saved.items() if key not in found):
        notes.append(
            f"'answer' was run with another margin or confidence, which determined the number of trials: {otherwise}."
        )
    if found:
        # Trials on the full set are shared: an answer about another selection may have chosen their number.
        if unasked := _names([_key(verdict) for verdict in by_tests if _key(verdict) not in saved]):
            notes.append(f"Not tested by 'answer', so that the verdicts assume a fixed number of seeds: {unasked}.")
        notes.append("Intervals, except repeated confidence intervals, also assume a fixed number of seeds.")
    return notes


def _asked_separately(experiment: Experiment, found: Collection[Key]) -> list[str]:
    """Returns a note about methods with several fractions that were tested separately, not in one search."""
    separate = []
    for method in dict.fromkeys(method for method, _ in found):
        keys = [key for key in found if key[0] == method]
        searched = experiment.answers.searched(method)
        if len(keys) > 1 and not {fraction for _, fraction in keys} <= {*searched}:
            separate += keys
    if not separate:
        return []
    return [
        f"Tested separately, each with its own error rate (--largest has one for all fractions): {_names(separate)}."
    ]


def _names(keys: Sequence[Key]) -> str:
    return ", ".join(f"{method} {100 * fraction:.6g}%" for method, fraction in keys)
