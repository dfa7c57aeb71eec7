"""The gallery of a selection from arrays, without a data set or trials."""

import hashlib
import os
from collections.abc import Sequence

import numpy as np
from etils import epath
from numpy.typing import ArrayLike

from data_redundancy.errors import InputError
from data_redundancy.gallery.content import PageSplit, Selected, heights_content
from data_redundancy.gallery.near_duplicates import NearDuplicates
from data_redundancy.gallery.projection import make_map
from data_redundancy.gallery.report import NO_EVIDENCE, Limits, Report
from data_redundancy.gallery.report import write as write_report
from data_redundancy.selection import SelectionArrays
from data_redundancy.store import workdir


def split(
    labels: np.ndarray, *, images: ArrayLike | None, class_names: Sequence[str] | None, ids: Sequence[str] | None
) -> tuple[PageSplit, list[str]]:
    """Returns arrays as the gallery takes them, and a name for every class.

    Args:
        labels: [N] integers, not negative.
        images: [N, H, W, C] or [N, H, W] uint8, or None.
        class_names: a name for every label; if None, the names are the labels.
        ids: [N] strings, or None.

    Raises:
        InputError: naming `images`, `class_names` or `ids` if it does not fit the labels.
    """
    pixels = None if images is None else _check_images(images, len(labels))
    labels, names = _named(labels, class_names)
    if ids is not None and len(ids) != len(labels):
        raise InputError(
            "ids", None, f"must have one id per embedding, but has {len(ids)} for {len(labels)} embeddings"
        )
    found = PageSplit(
        labels=labels,
        ids=lambda index: [None if ids is None else str(ids[i]) for i in index],
        files=lambda index: [None] * len(index),
        images=None if pixels is None else lambda index, _: (pixels[i] for i in index),
    )
    return found, names


def write(
    directory: os.PathLike[str],
    selected: Selected,
    *,
    embeddings: np.ndarray,
    train: PageSplit,
    class_names: Sequence[str],
    title: str,
    near_duplicates: NearDuplicates,
    notes: Sequence[str],
) -> epath.Path:
    """Writes the gallery.

    Args:
        directory: a local directory, or one in a bucket.
        selected: the selection of N images.
        embeddings: [N, D] floats.
        train: the images.
        class_names: a name for every label.
        title: title of the page.
        near_duplicates: pairs for the warnings, without leaks.
        notes: sentences to show beside the warnings.

    Returns:
        The path of the page.

    Raises:
        InputError: if the directory cannot be written.
    """
    limits, num_kept, num_images = Limits(), int(selected.kept.sum()), len(train.labels)
    first = next(iter(train.images(np.array([0]), True)), None) if train.images else None
    report = Report(
        title=title,
        dataset={
            "name": title,
            "version": "",
            "num_train": num_images,
            "num_test": 0,
            "class_names": list(class_names),
            # The same as of an embedding file, so that a veto saved from this page fits selections from that file.
            "digest": hashlib.sha256(np.ascontiguousarray(embeddings).data).hexdigest()[:16],
        },
        selected=selected,
        train=train,
        test=None,
        image_shape=None if first is None else (first.shape[0], first.shape[1], first.shape[2]),
        answer={
            "headline": f"{num_images - num_kept:,} of {num_images:,} images are pruned",
            "lines": [f"{num_kept:,} are kept. The effect on accuracy was not measured."],
        },
        evidence=NO_EVIDENCE,
        confidence=0.95,
        heights=heights_content([], [], selected.fraction),
        map_points=make_map(embeddings, train.labels, selected.kept, method="pca", max_points=limits.points),
        near_duplicates=near_duplicates,
        notes=notes,
    )
    return write_report(directory, report, limits)


def selected(selection: SelectionArrays) -> Selected:
    """Returns a selection as the gallery takes it."""
    name = workdir.selection_name(selection.method, selection.prune_fraction)
    return Selected(
        name, selection.method, selection.prune_fraction, selection.kept, selection.representative, selection.distance
    )


def _named(labels: np.ndarray, class_names: Sequence[str] | None) -> tuple[np.ndarray, list[str]]:
    """Returns labels [N] that are positions in a list of names, and these names.

    Labels without names are numbered consecutively, as they may be far apart.
    """
    if class_names is None:
        found, labels = np.unique(labels, return_inverse=True)
        return labels, [str(label) for label in found.tolist()]
    names = [str(name) for name in class_names]
    if len(names) <= labels.max():
        raise InputError(
            "class_names",
            None,
            f"must have a name for every label, but has {len(names)} for labels up to {labels.max()}",
        )
    return labels, names


def _check_images(images: ArrayLike, num_examples: int) -> np.ndarray:
    """Returns images as an array [N, H, W, C] uint8."""
    requirement = "must be uint8 of shape [N, H, W, C] or [N, H, W], all positive"
    try:
        array = np.asarray(images)
    except ValueError:  # the images have different shapes
        raise InputError("images", None, f"{requirement}, but their shapes differ") from None
    if array.dtype != np.uint8 or array.ndim not in (3, 4) or 0 in array.shape:
        raise InputError("images", None, f"{requirement}, but are {array.dtype} of shape {array.shape}")
    if len(array) != num_examples:
        raise InputError(
            "images", None, f"must have one image per embedding, but has {len(array)} for {num_examples} embeddings"
        )
    return array[..., np.newaxis] if array.ndim == 3 else array
