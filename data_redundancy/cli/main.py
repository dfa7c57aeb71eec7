"""The command line: parses arguments, runs one command, prints its result, and returns the exit code."""

import contextlib
import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

from data_redundancy.cli import failure, help_text, output
from data_redundancy.cli.commands import COMMANDS, PROCESSES
from data_redundancy.cli.failure import INTERRUPTED, Failure
from data_redundancy.errors import InputError
from data_redundancy.runtime import stopping
from data_redundancy.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable

    from data_redundancy.cli.arguments import CommandLine
    from data_redundancy.experiment.embedding_experiment import EmbeddingExperiment
    from data_redundancy.experiment.experiment import Experiment
    from data_redundancy.experiment.result import CommandResult

_COMPLETION = "--print_completion"


def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit code.

    Args:
        argv: without the program's name; by default those of this process, which is then the command's own.
    """
    if argv is not None:
        failed = _run(argv)
        return 0 if failed is None else failed.code
    sys.unraisablehook = _unraisable_hook
    stopping.install()
    failed = _run(sys.argv[1:])
    code = 0 if failed is None else failed.code
    if failed and (processes := sys.modules.get("data_redundancy.runtime.processes")) and processes.is_watching():
        stopping.ignore()
        processes.end_all(code, failed.message)
    if code == INTERRUPTED:
        # Ctrl-C comes at any moment; if XLA's threads are running then, Python's own exit often crashes.
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        os._exit(code)
    return code


def _run(argv: list[str]) -> Failure | None:
    """Runs the command line; returns how it failed, None if it did not."""
    line: CommandLine | None = None
    try:
        if _print_help(argv):
            return None
        from data_redundancy.cli import arguments

        line = arguments.parse(argv)
        _run_command(line)
    except BaseException as error:
        # The command is ending already: SIGTERM must not interrupt the description, which may take seconds.
        with stopping.deferred():
            failed = failure.describe(error, argv, _flag_of(line))
            output.complain(failed.message)
            if line.options["json"] if line else "--json" in argv:
                output.print_json({"error": failed.as_json()})
            return failed
    return None


def _flag_of(line: "CommandLine | None") -> "Callable[[str], str]":
    return (lambda argument: argument) if line is None else line.flag_of


def _print_help(argv: list[str]) -> bool:
    """Prints what needs no command, or a command's help; returns whether it did."""
    first = argv[0] if argv else "--help"
    if first in ("--help", "-h", "help") and len(argv) < 2:
        output.print_text(help_text.of_all())
    elif first == "--version":
        output.print_text(f"data-redundancy {__version__}")
    elif first.replace("-", "_").startswith(_COMPLETION.replace("-", "_")):
        from data_redundancy.cli.arguments import completion_script

        _, _, shell = first.partition("=")
        output.print_text(completion_script(shell or "".join(argv[1:2])))
    elif first == "help" or {"--help", "-h", "--helpfull"} & set(argv):
        return _print_command_help(argv[1] if first == "help" else first)
    else:
        return False
    return True


def _print_command_help(name: str) -> bool:
    if name.startswith("-"):
        output.print_text(help_text.of_all())
        return True
    if name not in COMMANDS:
        return False
    from data_redundancy.cli.arguments import make_parser

    output.print_text(make_parser(COMMANDS[name]).format_help())
    return True


def _run_command(line: "CommandLine") -> None:
    output.set_up_logging(quiet=line.options["quiet"])
    stage = importlib.import_module(f"data_redundancy.stages.{line.command.name}")
    if line.command.has_experiment:
        result = _run_on_experiment(line, stage)
    else:
        options = _plain_options(line, stage)
        result = _preview(stage.preview(options)) if line.options["dry_run"] else stage.run(options)
    if not _is_main_process(line):
        return
    if line.options["json"]:
        about = {"command": line.command.name, "version": __version__, "workdir": line.options["workdir"]}
        output.print_json({**about, "result": result.as_json()})
    elif text := result.text():
        output.print_text(text)


def _is_main_process(line: "CommandLine") -> bool:
    if not line.command.has_experiment:
        return True
    from data_redundancy.runtime import devices

    return devices.is_main_process()


def _plain_options(line: "CommandLine", stage: Any) -> Any:
    """The options of a command that has no experiment."""
    if line.command.name == "diff":
        return stage.Options(line.positional, line.options["workdir"])
    if len(line.positional) > 1:
        raise InputError("section", " ".join(line.positional), "must be one section of the config")
    config = None
    if line.options["config"] is not None:
        from data_redundancy.experiment import config_files

        config = config_files.load(line.options["config"])
    return stage.Options(next(iter(line.positional), None), config)


def _run_on_experiment(line: "CommandLine", stage: Any) -> "CommandResult":
    from data_redundancy.cli import experiments
    from data_redundancy.runtime import processes

    config = experiments.check(line)
    processes.start(processes.resolve(**{option.name: line.options[option.name] for option in PROCESSES}))
    experiment: Experiment | EmbeddingExperiment = experiments.make(line, config)
    options = experiments.stage_options(line, stage)
    if line.options["dry_run"]:
        return _preview(stage.preview(experiment, options))
    result = stage.run(experiment, options)
    experiments.remember(experiment)
    return result


def _preview(steps: list[Any]) -> "CommandResult":
    from data_redundancy.experiment.preview import Preview

    return Preview(tuple(steps))


def _unraisable_hook(unraisable: Any) -> None:
    """Ignores what belongs to no object: TensorStore's threads report a failed write this way, which raises too."""
    if unraisable.object is not None:
        sys.__unraisablehook__(unraisable)
