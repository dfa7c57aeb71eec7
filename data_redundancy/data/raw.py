"""Reads what `prepare` turns into a TFDS data set: scikit-learn's digits, an `.npz` file or a folder of images."""

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
_SOURCES_ALLOWED = "allowed: digits, the path of an .npz file, or a folder of class folders of image files"
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
        origins: [N] where each example is in the source: int64 positions, or file names (an object array of str)
            relative to the folder, with `/` between parts.
    """

    images: np.ndarray | Sequence[Path]
    labels: np.ndarray
    origins: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class RawDataset:
    """What a source holds, split into `train` and `test`.

    Attributes:
        description: where the images come from, in a sentence.
        citation: BibTeX, or empty.
        class_names: one name per class.
        image_shape: (height, width, channels); height and width are None where images differ in size.
        splits: `train` and `test`.
    """

    description: str
    citation: str
    class_names: tuple[str, ...]
    image_shape: tuple[int | None, int | None, int]
    splits: dict[str, RawSplit]

    def digest(self) -> str:
        """Returns a SHA-256 that tells this source and split from others."""
        digest = hashlib.sha256(repr((self.class_names, self.image_shape)).encode())
        for name, split in self.splits.items():
            digest.update(f"{name} {len(split.labels)}".encode())
            digest.update(np.ascontiguousarray(split.labels, dtype="<i4"))
            digest.update("\n".join(map(str, split.origins)).encode())
            if isinstance(split.images, np.ndarray):
                digest.update(np.ascontiguousarray(split.images))
            else:
                for path in split.images:
                    digest.update(hashlib.sha256(path.read_bytes()).digest())
        return digest.hexdigest()


def read_source(source: str, *, test_fraction: float, seed: int, class_names: Sequence[str] = ()) -> RawDataset:
    """Reads a source and, where it has no test split, makes one.

    Args:
        source: `digits` (scikit-learn's bundled 8 x 8 images); the path of an `.npz` file with `image_train
            label_train` and, or else without, `image_test label_test`; or a folder of the form `CLASS/*.png`, or
            `train/CLASS/*.png` with `test/CLASS/*.png` (or `val`), where .jpg, .jpeg and .bmp count as well.
        test_fraction: the share of the examples that go to the test split where the source has none.
        seed: which of them.
        class_names: names to use instead of the source's, one per class; a folder's own are sorted by name.

    Returns:
        The images, or for a folder their paths, in the order of the source.

    Raises:
        InputError: if the source is missing, malformed, or holds no images.
    """
    if source == "digits":
        whole = _read_digits(class_names)
    elif source.endswith(".npz"):
        whole = _read_npz(source, class_names)
    elif source and Path(source).expanduser().is_dir():
        whole = _read_folder(Path(source).expanduser(), class_names)
    else:
        raise InputError(f"source: there is no {source!r}; {_SOURCES_ALLOWED}")
    if "test" in whole.splits:
        return whole
    train, test = stratified_split(whole.splits["train"].labels, test_fraction=test_fraction, seed=seed)
    splits = {"train": _take(whole.splits["train"], train), "test": _take(whole.splits["train"], test)}
    description = f"{whole.description} A share of {test_fraction:g} of each class is the test split (seed {seed})."
    return dataclasses.replace(whole, splits=splits, description=description)


def stratified_split(labels: np.ndarray, *, test_fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Divides examples so that every class has the same share in both parts.

    Of N examples round(test_fraction * N) go to the test part; classes share them by largest remainder (ties: lowest
    class), except that a class never gives its last example. Within a class they are drawn at random.

    Args:
        labels: [N] int.
        test_fraction: between 0 and 1.
        seed: of the draw; the same seed gives the same split.

    Returns:
        Indices of the training and of the test examples, int64, each sorted.

    Raises:
        InputError: if the fraction is not between 0 and 1 or leaves the test part empty, or the seed is negative.
    """
    if not 0 < test_fraction < 1:
        raise InputError(f"test_fraction: is {test_fraction}, allowed: more than 0 and less than 1")
    if seed < 0:
        raise InputError(f"seed: is {seed}, allowed: 0 or more")
    classes, counts = np.unique(labels, return_counts=True)
    shares = test_fraction * counts
    quotas = np.minimum(np.floor(shares).astype(np.int64), counts - 1)
    num_missing = round(test_fraction * len(labels)) - quotas.sum()
    for position in np.argsort(quotas - shares, kind="stable"):
        if num_missing > 0 and quotas[position] < counts[position] - 1:
            quotas[position] += 1
            num_missing -= 1
    if not quotas.sum():
        raise InputError(
            f"test_fraction: {test_fraction} of {len(labels)} examples in {len(classes)} classes leaves no test example"
        )
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
        raise InputError(
            "source: digits needs scikit-learn, which is not installed; install it with 'pip install scikit-learn'"
        ) from error
    bunch = load_digits()
    # Pixels are counts from 0 to 16.
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
        raise InputError(f"source: images of {source} have {image_shape[-1]} channels, allowed: 1 to 4 (stored as PNG)")
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
        raise InputError(f"source: no images found in {roots['train']}; {_SOURCES_ALLOWED}")
    splits = {name: _read_class_folders(root, own_names, folder) for name, root in roots.items()}
    lacking = np.setdiff1d(np.arange(len(own_names)), splits["train"].labels)
    if lacking.size:
        raise InputError(f"source: no images found in {roots['train'] / own_names[lacking[0]]}; {_SOURCES_ALLOWED}")
    return RawDataset(
        description=f"Image files of the folder {folder.resolve().name}.",
        citation="",
        class_names=choose_class_names(own_names, class_names),
        image_shape=_common_shape([path for split in splits.values() for path in split.images]),
        splits=splits,
    )


def _split_folders(folder: Path) -> dict[str, Path]:
    """Returns the folders that hold the class folders of each split."""
    tests = [folder / name for name in ("test", "val") if _class_folders(folder / name)]
    if not tests or not _class_folders(folder / "train"):
        return {"train": folder}
    if len(tests) > 1:
        log.warning("%s is the test split, %s is not used", *tests)
    return {"train": folder / "train", "test": tests[0]}


def _class_folders(root: Path) -> list[Path]:
    if not root.is_dir():
        return []
    return sorted((path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")), key=_name)


def _name(path: Path) -> str:
    return path.name


def is_utf8(text: str) -> bool:
    """Returns whether text, such as a file name, is valid UTF-8: what is not reaches Python as lone surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _read_class_folders(root: Path, class_names: Sequence[str], folder: Path) -> RawSplit:
    unknown = [path.name for path in _class_folders(root) if path.name not in class_names]
    if unknown:
        raise InputError(
            f"source: {root} has a class folder {unknown[0]!r}; allowed, as in training: {', '.join(class_names)}"
        )
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
        raise InputError(f"source: no images found in {root}; {_SOURCES_ALLOWED}")
    if num_ignored:
        log.warning("%s: ignored %d files that are not %s", root, num_ignored, " ".join(_EXTENSIONS))
    names = [path.relative_to(folder).as_posix() for path in paths]
    for name in names:
        if not is_utf8(name):
            raise InputError(f"source: {folder} has a file called {name!r}; allowed: UTF-8 names")
    return RawSplit(images=paths, labels=np.array(labels, dtype=np.int32), origins=np.array(names, dtype=object))


def _common_shape(paths: Sequence[Path]) -> tuple[int | None, int | None, int]:
    """Reads the headers of image files: grey images, if all are, have one channel, others three."""
    import PIL.Image

    heights, widths, modes = set(), set(), set()
    for path in paths:
        try:
            with PIL.Image.open(path) as image:
                widths.add(image.width)
                heights.add(image.height)
                modes.add(image.mode)
        except (OSError, ValueError, SyntaxError) as error:  # Pillow reports a broken PNG as a SyntaxError.
            raise InputError(f"source: {path} is not a readable image") from error
    channels = 1 if modes <= set(_GREY_MODES) else 3
    if len(heights) > 1 or len(widths) > 1:
        return None, None, channels
    return heights.pop(), widths.pop(), channels
