"""Training trials: their specifications, their results and their execution."""

import dataclasses
import logging
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from etils import epath
from ml_collections import ConfigDict

from data_redundancy import data, training
from data_redundancy.errors import InputError, arguments_named
from data_redundancy.experiment.dataset import FIELDS
from data_redundancy.experiment.fingerprints import Fingerprints
from data_redundancy.experiment.finished import missing
from data_redundancy.experiment.forecast import Forecast
from data_redundancy.runtime import devices
from data_redundancy.store import files, manifests
from data_redundancy.store.workdir import Workdir
from data_redundancy.training.state import TrainState

log = logging.getLogger("data_redundancy")

FULL = "full"
"""Name and method of the selection that keeps everything."""

_RESULT = {
    "selection",
    "method",
    "prune_fraction",
    "seed",
    "num_kept",
    "steps",
    "train_seconds",
    "accuracy",
    "class_accuracy",
    "class_names",
}

TrialResult = dict[str, Any]
"""The content of result.json of a finished trial."""


@dataclasses.dataclass(frozen=True, eq=False)
class TrialSpec:
    """The specification of a trial: one training run on one selection with one seed.

    Attributes:
        selection: name of the selection; `full` for the full set.
        method: name of the selection method.
        prune_fraction: share of the examples that the selection prunes.
        seed: seed of initialisation, order and augmentation.
        keep: [K] int64, the keep list; None for the full set.
    """

    selection: str
    method: str
    prune_fraction: float
    seed: int
    keep: np.ndarray | None

    @classmethod
    def full(cls, seed: int) -> "TrialSpec":
        """Returns the trial on the full set."""
        return cls(selection=FULL, method=FULL, prune_fraction=0.0, seed=seed, keep=None)


def can_run_in_parallel(config: ConfigDict) -> bool:
    """Returns whether trials can be trained at the same time: in one process, with images in memory.

    Raises:
        InputError: if `sweep.trials_per_device` requires it, but there are several processes.
    """
    per_device, num_processes = config.sweep.trials_per_device, devices.process_count()
    if per_device and num_processes > 1:
        raise InputError(
            "sweep.trials_per_device",
            per_device,
            f"must be 0 or None on {num_processes} processes, which train one trial at a time",
        )
    return num_processes == 1 and config.input.mode == "memory"


class Trials:
    """Runs the trials of one config in one workdir."""

    def __init__(
        self,
        config: ConfigDict,
        workdir: Workdir,
        dataset: data.Dataset,
        fingerprints: Fingerprints,
        make_trainer: Callable[[], training.Trainer],
    ):
        """Reads nothing and compiles nothing yet.

        Args:
            config: config of the trials.
            workdir: paths of the trials.
            dataset: data set to train on.
            fingerprints: fingerprints of the config.
            make_trainer: function that returns the trainer; called before a trial is trained.
        """
        self._config, self._workdir, self._dataset = config, workdir, dataset
        self._fingerprints, self._make_trainer = fingerprints, make_trainer
        self._forecast = Forecast()

    def result(self, spec: TrialSpec) -> TrialResult | None:
        """Returns the result of a trial, or None if it is not finished; the same on all processes.

        Raises:
            InputError: if the trial's directory contains a run with other inputs, or its result is damaged.
        """
        directory = self._workdir.trial(spec.selection, spec.seed)
        fingerprint = self._fingerprint(spec)

        def find() -> TrialResult | None:
            # In this order, since the manifest is written before the result.
            result = _read_result(directory / "result.json")
            manifests.is_complete(directory, fingerprint)
            return result

        return devices.call_on_main(find)

    def run(self, spec: TrialSpec, *, parameter_overview: bool = False) -> TrialResult:
        """Returns the result of a trial; trains or resumes the trial if it is not finished."""

        def train(runs: list[training.Run]) -> list[TrialResult]:
            return [self.trainer.train(runs[0], parameter_overview=parameter_overview)]

        return self._run_all([spec], train)[0]

    def run_in_parallel(self, specs: Sequence[TrialSpec]) -> list[TrialResult]:
        """Returns the results of several trials, which train at the same time; all must have the same `shape`."""
        return self._run_all(specs, self.trainer.train_in_parallel)

    def shape(self, spec: TrialSpec) -> tuple[int, ...]:
        """Returns what trials that run in parallel must have in common: steps, warm-up steps and current step."""
        run = self._run(spec)
        return run.num_steps, run.warmup_steps, self.trainer.step_of(run)

    def max_parallel(self) -> int:
        """Returns the largest number of trials to run at the same time; logs it if the config leaves it open."""
        per_device, num_devices = self._config.sweep.trials_per_device, devices.local_devices()
        if per_device is None:
            per_device = self.trainer.max_runs_per_device()
            log.info("sweep: %s (sweep.trials_per_device)", _choice(per_device, num_devices))
        return max(1, per_device * num_devices)

    def announce(self, label: str, num_runs: int) -> None:
        """Logs the number of unfinished training runs, unless the same or a larger number has been logged before.

        Args:
            label: name of the command, with which the messages begin.
            num_runs: number of unfinished runs.
        """
        if num_runs:
            self._forecast.announce(label, num_runs, self.trainer)

    def _run_all(
        self, specs: Sequence[TrialSpec], train: Callable[[list[training.Run]], list[TrialResult]]
    ) -> list[TrialResult]:
        # All checks come first: a manifest without a run would make the corrected command fail. The results are read
        # after them, because another job may have finished or started a trial meanwhile.
        runs = [self._run(spec) for spec in specs]
        _ = self.trainer
        results = [self.result(spec) for spec in specs]
        left = [i for i, result in enumerate(results) if result is None]
        if left:
            if devices.is_main_process():
                for i in left:
                    manifest = manifests.make(self._fingerprint(specs[i]))
                    files.write_json(runs[i].directory / manifests.MANIFEST, manifest)
            # With several runs, an error of writing does not show which run it belongs to.
            at = runs[left[0]].directory if len(left) == 1 else self._workdir.trials
            with files.writing(at), arguments_named(FIELDS):
                measured = train([runs[i] for i in left])
            for i, of_run in zip(left, measured, strict=True):
                results[i] = self._finish(specs[i], of_run)
        return [result for result in results if result is not None]

    def _finish(self, spec: TrialSpec, measured: TrialResult) -> TrialResult:
        """Writes the result of a trial and returns it, unless another job has finished the trial."""
        finished_meanwhile = self.result(spec)
        if finished_meanwhile is not None:
            return finished_meanwhile
        directory = self._workdir.trial(spec.selection, spec.seed)
        result = {
            "selection": spec.selection,
            "method": spec.method,
            "prune_fraction": spec.prune_fraction,
            "seed": spec.seed,
            "num_kept": len(self._keep(spec)),
            **measured,
            "class_accuracy": [None if np.isnan(a) else float(a) for a in measured["class_accuracy"]],
            "class_names": list(self._dataset.class_names),
        }
        if devices.is_main_process():
            files.write_json(directory / "result.json", result)
        devices.barrier(f"finished {directory}")
        return result

    def restore_full(self) -> TrainState:
        """Returns the state at the end of the full run with `train.seed`.

        Raises:
            InputError: if the run is not finished, or its last checkpoint is missing.
        """
        spec = TrialSpec.full(self._config.train.seed)
        run = self._run(spec)
        if self.result(spec) is None:
            raise missing(run.directory / "result.json", "train")
        state = self.trainer.restore(run)
        if state is None or int(state.step) != run.num_steps:
            raise InputError(
                run.directory,
                None,
                f"has no checkpoint of the last step, {run.num_steps}",
                "Remove the directory and run 'data-redundancy train' again",
            )
        return state

    @property
    def trainer(self) -> training.Trainer:
        """The trainer; it is created when first used, and then copies the data set to the devices."""
        return self._make_trainer()

    def _run(self, spec: TrialSpec) -> training.Run:
        keep = self._keep(spec)
        num_steps, warmup_steps = self._fingerprints.durations(len(keep))
        return training.Run(
            name=f"{spec.selection} seed {spec.seed}",
            directory=self._workdir.trial(spec.selection, spec.seed),
            keep=keep,
            seed=spec.seed,
            num_steps=num_steps,
            warmup_steps=warmup_steps,
        )

    def _fingerprint(self, spec: TrialSpec) -> dict[str, Any]:
        return self._fingerprints.trial(self._keep(spec), spec.seed)

    def _keep(self, spec: TrialSpec) -> np.ndarray:
        return np.arange(self._fingerprints.num_train) if spec.keep is None else spec.keep


def _read_result(path: epath.Path) -> TrialResult | None:
    result = files.read_json(path)
    if result is not None and not (isinstance(result, dict) and result.keys() >= _RESULT):
        raise InputError(path, None, "must be the result of a trial", "Remove it and run again")
    return result


def _choice(per_device: int, num_devices: int) -> str:
    """Describes the number of parallel trials that was chosen because `sweep.trials_per_device` is None."""
    if per_device:
        return f"up to {per_device} trials at once on each of {num_devices} devices, as many as fit into memory"
    if jax.default_backend() == "cpu":
        return "one trial at a time, which is fastest on CPU"
    return "one trial at a time, over all devices: a trial does not fit into the memory of one device"
