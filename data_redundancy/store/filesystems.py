"""Where files may lie: in a directory, or in a Google Cloud Storage bucket (gs://BUCKET/DIRECTORY)."""

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
"""How long a bucket may take to answer before a stage starts; retries included."""

_CLIENTS = ("gcsfs", "fsspec", "aiohttp", "google", "requests")
_CODE = re.compile(r"(http_response|curl)_code='(\d+)'")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
# fsspec takes these for patterns, also where it deletes.
_PATTERN_CHARACTERS = "*?[]"


def locate(name: str | os.PathLike, field: str) -> epath.Path:
    """The absolute path that a user means.

    Args:
        name: a local path, relative to the current directory or with ~; or gs://BUCKET/DIRECTORY.
        field: the flag it came from, named in errors.

    Raises:
        InputError: for other schemes, or a bucket without the package that reaches it.
    """
    text = os.fspath(name)
    if not text.startswith(REMOTE):
        if _SCHEME.match(text):
            raise InputError(f"{field}={text}: must be a local path or {REMOTE}BUCKET/DIRECTORY")
        return epath.Path(pathlib.Path(os.path.expanduser(text)).absolute())
    if not text.removeprefix(REMOTE).strip("/") or text.startswith(f"{REMOTE}/"):
        raise InputError(f"{field}={text}: must name a bucket, {REMOTE}BUCKET/DIRECTORY")
    if found := sorted(set(text) & set(_PATTERN_CHARACTERS)):
        raise InputError(f"{field}={text}: must not contain {' '.join(found)}")
    _set_up_gcsfs(text, field)
    return epath.Path(text)


def is_remote(path: os.PathLike) -> bool:
    """Whether a path lies in a bucket."""
    return os.fspath(path).startswith(REMOTE)


def kvstore(path: os.PathLike) -> dict[str, Any]:
    """TensorStore's specification of a directory."""
    if not is_remote(path):
        return {"driver": "file", "path": f"{os.fspath(path)}/"}
    bucket, _, directory = os.fspath(path).removeprefix(REMOTE).partition("/")
    return {"driver": "gcs", "bucket": bucket, "path": f"{directory}/" if directory else ""}


def check_bucket(path: os.PathLike, field: str) -> None:
    """Writes an object below a remote path, reads it and removes it; takes seconds where that is not possible.

    The request goes through TensorStore, which says why it failed and, unlike gcsfs, how often it tries is up to us.

    Args:
        path: remote.
        field: the flag it came from, named in errors.

    Raises:
        InputError: naming the reason.
    """
    import tensorstore as ts

    retries = {"max_retries": 2, "initial_delay": "200ms", "max_delay": "1s"}
    probe = f".writable-{uuid.uuid4().hex}"
    try:
        store = ts.KvStore.open({**kvstore(path), "context": {"gcs_request_retries": retries}}).result()
        store.write(probe, b"w").result(timeout=PROBE_TIMEOUT_S)
        store.read(probe).result(timeout=PROBE_TIMEOUT_S)
        store.write(probe, None).result(timeout=PROBE_TIMEOUT_S)
    except TimeoutError:
        reason = f"no answer in {PROBE_TIMEOUT_S:g} seconds"
    except (ValueError, RuntimeError, OSError) as error:
        reason = failure(error)
        if reason is None:
            raise
    else:
        return
    raise InputError(f"{field}={os.fspath(path)}: cannot be read and written ({reason})")


def failure(error: Exception) -> str | None:
    """What kept a file from being read or written, as the system or the bucket says it; None for errors of other kinds.

    TensorStore, and Orbax which writes through it, raise the system's errors and those of a bucket as ValueError or
    RuntimeError; gcsfs has types of its own.
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
    """Whether a failure of a bucket is one of the network or the server, which passes by itself."""
    if code := _CODE.search(str(error)):
        return code[1] == "curl" or _status_passes(code[2])
    if isinstance(error, TimeoutError | ConnectionError):
        return True
    if _client(error) not in _CLIENTS:
        return False
    status = getattr(error, "code", None) or getattr(error, "status", None)
    if status is not None:
        return _status_passes(status)
    # Without a status it is the network's; but credentials may be missing, too.
    return _client(error) in ("aiohttp", "requests") or type(error).__name__ in ("ChecksumError", "TransportError")


def _status_passes(status: int | str) -> bool:
    """Whether an HTTP status is one on which the same request may succeed later."""
    return int(status) >= 500 or int(status) in (408, 429)


def _client(error: Exception) -> str:
    """The package an error comes from."""
    return type(error).__module__.partition(".")[0]


def _one_line(text: str) -> str:
    """Without TensorStore's appendices and what its retries say."""
    text = re.sub(r"\[\w+='[^']*'\]", "", text)
    text = re.sub(r"^[A-Z_]+: (All \d+ retry attempts failed: )?", "", text)
    return " ".join(text.split())


def _set_up_gcsfs(name: str, field: str) -> None:
    """Lets epath, and what uses it, reach buckets in one way, whether or not TensorFlow is installed."""
    if importlib.util.find_spec("gcsfs") is None:
        raise InputError(f"{field}={name}: needs the package gcsfs; pip install 'data_redundancy[gcs]'")
    # TensorFlow's own way has other errors, and takes seconds to import.
    os.environ.setdefault("EPATH_USE_TF", "0")
    # Experimental: asks for the kind of a bucket before every request. TensorStore's driver takes but the usual one.
    os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    logging.getLogger("gcsfs").setLevel(logging.CRITICAL)  # what it logs as an error, traceback and all, it also raises
    import fsspec.config

    # What other processes wrote, and what TensorStore did in this one, is to be seen at once.
    fsspec.config.conf.setdefault("gcs", {})["use_listings_cache"] = False
