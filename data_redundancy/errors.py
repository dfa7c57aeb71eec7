"""The one exception that means "the user's input is wrong"."""


class InputError(ValueError):
    """A mistake in what the user gave: a field, a file, an array.

    `str(error)` is one line that names the field (or argument), its value and what is allowed. The command line prints
    that line and exits with code 2; in the Python API it is an ordinary `ValueError`.
    """
