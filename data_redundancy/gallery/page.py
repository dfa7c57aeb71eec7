"""The HTML file of a report: markup, style, scripts and content in one file, which loads nothing from a network."""

import base64
import hashlib
import html
import json
import math
import os
import re
from importlib import resources
from typing import Any

from etils import epath

from data_redundancy.store import files

NAME = "index.html"

# In this order, because a script may use the definitions of those before it.
_SCRIPTS = ("base", "store", "marks", "images", "charts", "warnings", "map", "gallery", "main")
_PLACE = re.compile(r"\{\{(\w+)\}\}")
# Unescaped, these characters could end the script element that holds the content, or begin a comment in it.
_UNSAFE = str.maketrans({"<": r"\u003c", ">": r"\u003e", "&": r"\u0026"})


def write(directory: os.PathLike[str], content: dict[str, Any]) -> None:
    """Writes DIRECTORY/index.html atomically.

    The file opens from disk and loads nothing but the sheets of thumbnails that `content` names.

    Args:
        directory: a local directory or one in a bucket; created if it does not exist.
        content: the data to show, as plain lists, numbers and strings; NaN and infinities count as missing. A row is a
            position in the lists of "images".

            - "title": str.
            - "dataset": "name", "version", "num_train", "num_test", "class_names", "digest".
            - "selection": "name", "method", "fraction", "num_kept", "num_pruned".
            - "answer": the sentences "headline" and "lines"; optionally "others", the answers on other selections.
            - "accuracy": a list with an entry for every method and fraction: "method", "fraction", "num_kept",
              "num_seeds"; "mean" and "std" of the accuracy in [0, 1] over seeds; "full" and "random", the differences
              from the full set and from random subsets ("mean", "low", "high"), or None.
            - "confidence": level of the intervals.
            - "classes": "size" and "pruned", [C] each.
            - "heights": "share" (pruned, increasing) and "height" (at which trees are cut to prune it); "cut": the
              height at the share of the selection, or None.
            - "images": "index", "id" and "file" (either may be None), "label", "split" (0 training, 1 test),
              "distance".
            - "groups": "start", "size" (a group has the rows start to start + size - 1, its representative first),
              "tightness" (smaller for tighter groups).
            - "thumbnails": "width" and "height" in pixels, "columns" and "rows" of a sheet, and "sheets": data: URIs or
              relative URLs. Row i is in sheet i // (columns * rows), cell i % (columns * rows), row by row. Without
              images, there are no sheets.
            - "map": None, or "method", "note" and, for every point, "x", "y", "label", "kept", "index", "image" (its
              row, or -1).
            - "warnings": "label_errors" (pairs of rows "a", "b" with "distance", "identical"), "leaks" ("test",
              "train", "distance", "identical"), "losing_classes" ("label", "change", "low", "high"), "notes".

    Raises:
        InputError: if the file cannot be written.
    """
    files.write_if_changed(epath.Path(directory) / NAME, _page(content).encode())


def _page(content: dict[str, Any]) -> str:
    theme, style = _asset("theme.js"), _asset("style.css")
    script = "\n".join(['"use strict";', "(() => {", *(_asset(f"{name}.js") for name in _SCRIPTS), "})();\n"])
    parts = {
        "policy": _policy([theme, script], style),
        "title": _text(content["title"]),
        "theme": theme,
        "style": style,
        "content": _json(content),
        "script": script,
    }
    return _PLACE.sub(lambda place: parts[place[1]], _asset("page.html"))


def _asset(name: str) -> str:
    return (resources.files(__package__) / "assets" / name).read_text(encoding="utf-8")


def _policy(scripts: list[str], style: str) -> str:
    """Returns a content security policy that allows the page's own scripts and style, and its thumbnails only."""
    allowed = " ".join(map(_digest, scripts))
    return (
        f"default-src 'none'; img-src data: 'self' file:; script-src {allowed}; style-src {_digest(style)}; "
        "base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _text(text: str) -> str:
    """Returns text escaped for HTML; as ASCII, since a file name may contain invalid Unicode."""
    return html.escape(text).encode("ascii", "xmlcharrefreplace").decode()


def _json(value: Any) -> str:
    """Returns JSON that is safe in a script element; non-ASCII characters, such as line separators, are escaped."""
    return json.dumps(_plain(value), allow_nan=False, separators=(",", ":")).translate(_UNSAFE)


def _plain(value: Any) -> Any:
    """Returns a value with None in place of NaN and infinities, which do not exist in JSON."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
