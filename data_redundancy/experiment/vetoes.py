"""Vetoes read from files: shared by the stages that take --veto."""

import contextlib
import json
from typing import Any

from ml_collections import ConfigDict

from data_redundancy.errors import InputError
from data_redundancy.experiment import dataset as common
from data_redundancy.selection.veto import Veto
from data_redundancy.selection.veto_file import parse
from data_redundancy.store import filesystems


def of_split(config: ConfigDict, path: str) -> Veto:
    """Reads a veto.json for the training split of a config.

    Raises:
        InputError: naming --veto, for what `read` refuses.
    """
    train = common.load_dataset(config).train
    return read(path, train.digest, len(train.labels), train)


def read(path: str, dataset: str, num_examples: int, examples: Any) -> Veto:
    """Reads a veto.json.

    Args:
        path: of the file.
        dataset: the digest of the data set it must have been made for.
        num_examples: of the data set.
        examples: has `tfds_ids` and `file_names`, or None in their place.

    Raises:
        InputError: naming --veto, for a file that is not there, is not JSON or no veto of these examples.
    """
    file = filesystems.locate(path, "--veto")
    if not file.is_file():
        raise InputError(f"--veto={path}: no such file")
    try:
        document = json.loads(file.read_text())
    except ValueError as error:
        raise InputError(f"--veto={path}: not a JSON file ({error})") from None
    with named(path):
        return parse(
            document,
            num_examples=num_examples,
            dataset=dataset,
            tfds_ids=examples.tfds_ids,
            file_names=examples.file_names,
        )


def named(path: str | None) -> contextlib.AbstractContextManager[None]:
    """Input errors of the block that begin with `veto:` name the file instead."""
    return common.arguments_named({"veto": f"--veto={path}"})
