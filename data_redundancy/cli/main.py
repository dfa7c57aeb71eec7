"""The command line: flags, then one stage."""

import ast
import contextlib
import errno
import importlib
import logging
import math
import os
import pathlib
import re
import sys
import traceback

import absl.logging

from data_redundancy import stages
from data_redundancy.errors import STOPPED, BucketUnavailableError, InputError, Stopped
from data_redundancy.runtime import stopping

USAGE = """\
usage: data-redundancy STAGE --config=CONFIG --workdir=DIR [--config.SECTION.FIELD=VALUE ...]
       data-redundancy diff SELECTION_A SELECTION_B [--workdir=DIR]

Finds the training images a classifier does not need: trains, embeds, clusters every class, keeps one image of every
cluster, trains again on what is kept, and compares it with the full set and with random subsets.
"""
FLAGS = {
    "shard": "sweep only: i/n runs every n-th trial, from the i-th (0 to n-1): for n jobs on one --workdir",
    "workdir": "directory for all artifacts, local or gs://BUCKET/DIR; a stage that finds its artifact there skips",
    "embeddings": "select only: embeddings made elsewhere (.npy, .npz, Parquet, Zarr, Hugging Face); see select --help",
    "labels": "select only, with --embeddings: their labels, where they are not beside them; see select --help",
    "fraction": "answer: the share asked about (or select.fraction); select, with --embeddings: to remove",
    "largest": "answer only: searches the largest of sweep.fractions that can go",
    "max_trials": "answer only: the most trials for a fraction (by default evidence.max_trials)",
    "veto": "select, report: a veto.json, as the report's gallery saves it: images to keep or to drop in any case",
    "selection": "export only: which selection, such as agglomerative-0.1, or its directory",
    "format": "export only: tfds (default), webdataset, huggingface, imagefolder, or a list: txt, csv, parquet, npy",
    "file_format": "export only, with --format=tfds: tfrecord or array_record; by default that of the source",
    "splits": "export only: the other splits to copy along: all (default), none, or names with commas",
    "num_shards": "export only: files per split; by default from their size",
    "overwrite": "export only: replaces what is at --out, once the new one is complete",
    "out": "select, with --embeddings, and export: the directory (or file, of a list) to write",
}
TAKEN_BY = {
    "shard": ("sweep",),
    **dict.fromkeys(("embeddings", "labels"), ("select",)),
    "veto": ("select", "report"),
    "fraction": ("select", "answer"),
    **dict.fromkeys(("largest", "max_trials"), ("answer",)),
    **dict.fromkeys(("selection", "format", "file_format", "splits", "num_shards", "overwrite"), ("export",)),
    "out": ("select", "export"),
}
"""The stages that take a flag; all take the others."""
SWITCHES = ("--overwrite", "-overwrite", "--largest", "-largest")
"""Flags that need no value."""
PROCESS_FLAGS = {
    "coordinator": "several processes: HOST:PORT of process 0 (or JAX_COORDINATOR_ADDRESS in the environment)",
    "num_processes": "several processes: how many there are (or JAX_NUM_PROCESSES)",
    "process_id": "several processes: the number of this one, from 0 (or JAX_PROCESS_ID)",
    "num_devices": "how many devices all processes must have together; any other number is refused",
    "start_timeout_s": "several processes: how long to wait for the others at the start (300)",
    "barrier_timeout_s": "several processes: how long to wait for the others at a barrier (7200)",
}
INTERRUPTED = 130
GOES_ON = "the same command goes on from what is finished"
# What the system says when a file cannot be written, or not in full: the user's to mend.
_SYSTEM_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM}


def main(argv: list[str] | None = None) -> int:
    """Runs the command line; returns the exit code.

    Args:
        argv: without the program's name; by default those of this process, which is then the command's own.
    """
    if argv is not None:
        return _run_and_tell(argv)[0]
    sys.unraisablehook = _unraisable_hook
    stopping.install()
    code, message = _run_and_tell(sys.argv[1:])
    if code and (processes := sys.modules.get("data_redundancy.runtime.processes")) and processes.is_watching():
        stopping.ignore()
        processes.end_all(code, message)
    if code == INTERRUPTED:
        # Ctrl-C comes at any moment; where XLA's threads are at work then, Python's own end crashes about every other
        # time.
        with contextlib.suppress(OSError):
            sys.stdout.flush()
        os._exit(code)
    return code


def _run_and_tell(argv: list[str]) -> tuple[int, str]:
    """Runs the command line; returns the exit code and what was said of an error."""
    try:
        _run(argv)
    except BaseException as error:
        # The command is ending already: SIGTERM must not end the telling, which may take seconds.
        with stopping.deferred():
            return _tell(error, argv)
    return 0, ""


def _tell(error: BaseException, argv: list[str]) -> tuple[int, str]:
    """Says what ended the command, from within the handler; returns the exit code and what was said.

    Raises:
        BaseException: the error itself, where its traceback is what there is to say.
    """
    if isinstance(error, InputError):
        return _complain(str(error), code=2)
    if isinstance(error, KeyboardInterrupt):
        return _complain(f"interrupted; {GOES_ON}", code=INTERRUPTED)
    if isinstance(error, Stopped | BucketUnavailableError):
        return _complain(f"{error}; {GOES_ON}", code=STOPPED)
    if not isinstance(error, Exception):
        raise
    if isinstance(error, OSError) and error.errno in _SYSTEM_ERRORS:
        return _complain(f"cannot read or write {error.filename or 'the disk'}: {error.strerror}", code=2)
    from data_redundancy.runtime import processes
    from data_redundancy.store import filesystems

    # Writing names the path, see `workdir.writing`; here is what was read. Without a bucket it would be a bug.
    if any(filesystems.REMOTE in argument for argument in argv) and filesystems.passes(error):
        return _complain(f"a bucket cannot be used ({filesystems.failure(error)}); {GOES_ON}", code=STOPPED)
    if because := processes.ends_because_of_another(error):
        return _complain(f"{because}; {GOES_ON}", code=STOPPED)
    if not processes.is_watching():
        raise
    traceback.print_exc()
    return _complain(f"{type(error).__name__}: {error}", code=1)


def _run(argv: list[str]) -> None:
    names = [*stages.ORDER, *stages.OTHERS, "run"]
    stage = next((arg for arg in argv if not arg.startswith("-")), None)
    if {"--help", "-h", "--helpfull", "help"} & set(argv) or not argv:
        print(_stage_help(stage) if stage in names else _help())
        return
    if argv[0] not in names:
        raise InputError(f"{argv[0]!r}: no such stage; the stage comes first, one of {', '.join(names)}")
    _set_up_environment()
    config, given, rest = _parse([f"{arg}=true" if arg in SWITCHES else arg for arg in argv[1:]])
    _check_flags(argv[0], given)
    if argv[0] == "diff":
        _diff(rest, given)
        return
    if rest:
        raise InputError(f"{rest[0]!r}: not understood; after the stage come flags, --NAME=VALUE")
    _join_other_processes(given)
    _run_stage(argv[0], config, given)


def _check_flags(stage: str, given: dict[str, str | None]) -> None:
    for name, takers in TAKEN_BY.items():
        if given[name] is not None and stage not in takers:
            those = " and ".join(map(repr, takers))
            only = f"the stage {those} takes" if len(takers) == 1 else f"the stages {those} take"
            raise InputError(f"--{name}={given[name]}: only {only} it")


def _diff(selections: list[str], given: dict[str, str | None]) -> None:
    if len(selections) != 2:
        raise InputError(f"diff: {len(selections)} selections given, not two: each a directory or a name in --workdir")
    from data_redundancy.stages import diff

    diff.run(*selections, workdir=given["workdir"])


def _join_other_processes(given: dict[str, str | None]) -> None:
    from data_redundancy.runtime import processes

    processes.start(processes.parse({name: given[name] for name in PROCESS_FLAGS}))


def _parse(argv):
    from data_redundancy.cli import config as config_flags

    from_arrays = any(re.match("--?embeddings(=|$)", arg) for arg in argv)
    if from_arrays and not any(re.match("--?config(=|$)", arg) for arg in argv):
        argv = ["--config=default", *argv]
    return config_flags.parse(argv, {**FLAGS, **PROCESS_FLAGS})


def _run_stage(stage: str, config, given: dict[str, str | None]) -> None:
    if stage == "select" and any(given[name] is not None for name in ("embeddings", "labels", "fraction", "out")):
        _select_from_arrays(config, given)
        return
    for name, value in (("config", config), ("workdir", given["workdir"])):
        if value is None:
            example = "such as --config=digits" if name == "config" else "a directory"
            raise InputError(f"--{name}: must be given, {example}")
    from data_redundancy.experiment import config_rules
    from data_redundancy.runtime import devices
    from data_redundancy.store import workdir

    options = {name: given[name] for name, takers in TAKEN_BY.items() if given[name] is not None and stage in takers}
    if "shard" in options:
        options["shard"] = _shard(options["shard"])
    if stage == "answer":
        options = _asked(config, options)
    config_rules.check(config)
    directory = workdir.Workdir(given["workdir"])

    def run(name: str, of_stage, **options) -> None:
        importlib.import_module(f"data_redundancy.stages.{name}").run(of_stage, directory, **options)
        # After the stage: what an input error stopped has written nothing.
        if devices.is_main_process():
            workdir.write_if_changed(directory.config, (config.to_json(indent=2) + "\n").encode())

    if stage == "answer":
        options["run_stage"] = run
    for name in stages.ORDER if stage == "run" else [stage]:
        run(name, config, **options)


def _asked(config, given: dict[str, str]) -> dict[str, bool]:
    """Writes what flags of the stage answer say into the config; returns the options that are no fields."""
    largest = given.get("largest", "false").lower()
    if largest not in ("true", "false"):
        raise InputError(f"--largest={largest}: must be true or false, or be given without a value")
    if "fraction" in given:
        if largest == "true":
            raise InputError(f"--fraction={given['fraction']}: not with --largest, which takes sweep.fractions")
        config.select.fraction = _fraction(given["fraction"])
    if "max_trials" in given:
        if re.fullmatch("0*[1-9][0-9]{0,3}", given["max_trials"]) is None or int(given["max_trials"]) > 3000:
            raise InputError(f"--max_trials={given['max_trials']}: must be a whole number from 1 to 3000")
        config.evidence.max_trials = int(given["max_trials"])
    return {"largest": largest == "true"}


def _select_from_arrays(config, given: dict[str, str | None]) -> None:
    if given["embeddings"] is None:
        raise InputError(
            "--embeddings: must be given with --labels, --fraction, --out; else see --config.select.fraction"
        )
    if given["workdir"] is not None:
        raise InputError(f"--workdir={given['workdir']}: not with --embeddings; --out says where to write")
    missing = [name for name in ("fraction", "out") if given[name] is None]
    if missing:
        raise InputError(f"--{missing[0]}: must be given, as --embeddings needs both --fraction and --out")
    fraction = _fraction(given["fraction"])
    from data_redundancy.experiment import config_rules
    from data_redundancy.stages import select

    config_rules.check(config)
    arrays = {name: given[name] for name in ("embeddings", "labels", "out", "veto")}
    select.run_on_arrays(config, fraction=fraction, **arrays)


def _shard(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match is None or not int(match[1]) < int(match[2]):
        raise InputError(f"--shard={text}: must be i/n with i from 0 to n-1, such as 0/4")
    return int(match[1]), int(match[2])


def _fraction(text: str) -> float:
    try:
        fraction = float(text)
    except ValueError:
        fraction = math.nan
    if not 0 <= fraction < 1:
        raise InputError(f"--fraction={text}: must be a number at least 0 and less than 1")
    return fraction


def _set_up_environment() -> None:
    """Plain log lines on stderr; quiet libraries."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    # What libraries log as an error they also raise.
    absl.logging.set_verbosity(absl.logging.FATAL)
    log = logging.getLogger("data_redundancy")
    log.setLevel(logging.INFO)
    log.propagate = False
    log.handlers[:] = [_Handler()]


def _unraisable_hook(unraisable) -> None:
    """Leaves out what belongs to no object: so TensorStore's threads report a failed write, which raises too."""
    if unraisable.object is not None:
        sys.__unraisablehook__(unraisable)


class _Handler(logging.Handler):
    """Writes above a progress bar where there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        prefix = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
        tqdm.write(f"{prefix}{self.format(record)}", file=sys.stderr)


def _help() -> str:
    lines = [USAGE, "stages, in order:"]
    lines += [f"  {name:10}{_docstring(name).splitlines()[0]}" for name in stages.ORDER]
    lines += [f"  {'run':10}All of them in order.", "", "and then:"]
    lines += [f"  {name:10}{_docstring(name).splitlines()[0]}" for name in stages.OTHERS]
    lines += ["", "flags:"]
    lines += [f"  {'--config':14}a config file, or the name of a shipped one: {', '.join(_shipped())}"]
    lines += [f"  {'--' + name:14}{text}" for name, text in FLAGS.items()]
    lines += [f"  {'--' + name:19} {text}" for name, text in PROCESS_FLAGS.items()]
    lines += ["", "example:", "  data-redundancy run --config=digits --workdir=runs/digits", ""]
    lines += [
        "`data-redundancy STAGE --help` says what a stage reads, writes and takes. Exit codes: 0 done, 2 a mistake"
    ]
    lines += [
        "in a flag, config or input (told in one line), 75 told to stop by SIGTERM, or another process or a bucket is"
    ]
    lines += ["gone (start it again: it goes on), 130 interrupted, 1 anything else."]
    return "\n".join(lines)


def _stage_help(stage: str) -> str:
    if stage == "run":
        return _help()
    return f"data-redundancy {stage}\n\n{_docstring(stage)}"


def _docstring(stage: str) -> str:
    """A stage's docstring, read without importing the stage: help should come at once."""
    source = pathlib.Path(stages.__file__).with_name(f"{stage}.py").read_text(encoding="utf-8")
    return ast.get_docstring(ast.parse(source))


def _shipped() -> list[str]:
    from data_redundancy.cli import config as config_flags

    return config_flags.shipped_configs()


def _complain(message: str, *, code: int) -> tuple[int, str]:
    one_line = " ".join(message.split())
    print(f"data-redundancy: {one_line}", file=sys.stderr, flush=True)
    return code, one_line
