"""The report: its data, its limits, and the function that writes it."""

import dataclasses
import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath

from data_redundancy.gallery import content as contents
from data_redundancy.gallery import page, thumbnails
from data_redundancy.gallery.content import PageSplit, Rows, Selected
from data_redundancy.gallery.groups import Groups, find_groups, first_groups, groups_within
from data_redundancy.gallery.near_duplicates import NearDuplicates
from data_redundancy.store import filesystems, metrics

_BYTES_OF_POINT, _BYTES_OF_PAIR = 9, 90
"""Upper estimates of what a point's row and a pair of near-duplicates add to the page."""

NO_EVIDENCE: dict[str, Any] = {"accuracy": [], "losing_classes": []}
"""The evidence of a report without trials."""


@dataclasses.dataclass(frozen=True)
class Limits:
    """Limits on the size of a report.

    Attributes:
        groups: the most groups to show.
        points: the most points on the map.
        html_bytes: the most bytes of the page; thumbnails that do not fit are written to a folder.
    """

    groups: int = 100_000
    points: int = 20_000
    html_bytes: float = 20e6


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Report:
    """The data of a report.

    Attributes:
        title: title of the page.
        dataset: the content "dataset" that `page.write` takes.
        selected: the selection of N training images.
        train: the training images.
        test: the test images; None if none are shown.
        image_shape: (H, W, C) of the small images of both splits; None if there are no images.
        answer: the content "answer" that `page.write` takes.
        evidence: the contents "accuracy" and "losing_classes" that `page.write` takes, or `NO_EVIDENCE`.
        confidence: level of the intervals of the evidence.
        heights: the result of `heights_content`.
        map_points: the result of `make_map`.
        near_duplicates: pairs for the warnings.
        notes: sentences to show beside the warnings.
    """

    title: str
    dataset: Mapping[str, Any]
    selected: Selected
    train: PageSplit
    test: PageSplit | None
    image_shape: tuple[int, int, int] | None
    answer: Mapping[str, Any]
    evidence: Mapping[str, Any]
    confidence: float
    heights: Mapping[str, Any]
    map_points: Mapping[str, Any] | None
    near_duplicates: NearDuplicates
    notes: Sequence[str]


def write(directory: os.PathLike[str], report: Report, limits: Limits) -> epath.Path:
    """Writes a report to DIRECTORY/index.html, and to DIRECTORY/thumbnails/ if the thumbnails do not fit into the page.

    Writing the same report again leaves the files unchanged.

    Args:
        directory: a local directory, or one in a bucket.
        report: the data to show.
        limits: limits on the size.

    Returns:
        The path of the page.

    Raises:
        InputError: if the directory cannot be written.
    """
    folder = filesystems.locate(directory, "directory")
    numbers, notes = _numbers(report), list(report.notes)
    room = limits.html_bytes - contents.PAGE_BYTES
    room_for_groups = room - contents.num_bytes({**numbers, "map": report.map_points}) - _bytes_besides_groups(report)
    groups = _groups_to_show(report.selected, report.train, limits, room_for_groups, notes)
    pairs = report.near_duplicates
    rows = contents.make_rows(groups, np.concatenate(_training_images(pairs)), pairs.leaks[0])
    content = {**numbers, **_images_and_warnings(report, groups, rows, notes)}
    content["thumbnails"] = _thumbnails(folder, rows, report, room - contents.num_bytes(content))
    page.write(folder, content)
    thumbnails.remove_others(folder, content["thumbnails"]["sheets"])
    return folder / page.NAME


def _numbers(report: Report) -> dict[str, Any]:
    """Returns the part of the content that has a bounded size."""
    selected, num_classes = report.selected, len(report.dataset["class_names"])
    return {
        "title": report.title,
        "dataset": dict(report.dataset),
        "selection": contents.selection_content(selected),
        "answer": dict(report.answer),
        "accuracy": report.evidence["accuracy"],
        "confidence": report.confidence,
        "classes": contents.classes_content(report.train.labels, selected.kept, num_classes),
        "heights": dict(report.heights),
    }


def _images_and_warnings(report: Report, groups: Groups, rows: Rows, notes: list[str]) -> dict[str, Any]:
    """Returns the content of images, groups, map and warnings, without thumbnails."""
    points = report.map_points
    return {
        "images": contents.images_content(rows, report.selected, report.train, report.test),
        "groups": contents.groups_content(groups),
        "map": points and {**points, "image": rows.of(np.array(points["index"]), is_test=False).tolist()},
        "warnings": {
            **_pairs_content(report.near_duplicates, rows, report.train, report.test),
            "losing_classes": report.evidence["losing_classes"],
            "notes": notes,
        },
    }


def _training_images(pairs: NearDuplicates) -> list[np.ndarray]:
    """Returns the indices of the training images of all pairs."""
    return [*pairs.label_errors[:2], pairs.leaks[1]]


def _bytes_besides_groups(report: Report) -> int:
    """Returns an upper estimate of the bytes of rows and pairs that warnings and the map add to the page."""
    pairs, points = report.near_duplicates, report.map_points
    leaked = pairs.leaks[0]
    taken = contents.bytes_of_images(np.unique(np.concatenate(_training_images(pairs))), report.train).sum()
    if len(leaked):
        assert report.test is not None
        taken += contents.bytes_of_images(np.unique(leaked), report.test).sum()
    taken += _BYTES_OF_PAIR * (len(pairs.label_errors[0]) + len(leaked))
    return int(taken) + (_BYTES_OF_POINT * len(points["index"]) if points else 0)


def _groups_to_show(selected: Selected, train: PageSplit, limits: Limits, num_bytes: float, notes: list[str]) -> Groups:
    """Returns the tightest groups within the limits; adds a note if others are left out."""
    found = find_groups(selected.kept, selected.representative, selected.distance)
    groups = first_groups(found, limits.groups)
    if len(groups):
        room = groups_within(groups, contents.bytes_of_members(groups, train), num_bytes)
        groups = first_groups(groups, room)
    if left_out := len(found) - len(groups):
        reason = (
            "which is the most that it may show"
            if len(groups) == limits.groups
            else f"as many as fit into a page of {limits.html_bytes / 1e6:g} MB"
        )
        notes.append(f"The gallery shows the {len(groups):,} tightest groups, {reason}; {left_out:,} are left out.")
    return groups


def _pairs_content(
    pairs: NearDuplicates, rows: Rows, train: PageSplit, test: PageSplit | None
) -> dict[str, list[dict[str, Any]]]:
    """Returns the contents "label_errors" and "leaks" of the warnings."""
    a, b, distance = pairs.label_errors
    of_test, of_train, leak_distance = pairs.leaks
    return {
        "label_errors": contents.pairs_content(
            ("a", "b"),
            (rows.of(a, is_test=False), rows.of(b, is_test=False)),
            distance,
            _identical(train, a, train, b),
        ),
        "leaks": contents.pairs_content(
            ("test", "train"),
            (rows.of(of_test, is_test=True), rows.of(of_train, is_test=False)),
            leak_distance,
            _identical(test, of_test, train, of_train),
        ),
    }


def _identical(split: PageSplit | None, index: np.ndarray, other_split: PageSplit, other: np.ndarray) -> list[bool]:
    """Returns, for each pair of images, whether their pixels are equal; False if there are no images."""
    if not len(index) or split is None or split.images is None or other_split.images is None:
        return [False] * len(index)
    return contents.are_identical(split.images(index, False), other_split.images(other, False))


def _thumbnails(directory: epath.Path, rows: Rows, report: Report, num_bytes: float) -> dict[str, Any]:
    """Writes the thumbnails of all rows and returns the content "thumbnails" that `page.write` takes."""
    image_shape = report.image_shape
    layout = thumbnails.make_layout(image_shape or (1, 1, 1), max(1, len(rows.index)))
    sheets = []
    if image_shape is not None:
        images = _images(rows, report.train, report.test)
        sheets = thumbnails.place_sheets(directory, thumbnails.make_sheets(images, layout), num_bytes=num_bytes)
    sizes = {name: getattr(layout, name) for name in ("width", "height", "columns", "rows")}
    return {**sizes, "sheets": sheets}


def _images(rows: Rows, train: PageSplit, test: PageSplit | None) -> Iterator[np.ndarray]:
    """Yields the small images of all rows, and shows progress."""
    assert train.images is not None
    images = [train.images(rows.index[~rows.is_test], True)]
    if rows.is_test.any():
        assert test is not None
        assert test.images is not None
        images.append(test.images(rows.index[rows.is_test], True))
    with metrics.progress("report: thumbnails", total=len(rows.index), unit="images") as bar:
        for done, image in enumerate(itertools.chain(*images), 1):
            yield image
            bar.update(done)
