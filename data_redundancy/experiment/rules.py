"""Rules for values: a rule parses a value from text, checks its type and bounds, and describes the allowed values.

The checks, the help and the error messages of a config field or a flag use the same rule. This module imports little
more than the standard library, so that help starts quickly.
"""

import ast
import dataclasses
import math
import re
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Protocol

from data_redundancy.errors import InputError, choice_error

LONGEST_TEXT, LONGEST_NAME = 4096, 255
"""The most characters of a path, and the most bytes of a part of it, that file systems allow."""


class Rule(Protocol):
    """The values that a config field or a flag may have."""

    def parse(self, argument: str, text: str) -> Any:
        """Parses a value from text without checking its bounds; raises InputError if the text is malformed."""

    def check(self, argument: str, value: Any) -> None:
        """Raises InputError for a value that is not allowed."""

    def type_name(self) -> str:
        """Returns the type in one or two words."""

    def allowed(self) -> str:
        """Returns the allowed values as a phrase that follows `must be`."""


@dataclasses.dataclass(frozen=True)
class Number:
    """A finite number within bounds.

    Attributes:
        kind: `int` or `float`.
        low: the least value.
        high: the greatest value.
        above: whether the value must be greater than `low`, not equal to it.
        below: whether the value must be less than `high`, not equal to it.
        reason: reason for the bounds.
    """

    kind: type[int] | type[float]
    low: float
    high: float
    above: bool = False
    below: bool = False
    reason: str = ""

    def parse(self, argument: str, text: str) -> float:
        """Parses a number; rejects a nonzero number that would be rounded to 0, such as 1e-400."""
        digits = text.strip().replace("_", "") if text.isascii() else ""
        try:
            value = self.kind(digits)
        except (ValueError, OverflowError):
            raise self._error(argument, text) from None
        if value == 0 and re.search("[1-9]", re.split("[eE]", digits)[0]):
            raise InputError(argument, text, f"must be {self.allowed()}, and not between 0 and 5e-324")
        return value

    def check(self, argument: str, value: Any) -> None:
        """Raises InputError unless the value is a number of this kind within the bounds."""
        is_number = isinstance(value, int if self.kind is int else int | float) and not isinstance(value, bool)
        if not is_number or not self._within(value):
            raise self._error(argument, value)

    def _within(self, value: float) -> bool:
        if isinstance(value, float) and not math.isfinite(value):
            return False
        low = value > self.low if self.above else value >= self.low
        return low and (value < self.high if self.below else value <= self.high)

    def _error(self, argument: str, value: Any) -> InputError:
        return InputError(argument, value, f"must be {self.allowed()}")

    def type_name(self) -> str:
        """Returns `int` or `float`."""
        return self.kind.__name__

    def allowed(self) -> str:
        """Returns the kind of number and its bounds."""
        noun = "a whole number" if self.kind is int else "a number"
        low, high = _with_commas(self.low), _with_commas(self.high)
        if self.above or self.below:
            low = f"{'greater than' if self.above else 'at least'} {low}"
            high = f"{'less than' if self.below else 'at most'} {high}"
            return f"{noun} {low} and {high}"
        return f"{noun} from {low} to {high}"


def _with_commas(number: float) -> str:
    return f"{int(number) if number == int(number) else number:,}"


@dataclasses.dataclass(frozen=True)
class Choice:
    """One of several names.

    Attributes:
        names: function that returns the names; called only when needed, since it may import a large package.
    """

    names: Callable[[], Sequence[str]]

    def parse(self, argument: str, text: str) -> str:
        """Returns the text."""
        del argument
        return text

    def check(self, argument: str, value: Any) -> None:
        """Raises InputError, with the closest name, unless the value is one of the names."""
        if not isinstance(value, str) or value not in self.names():
            raise choice_error(argument, value, self.names())

    def type_name(self) -> str:
        """Returns `str`."""
        return "str"

    def allowed(self) -> str:
        """Returns the names."""
        return f"one of {', '.join(self.names())}"


@dataclasses.dataclass(frozen=True)
class Text:
    """Text, such as a name or a path.

    Attributes:
        may_be_empty: whether the empty string is allowed.
    """

    may_be_empty: bool = False

    def parse(self, argument: str, text: str) -> str:
        """Returns the text."""
        del argument
        return text

    def check(self, argument: str, value: Any) -> None:
        """Raises InputError for a value that is not a string, is empty, or is longer than a file system allows."""
        if not isinstance(value, str):
            raise InputError(argument, value, f"must be {self.allowed()}")
        if not value.strip() and not self.may_be_empty:
            raise InputError(argument, value, "must not be empty")
        if not value.isprintable():
            raise InputError(argument, value, "must not contain control characters")
        longest = max(len(part.encode(errors="surrogateescape")) for part in value.split("/"))
        if len(value) > LONGEST_TEXT or longest > LONGEST_NAME:
            raise InputError(
                argument,
                value,
                f"must have at most {LONGEST_TEXT:,} characters, and {LONGEST_NAME} bytes between slashes",
            )

    def type_name(self) -> str:
        """Returns `str`."""
        return "str"

    def allowed(self) -> str:
        """Returns `a string`."""
        return "a string"


@dataclasses.dataclass(frozen=True)
class Flag:
    """True or false."""

    def parse(self, argument: str, text: str) -> bool:
        """Parses true or false, also as t, f, yes, no, 1 or 0."""
        value = _BOOLEANS.get(text.strip().lower())
        if value is None:
            raise InputError(argument, text, f"must be {self.allowed()}")
        return value

    def check(self, argument: str, value: Any) -> None:
        """Raises InputError unless the value is a bool."""
        if not isinstance(value, bool):
            raise InputError(argument, value, f"must be {self.allowed()}")

    def type_name(self) -> str:
        """Returns `bool`."""
        return "bool"

    def allowed(self) -> str:
        """Returns `true or false`."""
        return "true or false"


_BOOLEANS = dict.fromkeys(("true", "t", "yes", "y", "1"), True) | dict.fromkeys(("false", "f", "no", "n", "0"), False)


@dataclasses.dataclass(frozen=True)
class Optional:
    """A value of another rule, or None."""

    rule: Rule

    def parse(self, argument: str, text: str) -> Any:
        """Parses None or a value of the rule."""
        return None if text.strip() in ("None", "none", "null") else self.rule.parse(argument, text)

    def check(self, argument: str, value: Any) -> None:
        """Raises InputError unless the value is None or allowed by the rule."""
        if value is not None:
            self.rule.check(argument, value)

    def type_name(self) -> str:
        """Returns the type of the rule with `or None`."""
        return f"{self.rule.type_name()} or None"

    def allowed(self) -> str:
        """Returns what the rule allows, or None."""
        return f"{self.rule.allowed()}, or None"


@dataclasses.dataclass(frozen=True)
class Several:
    """A tuple of values of another rule.

    Attributes:
        rule: rule of every value.
        lengths: the allowed numbers of values; None for 1 to `most`.
        most: the largest number of values.
        distinct: whether all values must differ.
        may_be_empty: whether `()` is also allowed.
    """

    rule: Rule
    lengths: tuple[int, ...] | None = None
    most: int = 10_000
    distinct: bool = True
    may_be_empty: bool = False

    def parse(self, argument: str, text: str) -> tuple[Any, ...]:
        """Parses `(a,b)`, `[a,b]` or `a,b`; only values that contain a comma need quotes."""
        parts = _parts(text) if len(text) <= 100 * self.most else None
        if parts is None:
            raise InputError(argument, text, f"must be {self.allowed()}")
        try:
            return tuple(self.rule.parse(argument, part) for part in parts)
        except InputError as error:
            raise InputError(argument, text, f"must be {self.allowed()}", error.fix) from None

    def check(self, argument: str, value: Any) -> None:
        """Raises InputError unless the value is a tuple or list whose values the rule allows."""
        if not isinstance(value, tuple | list) or not self._has_length(len(value)):
            raise InputError(argument, _shown(value), f"must be {self.allowed()}")
        for item in value:
            try:
                self.rule.check(argument, item)
            except InputError as error:
                raise InputError(argument, _shown(value), f"must be {self.allowed()}", error.fix) from None
        if self.distinct and _has_repeated(value):
            raise InputError(argument, _shown(value), f"must be {self.allowed()}", "Give every value once")

    def _has_length(self, length: int) -> bool:
        if self.lengths is not None:
            return length in self.lengths
        return (0 if self.may_be_empty else 1) <= length <= self.most

    def type_name(self) -> str:
        """Returns `tuple of` the rule's type."""
        return f"tuple of {self.rule.type_name()}"

    def allowed(self) -> str:
        """Returns the allowed number of values, and the allowed values."""
        different = " different" if self.distinct else ""
        if self.lengths is None:
            count = f"{'any number of' if self.may_be_empty else 'one or more'}{different} values in brackets"
        else:
            *others, last = map(str, self.lengths)
            count = f"{', '.join(others)} or {last} values in brackets" if others else f"{last} values in brackets"
        return f"{count}, each {self.rule.allowed()}"


_PART = re.compile(
    r"""\s*(?:(?P<quoted>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')\s*(?=,|$)|(?P<plain>[^,]*))(?:,|$)""", re.DOTALL
)
_BRACKETS = {"(": ")", "[": "]"}


def _parts(text: str) -> list[str] | None:
    """Splits the text of a tuple into the texts of its values; returns None if a bracket or a value is missing.

    Brackets inside a value must be paired unless the value is quoted, so that nested tuples are rejected.
    """
    inside = text.strip()
    closing = _BRACKETS.get(inside[:1])
    if closing is not None:
        if inside[-1] != closing:
            return None
        inside = inside[1:-1].strip()
    parts = []
    position = 0
    while position < len(inside):
        match = _PART.match(inside, position)
        assert match is not None
        part = match["plain"].strip() if match["quoted"] is None else _unquoted(match["quoted"])
        if not part or (match["quoted"] is None and not _is_balanced(part)):
            return None
        parts.append(part)
        position = match.end()
    return parts


def _is_balanced(text: str) -> bool:
    return all(text.count(opening) == text.count(closing) for opening, closing in _BRACKETS.items())


def _unquoted(text: str) -> str:
    try:
        return str(ast.literal_eval(text))
    except (ValueError, SyntaxError):
        return text[1:-1]


def _has_repeated(values: Sequence[Any]) -> bool:
    return all(isinstance(value, Hashable) for value in values) and len(set(values)) < len(values)


def _shown(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
