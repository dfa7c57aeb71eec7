"""Exporting the kept examples: as a TFDS data set, in other formats, or as keep lists."""

import importlib
from typing import Any

from data_redundancy.exporting.contents import Contents
from data_redundancy.exporting.format import Format

FORMATS = ("tfds", "webdataset", "huggingface", "imagefolder")
"""The formats of data sets with images."""
LISTS = ("txt", "csv", "parquet", "npy")
"""The formats of keep lists, which are one file each."""

_WRITERS = {"webdataset": "WebDataset", "huggingface": "HuggingFace", "imagefolder": "ImageFolder"}


def writer(name: str, contents: Contents, *, file_format: str | None = None) -> Format:
    """Returns the writer of a format. Imports the packages that the format needs.

    Args:
        name: one of FORMATS.
        contents: the examples to write.
        file_format: the file format of a TFDS data set, `tfrecord` or `array_record`; by default that of the source.
            Ignored for other formats.

    Raises:
        InputError: if the source cannot be written in this format, or a package is not installed.
    """
    module: Any = importlib.import_module(f"data_redundancy.exporting.{name}")
    return module.make(contents, file_format=file_format) if name == "tfds" else getattr(module, _WRITERS[name])()
