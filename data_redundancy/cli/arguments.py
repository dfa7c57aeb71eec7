"""Parsing of command lines with argparse; overrides of config fields are parsed by the rules of the fields."""

import argparse
import dataclasses
import functools
import re
from collections.abc import Sequence
from typing import Any, NoReturn

from data_redundancy.cli import help_text
from data_redundancy.cli.commands import COMMANDS, PROCESSES, Command, Option
from data_redundancy.errors import InputError, did_you_mean
from data_redundancy.experiment.config_files import unknown_field
from data_redundancy.experiment.config_rules import FIELDS
from data_redundancy.experiment.rules import Choice, Flag, Number, Rule, Text

_FLAG = re.compile(r"--?(?P<name>[A-Za-z_][^=]*)(=(?P<value>.*))?", re.DOTALL)
_OVERRIDE = "config."


@dataclasses.dataclass(frozen=True)
class CommandLine:
    """A parsed command line.

    Attributes:
        command: to run.
        options: the value of every flag, None or False where it was not given.
        overrides: values of config fields, by SECTION.FIELD; of a field given twice, the last one.
        positional: arguments without a flag.
    """

    command: Command
    options: dict[str, Any]
    overrides: dict[str, Any]
    positional: tuple[str, ...]

    def flag_of(self, argument: str) -> str:
        """Returns the flag that an error's argument came from: a config field, or an option."""
        for option in self.command.options:
            if option.field == argument and self.options[option.name] is not None:
                return f"--{option.name}"
        if argument in FIELDS:
            return f"--config.{argument}"
        return f"--{argument}" if argument in self.options else argument


def parse(argv: Sequence[str]) -> CommandLine:
    """Parses a command line that begins with a command.

    Raises:
        InputError: naming the flag, for an unknown command, flag or field, or a value that is not allowed.
    """
    name, *rest = argv
    command = find_command(name)
    flags, overrides = _split(rest, command)
    parsed, unknown = make_parser(command).parse_known_intermixed_args(flags)
    if unknown:
        raise _unknown(unknown[0], command)
    values = vars(parsed)
    positional = values.pop("positional", None) or []
    if command.positional is not None:
        for text in positional:
            Text().check(command.positional[0], text)
    return CommandLine(command, values, overrides, tuple(positional))


def find_command(name: str) -> Command:
    """Returns the command of a name.

    Raises:
        InputError: naming `command`, if there is none.
    """
    if name not in COMMANDS:
        hint = did_you_mean(name, COMMANDS) or "Put the command first; run 'data-redundancy --help' for all of them"
        raise InputError("command", name, f"must be one of {', '.join(COMMANDS)}", hint)
    return COMMANDS[name]


def _split(argv: Sequence[str], command: Command) -> tuple[list[str], dict[str, Any]]:
    """Separates the flags of argparse, with underscores, from the overrides of config fields."""
    switches = {option.name for option in _options_of(command) if option.is_switch}
    flags: list[str] = []
    overrides: dict[str, Any] = {}
    rest = list(argv)
    while rest:
        token = rest.pop(0)
        match = _FLAG.fullmatch(token)
        if match is None:
            flags.append(token)
            continue
        name, value = match["name"].replace("-", "_"), match["value"]
        if name.startswith(_OVERRIDE) and command.reads_config:
            field = name.removeprefix(_OVERRIDE)
            overrides[field] = _parse_override(field, value, rest)
        elif value is None:
            flags.append(f"--{name}")
        elif name in switches:
            if Flag().parse(f"--{name}", value):
                flags.append(f"--{name}")
        else:
            flags.append(f"--{name}={value}")
    return flags, overrides


def _parse_override(field: str, value: str | None, rest: list[str]) -> Any:
    """Returns the value of a field: the text after the equals sign, or the next argument; True for a bare bool."""
    if field not in FIELDS:
        error = unknown_field(field)
        raise error.renamed(f"--{_OVERRIDE}{field}", value)
    argument, rule = f"--{_OVERRIDE}{field}", FIELDS[field].rule
    if value is None:
        has_next = bool(rest) and _FLAG.fullmatch(rest[0]) is None
        if not has_next and isinstance(rule, Flag):
            return True
        if not has_next:
            raise InputError(argument, None, f"needs a value, {rule.allowed()}")
        value = rest.pop(0)
    return _parse_value(argument, rule, value)


def _parse_value(argument: str, rule: Rule, text: str) -> Any:
    """Parses and checks a value; errors show the text as typed."""
    value = rule.parse(argument, text)
    try:
        rule.check(argument, value)
    except InputError as error:
        raise error.renamed(argument, text) from None
    return value


def _options_of(command: Command) -> tuple[Option, ...]:
    return (*command.options, *command.common, *(PROCESSES if command.has_experiment else ()))


def _unknown(token: str, command: Command) -> InputError:
    """Returns the error for an argument that the parser does not accept."""
    match = _FLAG.fullmatch(token)
    if match is None:
        fix = "Behind the command come flags, such as --NAME=VALUE"
        return InputError("arguments", token, f"must be a flag of the command {command.name}", fix)
    name = match["name"]
    if not command.reads_config and (name == "config" or name.startswith(_OVERRIDE)):
        return InputError(
            f"--{name}", match["value"], f"has no effect on {command.name}, which reads no config", "Omit it"
        )
    known = [option.name for option in _options_of(command)]
    takers = [other.name for other in COMMANDS.values() if name in {option.name for option in other.options}]
    if takers:
        *others, last = takers
        commands = f"commands {', '.join(others)} and {last}" if others else f"command {last}"
        return InputError(f"--{name}", match["value"], f"is a flag of the {commands} only")
    fields = {field.split(".")[1]: field for field in FIELDS} | {field: field for field in FIELDS}
    close = did_you_mean(name, [*known, *fields])
    if close is not None:
        close = re.sub(r"\w[\w.]*(?= or |\?)", lambda m: f"--{_as_flag(m[0], fields)}", close)
    return InputError(
        f"--{name}", match["value"], "no such flag", close or f"Run 'data-redundancy {command.name} --help'"
    )


def _as_flag(name: str, fields: dict[str, str]) -> str:
    return f"{_OVERRIDE}{fields[name]}" if name in fields else name


class _Parse(argparse.Action):
    """Parses and checks a value by the rule of its option; errors keep their parts."""

    def __init__(self, option_strings: Sequence[str], dest: str, *, option: Option, **kwargs: Any):
        super().__init__(option_strings, dest, **kwargs)
        self._option = option

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option_string: Any = None
    ) -> None:
        del parser, option_string
        setattr(namespace, self.dest, _parse_value(f"--{self._option.name}", self._option.rule, values))


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are InputErrors, and whose help lists the config fields that the command reads."""

    def __init__(self, command: Command):
        super().__init__(
            prog=f"data-redundancy {command.name}",
            allow_abbrev=False,
            add_help=False,
            formatter_class=functools.partial(argparse.HelpFormatter, width=help_text.width()),
        )
        self._command = command

    def error(self, message: str) -> NoReturn:
        """Raises InputError."""
        flag = re.match(r"argument (?:-\w/)?(--\w+)[^:]*: (.*)", message)
        if flag is None:
            raise InputError(self._command.name, None, message, f"Run '{self.prog} --help'")
        raise InputError(flag[1], None, flag[2].replace("expected one argument", "needs a value"))

    def format_help(self) -> str:
        """Returns the help of the command."""
        return help_text.of_command(self._command, super().format_help())


def make_parser(command: Command) -> argparse.ArgumentParser:
    """Builds the parser of a command, for all but the overrides of config fields."""
    parser = _Parser(command)
    if command.positional is not None:
        name, text = command.positional
        parser.add_argument("positional", nargs="*", metavar=name.upper(), help=text)
    _add(parser.add_argument_group("options of this command"), command.options)
    common = parser.add_argument_group("options of every command")
    _add(common, command.common)
    common.add_argument("-h", "--help", action="help", help="print this help")
    if command.has_experiment:
        _add(parser.add_argument_group("several processes"), PROCESSES)
    return parser


def _add(group: Any, options: Sequence[Option]) -> None:
    for option in options:
        bounds = f"; {option.rule.allowed()}" if isinstance(option.rule, Number | Choice) else ""
        text = f"{option.help}{bounds}".replace("%", "%%")
        if option.is_switch:
            group.add_argument(f"--{option.name}", action="store_true", help=text)
        else:
            group.add_argument(
                f"--{option.name}", action=_Parse, option=option, metavar=option.metavar or None, help=text
            )
