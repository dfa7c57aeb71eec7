"""Descriptions of the config fields: type, default, bounds and comment."""

import dataclasses
import functools
import io
import shutil
import textwrap
import tokenize
from collections.abc import Iterable, Iterator
from typing import Any

from ml_collections import ConfigDict

from data_redundancy.experiment import config_files
from data_redundancy.experiment.config_rules import FIELDS
from data_redundancy.experiment.shipped_configs import shipped_directory

_WIDEST = 120


@dataclasses.dataclass(frozen=True)
class FieldDescription:
    """A config field.

    Attributes:
        name: name of the field, SECTION.FIELD.
        type: type of its values.
        default: its value in the described config.
        allowed: its bounds or choices.
        reason: reason for the bounds; may be empty.
        comment: description of the field.
    """

    name: str
    type: str
    default: Any
    allowed: str
    reason: str
    comment: str

    def text(self) -> str:
        """Returns the description as text, wrapped to the width of the terminal."""
        width = min(_WIDEST, shutil.get_terminal_size().columns)
        wrap = functools.partial(
            textwrap.wrap, width=width, initial_indent="    ", subsequent_indent="      ", break_on_hyphens=False
        )
        reason = f" ({self.reason})" if self.reason else ""
        lines = [f"{self.name} = {self.default!r}  [{self.type}]", *wrap(self.comment)]
        return "\n".join([*lines, *wrap(f"allowed: {self.allowed}{reason}")])


def sections(config: ConfigDict | None = None) -> list[str]:
    """Returns the sections of a config; None is the default config."""
    return list(config_files.load_default() if config is None else config)


def describe_fields(config: ConfigDict | None, names: Iterable[str]) -> Iterator[FieldDescription]:
    """Yields the descriptions of fields.

    Args:
        config: the config whose values are the defaults; None for the default config.
        names: names of sections, or of fields as SECTION.FIELD.
    """
    config = config_files.load_default() if config is None else config
    for name in fields_within(names):
        field = FIELDS[name]
        section, key = name.split(".")
        yield FieldDescription(
            name=name,
            type=field.rule.type_name(),
            default=config[section][key],
            allowed=field.rule.allowed(),
            reason=field.reason,
            comment=comments().get(name, ""),
        )


def fields_within(names: Iterable[str]) -> list[str]:
    """Returns the fields, as SECTION.FIELD, whose name or section is in `names`."""
    wanted = set(names)
    return [field for field in FIELDS if field in wanted or field.partition(".")[0] in wanted]


@functools.cache
def comments() -> dict[str, str]:
    """Returns the comment of every field in configs/default.py, which follows or precedes its assignment."""
    source = (shipped_directory() / f"{config_files.DEFAULT}.py").read_text(encoding="utf-8")
    found: dict[str, str] = {}
    before: list[str] = []
    field = None
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            text = token.string.lstrip("# ")
            if field is None:
                before.append(text)
            else:
                found[field] = "; ".join(filter(None, [" ".join(before), text]))
                before = []
        elif token.type == tokenize.NEWLINE:
            if field is not None and before:
                found.setdefault(field, " ".join(before))
                before = []
            field = None
        elif token.type == tokenize.NAME and field is None:
            field = _assigned_field(token.line)
    return found


def _assigned_field(line: str) -> str | None:
    """Returns the field that a line such as `config.train.epochs = 200.0` assigns, or None."""
    name = line.split("=")[0].strip().removeprefix("config.")
    return name if name in FIELDS else None
