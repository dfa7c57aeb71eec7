"""The training runs that compute scores of training images."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from etils import epath
from ml_collections import ConfigDict

from data_redundancy import training
from data_redundancy.errors import InputError, arguments_named
from data_redundancy.experiment.dataset import FIELDS, float32_model
from data_redundancy.experiment.fingerprints import Fingerprints
from data_redundancy.experiment.trainer import clipped_batch_size
from data_redundancy.runtime import devices
from data_redundancy.store import artifacts, files, manifests
from data_redundancy.store.workdir import Workdir

log = logging.getLogger("data_redundancy")


class ScoreRuns:
    """Training runs on the full set that compute scores; each run computes all scores that are needed.

    Error and gradient norms are written as soon as they are computed. Forgetting events are counted from the mistakes
    after every epoch, which are saved in the run's directory until the run ends, so that an interrupted run can resume.
    """

    def __init__(
        self,
        config: ConfigDict,
        workdir: Workdir,
        fingerprints: Fingerprints,
        make_trainer: Callable[[], training.Trainer],
        names: Sequence[str],
        *,
        num_classes: int,
    ):
        """Reads nothing yet.

        Args:
            config: config of the runs.
            workdir: paths of the runs and the scores.
            fingerprints: fingerprints of the config.
            make_trainer: function that returns the trainer; called before a run is trained.
            names: names of the scores, from `selection.SCORES`.
            num_classes: number of classes of the data set.
        """
        self._config, self._workdir, self._names = config, workdir, list(names)
        self._fingerprints, self._make_trainer, self._num_classes = fingerprints, make_trainer, num_classes
        self._steps = {name: fingerprints.score_steps(name) for name in names}
        self._scorer: training.Scorer | None = None

    def todo(self, seed: int) -> list[str]:
        """Returns the scores of a seed that are missing."""

        def find() -> list[str]:
            return [name for name in self._names if not manifests.is_complete(*self._artifact(name, seed))]

        return devices.call_on_main(find)

    def run(self, seed: int) -> None:
        """Trains or resumes the run of a seed, and writes the scores that are missing.

        Raises:
            InputError: if the run's directory contains a run with other inputs, or lacks files that it wrote before.
        """
        todo, run = self.todo(seed), self._begun(seed)
        steps = sorted({step for name in todo for step in self._steps[name]})

        def look(step: int, state: Any) -> None:
            for name in todo:
                if step in self._steps[name]:
                    self._score(name, run, step, state.variables)

        with files.writing(run.directory), arguments_named(FIELDS):
            self._make_trainer().train_with_callback(run, steps, look)
        if "forgetting" in todo:
            self._count_forgetting(run)
        if lost := self.todo(seed):
            raise InputError(
                run.directory,
                None,
                f"has lost the files from which the scores {', '.join(lost)} are computed",
                "Remove the directory and run 'data-redundancy score' again",
            )

    def clean_up(self, seed: int) -> None:
        """Removes the directory of a run that has computed all scores."""
        if devices.is_main_process():
            self._workdir.score_run(seed).rmtree(missing_ok=True)

    def _begun(self, seed: int) -> training.Run:
        """Writes the manifest of the run of a seed, and returns the run."""
        # All checks come first: a manifest without a run would make the corrected command fail.
        num_examples = self._make_trainer().train_split.num_examples
        num_steps, warmup_steps = self._fingerprints.durations(num_examples)
        directory, fingerprint = self._workdir.score_run(seed), self._fingerprints.scores(self._names, seed)
        begun = devices.call_on_main(lambda: manifests.is_complete(directory, fingerprint))
        if not begun and devices.is_main_process():
            files.write_json(directory / manifests.MANIFEST, manifests.make(fingerprint))
        return training.Run(
            name=f"score seed {seed}",
            directory=directory,
            keep=np.arange(num_examples),
            seed=seed,
            num_steps=num_steps,
            warmup_steps=warmup_steps,
        )

    def _score(self, name: str, run: training.Run, step: int, variables: Any) -> None:
        """Computes and writes a score at one of its steps, or the mistakes from which forgetting is counted."""
        if self._scorer is None:
            model, split = float32_model(self._config, self._num_classes), self._make_trainer().train_split
            batch_size = clipped_batch_size(self._config.embed.batch_size, split.num_examples)
            self._scorer = training.Scorer(model, split, batch_size=batch_size)
        if name == "forgetting":
            mistaken = self._scorer.mistaken(variables)
            if devices.is_main_process():
                with files.atomic_file(_mistaken_path(run, step)) as partial:
                    np.save(partial, mistaken)
            return
        compute = {"el2n": self._scorer.error_norms, "grad_norm": self._scorer.gradient_norms}[name]
        self._write(name, run.seed, compute(variables))

    def _count_forgetting(self, run: training.Run) -> None:
        paths = [_mistaken_path(run, step) for step in self._steps["forgetting"]]
        if not devices.call_on_main(lambda: all(path.exists() for path in paths)):
            return
        mistaken = [_read(path) for path in paths] if devices.is_main_process() else [np.zeros(0, bool)]
        self._write("forgetting", run.seed, training.forgetting_events(np.stack(mistaken)))

    def _write(self, name: str, seed: int, scores: np.ndarray) -> None:
        directory, fingerprint = self._artifact(name, seed)
        artifacts.write_scores(directory, scores, fingerprint)

    def _artifact(self, name: str, seed: int) -> tuple[epath.Path, dict[str, Any]]:
        return self._workdir.score(name, seed), self._fingerprints.scores([name], seed)


def _mistaken_path(run: training.Run, step: int) -> epath.Path:
    return run.directory / "mistaken" / f"{step}.npy"


def _read(path: epath.Path) -> np.ndarray:
    with path.open("rb") as file:
        return np.load(file)
