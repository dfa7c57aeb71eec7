"""Reads images to write as a TFDS data set: scikit-learn's digits, an `.npz` file or a folder of image files."""

import dataclasses
import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data_redundancy.data import npz
from data_redundancy.data.splits import choose_class_names
from data_redundancy.errors import InputError

log = logging.getLogger("data_redundancy")

_EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp")
_GREY_MODES = ("1", "L", "LA", "I", "I;16", "I;16B")
_USE_A_SOURCE = "Use digits, the path of an .npz file, or a folder of class folders of image files"
_DIGITS_CITATION = """@misc{alpaydin1998optical,
  title={Optical Recognition of Handwritten Digits},
  author={Alpaydin, Ethem and Kaynak, Cenk},
  year={1998},
  howpublished={UCI Machine Learning Repository},
  doi={10.24432/C50P49}
}"""


@dataclasses.dataclass(frozen=True, eq=False)
class RawSplit:
    """Examples in the order of their source.

    Attributes:
        images: [N, H, W, C] uint8, or the paths of N image files.
        labels: [N] int32.
        origins: [N], the place of each example in the source: int64 positions, or an object array of the names of files
            relative to the folder, with `/` between parts.
    """

    images: np.ndarray | Sequence[Path]
    labels: np.ndarray
    origins: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class RawDataset:
    """The examples of a source, split into `train` and `test`.

    Attributes:
        description: where the images come from, in a sentence.
        citation: BibTeX, or empty.
        class_names: one name per class.
        image_shape: (height, width, channels); height and width are None if images differ in size.
        splits: `train` and `test`.
    """

    description: str
    citation: str
    class_names: tuple[str, ...]
    image_shape: tuple[int | None, int | None, int]
    splits: dict[str, RawSplit]

    def digest(self) -> str:
        """Returns a SHA-256 over the examples, which identifies this source and its splits."""
        digest = hashlib.sha256(repr((self.class_names, self.image_shape)).encode())
        for name, split in self.splits.items():
            digest.update(f"{name} {len(split.labels)}".encode())
            digest.update(np.ascontiguousarray(split.labels, dtype="<i4").data)
            digest.update("\n".join(map(str, split.origins)).encode())
            if isinstance(split.images, np.ndarray):
                digest.update(np.ascontiguousarray(split.images).data)
            else:
                for path in split.images:
                    digest.update(hashlib.sha256(path.read_bytes()).digest())
        return digest.hexdigest()


def read_source(source: str, *, test_fraction: float, seed: int, class_names: Sequence[str] = ()) -> RawDataset:
    """Reads a source and, if it has no test split, makes one.

    Args:
        source: `digits` (the 8 x 8 images of scikit-learn); the path of an `.npz` file with `image_train label_train`
            and optionally `image_test label_test`; or a folder with the files `CLASS/*.png`, or `train/CLASS/*.png` and
            `test/CLASS/*.png` (or `val`). Files may also end with .jpg, .jpeg or .bmp.
        test_fraction: the share of the examples that go to the test split if the source has none.
        seed: seed of the random choice of these examples.
        class_names: names that replace the names in the source, one per class. The names of folders are sorted.

    Returns:
        The images, or for a folder their paths, in the order of the source.

    Raises:
        InputError: naming an argument or a path, if the source is missing, malformed, or has no images.
    """
    check_exists(source)
    if source == "digits":
        whole = _read_digits(class_names)
    elif source.endswith(".npz"):
        whole = _read_npz(source, class_names)
    else:
        whole = _read_folder(Path(source).expanduser(), class_names)
    if "test" in whole.splits:
        return whole
    train, test = stratified_split(whole.splits["train"].labels, test_fraction=test_fraction, seed=seed)
    splits = {"train": _take(whole.splits["train"], train), "test": _take(whole.splits["train"], test)}
    description = f"{whole.description} A share of {test_fraction:g} of each class is the test split (seed {seed})."
    return dataclasses.replace(whole, splits=splits, description=description)


def check_exists(source: str) -> None:
    """Checks that a source of `read_source` exists; reads nothing.

    Raises:
        InputError: naming `source`, if it does not exist.
    """
    path = Path(source).expanduser()
    exists = source == "digits" or (path.is_file() if source.endswith(".npz") else bool(source) and path.is_dir())
    if not exists:
        raise InputError("source", source, "does not exist", _USE_A_SOURCE)


def stratified_split(labels: np.ndarray, *, test_fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Divides examples so that every class has about the same share in both parts.

    Of N examples, round(test_fraction * N) go to the test part. They are divided among the classes by largest remainder
    (ties: lowest class), except that a class never gives its last example. Within a class they are drawn at random.

    Args:
        labels: [N] int.
        test_fraction: the share of the test part, between 0 and 1.
        seed: seed of the random draw.

    Returns:
        Indices of the training and of the test examples, int64, each sorted.

    Raises:
        InputError: naming `test_fraction`, if it is not between 0 and 1 or leaves the test part empty, or `seed`, if it
            is negative.
    """
    if not 0 < test_fraction < 1:
        raise InputError("test_fraction", test_fraction, "must be greater than 0 and less than 1")
    if seed < 0:
        raise InputError("seed", seed, "must be at least 0")
    classes, counts = np.unique(labels, return_counts=True)
    shares = test_fraction * counts
    quotas = np.minimum(np.floor(shares).astype(np.int64), counts - 1)
    num_missing = round(test_fraction * len(labels)) - quotas.sum()
    for position in np.argsort(quotas - shares, kind="stable"):
        if num_missing > 0 and quotas[position] < counts[position] - 1:
            quotas[position] += 1
            num_missing -= 1
    if not quotas.sum():
        requirement = f"must leave a test example, but leaves none of {len(labels)} examples in {len(classes)} classes"
        raise InputError("test_fraction", test_fraction, requirement)
    generator = np.random.default_rng(seed)
    drawn = [
        generator.permutation(np.flatnonzero(labels == label))[:quota]
        for label, quota in zip(classes, quotas, strict=True)
    ]
    is_test = np.zeros(len(labels), dtype=bool)
    is_test[np.concatenate(drawn)] = True
    return np.flatnonzero(~is_test), np.flatnonzero(is_test)


def _take(split: RawSplit, indices: np.ndarray) -> RawSplit:
    images = split.images
    chosen = images[indices] if isinstance(images, np.ndarray) else [images[index] for index in indices]
    return RawSplit(images=chosen, labels=split.labels[indices], origins=split.origins[indices])


def _read_digits(class_names: Sequence[str]) -> RawDataset:
    try:
        from sklearn.datasets import load_digits
    except ModuleNotFoundError as error:
        fix = "Install it with pip install scikit-learn"
        raise InputError("source", "digits", "needs the package scikit-learn, which is not installed", fix) from error
    bunch = load_digits()
    # The pixels are counts from 0 to 16.
    images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)[..., np.newaxis]
    split = RawSplit(images=images, labels=bunch.target.astype(np.int32), origins=np.arange(len(images)))
    return RawDataset(
        description="Handwritten digits as bundled with scikit-learn, 8 x 8, grey, scaled from 0..16 to 0..255.",
        citation=_DIGITS_CITATION,
        class_names=choose_class_names([str(name) for name in bunch.target_names], class_names),
        image_shape=images.shape[1:],
        splits={"train": split},
    )


def _read_npz(source: str, class_names: Sequence[str]) -> RawDataset:
    contents = npz.read_npz(source, class_names=class_names, test_is_optional=True)
    image_shape = contents.images["train"].shape[1:]
    if image_shape[-1] > 4:
        requirement = f"must have images of 1 to 4 channels, as PNG files have, but they have {image_shape[-1]}"
        raise InputError(source, None, requirement)
    splits = {
        name: RawSplit(images=images, labels=contents.labels[name], origins=np.arange(len(images)))
        for name, images in contents.images.items()
    }
    return RawDataset(
        description=f"Images of the file {Path(source).name}.",
        citation="",
        class_names=contents.class_names,
        image_shape=image_shape,
        splits=splits,
    )


def _read_folder(folder: Path, class_names: Sequence[str]) -> RawDataset:
    roots = _split_folders(folder)
    own_names = [path.name for path in _class_folders(roots["train"])]
    if not own_names:
        raise InputError(roots["train"], None, "has no images", _USE_A_SOURCE)
    splits = {name: _read_class_folders(root, own_names, folder) for name, root in roots.items()}
    lacking = np.setdiff1d(np.arange(len(own_names)), splits["train"].labels)
    if lacking.size:
        raise InputError(roots["train"] / own_names[lacking[0]], None, "has no images", _USE_A_SOURCE)
    return RawDataset(
        description=f"Image files of the folder {folder.resolve().name}.",
        citation="",
        class_names=choose_class_names(own_names, class_names),
        image_shape=_common_shape([path for split in splits.values() for path in split.images]),
        splits=splits,
    )


def _split_folders(folder: Path) -> dict[str, Path]:
    """Returns, for each split, the folder that contains its class folders."""
    tests = [folder / name for name in ("test", "val") if _class_folders(folder / name)]
    if not tests or not _class_folders(folder / "train"):
        return {"train": folder}
    if len(tests) > 1:
        log.warning("%s is used as the test split, %s is not used", *tests)
    return {"train": folder / "train", "test": tests[0]}


def _class_folders(root: Path) -> list[Path]:
    if not root.is_dir():
        return []
    return sorted((path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")), key=_name)


def _name(path: Path) -> str:
    return path.name


def is_utf8(text: str) -> bool:
    """Returns whether a text, such as a file name, is valid UTF-8; other bytes appear in it as lone surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _read_class_folders(root: Path, class_names: Sequence[str], folder: Path) -> RawSplit:
    unknown = [path.name for path in _class_folders(root) if path.name not in class_names]
    if unknown:
        requirement = f"must have the class folders of the training split, {', '.join(class_names)}, not {unknown[0]!r}"
        raise InputError(root, None, requirement)
    paths: list[Path] = []
    labels: list[int] = []
    num_ignored = 0
    for label, class_name in enumerate(class_names):
        files = sorted((root / class_name).iterdir(), key=_name) if (root / class_name).is_dir() else []
        images = [path for path in files if path.suffix.lower() in _EXTENSIONS and not path.name.startswith(".")]
        num_ignored += len(files) - len(images)
        paths += images
        labels += [label] * len(images)
    if not paths:
        raise InputError(root, None, "has no images", _USE_A_SOURCE)
    if num_ignored:
        log.warning("%s: ignored %d files that are not %s", root, num_ignored, " ".join(_EXTENSIONS))
    names = [path.relative_to(folder).as_posix() for path in paths]
    for name in names:
        if not is_utf8(name):
            raise InputError(folder, None, f"must have file names in UTF-8, unlike {name!r}")
    return RawSplit(images=paths, labels=np.array(labels, dtype=np.int32), origins=np.array(names, dtype=object))


def _common_shape(paths: Sequence[Path]) -> tuple[int | None, int | None, int]:
    """Returns the height, width and channels of image files, from their headers; one channel if all are grey."""
    import PIL.Image

    heights, widths, modes = set(), set(), set()
    for path in paths:
        try:
            with PIL.Image.open(path) as image:
                widths.add(image.width)
                heights.add(image.height)
                modes.add(image.mode)
        except (OSError, ValueError, SyntaxError) as error:  # Pillow reports a broken PNG as a SyntaxError
            raise InputError(path, None, "must be an image file that can be read") from error
    channels = 1 if modes <= set(_GREY_MODES) else 3
    if len(heights) > 1 or len(widths) > 1:
        return None, None, channels
    return heights.pop(), widths.pop(), channels
