"""Rules of values: what they parse from text, what they reject, and how quickly."""

import math
import time

import pytest

from data_redundancy.errors import InputError
from data_redundancy.experiment.rules import Choice, Flag, Number, Optional, Several, Text

COUNT, SHARE = Number(int, 1, 10), Number(float, 0, 1, below=True)
NAMES = Choice(lambda: ("cat", "dog"))


def accept(rule, text):
    value = rule.parse("x", text)
    rule.check("x", value)
    return value


@pytest.mark.parametrize(
    ("rule", "text", "value"),
    [
        (COUNT, "1", 1),
        (COUNT, " 10 ", 10),
        (COUNT, "1_0", 10),
        (COUNT, "+3", 3),
        (SHARE, "0", 0.0),
        (SHARE, "-0", 0.0),
        (SHARE, "0e9", 0.0),
        (SHARE, ".5", 0.5),
        (SHARE, "5e-324", 5e-324),
        (Optional(COUNT), "None", None),
        (Optional(COUNT), "null", None),
        (Optional(COUNT), "3", 3),
        (Optional(Text()), "None", None),
        (Text(), "None", "None"),
        (Flag(), "True", True),
        (Flag(), "no", False),
        (NAMES, "cat", "cat"),
        (Several(COUNT), "1", (1,)),
        (Several(COUNT), "1,2,", (1, 2)),
        (Several(COUNT), " [ 1 , 2 ] ", (1, 2)),
        (Several(Text()), "('a, b',\"c\",d e)", ("a, b", "c", "d e")),
        (Several(Text()), "it's,crane (bird)", ("it's", "crane (bird)")),
        (Several(Text()), r"'it\'s'", ("it's",)),
        (Several(Text()), "a [b],':)'", ("a [b]", ":)")),
        (Several(COUNT, may_be_empty=True), "", ()),
        (Several(COUNT, may_be_empty=True), "( )", ()),
    ],
)
def test_values(rule, text, value):
    found = accept(rule, text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        *((COUNT, text) for text in ("", "0", "11", "1.0", "1e0", "0x1", "one", "1 0", "\u0661", "nan", "9" * 10_000)),
        *((SHARE, text) for text in ("1", "-1", "nan", "inf", "-inf", "1e999", "0,5", "half", "½", "1e-400")),
        (Text(), ""),
        (Text(), "  "),
        (Text(), "a\nb"),
        (Text(), "\x1b[31m"),
        (Text(), "\udcff"),
        (Text(), "a" * 256),
        (Text(), "é" * 128),
        (Text(), "a/" * 2049),
        (Flag(), "maybe"),
        (Flag(), ""),
        (NAMES, "cow"),
        (NAMES, "Cat"),
        (NAMES, ""),
        *(
            (Several(COUNT), text)
            for text in ("", "()", "(", "(1", "1)", "[1)", "1,,2", ",", "(1,(2,3))", "1;2", "1,1")
        ),
        (Several(Text()), "a,'',b"),
        (Several(Text()), "((a,b),c)"),
        (Several(Text()), "[a],[b"),
        (Several(COUNT, lengths=(0, 3)), "1,2"),
        (Several(COUNT, most=2), "1,2,3"),
    ],
)
def test_what_is_rejected(rule, text):
    with pytest.raises(InputError) as raised:
        accept(rule, text)
    assert raised.value.argument == "x"
    assert raised.value.requirement.startswith("must ")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("rule", "value"),
    [
        *((COUNT, value) for value in (True, 1.0, "1", None, [1], math.nan)),
        *((SHARE, value) for value in (True, "0.1", None, math.nan, math.inf, 10**400)),
        *((Text(), value) for value in (1, None, b"a", ["a"])),
        *((Flag(), value) for value in (1, 0, "true", None)),
        *((NAMES, value) for value in (1, None, ["cat"], {})),
        *((Several(COUNT), value) for value in ("1", 1, None, {1}, [[1]], [1, "2"], [1, 1], [None])),
    ],
)
def test_types_that_are_rejected(rule, value):
    with pytest.raises(InputError, match=r"^x"):
        rule.check("x", value)


@pytest.mark.parametrize(
    ("rule", "allowed"),
    [
        (COUNT, "a whole number from 1 to 10"),
        (SHARE, "a number at least 0 and less than 1"),
        (Number(float, 0, 1e6, above=True), "a number greater than 0 and at most 1,000,000"),
        (Number(float, 0.001, 255), "a number from 0.001 to 255"),
        (Optional(COUNT), "a whole number from 1 to 10, or None"),
        (NAMES, "one of cat, dog"),
        (Flag(), "true or false"),
        (Several(COUNT), "one or more different values in brackets, each a whole number from 1 to 10"),
        (Several(COUNT, lengths=(0, 1, 3)), "0, 1 or 3 values in brackets, each a whole number from 1 to 10"),
    ],
)
def test_descriptions(rule, allowed):
    assert rule.allowed() == allowed


@pytest.mark.parametrize("text", ["a " * 50_000, " " * 100_000 + "x", "a" + " " * 100_000 + "b", '"a,' * 40_000])
def test_long_texts_are_split_quickly(text):
    start = time.monotonic()
    Several(Text(), may_be_empty=True, most=1_000_000).parse("x", text)
    assert time.monotonic() - start < 1
