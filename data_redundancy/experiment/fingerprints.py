"""Fingerprints of artifacts: flat mappings from the names of the fields that an artifact depends on to their values.

The fingerprint of an artifact contains the fingerprints of the artifacts that it is made from.
"""

import functools
import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from data_redundancy import data, training
from data_redundancy.errors import InputError
from data_redundancy.experiment.config_rules import MOST_STEPS
from data_redundancy.experiment.requirements import needs_dendrograms, score_name
from data_redundancy.selection import METHODS
from data_redundancy.training import optimizers

# These fields change how a run is executed, but not its result; or fingerprints contain them in another form: durations
# in steps, and the seed of each run.
_NOT_COMPARED = (
    "seed",
    "steps",
    "epochs",
    "warmup_steps",
    "warmup_epochs",
    "steps_per_call",
    "log_every_steps",
    "checkpoint_every_steps",
    "keep_checkpoints",
    "profile_steps",
)
# Fields of `input` that do not change results. With images in memory, only the normalisation changes results.
_INPUT_NOT_COMPARED = ("threads", "prefetch", "catalog_dir", "corrupt")
_INPUT_IN_MEMORY = ("mean", "std")
_TEST_SPLIT = ("dataset.test_split", "dataset.num_test", "dataset.test_digest")


class Fingerprints:
    """The fingerprints of all artifacts of one config on one data set."""

    def __init__(self, config: ConfigDict, dataset: data.Dataset):
        self._config, self._dataset = config, dataset

    @property
    def num_train(self) -> int:
        """The number of training images."""
        return len(self._dataset.train.labels)

    @functools.cached_property
    def _of_dataset(self) -> dict[str, Any]:
        return self._dataset.fingerprint()

    def durations(self, num_kept: int) -> tuple[int, int]:
        """Returns the steps of training and of warm-up on `num_kept` examples.

        Both are the same for all selections; with sweep.equal=epochs, they are proportional to `num_kept`.

        Raises:
            InputError: if the warm-up takes all of the training, or there are too many steps.
        """
        train = self._config.train
        full = self._steps("steps", "epochs")
        warmup = self._steps("warmup_steps", "warmup_epochs")
        share = num_kept / self.num_train if self._config.sweep.equal == "epochs" else 1
        num_steps, num_warmup_steps = max(1, round(full * share)), round(warmup * share)
        if num_warmup_steps >= num_steps:
            name = "warmup_epochs" if train.warmup_steps is None else "warmup_steps"
            raise InputError(
                f"train.{name}",
                train[name],
                f"makes {num_warmup_steps} steps of warm-up, but must make fewer than the {num_steps} steps of "
                f"training on {num_kept:,} images",
            )
        return num_steps, num_warmup_steps

    def _steps(self, steps_name: str, epochs_name: str) -> int:
        """Returns the steps on the full set of a duration that the config gives in steps or in epochs."""
        train = self._config.train
        num_steps = training.duration(
            steps=train[steps_name],
            epochs=train[epochs_name],
            num_examples=self.num_train,
            batch_size=train.batch_size,
        )
        if num_steps > MOST_STEPS:
            requirement = f"gives {num_steps:,} steps, but at most {MOST_STEPS:,} are allowed"
            raise InputError(f"train.{epochs_name}", train[epochs_name], requirement, "Train for fewer epochs")
        return num_steps

    def trial(self, keep: np.ndarray, seed: int) -> dict[str, Any]:
        """Returns the fingerprint of a training run on the indices `keep`."""
        num_steps, num_warmup_steps = self.durations(len(keep))
        return {
            **self._of_dataset,
            **self._input(),
            **{f"model.{k}": v for k, v in self._config.model.to_dict().items()},
            **self._train(),
            "train.steps": num_steps,
            "train.warmup_steps": num_warmup_steps,
            "train.seed": seed,
            "keep list": hashlib.sha256(keep.astype("<i8").tobytes()).hexdigest()[:16],
        }

    def _train(self) -> dict[str, Any]:
        """Returns the fields that change the result of training with this optimizer, except its length and seed."""
        optimizer = self._config.train.optimizer
        return {
            f"train.{k}": v
            for k, v in self._config.train.to_dict().items()
            if k not in _NOT_COMPARED and optimizers.ONLY_FOR.get(k, optimizer) == optimizer
        }

    def _input(self) -> dict[str, Any]:
        fields = {k: v for k, v in self._config.input.to_dict().items() if k not in _INPUT_NOT_COMPARED}
        if self._config.input.mode == "memory":
            fields = {k: fields[k] for k in _INPUT_IN_MEMORY if fields[k]}
        return {f"input.{k}": v for k, v in fields.items()}

    def embeddings(self) -> dict[str, Any]:
        """Returns the fingerprint of the embeddings, which come from the run on the full set with `train.seed`."""
        return _without_test_split(self.embeddings_test())

    def embeddings_test(self) -> dict[str, Any]:
        """Returns the fingerprint of the test split's embeddings, which come from the same run."""
        return self.trial(self._full, self._config.train.seed)

    @functools.cached_property
    def _full(self) -> np.ndarray:
        return np.arange(self.num_train)

    def dendrograms(self) -> dict[str, Any]:
        """Returns the fingerprint of the dendrograms, without their depth, which the files themselves show."""
        cluster = self._config.cluster
        return {**self.embeddings(), "cluster.linkage": cluster.linkage, "cluster.scope": cluster.scope}

    def score_steps(self, name: str) -> tuple[int, ...]:
        """Returns the steps after which a score is computed, one of `selection.SCORES`.

        Error and gradient norms are computed once; forgetting events are counted between the ends of epochs, all of
        which have the same number of steps.

        Raises:
            InputError: if a run on the full set has too few steps.
        """
        if name != "forgetting":
            return (self._score_step("epochs", default_share=0.1),)
        last = self._score_step("forgetting_epochs", default_share=1)
        epoch = max(1, round(self.num_train / self._config.train.batch_size))
        if last < 2 * epoch:
            raise InputError(
                "score.forgetting_epochs",
                self._config.score.forgetting_epochs,
                f"makes {last} steps, but forgetting is counted between the ends of two epochs and needs at least "
                f"{2 * epoch}",
            )
        return tuple(range(epoch, last + 1, epoch))

    def _score_step(self, field: str, *, default_share: float) -> int:
        """Returns the epochs in a score field as a step of a run on the full set; by default a share of the run."""
        epochs, batch_size = self._config.score[field], self._config.train.batch_size
        num_steps, _ = self.durations(self.num_train)
        step = round(default_share * num_steps if epochs is None else epochs * self.num_train / batch_size)
        if step > num_steps:
            raise InputError(
                f"score.{field}",
                epochs,
                f"must be at most {num_steps * batch_size / self.num_train:.6g}, the epochs of a run on the full set",
            )
        return max(1, step)

    def scores(self, names: Sequence[str], seed: int) -> dict[str, Any]:
        """Returns the fingerprint of the scores that a run with this seed computes."""
        steps = [self.score_steps(name)[-1] for name in names]
        return {
            **_without_test_split(self.trial(self._full, seed)),
            "scores": list(names),
            "score.steps": steps,
        }

    def _mean_score(self, method: str) -> dict[str, Any]:
        name = score_name(self._config, method)
        if name is None:
            return {}
        seeds = sorted(self._config.score.seeds)
        of_one = self.scores([name], seeds[0])
        return {k: v for k, v in of_one.items() if k != "train.seed"} | {"score.seeds": seeds}

    def selection(self, method: str, prune_fraction: float, seed: int) -> dict[str, Any]:
        """Returns the fingerprint of a selection.

        Methods that do not use dendrograms depend on them only if `select.allocation` is `global`.
        """
        if needs_dendrograms(self._config, method):
            made_from = self.dendrograms()
        elif "embeddings" in METHODS[method].needs:
            made_from = self.embeddings()
        else:
            made_from = _without_test_split(self._of_dataset)
        made_from |= self._mean_score(method)
        return {
            **made_from,
            "select.fraction": prune_fraction,
            **selection_options(self._config, method, seed),
        }

    def answer(self, method: str, prune_fraction: float | None, seed: int) -> dict[str, Any]:
        """Returns the fingerprint of the answer about a prune fraction, or with None of the search for the largest.

        Args:
            method: name of the selection method.
            prune_fraction: the fraction in question; None for the search for the largest.
            seed: first seed of the trials.
        """
        made_from = self.trial(self._full, seed) | self.selection(method, prune_fraction or 0.0, seed)
        made_from["sweep.equal"] = self._config.sweep.equal
        return made_from if prune_fraction else {k: v for k, v in made_from.items() if k != "select.fraction"}


def selection_options(config: ConfigDict, method: str, seed: int) -> dict[str, Any]:
    """Returns the options that a selection method reads besides the prune fraction."""
    options = {
        "select.method": method,
        "select.allocation": config.select.allocation,
        "cluster.scope": config.cluster.scope,
    }
    takes = METHODS[method].takes
    chosen = {f"select.{name}": config.select[name] for name in takes if name != "seed"}
    return options | chosen | ({"select.seed": seed} if "seed" in takes else {})


def _without_test_split(fingerprint: dict[str, Any]) -> dict[str, Any]:
    """Removes the test split, on which only trials and the embeddings of the test split depend."""
    return {k: v for k, v in fingerprint.items() if k not in _TEST_SPLIT}
