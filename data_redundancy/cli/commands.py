"""The commands of the command line: their options, and the config fields that they read."""

import ast
import dataclasses
import importlib.util
import pathlib
import re
from collections.abc import Sequence
from typing import Any

from data_redundancy.errors import InputError
from data_redundancy.experiment.rules import Choice, Flag, Number, Rule, Text


@dataclasses.dataclass(frozen=True)
class Option:
    """A flag of a command.

    Attributes:
        name: name without leading dashes, with underscores.
        rule: type and bounds of the value.
        help: description of the flag.
        metavar: placeholder for the value in help texts.
        field: the config field that the flag sets, or None.
    """

    name: str
    rule: Rule
    help: str
    metavar: str = ""
    field: str | None = None

    @property
    def is_switch(self) -> bool:
        """Whether the flag takes no value."""
        return isinstance(self.rule, Flag)


@dataclasses.dataclass(frozen=True)
class Command:
    """A command.

    Attributes:
        name: name of the command and of its module in `stages`.
        options: flags of the command, besides the common ones.
        reads: config fields that the command reads, as SECTION or SECTION.FIELD.
        positional: name and help of the positional arguments, or None.
        has_experiment: whether the command runs on an experiment, which needs a config and a workdir.
        reads_config: whether the command takes --config and overrides of config fields.
    """

    name: str
    options: tuple[Option, ...] = ()
    reads: tuple[str, ...] = ()
    positional: tuple[str, str] | None = None
    has_experiment: bool = True
    reads_config: bool = True

    @property
    def common(self) -> tuple[Option, ...]:
        """The flags that all commands have, without --config if the command reads no config."""
        return tuple(option for option in COMMON if self.reads_config or option.name != "config")

    @property
    def docstring(self) -> str:
        """The docstring of the module, read without importing it, so that help is fast."""
        spec = importlib.util.find_spec("data_redundancy.stages")
        assert spec is not None
        assert spec.origin is not None
        source = pathlib.Path(spec.origin).with_name(f"{self.name}.py").read_text(encoding="utf-8")
        return ast.get_docstring(ast.parse(source)) or ""

    @property
    def summary(self) -> str:
        """The first line of the docstring."""
        return self.docstring.partition("\n")[0]


@dataclasses.dataclass(frozen=True)
class ShardRule:
    """The rule of --shard: i/n with i from 0 to n-1."""

    def parse(self, argument: str, text: str) -> tuple[int, int]:
        """Parses i/n."""
        match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text, re.ASCII)
        if match is None or not int(match[1]) < int(match[2]):
            raise InputError(argument, text, f"must be {self.allowed()}")
        return int(match[1]), int(match[2])

    def check(self, argument: str, value: Any) -> None:
        """Accepts every value that `parse` returns."""

    def type_name(self) -> str:
        """Returns `i/n`."""
        return "i/n"

    def allowed(self) -> str:
        """Returns the allowed values."""
        return "i/n with i from 0 to n-1, such as 0/4"


def _formats() -> Sequence[str]:
    from data_redundancy.exporting.formats import FORMATS, LISTS

    return (*FORMATS, *LISTS)


def _file_formats() -> Sequence[str]:
    from data_redundancy.exporting.formats import FILE_FORMATS

    return FILE_FORMATS


_FRACTION = Number(float, 0, 1, below=True)


def _fraction(field: str, text: str = "prune fraction of the selection") -> Option:
    return Option("fraction", _FRACTION, f"{text}; sets {field}", "FRACTION", field)


_DATASET = ("dataset", "prepare.source", "input.mode", "input.catalog_dir")
_TRAINING = (*_DATASET, "input", "model", "train", "embed.batch_size")
_METHOD_OPTIONS = (
    "cluster.linkage",
    "cluster.scope",
    "cluster.max_prune_fraction",
    "score.seeds",
    *(f"select.{name}" for name in ("allocation", "representative", "centre", "end", "score", "hardest_pruned")),
)
_MARGIN = ("evidence.margin", "evidence.confidence")
_TRIALS = ("sweep.fractions", "sweep.methods", "sweep.seeds")
_FRACTIONS = ("select.fraction", "select.method", "sweep.fractions", "sweep.methods")
_READS = {
    "prepare": (*_DATASET, "prepare", *_FRACTIONS, "cluster.scope", "cluster.max_prune_fraction"),
    "train": _TRAINING,
    "embed": _TRAINING,
    "cluster": (*_DATASET, "cluster"),
    "score": (*_TRAINING, "score", "select.method", "select.score", "sweep.methods"),
    "select": (*_DATASET, "select", "cluster", "score.seeds"),
    "sweep": (*_TRAINING, *_METHOD_OPTIONS, "sweep", *_MARGIN),
    "report": (*_DATASET, "cluster.scope", "select", *_TRIALS, "sweep.equal", "report", "model.name", *_MARGIN),
}
"""The config fields that the commands of `run` read: sections, or SECTION.FIELD."""
_RUN = tuple(dict.fromkeys(name for names in _READS.values() for name in names))

_VETO = Option("veto", Text(), "veto.json that the report's page saved, with images to keep and to drop", "FILE")

COMMANDS: dict[str, Command] = {
    command.name: command
    for command in (
        Command("prepare", reads=_READS["prepare"]),
        Command("train", reads=_READS["train"]),
        Command("embed", reads=_READS["embed"]),
        Command("cluster", reads=_READS["cluster"]),
        Command("score", reads=_READS["score"]),
        Command(
            "select",
            options=(
                _fraction("select.fraction", "prune fraction of the selection, required with --embeddings"),
                _VETO,
                Option("embeddings", Text(), "file of embeddings from any model, instead of a workdir", "PATH[:NAME]"),
                Option("labels", Text(), "with --embeddings: labels, if they are in another file", "PATH[:NAME]"),
                Option("out", Text(), "with --embeddings: directory to write, local or gs://BUCKET/DIR", "DIR"),
            ),
            reads=_READS["select"],
        ),
        Command(
            "sweep",
            options=(
                Option(
                    "fraction",
                    _FRACTION,
                    "prune fraction of all trials; sets sweep.fractions",
                    "FRACTION",
                    "sweep.fractions",
                ),
                Option("shard", ShardRule(), "run every n-th trial, starting with trial i (0 to n-1)", "i/n"),
            ),
            reads=_READS["sweep"],
        ),
        Command(
            "report",
            options=(_fraction("select.fraction"), _VETO),
            reads=_READS["report"],
        ),
        Command(
            "run",
            options=(_fraction("select.fraction"),),
            reads=_RUN,
        ),
        Command(
            "answer",
            options=(
                _fraction("select.fraction", "prune fraction to test"),
                Option("largest", Flag(), "search for the largest of sweep.fractions that can be pruned"),
                Option(
                    "max_trials",
                    Number(int, 1, 3000),
                    "largest number of trials per fraction; sets evidence.max_trials",
                    "N",
                    "evidence.max_trials",
                ),
            ),
            reads=(
                *(name for name in _RUN if not name.startswith("sweep")),
                "evidence",
                "sweep.fractions",
                "sweep.equal",
                "sweep.trials_per_device",
            ),
        ),
        Command(
            "export",
            options=(
                Option("selection", Text(), "name of a selection, such as agglomerative-0.1, or its directory", "NAME"),
                Option("out", Text(), "local path of the directory, or of the list, to write", "PATH"),
                Option("format", Choice(_formats), "export format; by default tfds", "FORMAT"),
                Option(
                    "file_format",
                    Choice(_file_formats),
                    "with --format=tfds: file format; by default as in the source",
                    "FORMAT",
                ),
                Option(
                    "splits",
                    Text(),
                    "other splits to copy: all (default), none or comma-separated names",
                    "SPLITS",
                ),
                Option(
                    "num_shards",
                    Number(int, 1, 999_999_999),
                    "number of files per split; by default chosen by the size of the split",
                    "N",
                ),
                Option("overwrite", Flag(), "replace --out when the new export is complete"),
            ),
            reads=_DATASET,
        ),
        Command(
            "diff",
            positional=("selections", "two selections, each a directory or a name in --workdir"),
            has_experiment=False,
            reads_config=False,
        ),
        Command(
            "fields",
            positional=("section", "section of the config; by default all sections"),
            has_experiment=False,
        ),
    )
}

COMMON = (
    Option(
        "config",
        Text(),
        "config: a file, or the name of a shipped config; by default the config of the workdir",
        "CONFIG",
    ),
    Option(
        "workdir", Text(), "directory of all artifacts, local or gs://BUCKET/DIR; finished work in it is skipped", "DIR"
    ),
    Option("dry_run", Flag(), "list the steps that would run and the steps that would be skipped, and write nothing"),
    Option("json", Flag(), "print the result, or the error, as one JSON object"),
    Option("quiet", Flag(), "log only warnings and errors"),
)
"""Flags of every command."""

PROCESSES = (
    Option("coordinator", Text(), "address of process 0; by default $JAX_COORDINATOR_ADDRESS", "HOST:PORT"),
    Option("num_processes", Number(int, 1, 1_000_000), "number of processes; by default $JAX_NUM_PROCESSES", "N"),
    Option("process_id", Number(int, 0, 1_000_000), "number of this process, from 0; by default $JAX_PROCESS_ID", "N"),
    Option("num_devices", Number(int, 1, 10_000_000), "number of devices that all processes must have together", "N"),
    Option(
        "start_timeout_s",
        Number(float, 0, 1e6, above=True, below=True),
        "seconds to wait for the other processes at the start; by default 300",
        "S",
    ),
    Option(
        "barrier_timeout_s",
        Number(float, 0, 1e6, above=True, below=True),
        "seconds to wait for the other processes at a barrier; by default 7200",
        "S",
    ),
)
"""Flags of every command that runs on an experiment."""
