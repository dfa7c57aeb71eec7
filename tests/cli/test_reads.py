"""The config fields that a command declares, and that its help lists, are those that it reads."""

import sys

import pytest
from ml_collections import ConfigDict

from data_redundancy.cli.commands import COMMANDS
from data_redundancy.experiment.config_fields import fields_within
from data_redundancy.experiment.config_rules import FIELDS
from data_redundancy.selection import METHODS
from helpers.command import TINY, run_here, write_digits

FLAGS = (
    *TINY,
    "--config.dataset.name=d.npz",
    "--config.train.steps=14",  # forgetting needs two epochs
    "--config.score.epochs=1",
    "--config.score.seeds=0",
    "--config.sweep.seeds=0",
    "--config.evidence.first_look=2",
    "--config.evidence.max_trials=6",
    "--workdir=w",
)
SCORES = "--config.sweep.methods=(el2n,forgetting,grad_norm)"
METHOD_OPTIONS = {"select.centre", "select.end", "select.score", "select.hardest_pruned"}
SCORED = {"score.epochs", "score.forgetting_epochs"}
STREAMED = {field for field in FIELDS if field.startswith("input.")} - {"input.mode", "input.mean", "input.std"}
NOT_HERE = {
    "prepare": {"prepare.test_fraction", "prepare.seed"},  # there is no source
    "score": {"select.score"},  # of the method ccs
    "select": {"cluster.memory_limit_gb"},  # of --embeddings
    "report": METHOD_OPTIONS,  # of methods that this report has no trials of
    "run": {*SCORED, "prepare.test_fraction", "prepare.seed", "embed.batch_size"},  # all embeddings exist
    "answer": {*SCORED, "score.seeds", "prepare.test_fraction", "prepare.seed"},
}
"""Declared fields that a command reads in other circumstances than those of this test."""
SET_BY_THE_QUESTION = {"sweep.methods", "sweep.seeds"}
"""Fields that `answer` sets itself before they are read."""


class Reads:
    """What is read while a command runs.

    Attributes:
        fields: read by the command.
        compared: read for fingerprints only, which compare a config with that of finished artifacts.
    """

    def __init__(self):
        self.fields, self.compared = set(), set()

    def add(self, field, files):
        if not files[0].endswith(("config_rules.py", "config_files.py", "cli/config.py")):  # which read every field
            (self.compared if any(file.endswith("fingerprints.py") for file in files) else self.fields).add(field)


@pytest.fixture
def reads(monkeypatch):
    found, get = Reads(), ConfigDict.__getitem__

    def get_and_record(config, key):
        value = get(config, key)
        if isinstance(value, ConfigDict):
            object.__setattr__(value, "_name_of_section", key)
        elif section := config.__dict__.get("_name_of_section"):
            files, frame = [], sys._getframe(1)
            while frame is not None:
                files.append(frame.f_code.co_filename)
                frame = frame.f_back
            found.add(f"{section}.{key}", [file for file in files if not file.endswith("config_dict.py")])
        return value

    monkeypatch.setattr(ConfigDict, "__getitem__", get_and_record)
    return found


@pytest.mark.slow
def test_declared_fields_are_those_that_are_read(capfd, tmp_path, monkeypatch, reads):
    monkeypatch.chdir(tmp_path)
    write_digits("d.npz")
    command_lines = {
        "prepare": [()],
        "train": [()],
        "embed": [()],
        "cluster": [()],
        "score": [(SCORES,)],
        "select": [
            *((f"--config.select.method={method}", f"--fraction=0.{i}") for i, method in enumerate(METHODS, 11)),
            ("--config.select.allocation=global", "--fraction=0.4"),
        ],
        "sweep": [("--config.sweep.methods=(random,agglomerative,ccs)",)],
        "report": [("--config.sweep.methods=(random,agglomerative)",)],
        "run": [()],
        "answer": [("--fraction=0.2",)],
        "export": [("--selection=agglomerative-0.2", "--out=list.txt", "--format=txt")],
    }
    assert command_lines.keys() == {name for name, command in COMMANDS.items() if command.has_experiment}
    for command, lines in command_lines.items():
        reads.fields.clear()
        reads.compared.clear()
        for line in lines:
            done = run_here(capfd, command, *FLAGS, *line)
            assert done.code == 0, done.err
        declared = set(fields_within(COMMANDS[command].reads))
        read = reads.fields - (SET_BY_THE_QUESTION if command == "answer" else set())
        assert read - declared == set(), command
        assert declared - read - reads.compared - STREAMED == NOT_HERE.get(command, set()), command
