"""File systems: local directories, and Google Cloud Storage buckets (gs://BUCKET/DIRECTORY)."""

import importlib.util
import logging
import os
import pathlib
import re
import uuid
from typing import Any

from etils import epath

from data_redundancy.errors import InputError

REMOTE = "gs://"
PROBE_TIMEOUT_S = 30.0
"""How long a bucket may take to answer `check_bucket`, retries included."""

_CLIENTS = ("gcsfs", "fsspec", "aiohttp", "google", "requests")
_CODE = re.compile(r"(http_response|curl)_code='(\d+)'")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
_BUCKET = re.compile(r"(?=.{3,222}\Z)PART(\.PART)*".replace("PART", "[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?"))
# fsspec expands these as patterns, even when it deletes files.
_PATTERN_CHARACTERS = "*?[]"


def locate(name: str | os.PathLike[str], argument: str) -> epath.Path:
    """Returns the absolute path that a name means.

    Args:
        name: a local path, relative to the current directory or with ~; or gs://BUCKET/DIRECTORY.
        argument: the argument that errors name.

    Raises:
        InputError: naming `argument`, if the name is empty or has another scheme, or if the package that reads buckets
            is not installed.
    """
    text = os.fspath(name)
    if not text:  # which would be the current directory
        raise InputError(argument, "", "must not be empty")
    if not text.startswith(REMOTE):
        if _SCHEME.match(text):
            raise InputError(argument, text, f"must be a local path or {REMOTE}BUCKET/DIRECTORY")
        return epath.Path(pathlib.Path(os.path.expanduser(text)).absolute())
    if not text.removeprefix(REMOTE).strip("/") or text.startswith(f"{REMOTE}/"):
        raise InputError(argument, text, f"must name a bucket, as in {REMOTE}BUCKET/DIRECTORY")
    bucket = text.removeprefix(REMOTE).partition("/")[0]
    if _BUCKET.fullmatch(bucket) is None:
        requirement = (
            "must name a bucket of 3 to 222 lower-case letters, digits, hyphens, underscores and dots, with a letter "
            "or digit at both ends"
        )
        raise InputError(argument, text, requirement)
    if found := sorted(set(text) & set(_PATTERN_CHARACTERS)):
        raise InputError(argument, text, f"must not contain {' '.join(found)}")
    _set_up_gcsfs(text, argument)
    return epath.Path(text)


def is_remote(path: str | os.PathLike[str]) -> bool:
    """Returns whether a path is in a bucket."""
    return os.fspath(path).startswith(REMOTE)


def kvstore(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Returns TensorStore's specification of a directory."""
    if not is_remote(path):
        return {"driver": "file", "path": f"{os.fspath(path)}/"}
    bucket, _, directory = os.fspath(path).removeprefix(REMOTE).partition("/")
    return {"driver": "gcs", "bucket": bucket, "path": f"{directory}/" if directory else ""}


def check_bucket(path: str | os.PathLike[str], argument: str) -> None:
    """Writes an object below a remote path, reads it and removes it.

    The requests use TensorStore because it reports why they failed and, unlike gcsfs, limits how often they are
    retried. If the bucket does not answer, this takes up to `PROBE_TIMEOUT_S` for each request.

    Args:
        path: a path in a bucket.
        argument: the argument that errors name.

    Raises:
        InputError: naming `argument`, with the reason.
    """
    import tensorstore as ts

    retries = {"max_retries": 2, "initial_delay": "200ms", "max_delay": "1s"}
    probe = f".writable-{uuid.uuid4().hex}"
    found: str | None
    try:
        store = ts.KvStore.open({**kvstore(path), "context": {"gcs_request_retries": retries}}).result()
        store.write(probe, b"w").result(timeout=PROBE_TIMEOUT_S)
        store.read(probe).result(timeout=PROBE_TIMEOUT_S)
        store.write(probe, None).result(timeout=PROBE_TIMEOUT_S)
    except TimeoutError:
        found = f"no answer in {PROBE_TIMEOUT_S:g} seconds"
    except (ValueError, RuntimeError, OSError) as error:
        found = failure(error)
        if found is None:
            raise
    else:
        return
    raise InputError(argument, os.fspath(path), f"must be a directory that can be read and written ({found})")


def failure(error: Exception) -> str | None:
    """Returns why a file could not be read or written, or None for an error of another kind.

    TensorStore, and Orbax which uses it, raise errors of the system and of buckets as ValueError or RuntimeError; gcsfs
    has its own types.
    """
    text = str(error)
    if code := re.search(r"os_error_code='(\d+)'", text):
        return os.strerror(int(code[1]))
    if isinstance(error, OSError):
        return _one_line(error.strerror or text or type(error).__name__)
    if code := _CODE.search(text):
        return "no such bucket or object" if code[2] == "404" else _one_line(text)
    return _one_line(text or type(error).__name__) if _client(error) in _CLIENTS else None


def passes(error: Exception) -> bool:
    """Returns whether a failure of a bucket is temporary: one of the network or the server."""
    if code := _CODE.search(str(error)):
        return code[1] == "curl" or _status_passes(code[2])
    if isinstance(error, TimeoutError | ConnectionError):
        return True
    if _client(error) not in _CLIENTS:
        return False
    status = getattr(error, "code", None) or getattr(error, "status", None)
    if status is not None:
        return _status_passes(status)
    # An error without a status comes from the network, or from missing credentials.
    return _client(error) in ("aiohttp", "requests") or type(error).__name__ in ("ChecksumError", "TransportError")


def reason(error: BaseException) -> str:
    """Returns the first line of an error's message, or its type if it has none.

    Of an error of the system it is the system's text alone, without the number and the path.
    """
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return _one_line((text.strip().splitlines() or [type(error).__name__])[0])


def _status_passes(status: int | str) -> bool:
    """Returns whether the same request may succeed later, after one with this HTTP status."""
    return int(status) >= 500 or int(status) in (408, 429)


def _client(error: Exception) -> str:
    """Returns the name of the package that an error comes from."""
    return type(error).__module__.partition(".")[0]


def _one_line(text: str) -> str:
    """Returns a text in one line, without the locations and remarks about retries that TensorStore adds."""
    text = re.sub(r"\[\w+='[^']*'\]", "", text)
    text = re.sub(r"^[A-Z_]+: (All \d+ retry attempts failed: )?", "", text)
    return " ".join(text.split())


def _set_up_gcsfs(name: str, argument: str) -> None:
    """Makes epath and its users reach buckets in the same way whether or not TensorFlow is installed."""
    if importlib.util.find_spec("gcsfs") is None:
        fix = "Install it with pip install 'data_redundancy[gcs]'"
        raise InputError(argument, name, "needs the package gcsfs, which is not installed", fix)
    # TensorFlow's file system raises other errors, and takes seconds to import.
    os.environ.setdefault("EPATH_USE_TF", "0")
    # This experimental feature requests the kind of the bucket before every request. TensorStore's driver supports only
    # the usual kind.
    os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    logging.getLogger("gcsfs").setLevel(logging.CRITICAL)  # it raises every error that it logs with a traceback
    import fsspec.config

    # Objects that other processes or TensorStore have written must be visible at once.
    fsspec.config.conf.setdefault("gcs", {})["use_listings_cache"] = False
