"""Writes a TFDS data set that plain `tfds.load` reads."""

import contextlib
import dataclasses
import io
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from data_redundancy.data.raw import RawDataset, RawSplit, is_utf8, read_source
from data_redundancy.data.tfds.builder import import_tfds, one_line, open_directory, resolve_data_dir, silenced_tfds
from data_redundancy.errors import InputError

_DIGEST_KEY = "source_digest"
# What TensorFlow decodes by itself; MPO is a JPEG with further pictures behind it.
_KEPT_FORMATS = ("PNG", "JPEG", "MPO")


@dataclasses.dataclass(frozen=True)
class PreparedInfo:
    """A TFDS data set on disk.

    Attributes:
        directory: `DATA_DIR/NAME/VERSION`.
        num_train: the number of training examples.
        num_test: the number of test examples.
        class_names: one name per class.
        already_prepared: whether it was there before, and nothing was written.
    """

    directory: str
    num_train: int
    num_test: int
    class_names: tuple[str, ...]
    already_prepared: bool


def prepare(
    source: str,
    *,
    name: str,
    version: str = "1.0.0",
    data_dir: str | PathLike[str] | None = None,
    test_fraction: float = 0.2,
    seed: int = 0,
    class_names: Sequence[str] = (),
) -> PreparedInfo:
    """Turns images into a TFDS data set on disk; `read_source` and `write_tfds` say how.

    Args:
        source: `digits`, the path of an `.npz` file, or a folder of class folders of image files.
        name: what to call the data set.
        version: its version.
        data_dir: where to write; by default `$TFDS_DATA_DIR`, or `~/tensorflow_datasets`.
        test_fraction: the share of the examples that go to the test split where the source has none.
        seed: which of them.
        class_names: names to use instead of the source's, or none.

    Returns:
        What is now on disk.

    Raises:
        InputError: if the source, the name or the version is not as described, or something else is there already.
    """
    _check_name_and_version(name, version)
    if source != "digits" and Path(source).expanduser().resolve() == Path(resolve_data_dir(data_dir) / name).resolve():
        raise InputError(f"name: {name!r} would write into the source {source}; allowed: another name or data_dir")
    raw = read_source(source, test_fraction=test_fraction, seed=seed, class_names=class_names)
    return write_tfds(raw, name=name, version=version, data_dir=data_dir)


def write_tfds(
    raw: RawDataset,
    *,
    name: str,
    version: str,
    data_dir: str | PathLike[str] | None = None,
    num_shards: int | None = None,
) -> PreparedInfo:
    """Writes a TFDS data set, whole or not at all.

    Its features are `image`, `label`, and where each example comes from: `source_index` (position in the source) or
    `file_name` (relative to the folder). Examples keep the order of the source. Arrays are stored as PNG; PNG and JPEG
    files as they are; other image files as PNG, without loss.

    Args:
        raw: what to write.
        name: lower-case letters, digits and underscores, beginning with a letter.
        version: `MAJOR.MINOR.PATCH`.
        data_dir: where to write; by default `$TFDS_DATA_DIR`, or `~/tensorflow_datasets`.
        num_shards: files per split; as TFDS chooses by default.

    Returns:
        What is now on disk. A data set of this name and version made from the same source is left as it is.

    Raises:
        InputError: if an image cannot be read, the directory cannot be written, or it holds something else.
    """
    _check_name_and_version(name, version)
    check_class_names(raw.class_names)
    tf, _ = import_tfds()
    directory = resolve_data_dir(data_dir) / name / version
    already_prepared = directory.exists()
    if already_prepared:
        _reject_other_contents(directory, raw)
    else:
        try:
            _build(raw, name=name, version=version, data_dir=directory.parent.parent, num_shards=num_shards)
        except (OSError, tf.errors.OpError, RuntimeError) as error:
            # TFDS turns an error of TensorFlow, such as a full disk, into a RuntimeError from it.
            if isinstance(error, RuntimeError) and not isinstance(error.__cause__, tf.errors.OpError):
                raise
            raise InputError(f"data_dir: cannot write {directory} ({one_line(error)})") from error
    return PreparedInfo(
        directory=os.fspath(directory),
        num_train=len(raw.splits["train"].labels),
        num_test=len(raw.splits["test"].labels),
        class_names=raw.class_names,
        already_prepared=already_prepared,
    )


def _check_name_and_version(name: str, version: str) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise InputError(
            f"name: {name!r} cannot name a TFDS data set; allowed: lower-case letters, digits and underscores, "
            "beginning with a letter"
        )
    if not re.fullmatch(r"(0|[1-9]\d*)(\.(0|[1-9]\d*)){2}", version, re.ASCII):
        raise InputError(f"version: {version!r} is not a TFDS version; allowed: three numbers such as 1.0.0")


def check_class_names(class_names: Sequence[str]) -> None:
    """Raises InputError for names that TFDS, which keeps them as lines of text, would change without a word."""
    for name in class_names:
        if name != name.strip() or len(name.splitlines()) != 1 or not is_utf8(name):
            raise InputError(
                f"class_names: a class is called {name!r}; allowed: UTF-8 names of one line, without spaces at the ends"
            )


def _reject_other_contents(directory: Any, raw: RawDataset) -> None:
    """Checks that what is there was made from the same source."""
    try:
        info = open_directory(directory).info
    except InputError as error:
        raise InputError(f"{error}; remove it, or give another name or version") from error
    digest = info.metadata.get(_DIGEST_KEY) if info.metadata else None
    num_there = {split: info.splits[split].num_examples for split in info.splits}
    num_new = {name: len(split.labels) for name, split in raw.splits.items()}
    if num_there != num_new:
        difference = f"{_counts(num_there)}, the source {_counts(num_new)}"
    elif digest != raw.digest():
        difference = "as many examples but other images, labels, class names or splits than the source"
    else:
        return
    raise InputError(f"version: {directory} already holds {difference}; allowed: another name or version, or remove it")


def _counts(num_examples: dict[str, int]) -> str:
    return (
        " and ".join(f"{number} {split}" for split, number in sorted(num_examples.items(), reverse=True)) + " examples"
    )


def _build(raw: RawDataset, *, name: str, version: str, data_dir: Any, num_shards: int | None) -> None:
    _, tfds = import_tfds()
    if not sys.stderr.isatty():
        tfds.disable_progress_bar()
    download_config = tfds.download.DownloadConfig(try_download_gcs=False, num_shards=num_shards)
    # TFDS announces its work on stdout, and makes a folder for downloads though there are none.
    with silenced_tfds(), contextlib.redirect_stdout(io.StringIO()), tempfile.TemporaryDirectory() as downloads:
        builder = _make_builder(raw, name=name, version=version, data_dir=data_dir)
        builder.download_and_prepare(download_dir=downloads, download_config=download_config)


def _make_builder(raw: RawDataset, *, name: str, version: str, data_dir: Any) -> Any:
    """Makes the builder: TFDS takes a data set's name and version from a class."""
    _, tfds = import_tfds()
    origin_feature = "source_index"
    if raw.splits["train"].origins.dtype == object:
        origin_feature = "file_name"

    class RawDatasetBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version(version)
        # TFDS would look next to the code for checksums of downloads, and imports a package for it that it does not
        # declare (importlib_resources, TFDS 4.9.10).
        code_path = None

        def _info(self) -> Any:
            features = {
                "image": tfds.features.Image(shape=raw.image_shape),
                "label": tfds.features.ClassLabel(names=raw.class_names),
                origin_feature: tfds.features.Text() if origin_feature == "file_name" else np.int64,
            }
            return tfds.core.DatasetInfo(
                builder=self,
                description=f"{raw.description} Written by data-redundancy prepare.",
                citation=raw.citation,
                features=tfds.features.FeaturesDict(features),
                supervised_keys=("image", "label"),
                disable_shuffling=True,
                metadata=tfds.core.MetadataDict({_DIGEST_KEY: raw.digest()}),
            )

        def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
            del dl_manager  # Nothing is downloaded.
            return {key: self._generate_examples(split) for key, split in raw.splits.items()}

        def _generate_examples(self, split: RawSplit) -> Iterator[tuple[int, dict[str, Any]]]:
            for key, (image, label, origin) in enumerate(zip(split.images, split.labels, split.origins, strict=True)):
                encoded = image if isinstance(image, np.ndarray) else _encoded_file(image, raw.image_shape[-1])
                yield key, {"image": encoded, "label": int(label), origin_feature: origin}

    RawDatasetBuilder.name = name
    return RawDatasetBuilder(data_dir=os.fspath(data_dir))


def _encoded_file(path: Path, channels: int) -> bytes:
    """Returns an image file's bytes, once the decoder that will read them has read them."""
    import PIL.Image

    tf, _ = import_tfds()
    try:
        encoded = path.read_bytes()
        with PIL.Image.open(io.BytesIO(encoded)) as image:
            if image.format not in _KEPT_FORMATS:
                buffer = io.BytesIO()
                image.save(buffer, format="PNG")
                encoded = buffer.getvalue()
        tf.io.decode_image(encoded, channels=channels, expand_animations=False)
    except (OSError, ValueError, SyntaxError, tf.errors.OpError) as error:
        raise InputError(f"source: {path} is not a readable image") from error
    return encoded
