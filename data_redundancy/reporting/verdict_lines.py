"""What can go, of all that trials were run on, in lines: by what the stage `answer` found, else by tests."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from data_redundancy import evidence
from data_redundancy.experiment import questions
from data_redundancy.experiment.trials import FULL
from data_redundancy.reporting import answer_text
from data_redundancy.store.workdir import Workdir

Results = Sequence[Mapping[str, Any]]
Found = Mapping[tuple[str, float], Mapping[str, Any]]
"""What `answer` found, by method and fraction."""


def decided(config: ConfigDict, workdir: Workdir, results: Results) -> dict[tuple[str, float], dict[str, Any]]:
    """What the stage `answer` found, asked with the margin and confidence of this config, by method and fraction."""
    saved = _answered(config, workdir, results)
    return {key: of["found"] for key, of in saved.items() if _asked_so(config, of)}


def lines(config: ConfigDict, workdir: Workdir, results: Results) -> list[str]:
    """One line for every method and fraction: whether it can go; then what there is to note about them.

    Args:
        config: its margin and confidence.
        workdir: with the trials.
        results: of all finished trials.
    """
    trials, asked = [answer_text.trial(result) for result in results], config.evidence
    verdicts = evidence.verdicts(trials, asked.margin, asked.confidence, planned=config.sweep.fractions)
    saved = _answered(config, workdir, results)
    found = {key: of["found"] for key, of in saved.items() if _asked_so(config, of)}
    by_tests = [verdict for verdict in verdicts if _key(verdict) not in found]
    return [
        *(
            f"{v.method}: {found[_key(v)]['words'] if _key(v) in found else evidence.verdict_words(v)}."
            for v in verdicts
        ),
        *_against_random(verdicts, found),
        *_how_many_seeds(by_tests, saved, found),
        *_asked_separately(workdir, found),
    ]


def _answered(config: ConfigDict, workdir: Workdir, results: Results) -> dict[tuple[str, float], dict[str, Any]]:
    keys = dict.fromkeys((r["method"], r["prune_fraction"]) for r in results if r["method"] != FULL)
    return {key: of for key in keys if (of := questions.answered(config, workdir, *key)) is not None}


def _asked_so(config: ConfigDict, saved: Mapping[str, Any]) -> bool:
    return all(saved["plan"].get(name) == config.evidence[name] for name in ("margin", "confidence"))


def _key(verdict: evidence.Verdict) -> tuple[str, float]:
    return verdict.method, verdict.prune_fraction


def _against_random(verdicts: Sequence[evidence.Verdict], found: Found) -> list[str]:
    """Which selections are shown to be better or worse than random subsets of the same size."""
    shown: dict[str, list[tuple[str, float]]] = {evidence.Versus.BETTER: [], evidence.Versus.WORSE: []}
    for verdict in verdicts:
        by_answer = found.get(_key(verdict), {}).get("versus_random")
        by_test = None if verdict.from_random is None else verdict.from_random.outcome
        outcome = by_answer["outcome"] if by_answer else by_test
        if outcome in shown:
            shown[outcome].append(_key(verdict))
    return [f"Shown to be {outcome} subsets: {_names(keys)}." for outcome, keys in shown.items() if keys]


def _how_many_seeds(by_tests: Sequence[evidence.Verdict], saved: Found, found: Found) -> list[str]:
    """What tests for a number of seeds fixed beforehand do not know of."""
    notes = []
    if any(verdict.outcome is evidence.Outcome.OPEN for verdict in by_tests):
        notes.append(
            "Whoever adds seeds until it is settled errs more often than the confidence says; 'answer' adds them by a "
            "rule that keeps to it."
        )
    if otherwise := "; ".join(f"{key[0]}: {of['found']['words']}" for key, of in saved.items() if key not in found):
        notes.append(
            f"'answer' was asked with another margin or confidence, and so chose the number of trials: {otherwise}."
        )
    if found:
        # Trials on the full set are the same for all: their number may come of the answer about another selection.
        if unasked := _names([_key(verdict) for verdict in by_tests if _key(verdict) not in saved]):
            notes.append(f"Not asked by 'answer', so as if the number of seeds had been fixed: {unasked}.")
        notes.append("Intervals other than repeated ones are as if the number of seeds had been fixed.")
    return notes


def _asked_separately(workdir: Workdir, found: Collection[tuple[str, float]]) -> list[str]:
    """Of which methods several fractions were asked about, but not in one search."""
    told = []
    for method in dict.fromkeys(method for method, _ in found):
        keys = [key for key in found if key[0] == method]
        if len(keys) > 1 and not {fraction for _, fraction in keys} <= {*questions.searched(workdir, method)}:
            told += keys
    if not told:
        return []
    return [f"Asked one by one, each with its own chance to err (--largest has one for all): {_names(told)}."]


def _names(keys: Sequence[tuple[str, float]]) -> str:
    return ", ".join(f"{method} {100 * fraction:.6g}%" for method, fraction in keys)
