"""The JSON format in which the gallery saves a veto."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from data_redundancy.errors import InputError, did_you_mean
from data_redundancy.selection.veto import Veto

FORMAT, VERSION = "data_redundancy veto", 1
_KEYS = ("format", "version", "dataset", "selection", "keep", "drop")
_MAX_SHOWN = 10  # entries in an error


def parse(
    document: Any,
    *,
    num_examples: int,
    dataset: str,
    tfds_ids: Sequence[str] | None = None,
    file_names: Sequence[str] | None = None,
) -> Veto:
    """Converts a JSON document, as the gallery saves it, to a veto.

    Args:
        document: a dict with `format` and `version` as above; `keep` and `drop`, lists of which one may be missing; and
            optionally `dataset`, the digest of the training split that the veto was made for. Entries of the lists are
            indices, tfds_ids or file names.
        num_examples: the size of the data set.
        dataset: the digest of its training split, or of its embeddings if there is no training split.
        tfds_ids: [N], or None if the data set has none.
        file_names: [N], or None if the data set has none.

    Returns:
        The veto, by indices.

    Raises:
        InputError: about the argument `veto`, for another format, another data set, entries that name no image or
            several, or an image that is both in `keep` and in `drop`.
    """
    lists = _validated_lists(document, dataset)
    ids = {name: values for name, values in (("tfds_id", tfds_ids), ("file_name", file_names)) if values is not None}
    entries = [*lists["keep"], *lists["drop"]]
    found = _find({entry for entry in entries if isinstance(entry, str)}, ids.values())
    _check_entries(entries, found, num_examples, list(ids))
    keep, drop = (
        np.unique([next(iter(found[e])) if isinstance(e, str) else e for e in lists[name]]).astype(np.int64)
        for name in ("keep", "drop")
    )
    if len(both := np.intersect1d(keep, drop)):
        raise InputError("veto", None, f"has {_count(both.tolist(), 'image', 'images')} both in keep and in drop")
    return Veto(keep, drop)


def _validated_lists(document: Any, dataset: str) -> dict[str, list[int | str]]:
    """Returns the lists `keep` and `drop` of a document after validation of its format."""
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise InputError("veto", None, f'must be a JSON object with "format": "{FORMAT}", as the gallery saves it')
    if document.get("version") != VERSION:
        raise InputError("veto", None, f"must have version {VERSION}, but has version {document.get('version')!r}")
    if unknown := sorted(document.keys() - _KEYS):
        requirement = f"must have only the fields {', '.join(_KEYS)}, but has {unknown[0]!r}"
        raise InputError("veto", None, requirement, did_you_mean(str(unknown[0]), _KEYS))
    lists = {name: document.get(name, []) for name in ("keep", "drop")}
    for name, entries in lists.items():
        if not isinstance(entries, list):
            raise InputError(
                "veto", None, f"must have a list of indices, tfds_ids or file names as {name!r}, not {entries!r:.40}"
            )
        for entry in entries:
            if isinstance(entry, bool) or not isinstance(entry, int | str):
                raise InputError("veto", None, f"must have only integers and strings in {name!r}, not {entry!r:.40}")
    made_for = document.get("dataset")
    if made_for is not None and made_for != dataset:
        raise InputError(
            "veto", None, f"must be made for the data set with digest {dataset!r}, but was made for {made_for!r}"
        )
    return lists


def _find(texts: set[str], ids: Iterable[Sequence[str]]) -> dict[str, set[int]]:
    """Returns the indices of the images that each text names, given lists [N] of ids."""
    found: dict[str, set[int]] = {text: set() for text in texts}
    if texts:
        for values in ids:
            for index, value in enumerate(values):
                if value in found:
                    found[value].add(index)
    return found


def _check_entries(
    entries: Sequence[int | str], found: Mapping[str, set[int]], num_examples: int, id_names: Sequence[str]
) -> None:
    """Raises InputError unless every entry names exactly one image.

    Args:
        entries: indices and texts.
        found: the indices of the images that each text names.
        num_examples: N.
        id_names: the kinds of ids that the data set has.
    """
    unknown = [e for e in entries if not (len(found[e]) if isinstance(e, str) else 0 <= e < num_examples)]
    if unknown:
        ids = f", a {' or a '.join(id_names)}" if id_names else "; the data set has no ids"
        requirement = f"has {_count(unknown, 'entry', 'entries')} not in the data set"
        raise InputError("veto", None, requirement, f"Use an index from 0 to {num_examples - 1}{ids}")
    if several := sorted(text for text, indices in found.items() if len(indices) > 1):
        raise InputError(
            "veto", None, f"has {_count(several, 'name', 'names')} of several images", "Give the indices of the images"
        )


def _count(items: Sequence[Any], singular: str, plural: str) -> str:
    """Returns the number of items and the first of them, such as `2 names ('a', 'b')`."""
    shown = ", ".join(repr(item) for item in items[:_MAX_SHOWN]) + (", ..." if len(items) > _MAX_SHOWN else "")
    return f"{len(items):,} {singular if len(items) == 1 else plural} ({shown})"
