"""Training trials: shared by the stages that train."""

import dataclasses
import json
import logging
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from data_redundancy import models, training
from data_redundancy.errors import InputError
from data_redundancy.experiment import dataset as common
from data_redundancy.experiment import fingerprints, inputs
from data_redundancy.runtime import devices as parallel
from data_redundancy.store import artifacts, workdir
from data_redundancy.store.workdir import Workdir
from data_redundancy.training.schedule import scaled_learning_rate

log = logging.getLogger("data_redundancy")

FULL = "full"
"""Name and method of the selection that keeps everything."""


@dataclasses.dataclass(frozen=True)
class TrialSpec:
    """A trial to be run: a keep list (None for the full set) and a seed."""

    selection: str
    method: str
    prune_fraction: float
    seed: int
    keep: np.ndarray | None


def can_run_together(config: ConfigDict) -> bool:
    """Whether trials can run together here: in one process, with images in memory.

    Raises:
        InputError: if they cannot for there are several processes, and `sweep.trials_per_device` asks for it.
    """
    asked, processes = config.sweep.trials_per_device, parallel.process_count()
    if asked and processes > 1:
        raise InputError(
            f"--config.sweep.trials_per_device={asked}: must be 0 or None on {processes} processes, which train one "
            "trial at a time"
        )
    return processes == 1 and config.input.mode == "memory"


class Trials:
    """Runs the trials of one config in one workdir; compiles once."""

    def __init__(self, config: ConfigDict, directory: Workdir):
        self._config, self._workdir = config, directory
        self._dataset = common.load_dataset(config)
        self._trainer = None

    def full(self, seed: int) -> TrialSpec:
        """The trial on the full set."""
        return TrialSpec(selection=FULL, method=FULL, prune_fraction=0.0, seed=seed, keep=None)

    def result(self, plan: TrialSpec) -> dict[str, Any] | None:
        """The result of a finished trial, None of any other; on several processes what the main one finds.

        Raises:
            InputError: if the trial's directory holds a run of something else.
        """
        directory = self._workdir.trial(plan.selection, plan.seed)
        fingerprint = self._fingerprint(plan)

        def find() -> dict[str, Any] | None:
            # In this order: of a result that is there, so is the manifest.
            result = workdir.read_json(directory / "result.json")
            common.is_done(directory, fingerprint)
            return result

        return workdir.as_main_finds(find)

    def run(self, plan: TrialSpec, *, parameter_overview: bool = False) -> dict[str, Any]:
        """The result of a trial; trains it first, from its newest checkpoint if it has one, unless it is finished."""
        trainer = self.trainer
        return self._run_all([plan], lambda runs: [trainer.train(runs[0], parameter_overview=parameter_overview)])[0]

    def run_together(self, plans: Sequence[TrialSpec]) -> list[dict[str, Any]]:
        """As `run`, all at the same time; `alike` is the same of all of them."""
        return self._run_all(plans, self.trainer.train_together)

    def alike(self, plan: TrialSpec) -> tuple[int, ...]:
        """What trials that run together must have in common: their length, their warm-up and how far they are."""
        run = self._run(plan)
        return run.num_steps, run.warmup_steps, self.trainer.step_of(run)

    def at_once(self) -> int:
        """How many trials to run together, at most, by `sweep.trials_per_device`; says what it chose."""
        per_device, devices = self._config.sweep.trials_per_device, parallel.local_devices()
        if per_device is None:
            per_device = self.trainer.runs_that_fit()
            log.info("sweep: %s (sweep.trials_per_device)", _choice(per_device, devices))
        return max(1, per_device * devices)

    def _run_all(
        self, plans: Sequence[TrialSpec], train: Callable[[list[training.Run]], list[dict[str, Any]]]
    ) -> list[dict[str, Any]]:
        # First what may still be refused: a manifest without a run would stand in the way of the corrected command.
        # It takes a while: another job may finish a trial, or begin one of something else.
        runs = [self._run(plan) for plan in plans]
        results = [self.result(plan) for plan in plans]
        left = [i for i, result in enumerate(results) if result is None]
        if not left:
            return results
        if parallel.is_main_process():
            for i in left:
                manifest = artifacts.manifest(self._fingerprint(plans[i]))
                workdir.write_json(runs[i].directory / "manifest.json", manifest)
        # Of several it is not known whose files cannot be written.
        at = runs[left[0]].directory if len(left) == 1 else self._workdir.trials
        with workdir.writing(at), common.arguments_named(common.DATASET_FIELDS):
            measured = train([runs[i] for i in left])
        for i, of_run in zip(left, measured, strict=True):
            results[i] = self._finish(plans[i], of_run)
        return results

    def _finish(self, plan: TrialSpec, measured: dict[str, Any]) -> dict[str, Any]:
        """Writes the result of a trial unless there is one."""
        finished_meanwhile = self.result(plan)
        if finished_meanwhile is not None:
            return finished_meanwhile
        directory = self._workdir.trial(plan.selection, plan.seed)
        result = {
            "selection": plan.selection,
            "method": plan.method,
            "prune_fraction": plan.prune_fraction,
            "seed": plan.seed,
            "num_kept": len(self._keep(plan)),
            **measured,
            "class_accuracy": [None if np.isnan(a) else float(a) for a in measured["class_accuracy"]],
            "class_names": list(self._dataset.class_names),
        }
        if parallel.is_main_process():
            workdir.write_json(directory / "result.json", result)
        parallel.barrier(f"finished {directory}")
        return result

    def restore_full(self) -> tuple[training.Trainer, Any]:
        """The trainer and the state at the end of the full run with `train.seed`.

        Raises:
            InputError: if that run is not finished, or its last checkpoint is gone.
        """
        plan = self.full(self._config.train.seed)
        run = self._run(plan)
        if self.result(plan) is None:
            raise InputError(f"{run.directory}: no finished training run; run the stage 'train' first")
        state = self.trainer.restore(run)
        if state is None or int(state.step) != run.num_steps:
            raise InputError(
                f"{run.directory}: no checkpoint of the last step, {run.num_steps}; remove the directory and run the "
                "stage 'train' again"
            )
        return self.trainer, state

    @property
    def trainer(self) -> training.Trainer:
        """Made when first needed: it puts the data on the devices."""
        if self._trainer is None:
            self._trainer = _cached_trainer(self._config)
        return self._trainer

    def _run(self, plan: TrialSpec) -> training.Run:
        num_steps, warmup_steps = fingerprints.durations(self._config, len(self._keep(plan)))
        return training.Run(
            name=f"{plan.selection} seed {plan.seed}",
            directory=self._workdir.trial(plan.selection, plan.seed),
            keep=self._keep(plan),
            seed=plan.seed,
            num_steps=num_steps,
            warmup_steps=warmup_steps,
        )

    def _fingerprint(self, plan: TrialSpec) -> dict[str, Any]:
        return fingerprints.trial(self._config, self._keep(plan), plan.seed)

    def _keep(self, plan: TrialSpec) -> np.ndarray:
        return np.arange(len(self._dataset.train.labels)) if plan.keep is None else plan.keep


def _choice(per_device: int, devices: int) -> str:
    """In words, what was chosen where nothing is asked for."""
    if per_device:
        return f"up to {per_device} trials at once on each of {devices} devices, for which there is memory"
    if jax.default_backend() == "cpu":
        return "one trial at a time, as is fastest on CPU"
    return "one trial at a time, over all devices: a whole one does not fit into the memory of each"


_trainers: dict[str, training.Trainer] = {}


def _cached_trainer(config: ConfigDict) -> training.Trainer:
    """One trainer per process for the stages that `run` goes through: its compiled functions are used again."""
    key = json.dumps([config[s].to_dict() for s in ("dataset", "input", "model", "train", "embed")], sort_keys=True)
    if key not in _trainers:
        _trainers.clear()
        _trainers[key] = _make_trainer(config)
    return _trainers[key]


def _make_trainer(config: ConfigDict) -> training.Trainer:
    dataset, train = common.load_dataset(config), config.train
    model = models.create(
        config.model.name,
        num_classes=len(dataset.class_names),
        width=config.model.width,
        stem=config.model.stem,
        dtype=jnp.dtype(train.dtype),
        axis_name=parallel.AXIS,
    )
    streams = config.input.mode == "stream"
    settings = training.TrainSettings(
        batch_size=train.batch_size,
        learning_rate=scaled_learning_rate(
            train.learning_rate, batch_size=train.batch_size, given_for=train.learning_rate_batch_size
        ),
        optimizer=train.optimizer,
        momentum=train.momentum,
        weight_decay=train.weight_decay,
        trust_coefficient=train.trust_coefficient,
        label_smoothing=train.label_smoothing,
        ema_decay=train.ema_decay,
        pad=train.pad,
        flip=train.flip,
        cutout=train.cutout,
        steps_per_call=train.steps_per_call or training.default_steps_per_call(streams=streams),
        log_every_steps=train.log_every_steps,
        checkpoint_every_steps=train.checkpoint_every_steps,
        keep_checkpoints=train.keep_checkpoints,
        profile_steps=train.profile_steps,
        eval_batch_size=config.embed.batch_size,
    )
    train_input, test_input = inputs.make(config, dataset)
    return training.Trainer(model, settings, num_classes=len(dataset.class_names), train=train_input, test=test_input)
