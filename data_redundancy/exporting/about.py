"""What an exported data set says of itself, for people and for programs."""

import json
import re
import textwrap
from collections.abc import Mapping
from typing import Any

from data_redundancy.exporting.format import Description


def as_json(about: Description) -> dict[str, Any]:
    """Values for `dataset.json`."""
    return {
        "name": about.name,
        "version": about.version,
        "classes": list(about.class_names),
        "num_examples": dict(about.num_examples),
        "description": about.description,
        "citation": about.citation,
        "provenance": dict(about.provenance),
    }


def card(about: Description, front: Mapping[str, Any]) -> str:
    """A data set card as Hugging Face reads it: README.md.

    Args:
        about: the data set.
        front: the YAML at its beginning.
    """
    parts = [
        f"---\n{_yaml(front)}---",
        f"# {about.name} {about.version}",
        about.description,
        "Pruned by data-redundancy: images were left out that others of their kind stand for. What was kept, of what:",
        _fenced(json.dumps(dict(about.provenance), indent=2, ensure_ascii=False), "json"),
    ]
    if about.citation:
        parts += ["The data set is to be cited as:", _fenced(about.citation, "bibtex")]
    return "\n\n".join(part.strip() for part in parts if part.strip()) + "\n"


def configs(patterns: Mapping[str, str]) -> list[dict[str, Any]]:
    """For a card: where the files of every split are.

    Args:
        patterns: of paths, by the names of the splits.
    """
    files = [{"split": split_name(split), "path": pattern} for split, pattern in patterns.items()]
    return [{"config_name": "default", "data_files": files}]


def split_name(split: str) -> str:
    """As Hugging Face lets a split be called."""
    return re.sub(r"\W", "_", split)


def _yaml(values: Mapping[str, Any]) -> str:
    """JSON is YAML where it is indented, and every character can be printed."""
    lines = (f"{name}: {json.dumps(value, indent=2, ensure_ascii=False)}\n" for name, value in values.items())
    text = "".join(textwrap.indent(line, "  ").removeprefix("  ") for line in lines)
    return re.sub(r"[^\x20-\x7e\n]", lambda match: f"\\U{ord(match[0]):08x}", text)


def _fenced(text: str, language: str) -> str:
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"
