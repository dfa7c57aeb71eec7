"""Exporting the kept examples: as a TFDS data set, in other formats, or as keep lists."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the command line imports `formats` for its help, without JAX
    from data_redundancy.exporting.contents import Contents
    from data_redundancy.exporting.format import Format

_WRITERS = {"webdataset": "WebDataset", "huggingface": "HuggingFace", "imagefolder": "ImageFolder"}


def writer(name: str, contents: "Contents", *, file_format: str | None = None) -> "Format":
    """Returns the writer of a format. Imports the packages that the format needs.

    Args:
        name: one of `formats.FORMATS`.
        contents: the examples to write.
        file_format: one of `formats.FILE_FORMATS`, for a TFDS data set; by default that of the source.
            Ignored for other formats.

    Raises:
        InputError: if the source cannot be written in this format, or a package is not installed.
    """
    module: Any = importlib.import_module(f"data_redundancy.exporting.{name}")
    return module.make(contents, file_format=file_format) if name == "tfds" else getattr(module, _WRITERS[name])()
