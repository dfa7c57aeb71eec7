"""Thumbnails, many to a sheet: WebP files that the page cuts up."""

import base64
import hashlib
import io
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from etils import epath
from PIL import Image

from data_redundancy.store import filesystems
from data_redundancy.store import workdir as workdirs

SIDE = 96
"""The longest side of a thumbnail; images are never enlarged."""
FOLDER = "thumbnails"

_SHEET_SIDE = 1024
_SMALL = 1024  # so few numbers, as 28 x 28 grey ones or 8 x 8 x 3, blur when they are compressed, and take little
_QUALITY = 85
_DIGITS = 12


@dataclass(frozen=True)
class Layout:
    """How images lie on sheets: image i on sheet i // (columns * rows), row by row.

    Attributes:
        width: of a thumbnail, in pixels.
        height: the same.
        columns: of a sheet.
        rows: the same.
        lossless: whether pixels are kept as they are.
    """

    width: int
    height: int
    columns: int
    rows: int
    lossless: bool

    @property
    def per_sheet(self) -> int:
        """How many images a sheet has room for."""
        return self.columns * self.rows


def make_layout(image_shape: tuple[int, int, int], num_images: int) -> Layout:
    """The layout for so many images (H, W, C)."""
    height, width, _ = image_shape
    shrink = min(1.0, SIDE / max(height, width))
    height, width = (max(1, round(side * shrink)) for side in (height, width))
    columns = max(1, min(_SHEET_SIDE // width, math.isqrt(num_images)))
    rows = max(1, min(_SHEET_SIDE // height, math.ceil(num_images / columns)))
    return Layout(width, height, columns, rows, lossless=math.prod(image_shape) <= _SMALL)


def make_sheets(images: Iterable[np.ndarray], layout: Layout) -> Iterator[bytes]:
    """Puts images on sheets, of which one at a time is in memory.

    Args:
        images: [H, W, C] uint8 each; of one or two channels the first is shown as grey, of more the first three.
        layout: made for their shape and number.

    Yields:
        WebP files, the same for the same images.
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
    """Makes sheets available to DIRECTORY/index.html: within it, or in a folder beside it where there are too many.

    Names of files follow from what is in them, so that a page that is there already keeps its own until a new one
    takes its place; `remove_others` then removes them.

    Args:
        directory: of the page.
        sheets: WebP files, taken one at a time.
        num_bytes: how much room there is within the page.

    Returns:
        A data: URI or a relative URL for every sheet.
    """
    sheets, uris, taken = iter(sheets), [], 0
    waiting: list[bytes] = []
    for sheet in sheets:
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
    names += [_put(directory, number, sheet) for number, sheet in enumerate(sheets, len(names))]
    return names


def remove_others(directory: epath.Path, sheets: list[str]) -> None:
    """Removes sheets that the page in `directory` does not show any more."""
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
    if not path.is_file():  # files are written whole or not at all
        with workdirs.atomic_file(path) as partial:
            partial.write_bytes(sheet)
    return name


def _as_uri(sheet: bytes) -> str:
    return f"data:image/webp;base64,{base64.b64encode(sheet).decode()}"


def _empty(layout: Layout) -> Image.Image:
    return Image.new("RGB", (layout.columns * layout.width, layout.rows * layout.height))


def _thumbnail(image: np.ndarray, layout: Layout) -> Image.Image:
    pixels = image[..., :3] if image.shape[-1] >= 3 else image[..., 0]
    thumbnail = Image.fromarray(np.ascontiguousarray(pixels)).convert("RGB")
    size = layout.width, layout.height
    return thumbnail if thumbnail.size == size else thumbnail.resize(size, Image.Resampling.LANCZOS)


def _encode(sheet: Image.Image, layout: Layout) -> bytes:
    file = io.BytesIO()
    sheet.save(file, "WEBP", lossless=layout.lossless, quality=_QUALITY, method=4)
    return file.getvalue()
