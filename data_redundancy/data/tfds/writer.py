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
from data_redundancy.data.tfds.builder import import_tfds, open_directory, resolve_data_dir, silenced_tfds
from data_redundancy.errors import InputError
from data_redundancy.store.filesystems import reason

_DIGEST_KEY = "source_digest"
# The formats that TensorFlow decodes; MPO is a JPEG followed by further images.
_KEPT_FORMATS = ("PNG", "JPEG", "MPO")


@dataclasses.dataclass(frozen=True)
class PreparedInfo:
    """A TFDS data set on disk.

    Attributes:
        directory: `DATA_DIR/NAME/VERSION`.
        already_prepared: whether it existed already, so that nothing was written.
    """

    directory: str
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
    """Writes images as a TFDS data set on disk; see `read_source` and `write_tfds`.

    Args:
        source: `digits`, the path of an `.npz` file, or a folder of class folders of image files.
        name: the name of the data set.
        version: the version of the data set.
        data_dir: the directory of data sets; by default `$TFDS_DATA_DIR`, or else `~/tensorflow_datasets`.
        test_fraction: the share of the examples that go to the test split if the source has none.
        seed: seed of the random choice of these examples.
        class_names: names that replace the names in the source, or none.

    Returns:
        The data set that is now on disk.

    Raises:
        InputError: if the source, the name or the version is not as described, or another data set has this name and
            version already.
    """
    _check_name_and_version(name, version)
    if source != "digits" and Path(source).expanduser().resolve() == Path(resolve_data_dir(data_dir) / name).resolve():
        requirement = f"must not write into the source {source}"
        raise InputError("name", name, requirement, "Use another name or data_dir")
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

    Its features are `image`, `label`, and the origin of each example: `source_index` (position in the source) or
    `file_name` (relative to the folder). Examples keep the order of the source. Arrays are stored as PNG, PNG and JPEG
    files without change, and other image files as PNG, without loss.

    Args:
        raw: the examples to write.
        name: the name: lower-case letters, digits and underscores, beginning with a letter.
        version: `MAJOR.MINOR.PATCH`.
        data_dir: the directory of data sets; by default `$TFDS_DATA_DIR`, or else `~/tensorflow_datasets`.
        num_shards: the number of files per split; None: TFDS chooses it.

    Returns:
        The data set that is now on disk. One with this name and version that was made from the same source stays
        unchanged.

    Raises:
        InputError: naming an argument or a path, if an image cannot be read, the directory cannot be written, or
            another data set has this name and version already.
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
            # TFDS raises an error of TensorFlow, such as a full disk, as a RuntimeError whose cause it is.
            if isinstance(error, RuntimeError) and not isinstance(error.__cause__, tf.errors.OpError):
                raise
            raise InputError(directory, None, f"cannot be written ({reason(error)})") from error
    return PreparedInfo(os.fspath(directory), already_prepared)


def _check_name_and_version(name: str, version: str) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        requirement = "must consist of lower-case letters, digits and underscores, and begin with a letter"
        raise InputError("name", name, requirement)
    if not re.fullmatch(r"(0|[1-9]\d*)(\.(0|[1-9]\d*)){2}", version, re.ASCII):
        raise InputError("version", version, "must be three numbers, such as 1.0.0")


def check_class_names(class_names: Sequence[str]) -> None:
    """Validates the names of classes, which TFDS stores as lines of text.

    Raises:
        InputError: naming `class_names`, for a name that TFDS would change.
    """
    for name in class_names:
        if name != name.strip() or len(name.splitlines()) != 1 or not is_utf8(name):
            requirement = f"must be UTF-8 names of one line, without spaces at the ends, unlike {name!r}"
            raise InputError("class_names", None, requirement)


def _reject_other_contents(directory: Any, raw: RawDataset) -> None:
    """Raises an error if the existing data set was made from another source."""
    fix = "Remove it, or use another name or version"
    try:
        info = open_directory(directory).info
    except InputError as error:
        raise InputError(error.argument, error.value, error.requirement, fix) from error
    digest = info.metadata.get(_DIGEST_KEY) if info.metadata else None
    num_existing = {split: info.splits[split].num_examples for split in info.splits}
    num_new = {name: len(split.labels) for name, split in raw.splits.items()}
    if num_existing != num_new:
        difference = f"{_counts(num_existing)}, but the source has {_counts(num_new)}"
    elif digest != raw.digest():
        difference = "as many examples as the source, but other images, labels, class names or splits"
    else:
        return
    raise InputError(directory, None, f"exists already and has {difference}", fix)


def _counts(num_examples: dict[str, int]) -> str:
    return (
        " and ".join(f"{number} {split}" for split, number in sorted(num_examples.items(), reverse=True)) + " examples"
    )


def _build(raw: RawDataset, *, name: str, version: str, data_dir: Any, num_shards: int | None) -> None:
    _, tfds = import_tfds()
    if not sys.stderr.isatty():
        tfds.disable_progress_bar()
    download_config = tfds.download.DownloadConfig(try_download_gcs=False, num_shards=num_shards)
    # TFDS reports its work on stdout, and creates a folder for downloads although there are none.
    with silenced_tfds(), contextlib.redirect_stdout(io.StringIO()), tempfile.TemporaryDirectory() as downloads:
        builder = _make_builder(raw, name=name, version=version, data_dir=data_dir)
        builder.download_and_prepare(download_dir=downloads, download_config=download_config)


def _make_builder(raw: RawDataset, *, name: str, version: str, data_dir: Any) -> Any:
    """Returns a builder of a new class, because TFDS takes the name and the version of a data set from its class."""
    _, tfds = import_tfds()
    base: Any = tfds.core.GeneratorBasedBuilder
    origin_feature = "source_index"
    if raw.splits["train"].origins.dtype == object:
        origin_feature = "file_name"

    # TFDS has no type information, from which mypy would know this argument.
    class RawDatasetBuilder(base, skip_registration=True):  # type: ignore[call-arg]
        VERSION = tfds.core.Version(version)
        # Otherwise TFDS would look beside the code for checksums of downloads, and for this import a package that it
        # does not depend on (importlib_resources, TFDS 4.9.10).
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
            del dl_manager  # nothing is downloaded
            return {key: self._generate_examples(split) for key, split in raw.splits.items()}

        def _generate_examples(self, split: RawSplit) -> Iterator[tuple[int, dict[str, Any]]]:
            for key, (image, label, origin) in enumerate(zip(split.images, split.labels, split.origins, strict=True)):
                encoded = image if isinstance(image, np.ndarray) else _encoded_file(image, raw.image_shape[-1])
                yield key, {"image": encoded, "label": int(label), origin_feature: origin}

    RawDatasetBuilder.name = name
    return RawDatasetBuilder(data_dir=os.fspath(data_dir))


def _encoded_file(path: Path, channels: int) -> bytes:
    """Returns the bytes to store for an image file, after checking that TensorFlow decodes them."""
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
        raise InputError(path, None, "must be an image file that can be read") from error
    return encoded
