"""Errors for artifacts that do not exist yet."""

from collections.abc import Mapping
from typing import Any

from etils import epath

from data_redundancy.errors import InputError
from data_redundancy.store import manifests


def require(path: epath.Path, fingerprint: Mapping[str, Any], command: str) -> None:
    """Raises InputError unless an artifact is complete and has a given fingerprint.

    Args:
        path: path of the artifact.
        fingerprint: the fingerprint that it must have.
        command: command that makes the artifact, which the error names.
    """
    if not manifests.is_complete(path, fingerprint):
        raise missing(path, command)


def missing(path: epath.Path, command: str) -> InputError:
    """Returns the error for an artifact that does not exist yet, with the command that makes it."""
    return InputError(path, None, "does not exist", f"Run 'data-redundancy {command}' with this workdir first")
