"""The file in which the gallery saves a veto."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from data_redundancy.errors import InputError
from data_redundancy.selection.veto import Veto

FORMAT, VERSION = "data_redundancy veto", 1
_KEYS = ("format", "version", "dataset", "selection", "keep", "drop")
_SHOWN = 10  # of many, in an error


def parse(
    document: Any,
    *,
    num_examples: int,
    dataset: str,
    tfds_ids: Sequence[str] | None = None,
    file_names: Sequence[str] | None = None,
) -> Veto:
    """Understands what the gallery saves, read from JSON.

    Args:
      document: `format` and `version` as above; `keep` and `drop`, lists of indices, or strings that are a tfds_id or a
        file name, of which one may be left out; and optionally `dataset`, the digest of the training split it was made
        for.
      num_examples: of the data set.
      dataset: the digest of its training split, or of the embeddings where there is nothing else.
      tfds_ids: [N], or None where there are none.
      file_names: [N], or None where there are none.

    Returns:
      The veto, by indices.

    Raises:
      InputError: beginning with `veto:`, for another format, another data set, entries that name no image or several,
        or an image that is to stay and to go.
    """
    lists = _checked(document, dataset)
    names = {"tfds_id": tfds_ids, "file_name": file_names}
    texts = {entry for entries in lists.values() for entry in entries if isinstance(entry, str)}
    found = _find(texts, names)
    entries = [*lists["keep"], *lists["drop"]]
    unknown = [e for e in entries if not (len(found[e]) if isinstance(e, str) else 0 <= e < num_examples)]
    if unknown:
        those = " or ".join(name for name, values in names.items() if values is not None)
        allowed = f"an index from 0 to {num_examples - 1}" + (f", a {those}" if those else "; there are no other ids")
        raise InputError(f"veto: {_count(unknown, 'entry', 'entries')} not in the data set; allowed: {allowed}")
    if several := [text for text in texts if len(found[text]) > 1]:
        raise InputError(f"veto: {_count(sorted(several), 'name', 'names')} of several images; give their indices")
    keep, drop = (
        np.unique([next(iter(found[e])) if isinstance(e, str) else e for e in lists[name]]).astype(np.int64)
        for name in ("keep", "drop")
    )
    if len(both := np.intersect1d(keep, drop)):
        raise InputError(f"veto: {_count(both.tolist(), 'image', 'images')} both in keep and in drop")
    return Veto(keep, drop)


def _checked(document: Any, dataset: str) -> dict[str, list[int | str]]:
    """The lists `keep` and `drop` of a document that is as it must be."""
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise InputError(f'veto: must be a JSON object with "format": "{FORMAT}", as the gallery saves it')
    if document.get("version") != VERSION:
        raise InputError(f"veto: is of version {document.get('version')!r}; this program knows version {VERSION}")
    if unknown := sorted(document.keys() - _KEYS):
        raise InputError(f"veto: no such field as {unknown[0]!r}; its fields are {', '.join(_KEYS)}")
    lists = {name: document.get(name, []) for name in ("keep", "drop")}
    for name, entries in lists.items():
        if not isinstance(entries, list):
            raise InputError(f"veto: {name!r} must be a list of indices, tfds_ids or file names, not {entries!r:.40}")
        for entry in entries:
            if isinstance(entry, bool) or not isinstance(entry, int | str):
                raise InputError(f"veto: {name!r} holds {entry!r:.40}; allowed: whole numbers and strings")
    made_for = document.get("dataset")
    if made_for is not None and made_for != dataset:
        raise InputError(f"veto: was made for the data set with the digest {made_for!r}, but this one has {dataset!r}")
    return lists


def _find(texts: set[str], names: dict[str, Sequence[str] | None]) -> dict[str, set[int]]:
    """The indices of the images that each of the texts names."""
    found = {text: set() for text in texts}
    if texts:
        for values in filter(lambda values: values is not None, names.values()):
            for index, value in enumerate(values):
                if value in found:
                    found[value].add(index)
    return found


def _count(items: list, singular: str, plural: str) -> str:
    """The first of them, and how many there are, as the subject of a sentence."""
    shown = ", ".join(repr(item) for item in items[:_SHOWN]) + (", ..." if len(items) > _SHOWN else "")
    return f"{len(items):,} {singular if len(items) == 1 else plural} ({shown}) {'is' if len(items) == 1 else 'are'}"
