"""What ends a command early: a mistake of the user's, or being told to stop."""

STOPPED = 75
"""Exit code of a command that was told to stop, or lost another process: given again, it goes on from what is saved."""


class InputError(ValueError):
    """A mistake in what the user gave: a field, a file, an array.

    `str(error)` is one line that names the field (or argument), its value and what is allowed. The command line prints
    that line and exits with code 2; in the Python API it is an ordinary `ValueError`.
    """


class BucketUnavailableError(RuntimeError):
    """A bucket cannot be read or written for the moment; nobody has to mend anything before the command goes on.

    `str(error)` is one line, as that of an `InputError`.
    """


class ProcessLostError(RuntimeError):
    """Another process did not do its part."""


class Stopped(BaseException):  # as KeyboardInterrupt is: what catches exceptions must not catch it
    """This process was told to stop, by SIGTERM."""
