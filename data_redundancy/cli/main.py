"""The command line: parses arguments, runs one command, prints its result, and returns the exit code."""

import contextlib
import importlib
import os
import sys
from typing import TYPE_CHECKING, Any

from data_redundancy.cli import failure, help_text, output
from data_redundancy.cli.commands import PROCESSES
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


def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit code.

    Args:
        argv: the arguments without the program's name. By default the arguments of this process; the function then
            also handles signals, reserves stdout for results, and ends the other processes of the job on failure.
    """
    if argv is not None:
        failed = _run(argv)
        return 0 if failed is None else failed.code
    sys.unraisablehook = _unraisable_hook
    stopping.install()
    output.reserve_stdout()
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
    """Runs the command line; returns the failure, or None if it succeeded."""
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
            if failed is not None:
                output.complain(failed.message)
            if line.options["json"] if line else output.wants_json(argv):
                output.print_json({"error": (failed or failure.unexpected(error)).as_json()})
            if failed is None:
                raise
            return failed
    return None


def _flag_of(line: "CommandLine | None") -> "Callable[[str], str]":
    return (lambda argument: argument) if line is None else line.flag_of


def _print_help(argv: list[str]) -> bool:
    """Prints the version, a completion script or a help text if one is requested; returns whether it did."""
    first, *rest = argv or ["help"]
    if _flag_name(first) == "version":
        output.print_text(f"data-redundancy {__version__}")
    elif _flag_name(first) == "print_completion":
        from data_redundancy.cli.completion import completion_script

        _, _, shell = first.partition("=")
        output.print_text(completion_script(shell or "".join(rest[:1])))
    elif first == "help":
        _print_command_help(rest[0] if rest else "")
    elif any(_flag_name(argument) in ("help", "helpfull", "h") for argument in argv):
        _print_command_help("" if first.startswith("-") else first)
    else:
        return False
    return True


def _flag_name(argument: str) -> str | None:
    return argument.partition("=")[0].lstrip("-").replace("-", "_") if argument.startswith("-") else None


def _print_command_help(name: str) -> None:
    """Prints the help of a command, or the overview of all commands if the name is empty."""
    if not name:
        output.print_text(help_text.of_all())
        return
    from data_redundancy.cli import arguments

    output.print_text(arguments.make_parser(arguments.find_command(name)).format_help())


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
    """Returns the options of a command that has no experiment."""
    if line.command.name == "diff":
        return stage.Options(line.positional, line.options["workdir"])
    if len(line.positional) > 1:
        raise InputError("section", " ".join(line.positional), "must be one section of the config")
    from data_redundancy.cli import config

    return stage.Options(next(iter(line.positional), None), config.resolve(line))


def _run_on_experiment(line: "CommandLine", stage: Any) -> "CommandResult":
    from data_redundancy.cli import experiments
    from data_redundancy.runtime import processes

    config = experiments.check(line)
    processes.start(processes.resolve(**{option.name: line.options[option.name] for option in PROCESSES}))
    config = experiments.same_on_all_processes(line, config)
    with experiments.removing_empty_directory(line.options["workdir"]):
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
    """Ignores errors without an object: TensorStore's threads report failed writes so, which the command raises too."""
    if unraisable.object is not None:
        sys.__unraisablehook__(unraisable)
