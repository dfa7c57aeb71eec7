"""Names of files and folders that are safe anywhere, made of names that are anybody's text."""

import itertools
import re
import unicodedata
from collections.abc import Iterable

_MAX_BYTES = 180
"""Of a safe name in UTF-8: file systems allow 255, and there is more to come: an index, an ending, `.partial`."""
_RESERVED = {"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"} | {
    f"{device}{number}" for device in ("COM", "LPT") for number in "0123456789¹²³"
}
"""Devices on Windows, whatever their ending is."""


def safe_name(text: str) -> str:
    """The name of a single file or folder that is as close to a text as is safe on Linux, macOS and Windows.

    Letters of all scripts stay. Separators, what shells and Windows reserve, and what cannot be seen becomes `_`. A
    name begins neither with a dot nor with `__`, which Hugging Face would skip, ends with neither dot nor space, and
    has at most 181 bytes.
    """
    visible = "".join("_" if _is_unsafe(char) else char for char in unicodedata.normalize("NFC", text))
    name = _shortened(re.sub("^_+", "_", visible.strip(". "))).rstrip(". ")
    is_device = name.partition(".")[0].rstrip(" ").upper() in _RESERVED
    return f"_{name}" if is_device or not name else name


def unique_names(texts: Iterable[str]) -> list[str]:
    """Safe names that differ, also where upper and lower case do not; the same for the same texts."""
    names = [safe_name(text) for text in texts]
    taken, given, found = {_folded(name) for name in names}, set(), []
    for name in names:
        if _folded(name) in given:
            numbered = (f"{name}-{number}" for number in itertools.count(2))
            name = next(candidate for candidate in numbered if _folded(candidate) not in taken)
        taken.add(_folded(name))
        given.add(_folded(name))
        found.append(name)
    return found


def unique_name_of(text: str, texts: Iterable[str]) -> str:
    """The one of `unique_names` that a text has."""
    texts = list(texts)
    return unique_names(texts)[texts.index(text)]


def image_name(file_name: str | None, index: int, extension: str) -> str:
    """The name of an image file: what it was called, and its index, so that no two images of a split share a name.

    Processes that write at the same time do not know each other's names: so the index is always there.
    """
    last = re.split(r"[/\\]", file_name or "")[-1]
    stem = re.sub(r"\.(jpe?g|png|bmp|gif|tiff?|webp)$", "", last, flags=re.IGNORECASE)
    return f"{safe_name(stem)}-{index:08d}.{extension}" if stem else f"{index:08d}.{extension}"


def _is_unsafe(char: str) -> bool:
    return char in '<>:"/\\|?*' or unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


def _shortened(name: str) -> str:
    return name.encode()[:_MAX_BYTES].decode(errors="ignore")


def _folded(name: str) -> str:
    """What file systems take for the same name is the same."""
    return unicodedata.normalize("NFKC", name.casefold()).casefold()
