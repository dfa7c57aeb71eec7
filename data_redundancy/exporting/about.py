"""The descriptions in an exported data set: dataset.json for programs, README.md for people and Hugging Face."""

import json
import pathlib
import re
import textwrap
from collections.abc import Mapping
from typing import Any

from data_redundancy.exporting import files
from data_redundancy.exporting.format import Description


def write_dataset_json(directory: pathlib.Path, about: Description, **more: Any) -> None:
    """Writes dataset.json.

    Args:
        directory: the directory of the exported data set.
        about: the data set.
        **more: further entries, JSON values.
    """
    content = {
        "name": about.name,
        "version": about.version,
        "classes": list(about.class_names),
        "num_examples": dict(about.num_examples),
        "description": about.description,
        "citation": about.citation,
        "provenance": dict(about.provenance),
        **more,
    }
    files.write_text(directory / "dataset.json", json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def card(about: Description, front: Mapping[str, Any]) -> str:
    """Returns a data set card, README.md, as Hugging Face reads it.

    Args:
        about: the data set.
        front: the YAML at its beginning.
    """
    parts = [
        f"---\n{_yaml(front)}---",
        f"# {about.name} {about.version}",
        about.description,
        "Pruned by data-redundancy, which removes images that other images represent. Provenance of this data set:",
        _fenced(json.dumps(dict(about.provenance), indent=2, ensure_ascii=False), "json"),
    ]
    if about.citation:
        parts += ["Please cite the data set as:", _fenced(about.citation, "bibtex")]
    return "\n\n".join(part.strip() for part in parts if part.strip()) + "\n"


def configs(patterns: Mapping[str, str]) -> list[dict[str, Any]]:
    """Returns the entry `configs` of a card, which names the files of every split.

    Args:
        patterns: patterns of paths, by the names of the splits.
    """
    files = [{"split": split_name(split), "path": pattern} for split, pattern in patterns.items()]
    return [{"config_name": "default", "data_files": files}]


def split_name(split: str) -> str:
    """Returns a name of a split that Hugging Face accepts."""
    return re.sub(r"\W", "_", split)


def _yaml(values: Mapping[str, Any]) -> str:
    """Returns YAML: JSON is valid YAML if it is indented and all its characters are printable."""
    lines = (f"{name}: {json.dumps(value, indent=2, ensure_ascii=False)}\n" for name, value in values.items())
    text = "".join(textwrap.indent(line, "  ").removeprefix("  ") for line in lines)
    return re.sub(r"[^\x20-\x7e\n]", lambda match: f"\\U{ord(match[0]):08x}", text)


def _fenced(text: str, language: str) -> str:
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"
