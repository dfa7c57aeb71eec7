"""Results of commands, which are printed as text or as JSON."""

import dataclasses
import os
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class NoOptions:
    """The options of a command that has no options besides its config."""


@dataclasses.dataclass(frozen=True)
class CommandResult:
    """The result of a command: paths and numbers. Every command defines a subclass with its fields."""

    def text(self) -> str:
        """Returns the text to print on stdout; empty if the log already contains the result."""
        return ""

    def as_json(self) -> dict[str, Any]:
        """Returns the fields as plain JSON values."""
        return {field.name: _plain(getattr(self, field.name)) for field in dataclasses.fields(self)}


def _plain(value: Any) -> Any:
    if isinstance(value, CommandResult):
        return value.as_json()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
