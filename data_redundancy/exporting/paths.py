"""Names of files and folders that are safe on every file system, made from arbitrary text."""

import itertools
import re
import unicodedata
from collections.abc import Iterable

_MAX_BYTES = 180
"""The length of a safe name in UTF-8. File systems allow 255; an index, a suffix and `.partial` are added."""
_RESERVED = {"CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"} | {
    f"{device}{number}" for device in ("COM", "LPT") for number in "0123456789¹²³"
}
"""Names of devices on Windows, with any suffix."""


def safe_name(text: str) -> str:
    """Returns a name of a single file or folder, similar to a text, that is safe on Linux, macOS and Windows.

    Letters of all scripts stay. Separators, invisible characters, and characters that shells or Windows reserve become
    `_`. The name does not begin with a dot or with `__`, which Hugging Face would skip, does not end with a dot or a
    space, and has at most 181 bytes.
    """
    visible = "".join("_" if _is_unsafe(char) else char for char in unicodedata.normalize("NFC", text))
    name = _shortened(re.sub("^_+", "_", visible.strip(". "))).rstrip(". ")
    is_device = name.partition(".")[0].rstrip(" ").upper() in _RESERVED
    return f"_{name}" if is_device or not name else name


def unique_names(texts: Iterable[str]) -> list[str]:
    """Returns safe names of several texts, which differ in more than upper and lower case."""
    names = [safe_name(text) for text in texts]
    taken = {_folded(name) for name in names}
    given: set[str] = set()
    found: list[str] = []
    for name in names:
        if _folded(name) in given:
            numbered = (f"{name}-{number}" for number in itertools.count(2))
            name = next(candidate for candidate in numbered if _folded(candidate) not in taken)
        taken.add(_folded(name))
        given.add(_folded(name))
        found.append(name)
    return found


def unique_name_of(text: str, texts: Iterable[str]) -> str:
    """Returns the name that a text has in `unique_names(texts)`."""
    texts = list(texts)
    return unique_names(texts)[texts.index(text)]


def image_name(file_name: str | None, index: int, extension: str) -> str:
    """Returns the name of an image file: its name in the source and its index, which makes it unique in its split.

    The index is always there, because processes that write at the same time do not know each other's names.
    """
    last = re.split(r"[/\\]", file_name or "")[-1]
    stem = re.sub(r"\.(jpe?g|png|bmp|gif|tiff?|webp)$", "", last, flags=re.IGNORECASE)
    return f"{safe_name(stem)}-{index:08d}.{extension}" if stem else f"{index:08d}.{extension}"


def _is_unsafe(char: str) -> bool:
    return char in '<>:"/\\|?*' or unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


def _shortened(name: str) -> str:
    return name.encode()[:_MAX_BYTES].decode(errors="ignore")


def _folded(name: str) -> str:
    """Returns a text that is equal for all names that some file system regards as equal."""
    return unicodedata.normalize("NFKC", name.casefold()).casefold()
