"""The report as one HTML file: markup, style, scripts and content in one, which asks the network for nothing."""

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

from data_redundancy.store import workdir as workdirs

NAME = "index.html"

# In this order: a script may use what stands above it.
_SCRIPTS = ("base", "store", "marks", "images", "charts", "warnings", "map", "gallery", "main")
_PLACE = re.compile(r"\{\{(\w+)\}\}")
# As they stand, these could end the script element that holds the content, or begin a comment in it.
_UNSAFE = str.maketrans({"<": r"\u003c", ">": r"\u003e", "&": r"\u0026"})


def write(directory: os.PathLike, content: dict[str, Any]) -> None:
    """Writes DIRECTORY/index.html, whole or not at all.

    The file opens from disk and loads nothing but the sheets of thumbnails that `content` names.

    Args:
        directory: a local `pathlib.Path` or an `epath.Path`; made where there is none.
        content: what to show, in plain lists, numbers and strings; not-a-numbers and infinities count as missing.
            Rows count along "images".

            - "title": str.
            - "dataset": "name", "version", "num_train", "num_test", "class_names", "digest".
            - "selection": "name", "method", "fraction", "num_kept", "num_pruned".
            - "answer": "headline" and "lines", in words; "others", of other selections, may be missing.
            - "accuracy": a list of "method", "fraction", "num_kept", "num_seeds", "mean", "std", "full", "random": of
              every method and fraction the accuracy in [0, 1] over seeds; "full" and "random" are the differences from
              these ("mean", "low", "high"), or None. "confidence": level of the intervals.
            - "classes": "size" and "pruned", [C] each.
            - "heights": "share" (pruned, increasing) and "height" (where trees are cut for that); "cut": the height at
              the selection's own share, or None.
            - "images": "index", "id", "file" (either may be None), "label", "split" (0 training, 1 test), "distance".
            - "groups": "start", "size" (rows start to start + size - 1, the representative first), "tightness" (the
              smaller the tighter).
            - "thumbnails": "width", "height" in pixels, "columns", "rows" of a sheet, and "sheets": data: URIs or
              relative URLs. Row i is in sheet i // (columns * rows), cell i % (columns * rows), row by row. No
              sheets where there are no images to show.
            - "map": None, or "method", "note" and, for every point, "x", "y", "label", "kept", "index", "image" (its
              row, or -1).
            - "warnings": "label_errors" (pairs of rows "a", "b", "distance", "identical"), "leaks" ("test", "train",
              "distance", "identical"), "losing_classes" ("label", "change", "low", "high"), "notes".
    """
    workdirs.write_if_changed(epath.Path(directory) / NAME, _page(content).encode())


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
    """A content security policy under which this page's own scripts run, and nothing else is run or loaded."""
    allowed = " ".join(map(_digest, scripts))
    return (
        f"default-src 'none'; img-src data: 'self' file:; script-src {allowed}; style-src {_digest(style)}; "
        "base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _text(text: str) -> str:
    """Text for HTML; as ASCII, since a file name may hold what is no valid Unicode."""
    return html.escape(text).encode("ascii", "xmlcharrefreplace").decode()


def _json(value: Any) -> str:
    """JSON that stands safely in a script element; characters beyond ASCII, line separators among them, are escaped."""
    return json.dumps(_plain(value), allow_nan=False, separators=(",", ":")).translate(_UNSAFE)


def _plain(value: Any) -> Any:
    """The same without not-a-numbers and infinities, which JSON has not."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
