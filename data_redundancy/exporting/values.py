"""Values of features: as TFDS reads them, and as JSON."""

from collections.abc import Mapping
from typing import Any

import numpy as np


def json_value(value: Any) -> Any:
    """Returns a feature as a JSON value: arrays become nested lists, bytes become text."""
    if isinstance(value, np.ndarray | np.generic):
        return json_value(value.tolist())
    if isinstance(value, Mapping):
        return {str(name): json_value(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(item) for item in value]
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def flat_features(values: Mapping[str, Any], infos: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Returns the features of an example by name, as `format.Example` has them.

    Args:
        values: the features that TFDS reads; nested features are mappings.
        infos: the `tfds.features.TensorInfo` of each of them, nested in the same way.
        prefix: put before all names.

    Returns:
        Features by name, with `/` between the names of nested features. Text is str, images are bytes.
    """
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found.update(flat_features(value, infos[name], f"{prefix}{name}/"))
        else:
            found[prefix + name] = _feature(value, infos[name])
    return found


def _feature(value: Any, info: Any) -> Any:
    """Returns an array for a list of TFDS, of the right dtype even if it is empty; ragged lists stay lists."""
    dtype = np.dtype(info.np_dtype)
    is_text = dtype.kind in "OSU"
    if isinstance(value, list) and info.shape.count(None) <= 1:
        shape = [-1 if size is None else size for size in info.shape]
        value = np.array(value, object if is_text else dtype).reshape(shape)
    return _decoded(value) if is_text else value


def _decoded(value: Any) -> Any:
    """Returns a text, or texts in arrays and lists, as str instead of bytes."""
    if isinstance(value, np.ndarray):
        return np.array([_decoded(item) for item in value.ravel()], object).reshape(value.shape)
    if isinstance(value, list):
        return [_decoded(item) for item in value]
    return value.decode(errors="replace") if isinstance(value, bytes) else value
