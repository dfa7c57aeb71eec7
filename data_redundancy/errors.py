"""Errors that end a command early: invalid input, unavailable storage, a lost process, a request to stop."""

import contextlib
import difflib
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self

STOPPED = 75
"""Exit code of a command that was stopped or lost another process; the same command resumes from what is saved."""

_LONGEST_VALUE = 120


class InputError(ValueError):
    """Invalid input: a parameter, a config field, a flag, a file or an array.

    `str(error)` is one line, `argument=value: requirement. Fix.` The command line prints it and exits with code 2; in
    the Python API the error is an ordinary `ValueError`.

    Attributes:
        argument: the name of the invalid parameter (`prune_fraction`) or config field (`train.steps`), or a path. The
            command line replaces the names of parameters and fields by the names of its flags.
        value: the invalid value; None if there is no single value, as for a file.
        requirement: the condition that the value violates, such as `must be at least 1`.
        fix: the action that corrects the error, a sentence without its full stop; None if the requirement implies it.
    """

    def __init__(self, argument: str | os.PathLike[str], value: Any, requirement: str, fix: str | None = None):
        super().__init__(os.fspath(argument), value, requirement, fix)

    @property
    def argument(self) -> str:
        """The name of the invalid parameter or field, or a path."""
        return self.args[0]

    @property
    def value(self) -> Any:
        """The invalid value, or None."""
        return self.args[1]

    @property
    def requirement(self) -> str:
        """The condition that the value violates."""
        return _one_line(self.args[2])

    @property
    def fix(self) -> str | None:
        """The action that corrects the error, or None."""
        return None if self.args[3] is None else _one_line(self.args[3])

    def __str__(self) -> str:
        head = self.argument if self.value is None else f"{self.argument}={show(self.value)}"
        text = f"{_one_line(head)}: {self.requirement}"
        if self.fix is None:
            return text
        return f"{text}. {self.fix}" + ("" if self.fix.endswith(("?", ".")) else ".")

    def renamed(self, argument: str, value: Any = None) -> Self:
        """Returns this error with another name of the argument, and with another value unless `value` is None."""
        return type(self)(argument, self.value if value is None else value, self.args[2], self.args[3])


class BucketUnavailableError(RuntimeError):
    """A bucket cannot be read or written at the moment: a transient storage error (timeout, 5xx).

    `str(error)` is one line, like that of an `InputError`.
    """


class ProcessLostError(RuntimeError):
    """Another process of a distributed job failed or did not answer."""


class Stopped(BaseException):  # like KeyboardInterrupt, so that `except Exception` does not catch it
    """This process received SIGTERM."""


def choice_error(argument: str, value: Any, allowed: Iterable[Any]) -> InputError:
    """Returns the error for a value that is not one of some names; it suggests the closest one.

    Args:
        argument: the parameter or field that has the value.
        value: the invalid value.
        allowed: the names, in the order in which to list them.
    """
    names = [str(name) for name in allowed]
    return InputError(argument, value, f"must be one of {', '.join(names)}", did_you_mean(str(value), names))


def did_you_mean(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """Returns `Did you mean X?` for the known names closest to a misspelt one, or None if none is close."""
    close = difflib.get_close_matches(name, list(known), n=2, cutoff=cutoff)
    return f"Did you mean {' or '.join(close)}?" if close else None


@contextlib.contextmanager
def arguments_named(names: Mapping[str, str]) -> Iterator[None]:
    """Renames the argument of an InputError raised in the block: a library's parameter becomes a caller's field.

    Args:
        names: the caller's name for each of the library's.
    """
    try:
        yield
    except InputError as error:
        if error.argument not in names:
            raise
        raise error.renamed(names[error.argument]) from error


def show(value: Any) -> str:
    """Returns a value as errors show it: text without quotes if it has no spaces, all other values by `repr`."""
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:  # NumPy's numbers
        value = value.item()
    plain = isinstance(value, str) and value.isprintable() and value and not any(map(str.isspace, value))
    text = value if plain else repr(value)
    if len(text) > _LONGEST_VALUE:
        text = f"{text[: _LONGEST_VALUE - 23]}...{text[-20:]}"
    return text


def _one_line(text: str) -> str:
    return " ".join(text.split())
