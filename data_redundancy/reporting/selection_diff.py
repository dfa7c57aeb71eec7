"""Two selections side by side: their overlap, the overlap expected by chance, and their differences."""

import dataclasses
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from etils import epath
from tabulate import tabulate

from data_redundancy.errors import InputError
from data_redundancy.evidence.formatting import percent_fixed
from data_redundancy.selection.overlap import Overlap, agreement, class_shares, overlap
from data_redundancy.store import artifacts, manifests

_CLASSES, _EXAMPLES = 20, 10  # shown at most


@dataclasses.dataclass(frozen=True, eq=False)
class ComparedSelection:
    """A selection to compare.

    Attributes:
        argument: the selection as the user passed it.
        fingerprint: fingerprint of the selection.
        kept: [N] bool, whether each example is kept.
        examples: the table examples.parquet, with one row per example.
    """

    argument: str
    fingerprint: dict[str, Any]
    kept: np.ndarray
    examples: pa.Table

    def column(self, name: str) -> pa.ChunkedArray | None:
        """Returns a column of the examples, or None if all its values are missing."""
        values = self.examples[name]
        return None if values.null_count == len(values) else values


def read_selection(directory: epath.Path, argument: str) -> ComparedSelection:
    """Reads a selection from its directory.

    Raises:
        InputError: if the selection is damaged or does not exist.
    """
    examples, manifest = artifacts.read_examples(directory), manifests.read(directory)
    assert manifest is not None
    return ComparedSelection(argument, manifest["fingerprint"], examples["kept"].to_numpy(), examples)


def check_same_data(a: ComparedSelection, b: ComparedSelection) -> None:
    """Raises InputError, with the differences, unless both selections are from the same examples."""
    digests = {chosen.fingerprint.get("dataset.train_digest") for chosen in (a, b)} - {None}
    if len(a.kept) != len(b.kept):
        differing = [f"{len(a.kept):,} and {len(b.kept):,} examples"]
    elif len(digests) > 1:
        differing = _differing_fields(a.fingerprint, b.fingerprint)
    else:
        differing = [text for name in ("label", "tfds_id", "file_name") if (text := _first_difference(a, b, name))]
    if differing:
        raise InputError(
            "selections",
            f"{a.argument} {b.argument}",
            f"are of different data sets: {'; '.join(differing)}",
            "Compare two selections of the same data set",
        )


def _first_difference(a: ComparedSelection, b: ComparedSelection, name: str) -> str | None:
    one, other = a.column(name), b.column(name)
    if one is None or other is None or one.equals(other):
        return None
    index = int(np.argmax(one.to_numpy() != other.to_numpy()))
    return f"{name} of example {index} is {one[index].as_py()!r} and {other[index].as_py()!r}"


def _differing_fields(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    names = ("name", "version", "train_split", "train_digest")
    fields = [f"dataset.{name}" for name in names if a.get(f"dataset.{name}") != b.get(f"dataset.{name}")]
    return [f"{field} {a.get(field)!r} and {b.get(field)!r}" for field in fields]


@dataclasses.dataclass(frozen=True, eq=False)
class Comparison:
    """The overlap of two selections.

    Attributes:
        labels: [N] integers, the classes of the examples, numbered from 0; all 0 if unknown.
        pruned: overlap of the pruned examples.
        kept: overlap of the kept examples.
        kappa: agreement beyond chance, Cohen's kappa.
    """

    labels: np.ndarray
    pruned: Overlap
    kept: Overlap
    kappa: float


def compare(a: ComparedSelection, b: ComparedSelection) -> Comparison:
    """Compares two selections of the same data set."""
    label = _either(a, b, "label")
    # Labels are renumbered, since labels of other sources may be very large.
    labels = np.zeros(len(a.kept), int) if label is None else np.unique(label.to_numpy(), return_inverse=True)[1]
    return Comparison(
        labels=labels,
        pruned=overlap(~a.kept, ~b.kept, labels),
        kept=overlap(a.kept, b.kept, labels),
        kappa=agreement(a.kept, b.kept, labels),
    )


def comparison_lines(a: ComparedSelection, b: ComparedSelection, comparison: Comparison) -> list[str]:
    """Returns a comparison in words and tables, for a terminal."""
    label, pruned = _either(a, b, "label"), comparison.pruned
    lines = [*_heading(a, b), "", _overlaps(pruned, comparison.kept), "", *_in_words(pruned, comparison.kappa)]
    if label is not None:
        lines += ["", *_classes(a, b, label, comparison.labels)]
    lines += ["", *_only("A", a.kept & ~b.kept, a, b), "", *_only("B", b.kept & ~a.kept, a, b)]
    return lines


def _either(a: ComparedSelection, b: ComparedSelection, name: str) -> pa.ChunkedArray | None:
    """Returns a column of either selection; both are from the same examples."""
    column = a.column(name)
    return b.column(name) if column is None else column


def _heading(a: ComparedSelection, b: ComparedSelection) -> list[str]:
    width = max(len(a.argument), len(b.argument))
    return [
        f"{letter}  {chosen.argument:{width}}  keeps {chosen.kept.sum():,} of {len(chosen.kept):,} images, "
        f"prunes {(~chosen.kept).sum():,} ({percent_fixed(np.mean(~chosen.kept))})"
        for letter, chosen in (("A", a), ("B", b))
    ]


def _overlaps(pruned: Overlap, kept: Overlap) -> str:
    headers = ["", "A", "B", "both", "by chance", "[95% interval]", "times chance", "Jaccard", "of the smaller"]
    rows = [
        [
            name,
            f"{found.size_a:,}",
            f"{found.size_b:,}",
            f"{found.both:,}",
            f"{found.expected:,.1f}",
            "[{:,.1f}, {:,.1f}]".format(*found.interval()),
            f"{found.times_chance:.2f}",
            percent_fixed(found.jaccard),
            percent_fixed(found.of_smaller),
        ]
        for name, found in (("pruned", pruned), ("kept", kept))
    ]
    return tabulate(rows, headers, disable_numparse=True, colalign=("left", *["right"] * 8))


def _in_words(pruned: Overlap, kappa: float) -> list[str]:
    if not pruned.std:
        return ["Selections of these sizes always have this overlap, so that it cannot differ from chance."]
    low, high = pruned.interval()
    verdict = (
        "more than by chance" if pruned.both > high else "less than by chance" if pruned.both < low else "as by chance"
    )
    text = (
        f"Of the {min(pruned.size_a, pruned.size_b):,} images that one selection prunes, the other also prunes "
        f"{percent_fixed(pruned.of_smaller)}: {verdict}. Agreement beyond chance (Cohen's kappa): {kappa:.3f}; it is 0 "
        "for independent random selections with the same class sizes, and 1 for identical selections."
    )
    return textwrap.wrap(text, 110)


def _classes(a: ComparedSelection, b: ComparedSelection, label: pa.ChunkedArray, labels: np.ndarray) -> list[str]:
    names = _either(a, b, "class_name")
    names = label if names is None else names
    first = dict(zip(*np.unique(labels, return_index=True), strict=True))  # an example of every class
    shares = class_shares(a.kept, b.kept, labels)
    rows = [
        [
            str(names[int(first[share.label])].as_py()),
            f"{share.size:,}",
            percent_fixed(share.kept_a / share.size),
            percent_fixed(share.kept_b / share.size),
            f"{100 * share.difference:+.1f}",
            f"{share.pruned_by_both:,}",
        ]
        for share in shares[:_CLASSES]
    ]
    headers = ["class", "images", "A keeps", "B keeps", "B - A, pp", "pruned by both"]
    table = tabulate(rows, headers, disable_numparse=True, colalign=("left", *["right"] * 5))
    return ["Classes, with the largest differences first:", "", table, *_more(len(shares), _CLASSES, "classes")]


def _only(letter: str, only: np.ndarray, a: ComparedSelection, b: ComparedSelection) -> list[str]:
    indices = np.flatnonzero(only)
    lines = [f"Kept by {letter} only: {len(indices):,}"]
    if not len(indices):
        return lines
    wanted = ("class_name", "label", "tfds_id", "file_name")
    columns = {name: column for name in wanted if (column := _either(a, b, name)) is not None}
    if "class_name" in columns:
        columns.pop("label", None)
    rows = [[str(i), *(str(column[i].as_py()) for column in columns.values())] for i in indices[:_EXAMPLES].tolist()]
    headers = ["index", *("class" if name in ("class_name", "label") else name for name in columns)]
    table = tabulate(rows, headers, disable_numparse=True, colalign=("right", *["left"] * len(columns)))
    return [*lines, "", table, *_more(len(indices), _EXAMPLES, "images")]


def _more(count: int, shown: int, what: str) -> Sequence[str]:
    return [f"and {count - shown:,} more {what}"] if count > shown else []
