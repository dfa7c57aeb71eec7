"""Reads images and labels from an `.npz` file."""

import dataclasses
import re
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path

import numpy as np

from data_redundancy.data.splits import Dataset, Split, check_label_range, choose_class_names
from data_redundancy.errors import InputError
from data_redundancy.store.filesystems import reason

_TRAIN_KEYS = ("image_train", "label_train")
_TEST_KEYS = ("image_test", "label_test")
_USE_A_SPLIT = "Use train, test, a slice such as train[:90%] or train[100:200], or a sum such as train+test"
_TERM = re.compile(
    r"(?P<split>\w+)(\[((?P<start>-?\d+)(?P<start_unit>%?))?:((?P<stop>-?\d+)(?P<stop_unit>%?))?\])?", re.ASCII
)
# Without names, the largest label determines the number of classes. A wrong label must not lead to billions of names.
_MAX_UNNAMED_CLASSES = 1_000_000


@dataclasses.dataclass(frozen=True, eq=False)
class NpzContents:
    """The validated arrays of an `.npz` file.

    Attributes:
        images: [N, H, W, C] uint8 for `train` and, if the file has it, `test`.
        labels: [N] int32 for the same splits.
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
        The data set, without ids. Its name is the base name of the file.

    Raises:
        InputError: naming the path or an argument; see `read_npz` and `split_ranges`.
    """
    contents = read_npz(path, class_names=class_names)
    return Dataset(
        name=Path(path).name,
        version="",
        class_names=contents.class_names,
        train=_read_split(contents, train_split, "train_split"),
        test=_read_split(contents, test_split, "test_split"),
    )


def read_npz(
    path: str | PathLike[str], *, class_names: Sequence[str] = (), test_is_optional: bool = False
) -> NpzContents:
    """Reads `image_train label_train image_test label_test` and, if the file has them, `class_names`.

    Args:
        path: the file. Images are uint8 [N, H, W, C] or, if grey, [N, H, W]. Labels are integers [N].
        class_names: names to use instead of those in the file. Without any names, the classes are called "0", "1" and
            so on up to the largest label.
        test_is_optional: whether a file with neither `image_test` nor `label_test` is accepted.

    Returns:
        The arrays, with grey images as [N, H, W, 1].

    Raises:
        InputError: naming the path, if the file or an array is missing or not as described; naming `class_names`, if
            these do not fit. Pickled objects are never loaded.
    """
    arrays = _read_arrays(Path(path).expanduser())
    has_test = not test_is_optional or any(key in arrays for key in _TEST_KEYS)
    wanted = _TRAIN_KEYS + _TEST_KEYS if has_test else _TRAIN_KEYS
    missing = [key for key in wanted if key not in arrays]
    if missing:
        found = ", ".join(arrays) or "nothing"
        requirement = f"must have the arrays {' '.join(wanted)}, but lacks {' '.join(missing)}; it has {found}"
        raise InputError(path, None, requirement)
    splits = ("train", "test") if has_test else ("train",)
    images = {split: _check_images(arrays[f"image_{split}"], f"image_{split}", path) for split in splits}
    labels = {split: _check_label_array(arrays[f"label_{split}"], f"label_{split}", path) for split in splits}
    for split in splits:
        if len(images[split]) != len(labels[split]):
            requirement = (
                f"must have one label per image, but label_{split} has {len(labels[split])} labels for "
                f"{len(images[split])} images"
            )
            raise InputError(path, None, requirement)
    shapes = [images[split].shape[1:] for split in splits]
    if shapes[0] != shapes[-1]:
        requirement = (
            f"must have images of one shape, but has {shapes[0]} in image_train and {shapes[-1]} in image_test"
        )
        raise InputError(path, None, requirement)
    names = _class_names(arrays.get("class_names"), class_names, labels, path)
    checked = {
        split: check_label_range(values, num_classes=len(names), name=f"label_{split}", argument=path)
        for split, values in labels.items()
    }
    return NpzContents(images=images, labels=checked, class_names=names)


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        fix = f"Name an .npz file with {' '.join(_TRAIN_KEYS + _TEST_KEYS)}"
        raise InputError(path, None, "does not exist", fix)
    try:
        file = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(path, None, f"must be an .npz file ({reason(error)})") from error
    if not isinstance(file, np.lib.npyio.NpzFile):
        raise InputError(path, None, "must be an .npz file, but is a single array")
    with file:
        known = [key for key in file.files if key in (*_TRAIN_KEYS, *_TEST_KEYS, "class_names")]
        read = {key: _read_array(file, key, path) for key in known}
        # An error lists the names of the other arrays; their contents are not needed.
        return {key: read.get(key, np.empty(0)) for key in file.files}


def _read_array(file: np.lib.npyio.NpzFile, key: str, path: Path) -> np.ndarray:
    try:
        return file[key]
    except ValueError as error:
        if "pickle" not in str(error):
            raise _unreadable(key, path, error) from error
        raise InputError(
            path,
            None,
            f"must not have Python objects, but {key} has them (images of different sizes?)",
            "Store one array of uint8 images of one size, integer labels, and names as fixed-width text",
        ) from error
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise _unreadable(key, path, error) from error


def _unreadable(key: str, path: Path, error: Exception) -> InputError:
    return InputError(path, None, f"must have readable arrays, but {key} cannot be read ({reason(error)})")


def _check_images(images: np.ndarray, name: str, path: str | PathLike[str]) -> np.ndarray:
    if images.dtype != np.uint8:
        raise InputError(path, None, f"must have uint8 images (0 to 255), but {name} is {images.dtype}")
    if images.ndim not in (3, 4):
        requirement = f"must have images [N, H, W, C], or grey [N, H, W], but {name} has the shape {images.shape}"
        raise InputError(path, None, requirement)
    if 0 in images.shape:
        raise InputError(path, None, f"must have images, but {name} is empty: its shape is {images.shape}")
    return images[..., np.newaxis] if images.ndim == 3 else images


def _check_label_array(labels: np.ndarray, name: str, path: str | PathLike[str]) -> np.ndarray:
    if not np.issubdtype(labels.dtype, np.integer):
        raise InputError(path, None, f"must have integer labels, but {name} is {labels.dtype}")
    if labels.ndim != 1:
        raise InputError(path, None, f"must have labels [N], but {name} has the shape {labels.shape}")
    return labels


def _class_names(
    own: np.ndarray | None, given: Sequence[str], labels: dict[str, np.ndarray], path: str | PathLike[str]
) -> tuple[str, ...]:
    if own is None:
        largest = max(0, *(int(values.max()) for values in labels.values()))
        num_classes = len(given) or 1 + min(largest, _MAX_UNNAMED_CLASSES)
        return choose_class_names([str(label) for label in range(num_classes)], given)
    if own.ndim != 1 or own.dtype.kind != "U":
        requirement = f"must have class_names [C] as text, but they are {own.dtype} of the shape {own.shape}"
        raise InputError(path, None, requirement)
    return choose_class_names(own.tolist(), given)


def _read_split(contents: NpzContents, expression: str, argument: str) -> Split:
    sizes = {split: len(labels) for split, labels in contents.labels.items()}
    ranges = split_ranges(expression, sizes=sizes, argument=argument)
    images = [contents.images[split][start:stop] for split, start, stop in ranges]
    labels = [contents.labels[split][start:stop] for split, start, stop in ranges]
    if len(ranges) == 1:  # a view, because concatenating would copy the images
        return Split(name=expression, images=images[0], labels=labels[0], tfds_ids=None)
    return Split(name=expression, images=np.concatenate(images), labels=np.concatenate(labels), tfds_ids=None)


def split_ranges(expression: str, *, sizes: Mapping[str, int], argument: str) -> list[tuple[str, int, int]]:
    """Parses a split expression as TFDS does.

    Args:
        expression: such as `train`, `train[:90%]`, `train[-100:]` or `train[:10]+test`. Percentages are rounded to the
            nearest example.
        sizes: the number of examples of each split.
        argument: the argument that errors name.

    Returns:
        (split, start, stop) of every term, in order. None is empty and no two overlap.

    Raises:
        InputError: naming `argument`, if the expression is malformed, extends beyond a split, or has no example or the
            same example twice.

    References:
        https://www.tensorflow.org/datasets/splits
    """
    ranges: list[tuple[str, int, int]] = []
    for term in re.split(r"\s*\+\s*", expression.strip()):
        match = _TERM.fullmatch(term)
        if match is None or match["split"] not in sizes:
            raise InputError(argument, expression, "must be a split", _USE_A_SPLIT)
        split, size = match["split"], sizes[match["split"]]
        # As in TFDS, one percent sign makes both bounds percentages.
        percent = bool(match["start_unit"] or match["stop_unit"])
        start = _bound(match["start"], percent=percent, size=size, default=0)
        stop = _bound(match["stop"], percent=percent, size=size, default=size)
        if start is None or stop is None:
            requirement = f"must not extend beyond the {size} examples of {split}"
            raise InputError(argument, expression, requirement, _USE_A_SPLIT)
        if start >= stop:
            requirement = f"must have an example, but {term} has none of {split}"
            raise InputError(argument, expression, requirement, _USE_A_SPLIT)
        if any(
            split == other and start < other_stop and other_start < stop for other, other_start, other_stop in ranges
        ):
            requirement = f"must not have an example twice, but has examples of {split} twice"
            raise InputError(argument, expression, requirement, _USE_A_SPLIT)
        ranges.append((split, start, stop))
    return ranges


def _bound(text: str | None, *, percent: bool, size: int, default: int) -> int | None:
    """Returns the position of a bound of a slice, or None if it is outside the split."""
    if text is None:
        return default
    position = round(int(text) * size / 100) if percent else int(text)
    if abs(position) > size:
        return None
    return position + size if position < 0 else position
