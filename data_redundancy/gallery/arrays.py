"""The gallery of a selection from embeddings made elsewhere, without a data set or trials."""

import hashlib
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from etils import epath
from numpy.typing import ArrayLike

from data_redundancy import gallery
from data_redundancy.errors import InputError
from data_redundancy.store import workdir


def split(
    labels: np.ndarray, *, images: ArrayLike | None, class_names: Sequence[str] | None, ids: Sequence[str] | None
) -> tuple[gallery.Split, list[str]]:
    """Arrays as the gallery takes them, and a name for every class.

    Args:
        labels: [N] integers, not negative.
        images: [N, H, W, C] or [N, H, W] uint8, or None.
        class_names: a name for every label, or None, where labels are their own names.
        ids: [N] strings, or None.

    Raises:
        InputError: naming the argument that does not fit.
    """
    images = None if images is None else _check_images(images, len(labels))
    labels, names = _named(labels, class_names)
    if ids is not None and len(ids) != len(labels):
        raise InputError(f"ids: {len(ids)} ids for {len(labels)} embeddings")
    return (
        gallery.Split(
            labels=labels,
            ids=lambda index: [None if ids is None else str(ids[i]) for i in index],
            files=lambda index: [None] * len(index),
            images=None if images is None else lambda index, _: (images[i] for i in index),
        ),
        names,
    )


def write(
    directory: os.PathLike,
    selected: gallery.Selected,
    *,
    embeddings: np.ndarray,
    train: gallery.Split,
    class_names: Sequence[str],
    title: str,
    suspects: gallery.Suspects,
    notes: Sequence[str],
) -> epath.Path:
    """Writes it.

    Args:
        directory: local, or in a bucket.
        selected: the selection, of N images.
        embeddings: [N, D] floats.
        train: the images.
        class_names: a name for every label.
        title: of the page.
        suspects: for the warnings; images of different labels only.
        notes: what there is to say beside them.

    Returns:
        The page.
    """
    limits, num_kept, num_images = gallery.Limits(), int(selected.kept.sum()), len(train.labels)
    first = next(iter(train.images(np.array([0]), True)), None) if train.images else None
    report = gallery.Report(
        title=title,
        dataset={
            "name": title,
            "version": "",
            "num_train": num_images,
            "num_test": 0,
            "class_names": list(class_names),
            # As `select --embeddings` has it, which obeys a veto saved from this page.
            "digest": hashlib.sha256(np.ascontiguousarray(embeddings)).hexdigest()[:16],
        },
        selected=selected,
        train=train,
        test=None,
        image_shape=None if first is None else first.shape,
        answer={
            "headline": f"{num_images - num_kept:,} of {num_images:,} images would go",
            "lines": [f"{num_kept:,} stay. What that costs in accuracy was not measured."],
        },
        evidence=gallery.NO_EVIDENCE,
        confidence=0.95,
        heights=gallery.heights_content([], [], selected.fraction),
        map_points=gallery.make_map(embeddings, train.labels, selected.kept, method="pca", max_points=limits.points),
        suspects=suspects,
        notes=notes,
    )
    return gallery.write(directory, report, limits)


def selected(selection: Any) -> gallery.Selected:
    """A `data_redundancy.Selection` as the gallery takes it."""
    name = workdir.selection_name(selection.method, selection.prune_fraction)
    return gallery.Selected(
        name, selection.method, selection.prune_fraction, selection.kept, selection.representative, selection.distance
    )


def _named(labels: np.ndarray, class_names: Sequence[str] | None) -> tuple[np.ndarray, list[str]]:
    """Labels that count along the names; those without names are numbered anew, for they may be far apart."""
    if class_names is None:
        there, labels = np.unique(labels, return_inverse=True)
        return labels, [str(label) for label in there.tolist()]
    names = [str(name) for name in class_names]
    if len(names) <= labels.max():
        raise InputError(f"class_names: {len(names)} names, but labels go up to {labels.max()}")
    return labels, names


def _check_images(images: ArrayLike, num_examples: int) -> np.ndarray:
    try:
        images = np.asarray(images)
    except ValueError:  # what differs in shape makes no array
        raise InputError("images: must all be of one shape, [N, H, W, C] or [N, H, W] uint8") from None
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or 0 in images.shape:
        raise InputError(f"images: {images.dtype} of shape {images.shape}, but uint8 of shape [N, H, W, C] is needed")
    if len(images) != num_examples:
        raise InputError(f"images: {len(images)} images for {num_examples} embeddings")
    return images[..., np.newaxis] if images.ndim == 3 else images
