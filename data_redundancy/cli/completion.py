"""Shell completion: scripts that complete commands, flags, config fields, and values with a fixed set of choices."""

import argparse

from data_redundancy.cli.arguments import make_parser
from data_redundancy.cli.commands import COMMANDS, Command
from data_redundancy.errors import choice_error
from data_redundancy.experiment.config_rules import FIELDS
from data_redundancy.experiment.rules import Choice
from data_redundancy.experiment.shipped_configs import shipped_names

SHELLS = ("bash", "zsh", "tcsh")
_FILES, _DIRECTORIES = ("FILE", "PATH", "PATH[:NAME]"), ("DIR",)
"""Placeholders in the help of flags whose values are paths."""


def completion_script(shell: str) -> str:
    """Returns the script that completes command lines in a shell.

    Args:
        shell: `bash`, `zsh` or `tcsh`.

    Raises:
        InputError: for another shell.
    """
    import shtab

    if shell not in SHELLS:
        raise choice_error("--print_completion", shell, SHELLS)
    return shtab.complete(_main_parser(), shell)


def _main_parser() -> argparse.ArgumentParser:
    """Returns a parser of all commands, with a flag for every config field."""
    parser = argparse.ArgumentParser(prog="data-redundancy", add_help=True)
    parser.add_argument("--version", action="store_true", help="print the version")
    commands = parser.add_subparsers()
    for command in COMMANDS.values():
        summary = command.summary.replace("%", "%%")
        commands.add_parser(command.name, help=summary, parents=[_command_parser(command)], add_help=False)
    return parser


def _command_parser(command: Command) -> argparse.ArgumentParser:
    import shtab

    parser = make_parser(command)
    if command.has_experiment:
        for field, described in FIELDS.items():
            choices = described.rule.names() if isinstance(described.rule, Choice) else None
            parser.add_argument(f"--config.{field}", choices=choices, help=described.rule.type_name())
    rules = {option.name: option.rule for option in command.options}
    for action in parser._actions:
        rule = rules.get(action.dest)
        if isinstance(rule, Choice):
            action.choices = rule.names()
        elif action.dest == "config":
            action.choices = shipped_names()
        elif action.metavar == "SECTION":
            action.choices = list(dict.fromkeys(field.partition(".")[0] for field in FIELDS))
        elif action.metavar in _FILES:
            action.complete = shtab.FILE  # type: ignore[attr-defined] # shtab reads this attribute
        elif action.metavar in _DIRECTORIES:
            action.complete = shtab.DIRECTORY  # type: ignore[attr-defined] # shtab reads this attribute
    return parser
