"""What a page holds, as the browser gets it."""

import base64
import io
import json
import pathlib
import re

import numpy as np
import PIL.Image


def read(directory) -> dict:
    text = (pathlib.Path(directory) / "index.html").read_text(encoding="utf-8")
    return json.loads(re.search(r'<script[^>]*type="application/json"[^>]*>(.*?)</script>', text, re.DOTALL)[1])


def sheet(directory, content, number) -> np.ndarray:
    """[H, W, 3] uint8."""
    name = content["thumbnails"]["sheets"][number]
    prefix = "data:image/webp;base64,"
    inline = name.startswith(prefix)
    data = base64.b64decode(name.removeprefix(prefix)) if inline else (pathlib.Path(directory) / name).read_bytes()
    return np.asarray(PIL.Image.open(io.BytesIO(data)).convert("RGB"))


def thumbnail(directory, content, row) -> np.ndarray:
    """[height, width, 3] uint8, of one image."""
    size = content["thumbnails"]
    number, cell = divmod(row, size["columns"] * size["rows"])
    top, left = cell // size["columns"] * size["height"], cell % size["columns"] * size["width"]
    return sheet(directory, content, number)[top : top + size["height"], left : left + size["width"]]


def groups(content) -> list[list[int]]:
    """Indices of every group's images."""
    index, found = content["images"]["index"], content["groups"]
    return [index[start : start + size] for start, size in zip(found["start"], found["size"], strict=True)]


def warning_pairs(content, kind, names) -> list[tuple]:
    """(index, index, distance) of every pair."""
    index = content["images"]["index"]
    return [(*(index[pair[name]] for name in names), pair["distance"]) for pair in content["warnings"][kind]]
