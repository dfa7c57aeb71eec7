"""Handing over what was kept: as a TFDS data set, in other formats, as lists."""

import importlib
from typing import Any

from data_redundancy.exporting.contents import Contents
from data_redundancy.exporting.format import Format

FORMATS = ("tfds", "webdataset", "huggingface", "imagefolder")
"""Of data sets with their images."""
LISTS = ("txt", "csv", "parquet", "npy")
"""Of keep lists, which are one file each."""

_WRITERS = {"webdataset": "WebDataset", "huggingface": "HuggingFace", "imagefolder": "ImageFolder"}


def writer(name: str, contents: Contents, *, file_format: str | None = None) -> Format:
    """Makes the writer of a format; what it needs is imported only now.

    Args:
        name: one of FORMATS.
        contents: what is to be written.
        file_format: of TFDS data sets: `tfrecord` or `array_record`; by default that of the source.

    Raises:
        InputError: if the source cannot be written in this format, or a package is not installed.
    """
    module: Any = importlib.import_module(f"data_redundancy.exporting.{name}")
    return module.make(contents, file_format=file_format) if name == "tfds" else getattr(module, _WRITERS[name])()
