"""Thumbnails on sheets: WebP images with many thumbnails each, from which the page shows parts."""

import base64
import hashlib
import io
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from etils import epath
from PIL import Image

from data_redundancy.store import files, filesystems

SIDE = 96
"""The longest side of a thumbnail in pixels; images are never enlarged."""

FOLDER = "thumbnails"
"""The folder of sheets that do not fit into the page."""

_SHEET_SIDE = 1024  # pixels
_SMALL = 1024
"""The most numbers of an image, such as 28 x 28 x 1 or 8 x 8 x 3, that is stored without loss: lossy compression would
blur it, and it needs little space."""
_QUALITY = 85
_DIGITS = 12  # of the digest in a file name


@dataclass(frozen=True)
class SheetLayout:
    """The arrangement of images on sheets: image i is on sheet i // (columns * rows), row by row.

    Attributes:
        width: width of a thumbnail in pixels.
        height: height of a thumbnail in pixels.
        columns: thumbnails in a row of a sheet.
        rows: rows of a sheet.
        lossless: whether the compression preserves all pixels.
    """

    width: int
    height: int
    columns: int
    rows: int
    lossless: bool

    @property
    def per_sheet(self) -> int:
        """The number of thumbnails on a full sheet."""
        return self.columns * self.rows


def make_layout(image_shape: tuple[int, int, int], num_images: int) -> SheetLayout:
    """Returns the layout for a number of images of shape (H, W, C)."""
    height, width, _ = image_shape
    shrink = min(1.0, SIDE / max(height, width))
    height, width = max(1, round(height * shrink)), max(1, round(width * shrink))
    columns = max(1, min(_SHEET_SIDE // width, math.isqrt(num_images)))
    rows = max(1, min(_SHEET_SIDE // height, math.ceil(num_images / columns)))
    return SheetLayout(width, height, columns, rows, lossless=math.prod(image_shape) <= _SMALL)


def make_sheets(images: Iterable[np.ndarray], layout: SheetLayout) -> Iterator[bytes]:
    """Puts images on sheets, with one sheet in memory at a time.

    Args:
        images: [H, W, C] uint8 each. Images with one or two channels are shown in grey by their first channel, images
            with more channels by their first three.
        layout: the layout for the shape and number of images.

    Yields:
        The contents of WebP files; the same for the same images.
    """
    sheet, filled = _empty(layout), 0
    for image in images:
        row, column = divmod(filled, layout.columns)
        sheet.paste(_thumbnail(image, layout), (column * layout.width, row * layout.height))
        filled += 1
        if filled == layout.per_sheet:
            yield _encode(sheet, layout)
            sheet, filled = _empty(layout), 0
    if filled:
        yield _encode(sheet, layout)


def place_sheets(directory: epath.Path, sheets: Iterable[bytes], *, num_bytes: float) -> list[str]:
    """Makes sheets available to DIRECTORY/index.html: within the page, or in a folder beside it if they do not fit.

    File names are digests of the contents, so that an existing page keeps its files until a new page replaces it; then
    `remove_others` removes them.

    Args:
        directory: the directory of the page.
        sheets: the contents of WebP files, read one at a time.
        num_bytes: the space within the page.

    Returns:
        A data: URI or a relative URL for every sheet.
    """
    left, taken = iter(sheets), 0
    uris: list[str] = []
    waiting: list[bytes] = []
    for sheet in left:
        waiting.append(sheet)
        uris.append(_as_uri(sheet))
        taken += len(uris[-1])
        if taken > num_bytes:
            break
    else:
        return uris
    uris.clear()
    names = [_put(directory, number, sheet) for number, sheet in enumerate(waiting)]
    waiting.clear()
    names += [_put(directory, number, sheet) for number, sheet in enumerate(left, len(names))]
    return names


def remove_others(directory: epath.Path, sheets: list[str]) -> None:
    """Removes the files of sheets that the page in `directory` does not use.

    Args:
        directory: the directory of the page.
        sheets: the result of `place_sheets`.
    """
    folder = directory / FOLDER
    if not folder.is_dir():
        return
    wanted = set(sheets)
    for path in list(folder.iterdir()):
        if path.suffix == ".webp" and f"{FOLDER}/{path.name}" not in wanted:
            path.unlink()
    if not filesystems.is_remote(folder) and not any(folder.iterdir()):
        folder.rmdir()


def _put(directory: epath.Path, number: int, sheet: bytes) -> str:
    name = f"{FOLDER}/{number:04d}-{hashlib.sha256(sheet).hexdigest()[:_DIGITS]}.webp"
    path = directory / name
    if not path.is_file():  # an existing file is complete, as files are written atomically
        with files.atomic_file(path) as partial:
            partial.write_bytes(sheet)
    return name


def _as_uri(sheet: bytes) -> str:
    return f"data:image/webp;base64,{base64.b64encode(sheet).decode()}"


def _empty(layout: SheetLayout) -> Image.Image:
    return Image.new("RGB", (layout.columns * layout.width, layout.rows * layout.height))


def _thumbnail(image: np.ndarray, layout: SheetLayout) -> Image.Image:
    pixels = image[..., :3] if image.shape[-1] >= 3 else image[..., 0]
    thumbnail = Image.fromarray(np.ascontiguousarray(pixels)).convert("RGB")
    size = layout.width, layout.height
    return thumbnail if thumbnail.size == size else thumbnail.resize(size, Image.Resampling.LANCZOS)


def _encode(sheet: Image.Image, layout: SheetLayout) -> bytes:
    file = io.BytesIO()
    sheet.save(file, "WEBP", lossless=layout.lossless, quality=_QUALITY, method=4)
    return file.getvalue()
