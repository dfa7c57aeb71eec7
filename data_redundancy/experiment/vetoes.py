"""Vetoes: reading them from files, applying them to selections and recording them in manifests."""

import contextlib
import json
import logging
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from data_redundancy.errors import InputError
from data_redundancy.selection import SelectionArrays
from data_redundancy.selection.veto import Veto, apply, check_classes
from data_redundancy.selection.veto_file import parse
from data_redundancy.store import filesystems

log = logging.getLogger("data_redundancy")


class NamedExamples(Protocol):
    """Examples with the ids and file names that a veto may use."""

    @property
    def tfds_ids(self) -> np.ndarray | None:
        """[N] str, or None."""

    @property
    def file_names(self) -> np.ndarray | None:
        """[N] str, or None."""


def read_veto(path: str, *, dataset_digest: str, num_examples: int, examples: NamedExamples) -> Veto:
    """Reads a veto.json.

    Args:
        path: path of the file.
        dataset_digest: digest of the data set that the veto must have been made for.
        num_examples: number of examples of the data set.
        examples: the examples, with the ids and file names that the veto may use.

    Raises:
        InputError: about `veto`, for a file that does not exist, is not JSON, or is not a veto of these examples.
    """
    file = filesystems.locate(path, "veto")
    try:
        document = json.loads(file.read_text())
    except OSError as error:
        reason = (
            "is not a file" if isinstance(error, FileNotFoundError | IsADirectoryError) else f"cannot be read ({error})"
        )
        raise InputError("veto", path, reason, "Name a veto.json that the report's page saved") from None
    except (ValueError, RecursionError) as error:
        reason = "too deeply nested" if isinstance(error, RecursionError) else str(error)
        raise InputError("veto", path, f"is not a JSON file ({reason})") from None
    with veto_named(path):
        return parse(
            document,
            num_examples=num_examples,
            dataset=dataset_digest,
            tfds_ids=_texts(examples.tfds_ids),
            file_names=_texts(examples.file_names),
        )


@contextlib.contextmanager
def veto_named(path: str | None) -> Iterator[None]:
    """Adds the path of the file, as the value, to an InputError about `veto` that is raised in the block."""
    try:
        yield
    except InputError as error:
        if error.argument != "veto" or error.value is not None:
            raise
        raise error.renamed("veto", path) from error


def _texts(names: np.ndarray | None) -> list[str] | None:
    return None if names is None else names.tolist()


def apply_veto(
    veto: Veto | None,
    selection: SelectionArrays,
    *,
    embeddings: np.ndarray | None,
    labels: np.ndarray | None,
    class_names: Sequence[str] | None,
) -> tuple[SelectionArrays, dict[str, Any] | None]:
    """Applies a veto, if there is one, and logs how many images more or fewer are kept.

    Args:
        veto: veto of N examples, or None.
        selection: selection from the same examples.
        embeddings: [N, D] floats; None if the selection has no clusters.
        labels: [N] integers, or None.
        class_names: a name for every label, or None.

    Returns:
        The changed selection, and the entry about the veto for its manifest, or None.

    Raises:
        InputError: about `veto`, if it leaves a class without an image.
    """
    if veto is None:
        return selection, None
    vetoed = apply(selection, veto, embeddings)
    check_classes(selection, vetoed, labels, class_names)
    more = len(vetoed.keep) - len(selection.keep)
    log.info(
        "select: applied a veto of %s images to keep and %s to drop: %s without it",
        f"{len(veto.keep):,}",
        f"{len(veto.drop):,}",
        f"{abs(more):,} {'more' if more > 0 else 'fewer'} are kept than" if more else "as many are kept as",
    )
    return vetoed, {
        "keep": veto.keep.tolist(),
        "drop": veto.drop.tolist(),
        "digest": veto.digest,
        "num_kept_without": len(selection.keep),
    }


def veto_fingerprint(veto: Veto | None) -> dict[str, str]:
    """Returns the field that a veto adds to the fingerprint of a selection."""
    return {} if veto is None else {"select.veto": veto.digest}
