"""One config in one workdir, with everything that a stage needs."""

import copy
import functools
from collections.abc import Sequence

import numpy as np
from ml_collections import ConfigDict

from data_redundancy import data, training
from data_redundancy.clustering.dendrograms import ClassDendrograms
from data_redundancy.experiment import clustering
from data_redundancy.experiment.answers import Answers
from data_redundancy.experiment.dataset import check_fractions, check_readable, load
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


class _Parts:
    """What experiments that differ only in their sweep share, each made when first used."""

    def __init__(self, config: ConfigDict, workdir: Workdir, *, read_only: bool):
        self._config, self._workdir, self._read_only = config, workdir, read_only

    @functools.cached_property
    def dataset(self) -> data.Dataset:
        if self._read_only:
            check_readable(self._config)
        return load(self._config)

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
    """One config in one workdir: its data set, trainer and artifacts, each made when first used.

    Attributes:
        config: every field of the experiment; not to be changed.
        workdir: the paths of its artifacts.
    """

    def __init__(self, config: ConfigDict, workdir: Workdir, *, read_only: bool = False):
        """Reads nothing yet.

        Args:
            config: checked by `config_rules.check`.
            workdir: of the artifacts.
            read_only: whether the data set must be loaded without writing a list of its records; for previews.
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
        """Returns an experiment with another sweep over the same data set, with the same compiled trainer.

        Args:
            fraction: select.fraction; unchanged if None, and so are the others.
            seed: select.seed.
            fractions: sweep.fractions.
            methods: sweep.methods.
            seeds: sweep.seeds.
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
        """Trains and evaluates; all stages use the same compiled functions."""
        return self._parts.trainer

    @property
    def fingerprints(self) -> Fingerprints:
        """What every artifact depends on."""
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
        """Frees the memory of embeddings and dendrograms; they are read again when they are needed."""
        self._parts.pools.release()

    def score(self, name: str) -> np.ndarray:
        """Returns the mean [N] float64 of a score over the runs of `score.seeds`."""
        return read_mean_score(self.workdir, self.fingerprints, name, self.config.score.seeds)

    def score_runs(self, names: Sequence[str]) -> ScoreRuns:
        """Returns the runs that compute scores, some of `selection.SCORES`."""
        num_classes = len(self.dataset.class_names)
        return ScoreRuns(
            self.config, self.workdir, self.fingerprints, lambda: self.trainer, names, num_classes=num_classes
        )

    @property
    def selections(self) -> Selections:
        """The selections, each made when it does not exist yet."""
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
            field: the config field of the fractions.
            fractions: to check.
            methods: that select at these fractions.
        """
        check_fractions(self.config.cluster.scope, self.dataset.train.labels, field, fractions)
        clustering.check_depth(self.config, field, fractions, methods)

    def remember_config(self, *, replace: bool = True) -> None:
        """Writes config.json, which later commands on the workdir use; the main process does.

        Args:
            replace: whether to replace the one of an earlier command.
        """
        if devices.is_main_process() and (replace or not self.workdir.config.exists()):
            files.write_if_changed(self.workdir.config, (self.config.to_json(indent=2) + "\n").encode())
