"""The config of a command line: given, or remembered by the workdir; with overrides on top."""

import os

from ml_collections import ConfigDict

from data_redundancy.cli.arguments import CommandLine
from data_redundancy.errors import InputError
from data_redundancy.experiment import config_files, config_rules
from data_redundancy.experiment.shipped_configs import shipped_names
from data_redundancy.store import filesystems
from data_redundancy.store.workdir import Workdir


def resolve(line: CommandLine) -> ConfigDict:
    """Returns the config of a command, checked.

    It is the one that --config names; else the one that the workdir remembers; else, with --embeddings, the default
    one. Flags such as --fraction and overrides apply on top.

    Raises:
        InputError: if there is no config, it cannot be loaded, or a value is not allowed.
    """
    config = _base(line)
    for option in line.command.options:
        value = line.options[option.name]
        if option.field is not None and value is not None:
            value = (value,) if option.field == "sweep.fractions" else value
            config_files.set_field(config, option.field, value)
    for field, value in line.overrides.items():
        config_files.set_field(config, field, value)
    config_rules.check(config)
    return config


def _base(line: CommandLine) -> ConfigDict:
    name, workdir = line.options["config"], line.options["workdir"]
    if name is not None:
        return config_files.load(os.path.expanduser(name))
    if workdir is not None and (text := _remembered(workdir)) is not None:
        return config_files.from_json(text, os.path.join(workdir, "config.json"))
    if line.options.get("embeddings") is not None:
        return config_files.load_default()
    shipped = ", ".join(shipped_names())
    requirement = f"must be given, a file or one of {shipped}"
    if workdir is not None:
        requirement += f": {workdir} has no config.json of an earlier command"
    raise InputError("config", None, requirement, "Give for example --config=digits")


def _remembered(workdir: str) -> str | None:
    """The text of the workdir's config.json, None if there is none."""
    path = Workdir(filesystems.locate(workdir, "workdir"), create=False).config
    try:
        return path.read_text()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except UnicodeDecodeError as error:
        raise InputError(path, None, f"is not a text file ({error.reason})", "Remove it and give --config") from None
