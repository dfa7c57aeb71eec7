"""Manifests: each artifact has a `manifest.json` that describes it and records the inputs it was made with."""

import json
from collections.abc import Mapping
from typing import Any

from etils import epath

from data_redundancy.errors import InputError
from data_redundancy.store import files
from data_redundancy.version import __version__

MANIFEST = "manifest.json"
"""The name of the file. In a bucket it is written last: an artifact without a manifest is incomplete."""

_LISTED = 3


def make(fingerprint: Mapping[str, Any], **about: Any) -> dict[str, Any]:
    """Returns the content of a manifest.

    Args:
        fingerprint: the inputs that the artifact is made with: a flat mapping of field names to JSON values.
        **about: further entries that describe the artifact.

    Returns:
        `about`, the version of the code (recorded, never compared) and the fingerprint.
    """
    return {**about, "code_version": __version__, "fingerprint": dict(fingerprint)}


def read(directory: epath.Path) -> dict[str, Any] | None:
    """Returns the manifest of an artifact, or None if there is no complete artifact in `directory`.

    Raises:
        InputError: if the file is damaged.
    """
    path = directory / MANIFEST
    manifest = files.read_json(path)
    if manifest is not None and not (isinstance(manifest, dict) and isinstance(manifest.get("fingerprint"), dict)):
        raise InputError(path, None, "must be a JSON object with a fingerprint", "Remove it and run again")
    return manifest


def is_complete(directory: epath.Path, fingerprint: Mapping[str, Any]) -> bool:
    """Returns whether `directory` has a complete artifact.

    Raises:
        InputError: if it has one that was made with other inputs than `fingerprint`.
    """
    manifest = read(directory)
    if manifest is None:
        return False
    check_fingerprint(directory, manifest["fingerprint"], fingerprint)
    return True


def check_fingerprint(artifact: epath.Path, found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Raises an error if an artifact was made with other inputs.

    Args:
        artifact: the path to name in the error.
        found: the fingerprint that the artifact has, a flat mapping of field names to JSON values.
        expected: the fingerprint that it would get if it were made now.

    Raises:
        InputError: names the fields that differ, with both values.
    """
    found, expected = _through_json(found), _through_json(expected)
    differing = differing_fields(found, expected)
    if not differing:
        return
    shown = "; ".join(f"{n} was {found.get(n)!r} and is now {expected.get(n)!r}" for n in differing[:_LISTED])
    more = f" (and {len(differing) - _LISTED} more fields)" if len(differing) > _LISTED else ""
    raise InputError(
        artifact,
        None,
        f"was made with different inputs: {shown}{more}",
        "Use the inputs it was made with, use another directory, or remove it",
    )


def differing_fields(found: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    """Returns the sorted names of the fields in which two fingerprints differ."""
    found, expected = _through_json(found), _through_json(expected)
    return [name for name in sorted({*found, *expected}) if found.get(name) != expected.get(name)]


def _through_json(value: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the mapping as it would be read from JSON, which turns tuples into lists."""
    return json.loads(json.dumps(dict(value)))
