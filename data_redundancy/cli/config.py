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

    It is the one that --config names; else the one that the workdir remembers; else, where no workdir is needed, the
    default one. Flags such as --fraction and overrides apply on top.

    Raises:
        InputError: if there is no config, it cannot be loaded, or a value is not allowed.
    """
    config = _base(line)
    for option in line.command.options:
        value = line.options[option.name]
        if option.field is not None and value is not None:
            if option.field in line.overrides:
                raise InputError(option.name, value, f"must not be given with --config.{option.field}", "Omit one")
            value = (value,) if option.field == "sweep.fractions" else value
            config_files.set_field(config, option.field, value)
    for field, value in line.overrides.items():
        config_files.set_field(config, field, value)
    config_rules.check(config)
    return config


def _base(line: CommandLine) -> ConfigDict:
    name, workdir = line.options["config"], line.options["workdir"]
    if name is not None:
        return _given(name)
    if workdir is not None and (remembered := _remembered(workdir)) is not None:
        return remembered
    if workdir is None and (line.options.get("embeddings") is not None or not line.command.has_experiment):
        return config_files.load_default()
    shipped = ", ".join(shipped_names())
    requirement = f"must be given, a file or one of {shipped}"
    if workdir is not None:
        requirement += f": {workdir} has no config.json of an earlier command"
    raise InputError("config", None, requirement, "Give for example --config=digits")


def _given(name: str) -> ConfigDict:
    """The config that --config names: a shipped one or a file, which may be the config.json of a bucket."""
    if not filesystems.is_remote(name):
        return config_files.load(os.path.expanduser(name))
    path = filesystems.locate(name, "config")
    if not path.exists():
        raise InputError("config", name, "does not exist")
    return config_files.from_json(path.read_text(), name)


def _remembered(workdir: str) -> ConfigDict | None:
    """The config of the workdir's config.json, None if there is none."""
    path = Workdir(workdir, create=False).config
    fix = "Restore it, or remove it and give --config"
    try:
        return config_files.from_json(path.read_text(), str(path))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (PermissionError, IsADirectoryError) as error:
        raise InputError(path, None, f"cannot be read ({error.strerror})", fix) from None
    except UnicodeDecodeError as error:
        raise InputError(path, None, f"is not a text file ({error.reason})", fix) from None
    except InputError as error:
        if error.argument != "config":
            raise
        raise InputError(path, None, error.requirement, error.fix or fix) from None
