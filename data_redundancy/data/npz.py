"""Reads images and labels from an `.npz` file; needs nothing but NumPy."""

import dataclasses
import re
import zipfile
import zlib
from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import numpy as np

from data_redundancy.data.splits import Dataset, Split, check_labels, choose_class_names
from data_redundancy.errors import InputError

_TRAIN_KEYS = ("image_train", "label_train")
_TEST_KEYS = ("image_test", "label_test")
_SPLITS_ALLOWED = "allowed: train, test, slices such as train[:90%] or train[100:200], and sums such as train+test"
_TERM = re.compile(
    r"(?P<split>\w+)(\[((?P<start>-?\d+)(?P<start_unit>%?))?:((?P<stop>-?\d+)(?P<stop_unit>%?))?\])?", re.ASCII
)
# Classes are counted by the largest label where nobody names them: a stray label must not ask for billions of names.
_MAX_UNNAMED_CLASSES = 1_000_000


@dataclasses.dataclass(frozen=True, eq=False)
class NpzContents:
    """The checked arrays of an `.npz` file.

    Attributes:
        images: for `train` and, where the file has it, `test`: [N, H, W, C] uint8.
        labels: for the same splits: [N] int32.
        class_names: one name per class.
    """

    images: dict[str, np.ndarray]
    labels: dict[str, np.ndarray]
    class_names: tuple[str, ...]


def load(path: str | PathLike[str], *, train_split: str, test_split: str, class_names: Sequence[str] = ()) -> Dataset:
    """Reads a data set from an `.npz` file; `data_redundancy.data.loading.load` describes the arguments.

    Args:
        path: the file.
        train_split: a split expression.
        test_split: a split expression.
        class_names: one name per class, or none.

    Returns:
        The data set, without ids; its name is the file's base name.

    Raises:
        InputError: as `read_npz`, and for a malformed or empty split.
    """
    contents = read_npz(path, class_names=class_names)
    return Dataset(
        name=Path(path).name,
        version="",
        class_names=contents.class_names,
        train=_read_split(contents, train_split, field="train_split"),
        test=_read_split(contents, test_split, field="test_split"),
    )


def read_npz(
    path: str | PathLike[str], *, class_names: Sequence[str] = (), test_is_optional: bool = False
) -> NpzContents:
    """Reads and checks `image_train label_train image_test label_test` and, where there is one, `class_names`.

    Args:
        path: the file. Images are [N, H, W, C] or, grey, [N, H, W]; uint8. Labels are [N] integers.
        class_names: names to use instead of the file's. Where neither has any, classes are called "0", "1", and so on
            up to the largest label.
        test_is_optional: whether a file with neither `image_test` nor `label_test` is accepted.

    Returns:
        The arrays, with grey images as [N, H, W, 1].

    Raises:
        InputError: if the file or an array is missing or not as described; pickled objects are never loaded.
    """
    arrays = _read_arrays(Path(path).expanduser())
    has_test = not test_is_optional or any(key in arrays for key in _TEST_KEYS)
    wanted = _TRAIN_KEYS + _TEST_KEYS if has_test else _TRAIN_KEYS
    missing = [key for key in wanted if key not in arrays]
    if missing:
        raise InputError(f"{path}: lacks {', '.join(missing)}; it holds {', '.join(arrays) or 'nothing'}")
    splits = ("train", "test") if has_test else ("train",)
    images = {split: _check_images(arrays[f"image_{split}"], f"{path}: image_{split}") for split in splits}
    labels = {split: _check_label_array(arrays[f"label_{split}"], f"{path}: label_{split}") for split in splits}
    for split in splits:
        if len(images[split]) != len(labels[split]):
            raise InputError(
                f"{path}: image_{split} has {len(images[split])} images but "
                f"label_{split} has {len(labels[split])} labels"
            )
    shapes = [images[split].shape[1:] for split in splits]
    if shapes[0] != shapes[-1]:
        raise InputError(f"{path}: images of image_train are {shapes[0]} but those of image_test are {shapes[-1]}")
    names = _class_names(arrays.get("class_names"), class_names, labels, path)
    checked = {
        split: check_labels(values, num_classes=len(names), field=f"{path}: label_{split}")
        for split, values in labels.items()
    }
    return NpzContents(images=images, labels=checked, class_names=names)


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise InputError(
            f"{path}: there is no such file; allowed: an .npz file with {' '.join(_TRAIN_KEYS + _TEST_KEYS)}"
        )
    try:
        file = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: cannot be read as an .npz file ({_first_line(error)})") from error
    if not isinstance(file, np.lib.npyio.NpzFile):
        raise InputError(f"{path}: is a single array, not an .npz file")
    with file:
        known = [key for key in file.files if key in (*_TRAIN_KEYS, *_TEST_KEYS, "class_names")]
        read = {key: _read_array(file, key, path) for key in known}
        # The names of other arrays help in an error; their contents are not needed.
        return {key: read.get(key, np.empty(0)) for key in file.files}


def _read_array(file: np.lib.npyio.NpzFile, key: str, path: Path) -> np.ndarray:
    try:
        return file[key]
    except ValueError as error:
        if "pickle" not in str(error):
            raise InputError(f"{path}: {key} cannot be read ({_first_line(error)})") from error
        raise InputError(
            f"{path}: {key} holds Python objects (images of differing sizes?); "
            "allowed: one array of uint8 images of one size, integer labels, and names as fixed-width text"
        ) from error
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{path}: {key} cannot be read ({_first_line(error)})") from error


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__


def _check_images(images: np.ndarray, field: str) -> np.ndarray:
    if images.dtype != np.uint8:
        raise InputError(f"{field} is {images.dtype}, allowed: uint8 (0 to 255)")
    if images.ndim not in (3, 4):
        raise InputError(f"{field} has shape {images.shape}, allowed: [N, H, W, C], or [N, H, W] for grey images")
    if 0 in images.shape:
        raise InputError(f"{field} is empty, its shape is {images.shape}")
    return images[..., np.newaxis] if images.ndim == 3 else images


def _check_label_array(labels: np.ndarray, field: str) -> np.ndarray:
    if not np.issubdtype(labels.dtype, np.integer):
        raise InputError(f"{field} is {labels.dtype}, allowed: any integer type")
    if labels.ndim != 1:
        raise InputError(f"{field} has shape {labels.shape}, allowed: [N]")
    return labels


def _class_names(
    own: np.ndarray | None, given: Sequence[str], labels: dict[str, np.ndarray], path: str | PathLike[str]
) -> tuple[str, ...]:
    if own is None:
        largest = max(0, *(int(values.max()) for values in labels.values()))
        num_classes = len(given) or 1 + min(largest, _MAX_UNNAMED_CLASSES)
        return choose_class_names([str(label) for label in range(num_classes)], given)
    if own.ndim != 1 or own.dtype.kind != "U":
        raise InputError(f"{path}: class_names is {own.dtype} of shape {own.shape}, allowed: a list of names as text")
    return choose_class_names(own.tolist(), given)


def _read_split(contents: NpzContents, expression: str, *, field: str) -> Split:
    sizes = {split: len(labels) for split, labels in contents.labels.items()}
    ranges = split_ranges(expression, sizes=sizes, field=field)
    images = [contents.images[split][start:stop] for split, start, stop in ranges]
    labels = [contents.labels[split][start:stop] for split, start, stop in ranges]
    if len(ranges) == 1:  # A view: concatenating would hold the images twice.
        return Split(name=expression, images=images[0], labels=labels[0], tfds_ids=None)
    return Split(name=expression, images=np.concatenate(images), labels=np.concatenate(labels), tfds_ids=None)


def split_ranges(expression: str, *, sizes: dict[str, int], field: str) -> list[tuple[str, int, int]]:
    """Reads a split expression as TFDS does.

    Args:
        expression: such as `train`, `train[:90%]`, `train[-100:]` or `train[:10]+test`; percents are of the split and
            round to the nearest example.
        sizes: the number of examples of each split.
        field: what to call the expression in an error.

    Returns:
        (split, start, stop) of every term, in order; none is empty and no two overlap.

    Raises:
        InputError: if the expression is malformed, reaches beyond a split, or names no example or one twice.

    References:
        https://www.tensorflow.org/datasets/splits
    """
    ranges: list[tuple[str, int, int]] = []
    for term in re.split(r"\s*\+\s*", expression.strip()):
        match = _TERM.fullmatch(term)
        if match is None or match["split"] not in sizes:
            raise InputError(f"{field}: {expression!r} is not a split; {_SPLITS_ALLOWED}")
        split, size = match["split"], sizes[match["split"]]
        # One percent sign makes both bounds percents, as in TFDS.
        percent = bool(match["start_unit"] or match["stop_unit"])
        start = _bound(match["start"], percent=percent, size=size, default=0)
        stop = _bound(match["stop"], percent=percent, size=size, default=size)
        if start is None or stop is None:
            raise InputError(
                f"{field}: {expression!r} reaches beyond the {size} examples of {split}; {_SPLITS_ALLOWED}"
            )
        if start >= stop:
            raise InputError(f"{field}: {expression!r} holds no example of {split}; {_SPLITS_ALLOWED}")
        if any(
            split == other and start < other_stop and other_start < stop for other, other_start, other_stop in ranges
        ):
            raise InputError(f"{field}: {expression!r} holds examples of {split} twice; {_SPLITS_ALLOWED}")
        ranges.append((split, start, stop))
    return ranges


def _bound(text: str | None, *, percent: bool, size: int, default: int) -> int | None:
    """Returns the position a bound of a slice means, or None if it is outside the split."""
    if text is None:
        return default
    position = round(int(text) * size / 100) if percent else int(text)
    if abs(position) > size:
        return None
    return position + size if position < 0 else position
