"""List the config fields with their type, default, bounds and purpose.

Reads:
  The config of --config or of the workdir, whose values are listed as defaults; without both, the default config.
Writes:
  Nothing; the fields are printed.
Example:
  data-redundancy fields train
  data-redundancy fields sweep --config=imagenet
"""

import dataclasses
from typing import Any

from data_redundancy.errors import InputError, choice_error
from data_redundancy.experiment.config_fields import FieldDescription, describe_fields, sections
from data_redundancy.experiment.preview import Step
from data_redundancy.experiment.result import CommandResult


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of the command.

    Attributes:
        section: section of the config; None for all sections.
        config: the config whose values are listed as defaults; None for the default config.
    """

    section: str | None = None
    config: Any = None


@dataclasses.dataclass(frozen=True)
class FieldsResult(CommandResult):
    """The described fields, in the order of the config."""

    fields: tuple[FieldDescription, ...]

    def text(self) -> str:
        """Returns a block of lines for every field."""
        return "\n".join(field.text() for field in self.fields)


def run(options: Options) -> FieldsResult:
    """Runs the command.

    Raises:
        InputError: for an unknown section.
    """
    return FieldsResult(tuple(describe_fields(options.config, _sections(options))))


def _sections(options: Options) -> list[str]:
    names = sections(options.config)
    if options.section is None:
        return names
    if options.section not in names:
        section = options.section.partition(".")[0]
        if section in names:
            raise InputError("section", options.section, "must be a section, not a field", f"Name {section}")
        raise choice_error("section", options.section, names)
    return [options.section]


def preview(options: Options) -> list[Step]:
    """Returns the steps of the command.

    Raises:
        InputError: for an unknown section.
    """
    return [Step("fields", "run", f"the fields of {', '.join(_sections(options))}")]
