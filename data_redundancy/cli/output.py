"""Output of the command line: log lines on stderr, results on stdout."""

import contextlib
import json
import logging
import math
import os
import re
import sys
from collections.abc import Sequence
from typing import Any

LOG = "data_redundancy"
_JSON = re.compile(r"--?json(=(?P<value>.*))?", re.DOTALL)
_FALSE = ("false", "False", "f", "no", "n", "0")


def set_up_logging(*, quiet: bool) -> None:
    """Sets up logging to stderr for the package; libraries log nothing, because they also raise their errors.

    Args:
        quiet: whether to log warnings only.
    """
    import absl.logging

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    absl.logging.set_verbosity(absl.logging.FATAL)
    log = logging.getLogger(LOG)
    log.setLevel(logging.WARNING if quiet else logging.INFO)
    log.propagate = False
    log.handlers[:] = [_Handler()]


class _Handler(logging.Handler):
    """Writes log lines to stderr, above the progress bar if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        prefix = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
        tqdm.write(f"{prefix}{self.format(record)}", file=sys.stderr)


def reserve_stdout() -> None:
    """Reserves stdout for `print_text`: redirects the text that libraries such as Gloo write to stdout to stderr."""
    with contextlib.suppress(OSError, AttributeError):  # stdout or stderr may be closed
        stdout, encoding = os.dup(sys.stdout.fileno()), sys.stdout.encoding
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        sys.stdout = os.fdopen(stdout, "w", encoding=encoding)


def print_text(text: str) -> None:
    """Prints text on stdout; ignores a closed pipe, because readers such as `head` close it early."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def print_json(value: dict[str, Any]) -> None:
    """Prints one JSON object on stdout; numbers that JSON lacks, such as NaN, become null."""
    print_text(json.dumps(_finite(value), allow_nan=False))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def wants_json(argv: Sequence[str]) -> bool:
    """Returns whether a command line that cannot be parsed contains --json."""
    given = [match["value"] for argument in argv if (match := _JSON.fullmatch(argument))]
    return bool(given) and given[-1] not in _FALSE


def complain(message: str) -> None:
    """Prints an error as one line on stderr."""
    print(f"data-redundancy: {message}", file=sys.stderr)
