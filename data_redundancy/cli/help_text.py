"""Help: of all commands, and of each."""

import functools
import shutil
import textwrap

from data_redundancy.cli.commands import COMMANDS, Command
from data_redundancy.experiment.shipped_configs import shipped_names

USAGE = """\
usage: data-redundancy COMMAND --config=CONFIG --workdir=DIR [--config.SECTION.FIELD=VALUE ...]
       data-redundancy COMMAND --workdir=DIR      with the config that the workdir remembers

Finds the training images that a classifier does not need: trains, embeds, clusters every class, keeps one image of
every cluster, trains again on what is kept, and compares it with the full set and with random subsets.
"""
_IN_ORDER = ("prepare", "train", "embed", "cluster", "score", "select", "sweep", "report")
_WIDEST = 120


def of_all() -> str:
    """Returns the help of all commands."""
    others = [name for name in COMMANDS if name not in _IN_ORDER]
    blocks = [
        USAGE,
        "commands, in the order in which `run` runs them:",
        *(_command_line(name) for name in _IN_ORDER),
        "",
        "other commands:",
        *(_command_line(name) for name in others),
        "",
        "options:",
        _entry("--config", f"a config: a file, or one of the shipped {', '.join(shipped_names())}"),
        _entry("--config.X.Y", "a config field; `data-redundancy fields` lists them"),
        _entry("--workdir", "directory for all artifacts, local or gs://BUCKET/DIR; what is finished is skipped"),
        _entry("--dry_run", "print what would run and what would be skipped"),
        _entry("--json", "print the result, or the error, as one JSON object"),
        _entry("--quiet", "log warnings only"),
        _entry("--version", "print the version"),
        _entry("--print_completion", "print the completion script of a shell: bash, zsh or tcsh"),
        "",
        "example:",
        "  data-redundancy run --config=digits --workdir=runs/digits",
        "",
        _paragraph(
            "`data-redundancy COMMAND --help` describes a command. Exit codes: 0 done; 2 a usage, config or input "
            "error; 75 stopped, or another process or a bucket is unavailable: run the command again, it resumes; 130 "
            "interrupted; 1 anything else."
        ),
    ]
    return "\n".join(blocks)


def of_command(command: Command, options: str) -> str:
    """Returns the help of a command.

    Args:
        command: to describe.
        options: its options, as argparse formats them, with the usage first.
    """
    _, _, described = options.partition("\n\n")
    usage = f"usage: data-redundancy {command.name} " + (
        "[SELECTION ...] [--workdir=DIR]" if command.name == "diff" else "[--config=CONFIG] [--workdir=DIR] [options]"
    )
    blocks = [usage, command.docstring, described.strip()]
    if command.reads:
        blocks.append(_fields(command))
    return "\n\n".join(blocks) + "\n"


def _fields(command: Command) -> str:
    """The config fields that a command reads, with type and default."""
    from data_redundancy.experiment.config_fields import describe_fields

    fields = list(describe_fields(None, command.reads))
    width = max(len(field.name) for field in fields)
    lines = [f"  {field.name:{width}}  {field.type}, default {field.default!r}" for field in fields]
    heading = "config fields that it reads, as --config.SECTION.FIELD=VALUE (`data-redundancy fields` describes them):"
    return "\n".join([heading, *lines])


def _command_line(name: str) -> str:
    return _entry(name, COMMANDS[name].summary)


def _entry(name: str, text: str) -> str:
    width = 20
    wrap = functools.partial(textwrap.wrap, break_on_hyphens=False)
    first, *rest = wrap(text, max(40, _width() - width - 2))
    return "\n".join([f"  {name:{width}}{first}", *(f"  {'':{width}}{line}" for line in rest)])


def _paragraph(text: str) -> str:
    return "\n".join(textwrap.wrap(text, _width()))


def _width() -> int:
    return min(_WIDEST, shutil.get_terminal_size().columns)
