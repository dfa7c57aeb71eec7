"""Answers in a workdir: the plan of every question, which is saved before the first look, and the result."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from etils import epath

from data_redundancy.errors import InputError
from data_redundancy.experiment.fingerprints import Fingerprints
from data_redundancy.experiment.questions import Question
from data_redundancy.experiment.trials import FULL, TrialResult
from data_redundancy.runtime import devices
from data_redundancy.store import files, manifests
from data_redundancy.store.workdir import Workdir, selection_name

Saved = dict[str, Any]
"""The content of an answer's file, with the keys "fingerprint", "plan", "trials_before", "found" and others."""
SavedAnswers = Mapping[tuple[str, float], Saved]
"""Answers by method and prune fraction."""

_FORMAT = {"format": "data_redundancy answer", "version": 2}
_FIELDS = {
    "margin": "evidence.margin",
    "confidence": "evidence.confidence",
    "seed": "evidence.seed",
    "looks": "numbers of seeds at the looks (evidence.max_trials, .first_look, .look_every)",
    "fractions": "sweep.fractions",
}


class Answers:
    """The answers about the trials of one config in one workdir."""

    def __init__(self, workdir: Workdir, fingerprints: Fingerprints):
        self._workdir, self._fingerprints = workdir, fingerprints

    def check_fingerprint(self, question: Question, fraction: float | None, saved: Saved | None) -> None:
        """Raises InputError if a saved answer is about trials with other inputs."""
        if saved is not None:
            path = self._workdir.answer(question.name(fraction))
            manifests.check_fingerprint(path, saved["fingerprint"], self._fingerprint(question, fraction))

    def save(
        self,
        question: Question,
        fraction: float | None,
        found: Mapping[str, Any] | None,
        trials_before: int = 0,
    ) -> None:
        """Saves a question with its plan; the main process writes the file.

        Args:
            question: the question.
            fraction: one of its fractions, or None for the search for the largest fraction.
            found: the result of the looks so far; None before the first look.
            trials_before: number of trials that were finished before the plan was saved.
        """
        if devices.is_main_process():
            content = {
                **_FORMAT,
                "fingerprint": self._fingerprint(question, fraction),
                "plan": question.plan(fraction),
                "levels": list(question.schedule.levels),
                "seeds": list(question.seeds(question.schedule.looks[-1])),
                "trials_before": trials_before,
                "found": found,
            }
            path = self._workdir.answer(question.name(fraction))
            with files.writing(path):
                files.write_if_changed(path, (json.dumps(content, indent=2) + "\n").encode())
        devices.barrier(f"saved {question.name(fraction)} {None if found is None else found.get('num_seeds')}")

    def find(self, results: Iterable[TrialResult]) -> SavedAnswers:
        """Returns the saved answers about trials of this config, for the methods and fractions in `results`."""
        keys = dict.fromkeys((r["method"], r["prune_fraction"]) for r in results if r["method"] != FULL)
        return {key: saved for key in keys if (saved := self._answered(*key)) is not None}

    def _answered(self, method: str, fraction: float) -> Saved | None:
        saved = _read(self._workdir.answer(selection_name(method, fraction)))
        if saved is None or saved["found"] is None:
            return None
        made_from = self._fingerprints.answer(method, fraction, saved["plan"]["seed"])
        return None if manifests.differing_fields(saved["fingerprint"], made_from) else saved

    def searched(self, method: str) -> list[float]:
        """Returns the fractions among which the largest was searched for; an empty list if there was no search."""
        saved = _read(self._workdir.answer(f"{method}-largest"))
        return [] if saved is None else saved["plan"]["fractions"]

    def _fingerprint(self, question: Question, fraction: float | None) -> dict[str, Any]:
        return self._fingerprints.answer(question.method, fraction, question.seed)


def find_saved(workdir: Workdir, question: Question, fraction: float | None) -> Saved | None:
    """Returns the saved answer to a question, or None if there is no file; the same on all processes.

    Does not read the data set, so that a changed plan is rejected early.

    Raises:
        InputError: if the question was saved with another plan.
    """
    path = workdir.answer(question.name(fraction))
    saved = devices.call_on_main(lambda: _read(path))
    if saved is None:
        return None
    then, now = saved["plan"], question.plan(fraction)
    differing = [name for name in now if then.get(name) != now[name]]
    if differing:
        shown = "; ".join(f"{_FIELDS.get(n, n)}: {_text(then.get(n))} then, {_text(now[n])} now" for n in differing)
        unseen = then["seed"] + then["looks"][-1]
        raise InputError(
            path,
            None,
            f"has another plan, made before the first look: {shown}. Changing a plan after looking inflates the error "
            "rate",
            f"Use the saved plan; or use another workdir with new seeds (evidence.seed={unseen}); or remove the file "
            "if no result has been seen yet",
        )
    return saved


def _read(path: epath.Path) -> Saved | None:
    saved = files.read_json(path)
    if saved is None:
        return None
    complete = isinstance(saved, dict) and all(isinstance(saved.get(name), dict) for name in ("plan", "fingerprint"))
    if not complete or "found" not in saved or any(saved.get(name) != value for name, value in _FORMAT.items()):
        raise InputError(
            path,
            None,
            "is not a file that 'data-redundancy answer' writes",
            "Restore it, or remove it and run 'data-redundancy answer' again",
        )
    return saved


def _text(value: Any) -> str:
    return ", ".join(f"{v:g}" for v in value) if isinstance(value, list) else str(value)
