"""Questions that are answered by adding seeds in rounds: their plans, and what was found."""

import copy
import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from etils import epath
from ml_collections import ConfigDict

from data_redundancy import evidence
from data_redundancy.errors import InputError
from data_redundancy.experiment import dataset, fingerprints
from data_redundancy.runtime import devices
from data_redundancy.selection import METHODS
from data_redundancy.selection.allocation import num_pruned
from data_redundancy.store import workdir as workdirs
from data_redundancy.store.workdir import Workdir

RANDOM = "random"

_FORMAT = {"format": "data_redundancy answer", "version": 2}
_NAMES = {
    "margin": "--config.evidence.margin",
    "confidence": "--config.evidence.confidence",
    "seed": "--config.evidence.seed",
    "looks": "numbers of seeds to look at (--max_trials, --config.evidence.first_look, .look_every)",
    "fractions": "--config.sweep.fractions",
}


@dataclasses.dataclass(frozen=True)
class Question:
    """Can a share of the training images go; of several shares, which is the largest that can?

    Attributes:
        method: that says which images go.
        fractions: the shares, rising; several of them are tested upwards, until one is not a "yes".
        margin: the loss of accuracy that is still accepted, a fraction.
        plan: when to look.
        seed: the first of the seeds, which count up.
    """

    method: str
    fractions: tuple[float, ...]
    margin: float
    plan: evidence.LookSchedule
    seed: int

    @property
    def sides(self) -> tuple[str, ...]:
        """The methods that a trial is run of for every seed, besides the one on the full set."""
        return sides(self.method)

    def seeds(self, number: int) -> tuple[int, ...]:
        """The first `number` seeds."""
        return tuple(range(self.seed, self.seed + number))

    def narrow(self, config: ConfigDict, *, fraction: float, fractions: Sequence[float], num_seeds: int) -> ConfigDict:
        """A config whose sweep has just the first `num_seeds` seeds, and some fractions; it selects `fraction`."""
        narrowed = copy.deepcopy(config)
        narrowed.select.fraction = fraction
        narrowed.select.seed = self.seed
        narrowed.sweep.fractions = tuple(fractions)
        narrowed.sweep.methods = self.sides
        narrowed.sweep.seeds = self.seeds(num_seeds)
        return narrowed

    def name(self, fraction: float | None) -> str:
        """The name of what is saved about a fraction, or with None of the search for the largest."""
        return f"{self.method}-largest" if fraction is None else workdirs.selection_name(self.method, fraction)

    def planned(self, fraction: float | None) -> dict[str, Any]:
        """What must not change after the first look, as it is saved."""
        asked = {"fractions": list(self.fractions)} if fraction is None else {"fraction": fraction}
        return {
            "method": self.method,
            **asked,
            "margin": self.margin,
            "confidence": self.plan.confidence,
            "looks": list(self.plan.looks),
            "seed": self.seed,
        }


def sides(method: str) -> tuple[str, ...]:
    """The methods that are compared with the full set."""
    return tuple(dict.fromkeys((method, RANDOM)))


def ask(config: ConfigDict, *, largest: bool) -> Question:
    """The question of `select.method` and `.fraction`, or of `sweep.fractions` for the largest.

    Raises:
        InputError: if nothing is to go, or so few trials or seeds are allowed that there can be no look.
    """
    asked, method = config.evidence, config.select.method
    fractions = tuple(sorted(config.sweep.fractions)) if largest else (config.select.fraction,)
    if not fractions[0] > 0:
        raise InputError(f"--fraction={fractions[0]:g}: must be greater than 0 and less than 1")
    per_seed = 1 + len(sides(method))
    if asked.max_trials < per_seed * asked.first_look:
        raise InputError(
            f"--max_trials={asked.max_trials}: must be at least {per_seed * asked.first_look}: the first look is at "
            f"{asked.first_look} seeds (--config.evidence.first_look), each with {per_seed} trials "
            f"(full, {', '.join(sides(method))})"
        )
    looks = evidence.rounds(asked.first_look, asked.look_every, asked.max_trials // per_seed)
    if asked.seed + looks[-1] > 2**32:
        raise InputError(
            f"--config.evidence.seed={asked.seed}: must be at most {2**32 - looks[-1]}, for {looks[-1]} seeds"
        )
    return Question(method, fractions, asked.margin, evidence.make_look_schedule(looks, asked.confidence), asked.seed)


def stages_before(config: ConfigDict, method: str) -> list[str]:
    """The stages whose artifacts the selections of a method need, in order."""
    trees = fingerprints.needs_trees(config, method)
    stages = ["prepare"]
    if trees or "embeddings" in METHODS[method].needs:
        stages += ["train", "embed"]
    if trees:
        stages.append("cluster")
    if fingerprints.score_name(config, method) is not None:
        stages.append("score")
    return stages


def check_size(config: ConfigDict, question: Question) -> None:
    """Raises InputError if a fraction is too small to remove an image."""
    num_train, smallest = len(dataset.load_dataset(config).train.labels), question.fractions[0]
    if num_pruned(num_train, smallest) == 0:
        field = "--fraction" if len(question.fractions) == 1 else "--config.sweep.fractions"
        raise InputError(
            f"{field}={smallest:g}: must be more than {0.5 / num_train:.6g}, to remove one of {num_train:,}"
        )


def check_fingerprint(
    config: ConfigDict,
    workdir: Workdir,
    question: Question,
    fraction: float | None,
    saved: Mapping[str, Any] | None,
) -> None:
    """Raises InputError if what is saved of a question is about trials of something else."""
    if saved is not None:
        path = workdir.answer(question.name(fraction))
        workdirs.check_fingerprint(path, saved["fingerprint"], _made_from(config, question, fraction))


def check_plan(workdir: Workdir, question: Question, fraction: float | None) -> dict[str, Any] | None:
    """What is saved of a question; None where it was never asked. The same on all processes.

    Raises:
        InputError: if it was planned otherwise.
    """
    path = workdir.answer(question.name(fraction))
    saved = workdirs.as_main_finds(lambda: _read(path))
    if saved is None:
        return None
    there, now = saved["plan"], question.planned(fraction)
    differing = [name for name in now if there.get(name) != now[name]]
    if differing:
        told = "; ".join(f"{_NAMES.get(n, n)}: {_text(there.get(n))} there, {_text(now[n])} now" for n in differing)
        unseen = there["seed"] + there["looks"][-1]
        raise InputError(
            f"{path}: planned otherwise before the first look: {told}. Whoever changes a plan after looking errs more "
            "often than the confidence says: give that plan, or ask in another --workdir, with trials that nobody has "
            f"seen (--config.evidence.seed={unseen}), or remove the file if no result was seen yet"
        )
    return saved


def save(
    config: ConfigDict,
    workdir: Workdir,
    question: Question,
    fraction: float | None,
    found: Mapping[str, Any] | None,
    trials_before: int = 0,
) -> None:
    """Saves a question with its plan, how many trials were there before, and what the looks so far found.

    The main process does.
    """
    if devices.is_main_process():
        most = question.plan.looks[-1]
        content = {
            **_FORMAT,
            "fingerprint": _made_from(config, question, fraction),
            "plan": question.planned(fraction),
            "levels": list(question.plan.levels),
            "seeds": list(question.seeds(most)),
            "trials_before": trials_before,
            "found": found,
        }
        path = workdir.answer(question.name(fraction))
        with workdirs.writing(path):
            workdirs.write_if_changed(path, (json.dumps(content, indent=2) + "\n").encode())
    devices.barrier(f"saved {question.name(fraction)} {None if found is None else found.get('num_seeds')}")


def answered(config: ConfigDict, workdir: Workdir, method: str, fraction: float) -> dict[str, Any] | None:
    """The plan and what was found, "plan" and "found", of a question about the trials of this config; else None."""
    saved = _read(workdir.answer(workdirs.selection_name(method, fraction)))
    if saved is None or saved["found"] is None:
        return None
    made_from = fingerprints.answer(config, method, fraction, saved["plan"]["seed"])
    return None if workdirs.differing_fields(saved["fingerprint"], made_from) else saved


def searched(workdir: Workdir, method: str) -> list[float]:
    """The fractions of which the largest was searched that can go; none where there was no search."""
    saved = _read(workdir.answer(f"{method}-largest"))
    return [] if saved is None else saved["plan"]["fractions"]


def _made_from(config: ConfigDict, question: Question, fraction: float | None) -> dict[str, Any]:
    return fingerprints.answer(config, question.method, fraction, question.seed)


def _read(path: epath.Path) -> dict[str, Any] | None:
    saved = workdirs.read_json(path)
    if saved is None:
        return None
    complete = isinstance(saved, dict) and all(isinstance(saved.get(name), dict) for name in ("plan", "fingerprint"))
    if not complete or "found" not in saved or any(saved.get(name) != value for name, value in _FORMAT.items()):
        raise InputError(f"{path}: not what the stage 'answer' writes; restore it, or remove it and run 'answer' again")
    return saved


def _text(value: Any) -> str:
    return ", ".join(f"{v:g}" for v in value) if isinstance(value, list) else str(value)
