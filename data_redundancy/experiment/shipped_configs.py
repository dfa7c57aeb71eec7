"""The configs of the package; imports only the standard library, since help lists the configs."""

import importlib.util
import pathlib


def shipped_directory() -> pathlib.Path:
    """Returns the directory of the shipped configs."""
    spec = importlib.util.find_spec("data_redundancy.configs")
    assert spec is not None
    assert spec.origin is not None
    return pathlib.Path(spec.origin).parent


def shipped_names() -> list[str]:
    """Returns the names of the shipped configs."""
    return sorted(path.stem for path in shipped_directory().glob("*.py") if path.stem != "__init__")
