"""From a parsed command line to an experiment and the options of its command."""

import contextlib
import dataclasses
import pathlib
from collections.abc import Iterator
from typing import Any

from ml_collections import ConfigDict

from data_redundancy.cli import config as configs
from data_redundancy.cli.arguments import CommandLine
from data_redundancy.errors import InputError
from data_redundancy.experiment import config_files
from data_redundancy.experiment.embedding_experiment import EmbeddingExperiment
from data_redundancy.experiment.experiment import Experiment
from data_redundancy.runtime import devices
from data_redundancy.store import filesystems
from data_redundancy.store.workdir import Workdir


def check(line: CommandLine) -> ConfigDict:
    """Checks that the flags of a command belong together; returns its config.

    Raises:
        InputError: naming the flag.
    """
    options = line.options
    if options.get("embeddings") is not None:
        _check_embeddings(line)
    else:
        for name in ("labels", "out"):
            if line.command.name == "select" and options[name] is not None:
                raise InputError(name, options[name], "needs --embeddings", "Give --embeddings, or omit it")
    if line.command.name == "answer" and options["largest"] and options["fraction"] is not None:
        raise InputError(
            "fraction", options["fraction"], "must not be given with --largest, which tests sweep.fractions"
        )
    if line.command.name == "export":
        for name, example in (("selection", "--selection=agglomerative-0.1"), ("out", "--out=exported")):
            if options[name] is None:
                raise InputError(name, None, "must be given", f"Give for example {example}")
    config = configs.resolve(line)
    if options.get("embeddings") is None and options["workdir"] is None:
        raise InputError("workdir", None, "must be given", "Name a directory, such as --workdir=runs/digits")
    return config


def _check_embeddings(line: CommandLine) -> None:
    options = line.options
    if options["workdir"] is not None:
        raise InputError("workdir", options["workdir"], "must not be given with --embeddings", "Use --out instead")
    if options["fraction"] is None and "select.fraction" not in line.overrides:
        raise InputError("fraction", None, "must be given with --embeddings", "Give for example --fraction=0.1")
    if options["out"] is None:
        raise InputError("out", None, "must be given with --embeddings", "Name a directory, such as --out=kept")
    deepest = line.overrides.get("cluster.max_prune_fraction")
    if deepest is not None:
        raise InputError(
            "cluster.max_prune_fraction",
            deepest,
            "has no effect with --embeddings, where dendrograms are as deep as the fraction needs",
            "Omit it",
        )


def same_on_all_processes(line: CommandLine, config: ConfigDict) -> ConfigDict:
    """Returns the config of the main process if it is remembered, because another job may replace it at any moment."""
    if line.options["config"] is not None or devices.process_count() == 1:
        return config
    return config_files.from_json(devices.text_from_main(config.to_json()), "config.json of the main process")


def make(line: CommandLine, config: ConfigDict) -> Experiment | EmbeddingExperiment:
    """Builds the experiment of a command line."""
    options, dry_run = line.options, line.options["dry_run"]
    if options.get("embeddings") is not None:
        return EmbeddingExperiment(
            config,
            embeddings=options["embeddings"],
            labels=options["labels"],
            out=options["out"],
            read_only=dry_run,
        )
    return Experiment(config, Workdir(options["workdir"], create=not dry_run), read_only=dry_run)


@contextlib.contextmanager
def removing_empty_directory(workdir: str | None) -> Iterator[None]:
    """Removes the workdir after an error in the block, if the block created it and left it empty."""
    root = (
        None
        if workdir is None or filesystems.is_remote(workdir)
        else pathlib.Path(filesystems.locate(workdir, "workdir"))
    )
    created = [] if root is None else [path for path in (root, *root.parents) if not path.exists()]
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            for path in created:
                path.rmdir()
        raise


def stage_options(line: CommandLine, stage: Any) -> Any:
    """Builds the options of a stage from the flags of the same names."""
    names = {field.name for field in dataclasses.fields(stage.Options)}
    given = {name: value for name, value in line.options.items() if name in names and value is not None}
    return stage.Options(**given)


def remember(experiment: Experiment | EmbeddingExperiment) -> None:
    """Writes the config to the workdir, for later commands."""
    if isinstance(experiment, Experiment):
        experiment.remember_config()
