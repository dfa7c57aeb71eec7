"""Scores of training images: which ones a config needs, the runs that give them, and their means over runs."""

import logging
from typing import Any

import numpy as np
from etils import epath
from ml_collections import ConfigDict

from data_redundancy import training
from data_redundancy.errors import InputError
from data_redundancy.experiment import dataset, fingerprints
from data_redundancy.experiment.trials import Trials
from data_redundancy.runtime import devices
from data_redundancy.selection.pool import check_scores
from data_redundancy.selection.top_score import SCORES
from data_redundancy.store import artifacts, workdir
from data_redundancy.store.workdir import Workdir

log = logging.getLogger("data_redundancy")


def needed(config: ConfigDict) -> list[str]:
    """The scores that the methods of `select` and `sweep` go by."""
    names = {fingerprints.score_name(config, method) for method in (config.select.method, *config.sweep.methods)}
    return [name for name in SCORES if name in names]


def read(config: ConfigDict, directory: Workdir, name: str) -> np.ndarray:
    """The mean [N] float64 of a score over the runs with `score.seeds`.

    Raises:
        InputError: if one is missing, was made from something else, or has been changed to what is no finite number for
            each of the training images.
    """
    rows, num_examples = [], len(dataset.load_dataset(config).train.labels)
    for seed in config.score.seeds:
        path = directory.score(name, seed)
        dataset.require(path, fingerprints.scores(config, [name], seed), "score")
        rows.append(artifacts.read_scores(path))
        check_scores(rows[-1], num_examples, str(path))
    return np.mean(rows, axis=0, dtype=np.float64)


class ScoreRuns:
    """Runs on the full set, each of which gives all scores that are needed; compiles once.

    Error and gradient norms are written as soon as they are known. What forgetting is counted from, the mistakes after
    every epoch, lies in the run's directory until the run is over: one that was cut off goes on from its newest
    checkpoint.
    """

    def __init__(self, config: ConfigDict, directory: Workdir, names: list[str]):
        """`names` are those of the scores."""
        self._config, self._workdir, self._names = config, directory, names
        self._trials = Trials(config, directory)
        self._steps = {name: fingerprints.score_steps(config, name) for name in names}
        self._scorer = None

    def todo(self, seed: int) -> list[str]:
        """The scores that a run with this seed has still to give."""

        def find() -> list[str]:
            return [name for name in self._names if not dataset.is_done(*self._artifact(name, seed))]

        return workdir.as_main_finds(find)

    def run(self, seed: int) -> None:
        """Trains, from the newest checkpoint where there is one, and writes what is to do.

        Raises:
            InputError: if the run that is there is one of something else, or has lost what it gave before.
        """
        todo, run = self.todo(seed), self._begun(seed)
        steps = sorted({step for name in todo for step in self._steps[name]})

        def look(step: int, state: Any) -> None:
            for name in todo:
                if step in self._steps[name]:
                    self._score(name, run, step, state.variables)

        with workdir.writing(run.directory), dataset.arguments_named(dataset.DATASET_FIELDS):
            self._trials.trainer.visit(run, steps, look)
        if "forgetting" in todo:
            self._count_forgetting(run)
        if lost := self.todo(seed):
            raise InputError(
                f"{run.directory}: has lost what it gave of {', '.join(lost)}; remove the directory and run the stage "
                "'score' again"
            )

    def clean_up(self, seed: int) -> None:
        """Removes a run that has given all."""
        if devices.is_main_process():
            self._workdir.score_run(seed).rmtree(missing_ok=True)

    def _begun(self, seed: int) -> training.Run:
        """The run of a seed, its manifest written."""
        # First what may still be refused: a manifest without a run would stand in the way of the corrected command.
        num_examples = self._trials.trainer.train_split.num_examples
        num_steps, warmup_steps = fingerprints.durations(self._config, num_examples)
        directory, fingerprint = self._workdir.score_run(seed), self._fingerprint(self._names, seed)
        if not workdir.as_main_finds(lambda: dataset.is_done(directory, fingerprint)) and devices.is_main_process():
            workdir.write_json(directory / workdir.MANIFEST, artifacts.manifest(fingerprint))
        return training.Run(
            name=f"score seed {seed}",
            directory=directory,
            keep=np.arange(num_examples),
            seed=seed,
            num_steps=num_steps,
            warmup_steps=warmup_steps,
        )

    def _score(self, name: str, run: training.Run, step: int, variables: Any) -> None:
        """Takes a score at one of its steps, or what it is counted from."""
        if self._scorer is None:
            model, split = dataset.float32_model(self._config), self._trials.trainer.train_split
            self._scorer = training.Scorer(model, split, batch_size=self._config.embed.batch_size)
        if name == "forgetting":
            mistaken = self._scorer.mistaken(variables)
            if devices.is_main_process():
                with workdir.atomic_file(_mistaken_path(run, step)) as partial:
                    np.save(partial, mistaken)
            return
        take = {"el2n": self._scorer.error_norms, "grad_norm": self._scorer.gradient_norms}[name]
        self._write(name, run.seed, take(variables))

    def _count_forgetting(self, run: training.Run) -> None:
        paths = [_mistaken_path(run, step) for step in self._steps["forgetting"]]
        if not workdir.as_main_finds(lambda: all(path.exists() for path in paths)):
            return
        mistaken = [_read(path) for path in paths] if devices.is_main_process() else [np.zeros(0, bool)]
        self._write("forgetting", run.seed, training.forgetting_events(np.stack(mistaken)))

    def _write(self, name: str, seed: int, scores: np.ndarray) -> None:
        directory, fingerprint = self._artifact(name, seed)
        artifacts.write_scores(directory, scores, fingerprint)

    def _artifact(self, name: str, seed: int) -> tuple[epath.Path, dict[str, Any]]:
        return self._workdir.score(name, seed), self._fingerprint([name], seed)

    def _fingerprint(self, names: list[str], seed: int) -> dict[str, Any]:
        return fingerprints.scores(self._config, names, seed)


def _mistaken_path(run: training.Run, step: int) -> epath.Path:
    return run.directory / "mistaken" / f"{step}.npy"


def _read(path: epath.Path) -> np.ndarray:
    with path.open("rb") as file:
        return np.load(file)
