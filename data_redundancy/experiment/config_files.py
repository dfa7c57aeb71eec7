"""Configs from files: shipped ones by name, Python files, and the config.json of a workdir."""

import contextlib
import json
import os
import pathlib
import runpy
import sys
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from data_redundancy.errors import InputError, Stopped, did_you_mean
from data_redundancy.experiment.config_rules import FIELDS
from data_redundancy.experiment.shipped_configs import shipped_directory, shipped_names

DEFAULT = "default"
"""The name of the config with the default of every field."""
_FIX = "Configs start from data_redundancy.configs.default"
_LONGEST_GIST = 500


def load_default() -> ConfigDict:
    """Returns the shipped default config."""
    return load(DEFAULT)


def load(name: str) -> ConfigDict:
    """Loads a config.

    Args:
        name: name of a shipped config; or path of a Python file with a function `get_config`, or of a config.json that
            a command wrote.

    Returns:
        The config with all fields; a field that is missing in the file has its default.

    Raises:
        InputError: if there is no such config, it cannot be loaded, or it has an unknown field.
    """
    path = _find(name)
    if path.suffix == ".json":
        return from_json(_read(path, name), name)
    loaded = _run(path, name)
    if path.stem == DEFAULT and path.parent == shipped_directory():
        return loaded
    return _complete(loaded, name)


def _find(name: str) -> pathlib.Path:
    try:
        if os.path.isfile(name):
            return pathlib.Path(name)
    except ValueError:  # the name contains a null character
        pass
    if name not in shipped_names():
        raise InputError(
            "config",
            name,
            f"must be a file, or one of the shipped configs {', '.join(shipped_names())}",
            did_you_mean(name, shipped_names()),
        )
    return shipped_directory() / f"{name}.py"


def _read(path: pathlib.Path, name: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error.reason
        raise InputError("config", name, f"cannot be read ({reason})") from None


def _run(path: pathlib.Path, name: str) -> Any:
    """Returns the result of `get_config` in a Python file; output of the file is printed on stderr."""
    try:
        with contextlib.redirect_stdout(sys.stderr):
            config = runpy.run_path(str(path))["get_config"]()
            if isinstance(config, ConfigDict):
                config.to_dict()  # raises for a placeholder without a value
    except (KeyboardInterrupt, Stopped):
        raise
    except BaseException as error:  # a user's Python file may raise any exception, even SystemExit
        raise InputError("config", name, f"cannot be loaded ({_gist(error)})") from None
    return config


def _gist(error: BaseException) -> str:
    """Returns the cause of an exception in one line; messages of ml-collections have it in the first or last line."""
    if isinstance(error, KeyError) and error.args == ("get_config",):
        return "it has no function get_config"
    if isinstance(error, SyntaxError):
        return f"{error.msg}, line {error.lineno}"
    lines = str(error.args[0] if error.args else "").strip()[:_LONGEST_GIST].splitlines()
    if not lines or isinstance(error, SystemExit):
        return f"{type(error).__name__} {error}".strip()
    hint = f"; {lines[-1]}" if lines[-1].startswith("Did you mean") else ""
    return lines[0].split(". ")[0] + hint if hint else lines[-1].strip()


def _complete(loaded: Any, name: str) -> ConfigDict:
    """Returns the default config with the values of a loaded config; fields that it lacks keep their defaults."""
    config = load_default()
    if not isinstance(loaded, ConfigDict):
        raise InputError("config", name, f"returns a {type(loaded).__name__}, but must return a ConfigDict", _FIX)
    for section, fields in loaded.items():
        if not isinstance(fields, ConfigDict):
            raise InputError("config", name, f"has a field {section} outside of a section", _FIX)
        for field, value in fields.items():
            set_field(config, f"{section}.{field}", value, source=name)
    return config


def from_json(text: str, name: str) -> ConfigDict:
    """Returns the config in a config.json; a field that is missing in the file has its default.

    Args:
        text: content of the file.
        name: name of the file, for errors.

    Raises:
        InputError: if the text is not JSON, or has an unknown field.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = "too deeply nested" if isinstance(error, RecursionError) else str(error)
        raise InputError("config", name, f"is not a JSON file ({reason})") from None
    if not isinstance(document, Mapping) or not all(isinstance(fields, Mapping) for fields in document.values()):
        raise InputError("config", name, "must be a JSON object of sections, each an object of fields")
    config = load_default()
    for section, fields in document.items():
        for field, value in fields.items():
            set_field(config, f"{section}.{field}", value, source=name)
    return config


def set_field(config: ConfigDict, field: str, value: Any, *, source: str | None = None) -> None:
    """Checks a value by the rule of its field, and sets the field.

    Args:
        config: the config to change.
        field: name of the field, SECTION.FIELD.
        value: new value of the field; a list becomes a tuple.
        source: file that contains the value, which errors name; None if there is no file.

    Raises:
        InputError: for an unknown field, or a value that is not allowed.
    """
    if field not in FIELDS:
        raise unknown_field(field, source=source)
    value = tuple(value) if isinstance(value, list) else value
    try:
        FIELDS[field].rule.check(field, value)
    except InputError as error:
        if source is None:
            raise
        fix = f"It is set in {source}"
        if error.fix is not None:
            fix = f"{error.fix}{'' if error.fix.endswith('?') else '.'} {fix}"
        raise InputError(field, error.value, error.requirement, fix) from None
    section, name = field.split(".")
    config[section][name] = float(value) if _is_float(field) and isinstance(value, int) else value


def _is_float(field: str) -> bool:
    return FIELDS[field].rule.type_name().split()[0] == "float"


def unknown_field(field: str, *, source: str | None = None) -> InputError:
    """Returns the error for a field that does not exist."""
    inside = [name for name in FIELDS if name.startswith(f"{field}.")]
    if inside:
        return InputError(field, None, "is a section", f"Its fields are {', '.join(inside)}")
    hint = did_you_mean(field, FIELDS, cutoff=0.5) or "Run 'data-redundancy fields' for all fields"
    if source is not None:
        return InputError("config", source, f"has the field {field}, which does not exist", hint)
    return InputError(field, None, "no such field", hint)
