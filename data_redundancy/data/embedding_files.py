"""Reads embeddings and labels that other programs have written."""

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from data_redundancy.data.arrays import as_embeddings, as_labels
from data_redundancy.data.column_formats import open_columns
from data_redundancy.data.columns import Columns, Invalid
from data_redundancy.errors import InputError, did_you_mean

EMBEDDINGS = ("embedding", "embeddings")
LABELS = ("label", "labels")
IDS = ("tfds_id", "id")
FILE_NAMES = ("file_name",)
"""The names of columns to read if the user names none; of several, the first one."""


@dataclasses.dataclass(frozen=True, eq=False)
class LabelledEmbeddings:
    """Embeddings of N examples, with labels and names as far as the files have them.

    Attributes:
        embeddings: [N, D] numbers, not validated.
        labels: [N'] numbers, not validated, N' may differ from N; None if there are no labels.
        labels_from: the argument and the value PATH or PATH:NAME that the labels were read from; None if there are no
            labels. Errors about the labels should name these.
        class_names: the name of every label, or None.
        tfds_ids: [N] object array of str, or None.
        file_names: [N] object array of str, or None.
    """

    embeddings: np.ndarray
    labels: np.ndarray | None = None
    labels_from: tuple[str, str] | None = None
    class_names: tuple[str, ...] | None = None
    tfds_ids: np.ndarray | None = None
    file_names: np.ndarray | None = None


def load(embeddings: str, labels: str | None, *, needs_labels: bool) -> LabelledEmbeddings:
    """Reads embeddings and labels from local files.

    Args:
        embeddings: PATH, or PATH:NAME for an array or column of that name; `column_formats.FORMATS` lists the formats.
        labels: the same, for integers or strings. None: the array or column `label` or `labels` in the file of the
            embeddings, if it has one.
        needs_labels: whether the labels are required.

    Raises:
        InputError: naming `embeddings` or `labels`, if a file cannot be read or does not have what is needed.
    """
    columns, wanted, invalid = _open("embeddings", embeddings)
    name = _choose(columns.names, wanted, EMBEDDINGS, embeddings, invalid)
    found = LabelledEmbeddings(
        as_embeddings(columns.matrix(name)),
        tfds_ids=_texts(columns, IDS),
        file_names=_texts(columns, FILE_NAMES),
    )
    if labels is not None:
        columns, wanted, invalid = _open("labels", labels)
        name = _choose(columns.names, wanted, LABELS, labels, invalid)
        return dataclasses.replace(found, labels_from=("labels", labels), **_labels(columns, name, "labels", labels))
    beside = _first(LABELS, columns.names)
    if beside is not None:
        source = ("embeddings", f"{embeddings}:{beside}")
        return dataclasses.replace(found, labels_from=source, **_labels(columns, beside, *source))
    if needs_labels:
        raise InputError(
            "labels",
            None,
            f"must be given, because {embeddings} has no array or column {' or '.join(LABELS)}: it has "
            f"{_listed(columns.names)}",
        )
    return found


def _labels(columns: Columns, name: str, argument: str, value: str) -> dict[str, Any]:
    """Reads labels as the fields `labels` and `class_names`."""
    try:
        labels, names = as_labels(columns.values(name), argument)
    except InputError as error:
        raise error.renamed(argument, value) from error
    names = names or columns.class_names(name)
    if names is not None and labels.size and labels.max() >= len(names):
        row = int(np.argmax(labels >= len(names)))
        classes = f"{len(names) - 1}, because the classes have {len(names)} names"
        raise InputError(argument, value, f"must have labels from 0 to {classes}, but row {row} has {labels[row]}")
    return {"labels": labels, "class_names": names}


def _open(argument: str, text: str) -> tuple[Columns, str | None, Invalid]:
    """Opens PATH or PATH:NAME; returns the columns, the name and what makes errors."""
    invalid = Invalid(InputError, argument, text)
    if "://" in text:
        raise invalid("must be a local path")
    if not text:
        raise invalid("must not be empty")
    path, wanted = pathlib.Path(text).expanduser(), None
    if not path.exists() and ":" in text:
        before, _, wanted = text.rpartition(":")
        path = pathlib.Path(before).expanduser()
    if not path.exists():
        raise invalid("does not exist")
    return open_columns(path, invalid), wanted, invalid


def _choose(names: Sequence[str], wanted: str | None, usual: Sequence[str], text: str, invalid: Invalid) -> str:
    """Returns the name of the column that the user wants, or that has a usual name, or that is the only one."""
    if wanted is not None:
        if wanted in names:
            return wanted
        if list(names) == [""]:
            raise invalid("must be without a name, because the file has one array without a name")
        raise invalid(f"must name one of {_listed(names)}", did_you_mean(wanted, names))
    name = _first(usual, names) if len(names) != 1 else names[0]
    if name is None:
        requirement = f"must name one of {_listed(names)}, because none is called {' or '.join(usual)}"
        raise invalid(requirement, f"Give it as {text}:NAME")
    return name


def _texts(columns: Columns, candidates: Sequence[str]) -> np.ndarray | None:
    name = _first(candidates, columns.names)
    return None if name is None else columns.texts(name)


def _first(candidates: Sequence[str], names: Sequence[str]) -> str | None:
    return next((name for name in candidates if name in names), None)


def _listed(names: Sequence[str]) -> str:
    return "one array without a name" if list(names) == [""] else ", ".join(names) or "nothing"
