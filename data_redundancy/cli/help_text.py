"""Help texts: an overview of all commands, and the help of each command."""

import re
import shutil
import textwrap

from data_redundancy.cli.commands import COMMANDS, Command
from data_redundancy.experiment.shipped_configs import shipped_names

USAGE = """\
usage: data-redundancy COMMAND --config=CONFIG --workdir=DIR
                       [--config.SECTION.FIELD=VALUE ...]
       data-redundancy COMMAND --workdir=DIR  (with the config of the workdir)
"""
_ABOUT = (
    "Finds the training images that a classifier does not need. It trains a classifier, embeds the images, clusters "
    "every class and keeps one image of every cluster. Then it trains on the kept images, on the full set and on "
    "random subsets, and compares the accuracies."
)
_IN_ORDER = ("prepare", "train", "embed", "cluster", "score", "select", "sweep", "report")
_PROGRAM = "data-redundancy"
_NARROWEST, _WIDEST = 60, 120


def of_all() -> str:
    """Returns the overview of all commands."""
    others = [name for name in COMMANDS if name not in _IN_ORDER]
    blocks = [
        USAGE,
        _paragraph(_ABOUT),
        "",
        "commands, in the order in which `run` runs them:",
        *(_command_line(name) for name in _IN_ORDER),
        "",
        "other commands:",
        *(_command_line(name) for name in others),
        "",
        "options:",
        _entry("--config", f"config: a file, or the name of a shipped config: {', '.join(shipped_names())}"),
        _entry("--config.X.Y", "set the field Y of the config section X; `data-redundancy fields` lists all fields"),
        _entry("--workdir", "directory of all artifacts, local or gs://BUCKET/DIR; finished work in it is skipped"),
        _entry("--dry_run", "list the steps that would run and the steps that would be skipped, and write nothing"),
        _entry("--json", "print the result, or the error, as one JSON object"),
        _entry("--quiet", "log only warnings and errors"),
        _entry("--version", "print the version"),
        _entry("--print_completion", "print the completion script for a shell: bash, zsh or tcsh"),
        "",
        "example:",
        "  data-redundancy run --config=digits --workdir=runs/digits",
        "",
        _paragraph(
            "`data-redundancy COMMAND --help` describes a command. Exit codes: 0 success; 2 invalid usage, config or "
            "input; 75 stopped, or another process or a bucket is unavailable (the same command resumes); 130 "
            "interrupted; 1 any other error."
        ),
    ]
    return "\n".join(blocks)


def of_command(command: Command, options: str) -> str:
    """Returns the help of a command.

    Args:
        command: the command to describe.
        options: usage and options of the command, as formatted by argparse.
    """
    _, _, described = options.partition("\n\n")
    blocks = [_usage(command), _docstring(command.docstring), described.strip()]
    if command.reads:
        blocks.append(_fields(command))
    return "\n\n".join(blocks)


def _usage(command: Command) -> str:
    arguments = {"diff": "SELECTION SELECTION", "fields": "[SECTION]"}.get(command.name)
    config = "[--config=CONFIG]" if command.reads_config else None
    words = ["usage:", _PROGRAM, command.name, arguments, config, "[--workdir=DIR]", "[options]"]
    return "\n".join(_wrap(" ".join(filter(None, words)), "", " " * 7))


def _docstring(text: str) -> str:
    """Wraps a docstring to the width of the terminal."""
    lines = text.splitlines()
    blocks: list[list[str]] = []
    for line in lines:
        if blocks and _goes_on(blocks[-1][-1], line):
            blocks[-1].append(line)
        else:
            blocks.append([line])
    return "\n".join(_block(block) for block in blocks)


def _goes_on(line: str, following: str) -> bool:
    """Returns whether two lines are in the same paragraph: the next word did not fit into the first line."""
    if not line or not following or _indent(line) != _indent(following):
        return False
    return len(line) + 1 + len(following.split()[0]) > _WIDEST


def _block(lines: list[str]) -> str:
    """Wraps a paragraph, or an example command, whose lines end in a backslash."""
    text, indent = " ".join(line.strip() for line in lines), _indent(lines[0])
    if not text.startswith(f"{_PROGRAM} "):
        return "\n".join(_wrap(text, indent, indent))
    words = re.findall(r'(?:[^\s"]|"[^"]*")+', text)
    wrapped = [indent + words[0]]
    for word in words[1:]:
        if len(wrapped[-1]) + 1 + len(word) + 2 <= width():
            wrapped[-1] += f" {word}"
        else:
            wrapped[-1] += " \\"
            wrapped.append(f"{indent}  {word}")
    return "\n".join(wrapped)


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


def _fields(command: Command) -> str:
    """Lists the config fields that a command reads, with type and default; bounds would take long to import."""
    from data_redundancy.experiment.config_fields import fields_within
    from data_redundancy.experiment.config_files import load_default
    from data_redundancy.experiment.config_rules import FIELDS

    defaults = load_default().to_dict()
    fields = fields_within(command.reads)
    longest = max(map(len, fields))
    blocks = [
        _paragraph(
            "config fields that the command reads; --config.SECTION.FIELD=VALUE sets a field, and `data-redundancy "
            "fields` describes all fields:"
        )
    ]
    for field in fields:
        section, name = field.split(".")
        described = f"{FIELDS[field].rule.type_name()}, default {defaults[section][name]!r}"
        blocks += _wrap(described, f"  {field:{longest}}  ", " " * (longest + 4))
    return "\n".join(blocks)


def _command_line(name: str) -> str:
    return _entry(name, COMMANDS[name].summary)


def _entry(name: str, text: str) -> str:
    return "\n".join(_wrap(text, f"  {name:20}", " " * 22))


def _paragraph(text: str) -> str:
    return "\n".join(_wrap(text, "", ""))


def _wrap(text: str, first: str, others: str) -> list[str]:
    return textwrap.wrap(
        text, width(), initial_indent=first, subsequent_indent=others, break_on_hyphens=False, break_long_words=False
    )


def width() -> int:
    """Returns the width of help texts in columns: the width of the terminal, from 60 to 120."""
    return max(_NARROWEST, min(_WIDEST, shutil.get_terminal_size().columns))
