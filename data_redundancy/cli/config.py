"""From the command line to a config: flags, shipped configs by name, overrides, errors in one line."""

import ast
import difflib
import importlib.util
import os
import pathlib
import re
from typing import Any

from absl import flags
from ml_collections import ConfigDict, FieldReference
from ml_collections import config_flags as ml_config_flags

from data_redundancy.errors import InputError

_OVERRIDE = re.compile(r"--?config\.(?P<field>[^=]+)(=(?P<value>.*))?", re.DOTALL)
_CONFIG = re.compile(r"--?config(=(?P<value>.*))?")


def parse(argv: list[str], own_flags: dict[str, str]) -> tuple[ConfigDict | None, dict[str, str | None], list[str]]:
    """Parses a command line.

    Args:
        argv: without the program's name.
        own_flags: the flags beside --config, all strings: name to help.

    Returns:
        The config with its overrides (None without --config), the other flags' values, and what is no flag.

    Raises:
        InputError: for an unknown flag, config or field, or a value of the wrong type.
    """
    argv, to_none, fields = _config_first(argv), [], []
    values = flags.FlagValues()
    for name, text in own_flags.items():
        flags.DEFINE_string(name, None, text, flag_values=values)
    if argv and (match := _CONFIG.fullmatch(argv[0])):
        argv[0] = f"--config={config_path(match['value'] or '')}"
        loaded = _load(argv[0])
        _check_complete(loaded, argv[0])
        _check_fields(loaded, argv[1:])
        fields = _fields(loaded)
        to_none = [arg for arg in argv if (match := _OVERRIDE.fullmatch(arg)) and _sets_none(loaded, match)]
        argv = [arg for arg in argv if arg not in to_none]
    elif any(_OVERRIDE.fullmatch(arg) for arg in argv):
        raise InputError(f"--config: must be given with overrides; a file or one of {', '.join(shipped_configs())}")
    ml_config_flags.DEFINE_config_file("config", None, flag_values=values, sys_argv=["", *argv])
    try:
        rest = values(["", *argv])[1:]
    except flags.IllegalFlagValueError as error:
        raise InputError(_type_error(str(error), argv)) from None
    except flags.UnrecognizedFlagError as error:
        raise InputError(_unknown_flag(error.flagname, [*own_flags, "config", *fields])) from None
    except flags.Error as error:
        raise InputError(str(error)) from None
    config = values.config
    for arg in to_none:
        section, name = _OVERRIDE.fullmatch(arg)["field"].split(".")
        config[section][name] = None
    return _split_strings(config), {name: values[name].value for name in own_flags}, rest


def shipped_configs() -> list[str]:
    """The names of the configs that come with the package."""
    return sorted(path.stem for path in _shipped_directory().glob("*.py") if path.stem != "__init__")


def config_path(value: str) -> str:
    """The file that --config=VALUE means: a path, or the name of a shipped config.

    Raises:
        InputError: if there is neither.
    """
    if os.path.isfile(value):
        return value
    shipped = _shipped_directory() / f"{value}.py"
    if value not in shipped_configs():
        raise InputError(f"--config={value}: no such file; shipped configs are {', '.join(shipped_configs())}")
    return str(shipped)


def _shipped_directory() -> pathlib.Path:
    """Configs are found as files: the package never imports them, they import each other."""
    return pathlib.Path(importlib.util.find_spec("data_redundancy.configs").origin).parent


def _config_first(argv: list[str]) -> list[str]:
    """Moves --config=X (also "--config X") before its overrides, as ml-collections wants it."""
    argv = list(argv)
    for position, arg in enumerate(argv):
        match = _CONFIG.fullmatch(arg)
        if match and match["value"] is None and position + 1 < len(argv):
            argv[position : position + 2] = [f"{arg}={argv[position + 1]}"]
    return sorted(argv, key=lambda arg: _CONFIG.fullmatch(arg) is None)


def _load(config_argument: str) -> ConfigDict:
    values = flags.FlagValues()
    ml_config_flags.DEFINE_config_file("config", None, flag_values=values, sys_argv=["", config_argument])
    try:
        values(["", config_argument])
        values.config.to_dict()
    except Exception as error:  # whatever a user's Python file may raise
        raise InputError(f"{config_argument}: cannot be loaded ({_short(error)})") from None
    return values.config


def _short(error: Exception) -> str:
    """The gist of an exception; ml-collections' are long, with the point in the first sentence and the last line."""
    lines = str(error.args[0] if error.args else "").strip().splitlines() or [type(error).__name__]
    hint = f"; {lines[-1]}" if lines[-1].startswith("Did you mean") else ""
    return lines[0].split(". ")[0] + hint if hint else lines[-1].strip()


def _check_complete(config: ConfigDict, config_argument: str) -> None:
    """Raises InputError unless a config has the fields of the shipped default, no more and no fewer."""
    found, known = set(_fields(config)), set(_fields(_load(f"--config={config_path('default')}")))
    for fields, fault in ((found - known, "is no field"), (known - found, "is missing")):
        if fields:
            raise InputError(
                f"{config_argument}: {min(fields)} {fault}; configs start from data_redundancy.configs.default"
            )


def _check_fields(config: ConfigDict, argv: list[str]) -> None:
    known = _fields(config)
    for arg in argv:
        match = _OVERRIDE.fullmatch(arg)
        if match and match["field"] not in known:
            close = difflib.get_close_matches(match["field"], known, n=3, cutoff=0.5)
            if inside := [name for name in known if name.startswith(f"{match['field']}.")]:
                raise InputError(f"{arg}: is a section; its fields are {', '.join(inside)}")
            hint = f"did you mean {' or '.join(close)}?" if close else f"fields are {', '.join(known)}"
            raise InputError(f"{arg}: no such field; {hint}")


def _fields(config: ConfigDict, prefix: str = "") -> list[str]:
    names = []
    for name in config:
        value = config[name]
        names += _fields(value, f"{prefix}{name}.") if isinstance(value, ConfigDict) else [f"{prefix}{name}"]
    return names


def _sets_none(config: ConfigDict, override: re.Match) -> bool:
    """Whether an override is =None, and of an optional field: those are placeholders, which ml-collections keeps apart.

    It would take "None" for a text, and refuse it for a number.
    """
    section, _, name = override["field"].partition(".")
    optional = isinstance(dict(config[section].items(preserve_field_references=True))[name], FieldReference)
    return override["value"] == "None" and optional


def _type_error(message: str, argv: list[str]) -> str:
    """Absl's "flag --config.a.b=x: invalid literal ..." with the type that is needed instead."""
    given = next((arg for arg in argv if _OVERRIDE.fullmatch(arg) and message.startswith(f"flag {arg}:")), None)
    if given is None:
        return message
    if "tuple" in message:
        return f'{given}: must be values in brackets with commas, such as "(0.1,0.2)"'
    needed = {"int": "a whole number", "float": "a number", "bool": "true or false"}
    found = re.search(r"(int|float|boolean|bool)\b", message)
    kind = {"boolean": "bool"}.get(found[1], found[1]) if found else None
    return f"{given}: must be {needed[kind]}" if kind else f"{given}: {message.split(': ', 1)[1]}"


def _unknown_flag(name: str, known: list[str]) -> str:
    close = [f"config.{match}" if "." in match else match for match in difflib.get_close_matches(name, known, n=2)]
    hint = f"did you mean {' or '.join(f'--{match}' for match in close)}?" if close else "see --help"
    return f"--{name}: no such flag; {hint}"


def _split_strings(config: ConfigDict | None) -> ConfigDict | None:
    """Lets a,b and (a,b) stand for ("a", "b") where a field is a tuple of strings."""
    for section in config or {}:
        for name, value in config[section].items():
            if isinstance(value, tuple) and len(value) == 1 and isinstance(value[0], str):
                config[section][name] = tuple(_unquote(part) for part in value[0].strip("()[] ").split(",") if part)
    return config


def _unquote(text: str) -> Any:
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError):
        return text.strip()
