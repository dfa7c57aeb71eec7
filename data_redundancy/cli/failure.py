"""Descriptions of the errors that end a command: one line and an exit code."""

import dataclasses
import errno
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from data_redundancy.errors import STOPPED, BucketUnavailableError, InputError, Stopped

INVALID, INTERRUPTED, OTHER = 2, 130, 1
RESUME = "run the same command again, it resumes from what is finished"
# Errors of the operating system that the user can fix: the file or the disk cannot be written.
_SYSTEM_ERRORS = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.ENAMETOOLONG,
}


@dataclasses.dataclass(frozen=True)
class Failure:
    """The failure of a command.

    Attributes:
        code: the exit code.
        message: the description, one line.
        error: the InputError that ended the command, with the flag as its argument; None for other errors.
    """

    code: int
    message: str
    error: InputError | None = None

    def as_json(self) -> dict[str, Any]:
        """Returns the failure as plain JSON values."""
        found: dict[str, Any] = {"message": self.message, "exit_code": self.code}
        if self.error is not None:
            value = self.error.value
            plain = value is None or isinstance(value, str | int | float | bool)
            found |= {
                "argument": self.error.argument,
                "value": value if plain else str(value),
                "requirement": self.error.requirement,
                "fix": self.error.fix,
            }
        return found


def describe(error: BaseException, argv: Sequence[str], flag_of: Callable[[str], str]) -> Failure | None:
    """Returns the failure for an error; None if the traceback describes the error best. Call it in the handler.

    Args:
        error: the error that ended the command.
        argv: the arguments of the command line.
        flag_of: returns the flag for the argument of an InputError.
    """
    if isinstance(error, InputError):
        named = error.renamed(flag_of(error.argument))
        return Failure(INVALID, str(named), named)
    if isinstance(error, KeyboardInterrupt):
        return Failure(INTERRUPTED, f"interrupted; {RESUME}")
    if isinstance(error, Stopped | BucketUnavailableError):
        return Failure(STOPPED, f"{_one_line(error)}; {RESUME}")
    if not isinstance(error, Exception):
        return None
    if isinstance(error, OSError) and error.errno in _SYSTEM_ERRORS:
        return Failure(INVALID, f"cannot read or write {error.filename or 'the disk'}: {error.strerror}")
    if isinstance(error, MemoryError):
        return Failure(INVALID, f"there is too little memory ({_one_line(error) or 'MemoryError'})")
    return _describe_other(error, argv)


def unexpected(error: BaseException) -> Failure:
    """Returns the failure for an error that is a bug."""
    return Failure(OTHER, f"{type(error).__name__}: {_one_line(error)}")


def _describe_other(error: Exception, argv: Sequence[str]) -> Failure | None:
    from data_redundancy.runtime import processes
    from data_redundancy.store import filesystems

    # A failed write already raises an error with the path (`store.files.writing`), so this one is a failed read.
    if any(filesystems.REMOTE in argument for argument in argv) and filesystems.passes(error):
        return Failure(STOPPED, f"a bucket is unavailable ({filesystems.failure(error)}); {RESUME}")
    if because := processes.ends_because_of_another(error):
        return Failure(STOPPED, f"{because}; {RESUME}")
    if not processes.is_watching():
        return None
    traceback.print_exc()
    return unexpected(error)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
