"""The report to look at: redundant groups, a map, warnings, and the numbers, in one HTML file."""

import dataclasses
import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from etils import epath

from data_redundancy.gallery import content as contents
from data_redundancy.gallery import projection, thumbnails
from data_redundancy.gallery.content import Images, Names, Selected, Split, heights_content
from data_redundancy.gallery.groups import Groups, find_groups, first_groups, groups_within
from data_redundancy.gallery.projection import METHODS as MAPS
from data_redundancy.gallery.projection import check_method
from data_redundancy.gallery.thumbnails import SIDE
from data_redundancy.store import filesystems, metrics

__all__ = [
    "MAPS",
    "NO_EVIDENCE",
    "SIDE",
    "Images",
    "Limits",
    "Names",
    "Report",
    "Selected",
    "Split",
    "Suspects",
    "check_method",
    "default_near_duplicate",
    "heights_content",
    "make_map",
    "write",
]

_NEAREST = 0.1
_BYTES_OF_ROW, _BYTES_OF_PAIR = 9, 90  # in the page, at the most
NO_EVIDENCE: dict[str, Any] = {"accuracy": [], "losing_classes": []}
"""What there is of trials where there are none."""


@dataclasses.dataclass(frozen=True)
class Limits:
    """How large a report may become.

    Attributes:
        groups: the most groups to show.
        points: the most points on the map.
        html_bytes: the most bytes of the page; thumbnails that do not fit go to a folder.
    """

    groups: int = 100_000
    points: int = 20_000
    html_bytes: float = 20e6


@dataclasses.dataclass(frozen=True, eq=False)
class Suspects:
    """Near-duplicates that should not be, the nearest first.

    Attributes:
        label_errors: [P] and [P] integers and [P] floats, pairs of training images and their distances.
        leaks: the same, a test image and a training image each.
    """

    label_errors: tuple[np.ndarray, np.ndarray, np.ndarray]
    leaks: tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Report:
    """What there is to show.

    Attributes:
        title: of the page.
        dataset: as `page.write` takes it.
        selected: the selection, of N training images.
        train: these.
        test: the test images; None where there are none to be shown.
        image_shape: (H, W, C) of the small images of both splits; None where there are no images.
        answer: "headline", "lines" and, about other selections, "others".
        evidence: "accuracy" and "losing_classes", as `page.write` takes them; else `NO_EVIDENCE`.
        confidence: level of its intervals.
        heights: as of `heights_content`.
        map_points: as of `make_map`.
        suspects: for the warnings.
        notes: what there is to say beside them, in words.
    """

    title: str
    dataset: Mapping[str, Any]
    selected: Selected
    train: Split
    test: Split | None
    image_shape: tuple[int, int, int] | None
    answer: Mapping[str, Any]
    evidence: Mapping[str, Any]
    confidence: float
    heights: Mapping[str, Any]
    map_points: Mapping[str, Any] | None
    suspects: Suspects
    notes: Sequence[str]


def default_near_duplicate(selected: Selected) -> float | None:
    """The distance up to which images are near-duplicates: that of a tenth of what goes to what stands for it.

    So the measure is the selection's own, whatever the embeddings, and stays strict where much is pruned; there a
    larger part is images that are merely alike. None where nothing stands for anything.
    """
    distances = selected.distance[~selected.kept & (selected.representative >= 0)]
    distances = distances[~np.isnan(distances)]
    return float(np.quantile(distances, _NEAREST)) if len(distances) else None


def make_map(
    embeddings: np.ndarray, labels: np.ndarray, kept: np.ndarray, *, method: str, max_points: int
) -> dict[str, Any] | None:
    """The map of training images.

    Args:
        embeddings: [N, D] floats.
        labels: [N] integers.
        kept: [N] bool.
        method: one of `MAPS`.
        max_points: how many images to show at the most.

    Returns:
        What the page takes, without the rows of images; None without a map.
    """
    if method == "none":
        return None
    index = projection.sample(labels, kept, max_points)
    points, name, note = projection.project(embeddings[index], method)
    return projection.map_content(points, name, note, index=index, labels=labels, kept=kept)


def write(directory: os.PathLike, report: Report, limits: Limits) -> epath.Path:
    """Writes the report: DIRECTORY/index.html, and DIRECTORY/thumbnails/ where these do not fit into it.

    Written again from the same, it is left as it is.

    Args:
        directory: local, or in a bucket.
        report: what to show.
        limits: of sizes.

    Returns:
        The page.
    """
    from data_redundancy.gallery import page

    directory = filesystems.locate(directory, "directory")
    numbers, notes = _numbers(report), list(report.notes)
    room = limits.html_bytes - contents.PAGE_BYTES
    room_for_groups = room - contents.num_bytes({**numbers, "map": report.map_points}) - _bytes_besides(report)
    groups = _groups_to_show(report.selected, report.train, limits, room_for_groups, notes)
    rows = contents.make_rows(groups, np.concatenate(_suspected(report.suspects)), report.suspects.leaks[0])
    content = {**numbers, **_looks(report, groups, rows, notes)}
    content["thumbnails"] = _thumbnails(directory, rows, report, room - contents.num_bytes(content))
    page.write(directory, content)
    thumbnails.remove_others(directory, content["thumbnails"]["sheets"])
    return directory / page.NAME


def _numbers(report: Report) -> dict[str, Any]:
    """What there is to read."""
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


def _looks(report: Report, groups: Groups, rows: contents.Rows, notes: list[str]) -> dict[str, Any]:
    """What there is to look at, thumbnails apart."""
    points = report.map_points
    return {
        "images": contents.images_content(rows, report.selected, report.train, report.test),
        "groups": contents.groups_content(groups),
        "map": points and {**points, "image": rows.of(np.array(points["index"]), is_test=False).tolist()},
        "warnings": {
            **_suspects_content(report.suspects, rows, report.train, report.test),
            "losing_classes": report.evidence["losing_classes"],
            "notes": notes,
        },
    }


def _suspected(suspects: Suspects) -> list[np.ndarray]:
    """The training images of warnings."""
    return [*suspects.label_errors[:2], suspects.leaks[1]]


def _bytes_besides(report: Report) -> int:
    """About how many bytes of the page rows take that are not of groups, at the most: of warnings, and of the map."""
    suspects, points = report.suspects, report.map_points
    of_test = suspects.leaks[0]
    taken = contents.bytes_of_images(np.unique(np.concatenate(_suspected(suspects))), report.train).sum()
    if len(of_test):
        taken += contents.bytes_of_images(np.unique(of_test), report.test).sum()
    taken += _BYTES_OF_PAIR * (len(suspects.label_errors[0]) + len(of_test))
    return int(taken) + (_BYTES_OF_ROW * len(points["index"]) if points else 0)


def _groups_to_show(selected: Selected, train: Split, limits: Limits, num_bytes: float, notes: list[str]) -> Groups:
    """The tightest groups, as many as are allowed and fit; adds a note where others are left out."""
    found = find_groups(selected.kept, selected.representative, selected.distance)
    groups = first_groups(found, limits.groups)
    if len(groups):
        room = groups_within(groups, contents.bytes_of_members(groups, train), num_bytes)
        groups = first_groups(groups, room)
    if left_out := len(found) - len(groups):
        reason = (
            f"as many as report.max_groups allows ({limits.groups:,})"
            if len(groups) == limits.groups
            else f"as many as fit into report.max_html_mb ({limits.html_bytes / 1e6:g})"
        )
        notes.append(f"The gallery shows the {len(groups):,} tightest groups, {reason}; {left_out:,} are left out.")
    return groups


def _suspects_content(suspects: Suspects, rows: contents.Rows, train: Split, test: Split | None) -> dict[str, list]:
    a, b, distance = suspects.label_errors
    of_test, of_train, leak_distance = suspects.leaks
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


def _identical(split: Split | None, index: np.ndarray, other_split: Split, other: np.ndarray) -> list[bool]:
    if not len(index) or split.images is None or other_split.images is None:
        return [False] * len(index)
    return contents.are_identical(split.images(index, False), other_split.images(other, False))


def _thumbnails(directory: epath.Path, rows: contents.Rows, report: Report, num_bytes: float) -> dict[str, Any]:
    image_shape = report.image_shape
    layout = thumbnails.make_layout(image_shape or (1, 1, 1), max(1, len(rows.index)))
    sheets = []
    if image_shape is not None:
        images = _images(rows, report.train, report.test)
        sheets = thumbnails.place_sheets(directory, thumbnails.make_sheets(images, layout), num_bytes=num_bytes)
    sizes = {name: getattr(layout, name) for name in ("width", "height", "columns", "rows")}
    return {**sizes, "sheets": sheets}


def _images(rows: contents.Rows, train: Split, test: Split | None) -> Iterator[np.ndarray]:
    """The small images of all rows, with progress."""
    images = [train.images(rows.index[~rows.is_test], True)]
    if rows.is_test.any():
        images.append(test.images(rows.index[rows.is_test], True))
    with metrics.progress("report: thumbnails", total=len(rows.index), unit="images") as bar:
        for done, image in enumerate(itertools.chain(*images), 1):
            yield image
            bar.update(done)
