"""Random values of config fields as texts, valid and not, each with the value that it stands for."""

import re

from data_redundancy.experiment.rules import Choice, Flag, Number, Optional, Several, Text

INVALID = object()
ALPHABET = "ab7_-=:/.,()[]{}'\"\\%$#@!*? \t\n\x1b\x7f\u00e9\u56fe\u202e\U0001f600"


def value_of(rng, rule):
    """A text, and the value that it stands for, or INVALID."""
    if isinstance(rule, Optional):
        found, value = (rng.choice(["None", "null"]), None) if rng.random() < 0.25 else value_of(rng, rule.rule)
        return found, None if found == "None" else value
    return {Number: number, Choice: choice, Text: text, Flag: flag, Several: several}[type(rule)](rng, rule)


def number(rng, rule):
    if rng.random() < 0.3:
        odd = [
            "",
            " ",
            "nan",
            "inf",
            "-inf",
            "-1e308",
            "five",
            "0x10",
            "1 2",
            "1,5",
            "\u0663",
            "\u00bd",
            "True",
            "1e-400",
        ]
        odd += ["(1)", "1e999", "9" * 5000, "--5", "1_000_000_000_000", "%d", "{}", "1;2", "1\n", "1e26", "-1"]
        if rule.kind is int:
            odd += ["3.5", "1e3", "1.0"]
        value = rng.choice(odd)
        valid = value == "1\n" and within(rule, 1)
        return value, rule.kind(1) if valid else INVALID
    step = 1 if rule.kind is int else (rule.high - rule.low) * 1e-9
    candidates = [rule.low, rule.high, rule.low - step, rule.high + step, rule.low + step, rule.high - step, 0, 1]
    value = rng.choice([*candidates, rng.uniform(rule.low, rule.high), rng.uniform(rule.low, min(rule.high, 10))])
    value = rule.kind(value)
    shown = repr(value)
    if rng.random() < 0.2:
        shown = f" {shown} " if rng.random() < 0.5 else shown.replace("e", "E")
    return shown, value if within(rule, value) else INVALID


def within(rule, value):
    low = value > rule.low if rule.above else value >= rule.low
    return low and (value < rule.high if rule.below else value <= rule.high)


def choice(rng, rule):
    names = list(rule.names())
    name = rng.choice(names)
    odd = rng.choice([name.upper(), name[::-1], f"{name}x", f" {name}", "", "None", garbage(rng), name[:-1] + "\u00e9"])
    found = name if rng.random() < 0.6 else odd
    return found, found if found in names else INVALID


def text(rng, rule):
    valid = ["a", "a=b c", "na\u00efve \u56fe", "--x", "None", "x" * 255, "train[:90%]", "'", '"', "(", "~", "{}", "%s"]
    invalid = ["\x7f", "a\tb", "a\nb", "\x1b[0m", "\u202e", "x" * 256, "\u56fe" * 86, "x/" * 3000]
    if not rule.may_be_empty:
        invalid += ["", "  "]
    return (value := rng.choice(valid), value) if rng.random() < 0.6 else (rng.choice(invalid), INVALID)


def flag(rng, rule):
    del rule
    found = rng.choice(
        ["true", "True", "1", "yes", "t", "false", "FALSE", "0", "no", "maybe", "2", "", "None", "tru e"]
    )
    return found, {"t": True, "1": True, "y": True, "f": False, "0": False}.get(found[:1].lower(), INVALID) if (
        found.lower() in ("true", "1", "yes", "t", "false", "0")
    ) else (False if found == "no" else INVALID)


def several(rng, rule):
    if rng.random() < 0.25:
        odd = ["(", ")", "(1", "1)", "[1)", "1,,2", ",", "([1],)", "((1,2),)", "{1: 2}", "1;2", "(None,)", "('',)"]
        return rng.choice(odd), INVALID
    length = rng.choice(rule.lengths) if rule.lengths else rng.randint(0, 4)
    parts = [plain_value_of(rng, rule.rule) for _ in range(length)]
    values = tuple(value for _, value in parts)
    valid = INVALID not in values and (not rule.distinct or len(set(values)) == len(values))
    valid &= length > 0 or rule.may_be_empty or bool(rule.lengths)
    inside = ",".join(rng.choice(["{}", " {} ", "'{}'"]).format(part) for part, _ in parts)
    shown = rng.choice(["({})", "[{}]", "{}", "({},)" if parts else "({})"]).format(inside)
    return shown, values if valid else INVALID


def plain_value_of(rng, rule):
    """A value without the characters that separate values of a tuple, and without outer spaces, which are removed."""
    while True:
        found, value = value_of(rng, rule)
        if found and found == found.strip() and not re.search(r"""[,'"()\[\]\\\n]""", found):
            return found, value


def garbage(rng):
    return "".join(rng.choice(ALPHABET) for _ in range(rng.choice([1, 3, 8, 40])))
