"""Experiments: one config and one workdir, with the objects that the stages need."""

import copy
import functools
import logging
from collections.abc import Sequence

import numpy as np
from ml_collections import ConfigDict

from data_redundancy import data, training
from data_redundancy.clustering.dendrograms import ClassDendrograms
from data_redundancy.experiment import clustering
from data_redundancy.experiment.answers import Answers
from data_redundancy.experiment.dataset import check_fractions, load
from data_redundancy.experiment.fingerprints import Fingerprints
from data_redundancy.experiment.pools import Pools
from data_redundancy.experiment.score_runs import ScoreRuns
from data_redundancy.experiment.scores import read_mean_score
from data_redundancy.experiment.selections import Selections
from data_redundancy.experiment.trainer import make_trainer
from data_redundancy.experiment.trials import Trials
from data_redundancy.experiment.vetoes import read_veto
from data_redundancy.runtime import devices
from data_redundancy.selection.veto import Veto
from data_redundancy.store import files
from data_redundancy.store.workdir import Workdir

log = logging.getLogger("data_redundancy")


class _Parts:
    """The objects that experiments share if they differ only in the sweep; each is created when first used."""

    def __init__(self, config: ConfigDict, workdir: Workdir, *, read_only: bool):
        self._config, self._workdir, self._read_only = config, workdir, read_only

    @functools.cached_property
    def dataset(self) -> data.Dataset:
        return load(self._config, may_write=not self._read_only)

    @functools.cached_property
    def trainer(self) -> training.Trainer:
        return make_trainer(self._config, self.dataset)

    @functools.cached_property
    def fingerprints(self) -> Fingerprints:
        return Fingerprints(self._config, self.dataset)

    @functools.cached_property
    def pools(self) -> Pools:
        return Pools(self._config, self._workdir, self.dataset, self.fingerprints)

    @functools.cached_property
    def selections(self) -> Selections:
        return Selections(self._config, self._workdir, self.dataset, self.fingerprints, self.pools)

    @functools.cached_property
    def trials(self) -> Trials:
        return Trials(self._config, self._workdir, self.dataset, self.fingerprints, lambda: self.trainer)

    @functools.cached_property
    def answers(self) -> Answers:
        return Answers(self._workdir, self.fingerprints)


class Experiment:
    """One config and one workdir, with the data set, trainer and artifacts, which are loaded when first used.

    Attributes:
        config: the config; it must not be modified.
        workdir: the paths of the artifacts.
    """

    def __init__(self, config: ConfigDict, workdir: Workdir, *, read_only: bool = False):
        """Reads nothing yet.

        Args:
            config: a config that passes `config_rules.check`.
            workdir: the paths of the artifacts.
            read_only: whether to raise an error instead of writing the list of records of the data set; for previews.
        """
        self.config, self.workdir = config, workdir
        self._parts = _Parts(config, workdir, read_only=read_only)

    def vary(
        self,
        *,
        fraction: float | None = None,
        seed: int | None = None,
        fractions: Sequence[float] | None = None,
        methods: Sequence[str] | None = None,
        seeds: Sequence[int] | None = None,
    ) -> "Experiment":
        """Returns an experiment with other selections or trials; it shares the data set and the compiled trainer.

        A parameter that is None leaves its field unchanged.

        Args:
            fraction: new select.fraction.
            seed: new select.seed.
            fractions: new sweep.fractions.
            methods: new sweep.methods.
            seeds: new sweep.seeds.
        """
        varied = copy.copy(self)
        varied.config = copy.deepcopy(self.config)
        for section, name, value in (
            ("select", "fraction", fraction),
            ("select", "seed", seed),
            ("sweep", "fractions", fractions),
            ("sweep", "methods", methods),
            ("sweep", "seeds", seeds),
        ):
            if value is not None:
                varied.config[section][name] = tuple(value) if isinstance(value, Sequence) else value
        return varied

    @property
    def dataset(self) -> data.Dataset:
        """The training and the test split."""
        return self._parts.dataset

    @property
    def trainer(self) -> training.Trainer:
        """The trainer, whose compiled functions all stages share."""
        return self._parts.trainer

    @property
    def fingerprints(self) -> Fingerprints:
        """The fingerprints of the artifacts."""
        return self._parts.fingerprints

    @property
    def embeddings(self) -> np.ndarray:
        """The embeddings [N, D] float32 of the training split."""
        return self._parts.pools.embeddings

    @property
    def dendrograms(self) -> ClassDendrograms:
        """The dendrograms of all classes."""
        return self._parts.pools.dendrograms

    def release(self) -> None:
        """Frees the memory of embeddings and dendrograms, which are read again when needed."""
        self._parts.pools.release()

    def score(self, name: str) -> np.ndarray:
        """Returns the mean [N] float64 of a score over the runs of `score.seeds`."""
        return read_mean_score(self.workdir, self.fingerprints, name, self.config.score.seeds)

    def score_runs(self, names: Sequence[str]) -> ScoreRuns:
        """Returns the training runs that compute scores, whose names are in `selection.SCORES`."""
        num_classes = len(self.dataset.class_names)
        return ScoreRuns(
            self.config, self.workdir, self.fingerprints, lambda: self.trainer, names, num_classes=num_classes
        )

    @property
    def selections(self) -> Selections:
        """The selections; a selection is made if it does not exist."""
        return self._parts.selections

    def read_veto(self, path: str) -> Veto:
        """Reads a veto.json about the training split."""
        train = self.dataset.train
        return read_veto(path, dataset_digest=train.digest, num_examples=len(train.labels), examples=train)

    @property
    def trials(self) -> Trials:
        """The training trials."""
        return self._parts.trials

    @property
    def answers(self) -> Answers:
        """The answers to questions about fractions."""
        return self._parts.answers

    def check_selections(self, field: str, fractions: Sequence[float], methods: Sequence[str]) -> None:
        """Raises InputError for prune fractions that leave a class empty or exceed the depth of the dendrograms.

        Args:
            field: config field of the fractions.
            fractions: prune fractions to check.
            methods: methods that select at these fractions.
        """
        check_fractions(self.config.cluster.scope, self.dataset.train.labels, field, fractions)
        clustering.check_depth(self.config, field, fractions, methods)

    def remember_config(self, *, replace: bool = True) -> None:
        """Writes config.json, which later commands on the workdir read; only the main process writes it.

        Args:
            replace: whether to replace the config.json of an earlier command.
        """
        path = self.workdir.config
        if not devices.is_main_process() or (path.exists() and not replace):
            return
        existed = path.exists()
        if files.write_if_changed(path, (self.config.to_json(indent=2) + "\n").encode()) and existed:
            log.info("%s has the changed config, which later commands use", self.workdir.show(path))
