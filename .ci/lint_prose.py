"""Finds words and forms in prose that the rules for writing in CONTRIBUTING.md exclude.

    python .ci/lint_prose.py             checks the repository; exit code 1 if anything is wrong
    python .ci/lint_prose.py --update    rewrites the backlog after phrases have been replaced

Prose is the docstrings, comments and string literals of Python and JavaScript files, and the whole text of Markdown,
HTML, YAML and shell files. Identifiers, code in backticks and expressions inside f-strings are ignored, and so is all
text between a line with `prose: off` and a line with `prose: on`.

The backlog, `.ci/prose_backlog.txt`, counts the phrases per file and rule that older text still contains. The check
fails if a file has more of them than the backlog allows, and also if it has fewer: the backlog only shrinks.
"""

import argparse
import collections
import dataclasses
import pathlib
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping

ROOT = pathlib.Path(__file__).resolve().parents[1]
BACKLOG = ".ci/prose_backlog.txt"
CODE_SUFFIXES = (".py", ".js")
TEXT_SUFFIXES = (".md", ".html", ".css", ".sh", ".sbatch", ".yaml", ".yml", ".toml", ".cff", ".ipynb")
TEXT_NAMES = ("Makefile", "run")
# These two quote what the rules exclude.
EXCLUDED = (".ci/lint_prose.py", BACKLOG, "tests/test_prose.py")


@dataclasses.dataclass(frozen=True)
class Rule:
    """A form that prose must not contain.

    Attributes:
        name: Identifies the rule in the backlog.
        pattern: A regular expression that begins at a word boundary; case is ignored. A space matches any white space
            within a paragraph.
        instead: What to write instead.
    """

    name: str
    pattern: str
    instead: str


RULES = (
    Rule("alike", r"alike\b", "'similar', 'equal' or 'the same'"),
    Rule("anew", r"anew\b", "'again' or 'from scratch'"),
    Rule("as from", r"as from\b", "'as returned by'"),
    Rule("ask", r"ask(?:s|ed|ing)?\b", "'request', 'call', 'read' or 'need', with its subject"),
    Rule("but for", r"but for\b", "'except' or 'apart from'"),
    Rule("come out", r"(?:comes?|came|coming) out\b", "'the result is'"),
    Rule("count on", r"count(?:s|ed|ing)? on\b", "'rely on' or 'assume'"),
    Rule("cut off", r"cut off\b", "'interrupted' (a run) or 'truncated' (data)"),
    Rule("err", r"errs\b|err (?:more|less|on|each)\b", "the error rate that changes, and what changes it"),
    Rule("for it is", r"for (?:it|they|there|nothing) (?:is|are|has|have|was|were|may|can)\b", "'because'"),
    Rule("go", r"(?:can|may|could|must|to|would|should|will|might) go\b(?! [a-z])", "'be pruned' or 'be removed'"),
    Rule("go by", r"go(?:es|ing)? by\b", "'use', 'depend on' or 'follow'"),
    Rule("go on", r"go(?:es|ing)? on\b", "'resume' or 'continue'"),
    Rule("has it", r"as (?:[\w.']+ ){1,3}ha(?:s|ve) it\b", "'as in'"),
    Rule("hear", r"hears?\b|heard\b", "'receive', 'detect' or 'respond'"),
    Rule("in short", r"in short:", "the statement itself"),
    Rule("mend", r"mend(?:s|ed|ing)?\b", "'fix' or 'repair'"),
    Rule("nobody", r"(?:no|any|every)body\b", "who or what acts, or the passive"),
    Rule("obey", r"obey(?:s|ed|ing)?\b", "'follow', 'apply' or 'satisfy'"),
    Rule("of its own", r"of (?:its|their|our|your|one's) own\b", "'its own X' or 'a separate X'"),
    Rule(
        "refuse",
        r"(?<!connection\x20)refus(?:e|es|ed|ing|al)\b(?! ?[\"'(])",
        "'raise', 'reject', 'fail' or 'is not allowed'",
    ),
    Rule("repeat again", r"(?:given|gives|told|asked|made|written) again\b", "'repeated', 'rerun' or 'rewritten'"),
    Rule("Says", r"(?-i:Says)\b", "'Reports', 'Logs', 'Returns' or 'Describes'"),
    Rule("so many", r"so many\b(?! \w+ (?:\w+ )?that\b)", "the number's name or value"),
    Rule("stand for", r"(?:stands?|stood|standing) for\b", "'represent' or 'mean'"),
    Rule("tell", r"(?:told|tells?|telling)\b(?! (?:\S+ ){0,4}apart\b|[=\[])", "'give', 'pass', 'report' or 'show'"),
    Rule("that of", r"(?<=[:;(]\x20)that of\b|(?-i:That) of\b", "the noun again: 'the accuracy of the full set'"),
    Rule("the same of", r"the same of\b", "the noun again"),
    Rule("those of", r"those of\b", "the noun again: 'the labels of the test split'"),
    Rule("to be", r"(?:is|are|was|were|not) to be\b", "'must be', 'will be' or 'for'"),
    Rule("what is left", r"what (?:is|was) left\b", "the name of what remains"),
    Rule("what there is", r"what (?:there (?:is|are|was|were)|(?:is|was|were) there)\b", "the name of the object"),
    Rule(
        "where there is none", r"where there (?:is|are|was|were) (?:one|none|some|any)\b", "'if it exists' or 'if any'"
    ),
    Rule("whoever", r"whoever\b|for who\b|(?-i:Who) \w+(?! [^.]*\?)", "who acts, or the action as subject: 'Adding'"),
)

# White space that does not leave the paragraph.
_GAP = r"(?:[ \t]+(?:\n[ \t]*)?|\n[ \t]*)"
_FORMS = re.compile(
    r"\b(?:" + "|".join(f"(?P<r{i}>{rule.pattern.replace(' ', _GAP)})" for i, rule in enumerate(RULES)) + ")",
    re.IGNORECASE,
)
_STRING = r'"""(?:\\.|[^\\])*?"""|' + r"'''(?:\\.|[^\\])*?'''|" + r'"(?:\\.|[^"\\\n])*"|' + r"'(?:\\.|[^'\\\n])*'"
_TOKENS = {
    ".py": re.compile(
        rf"(?P<comment>#[^\n]*(?:\n[ \t]*#[^\n]*)*)|(?P<string>(?P<prefix>\b[a-zA-Z]{{1,2}})?(?:{_STRING}))", re.S
    ),
    ".js": re.compile(
        r"(?P<comment>//[^\n]*(?:\n[ \t]*//[^\n]*)*|/\*.*?\*/)"
        rf"|(?P<string>(?P<prefix>)(?:`(?:\\.|[^`\\])*`|{_STRING}))",
        re.S,
    ),
}
_COMMENT_MARKER = re.compile(r"^[ \t]*(?:#+|//+|/?\*+/?|>)", re.M)
_IN_BRACES = re.compile(r"\{[^{}]*\}")
_IN_BACKTICKS = re.compile(r"`[^`\s]+`")
_OFF = re.compile(r"^[^\n]*\bprose: off\b.*?(?:\bprose: on\b|\Z)", re.M | re.S)
_RELEASES = re.compile(r"^## \[\d.*", re.M | re.S)


@dataclasses.dataclass(frozen=True)
class Finding:
    """A phrase that a rule excludes.

    Attributes:
        path: The file, relative to the repository.
        line: Its line, from 1.
        phrase: The phrase, on one line.
        rule: The rule.
    """

    path: str
    line: int
    phrase: str
    rule: Rule

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: '{self.phrase}': write {self.rule.instead} instead"


Counts = Mapping[tuple[str, str], int]  # by path and rule name


def find(path: str, source: str) -> list[Finding]:
    """Returns the phrases in a file that the rules exclude, in the order of the file.

    Args:
        path: Relative to the repository; its suffix decides which parts of the file are prose.
        source: The content of the file.
    """
    text = prose(path, source)
    findings = []
    line, seen = 1, 0
    for match in _FORMS.finditer(text):
        line += text.count("\n", seen, match.start())
        seen = match.start()
        assert match.lastgroup
        findings.append(Finding(path, line, " ".join(match[0].split()), RULES[int(match.lastgroup[1:])]))
    return findings


def prose(path: str, source: str) -> str:
    """Returns the source with everything blanked that is not prose; every character keeps its place."""
    source = _OFF.sub(_blank, source)
    if path == "CHANGELOG.md":
        source = _RELEASES.sub("", source)
    suffix = pathlib.PurePath(path).suffix
    text = _prose_of_code(source, _TOKENS[suffix]) if suffix in _TOKENS else source
    text = _COMMENT_MARKER.sub(_spaces, text)
    return _IN_BACKTICKS.sub(_blank, text)


def _prose_of_code(source: str, tokens: re.Pattern[str]) -> str:
    parts, end, after_string = [], 0, False
    for token in tokens.finditer(source):
        between = source[end : token.start()]
        # A string without a space is a name, such as a key, unless it continues the literal before it.
        is_prose = token["comment"] or " " in token["string"] or (after_string and not between.strip())
        parts += [_blank(between), _prose_of_token(token) if is_prose else _blank(token)]
        end, after_string = token.end(), not token["comment"]
    return "".join([*parts, _blank(source[end:])])


def _prose_of_token(token: re.Match[str]) -> str:
    if token["comment"]:
        return token["comment"]
    prefix = token["prefix"] or ""
    text = token["string"].removeprefix(prefix)
    if "f" in prefix.lower() or text.startswith("`"):
        text = _without_expressions(text)
    quote = 3 if text[:3] in ('"""', "'''") else 1
    # Spaces in place of quotes: a sentence may continue in the next of several adjacent literals.
    return " " * (len(prefix) + quote) + text[quote:-quote] + " " * quote


def _without_expressions(text: str) -> str:
    while (shorter := _IN_BRACES.sub(_blank, text)) != text:
        text = shorter
    return text


def _blank(text: str | re.Match[str]) -> str:
    """Replaces everything but line ends by a character that no rule matches."""
    return re.sub(r"[^\s]", "\0", text if isinstance(text, str) else text[0])


def _spaces(match: re.Match[str]) -> str:
    return " " * len(match[0])


def is_checked(path: str) -> bool:
    """Whether a file of the repository contains prose to check."""
    name = pathlib.PurePath(path)
    return path not in EXCLUDED and (name.suffix in CODE_SUFFIXES + TEXT_SUFFIXES or name.name in TEXT_NAMES)


def find_all(root: pathlib.Path) -> list[Finding]:
    """Checks the files of a Git repository, tracked or new but not ignored."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout.split("\0")
    files = [path for path in sorted(set(listed)) if is_checked(path) and (root / path).is_file()]
    return [finding for path in files for finding in find(path, (root / path).read_text(encoding="utf-8"))]


def count(findings: Iterable[Finding]) -> Counts:
    """Counts findings by path and rule name."""
    return collections.Counter((finding.path, finding.rule.name) for finding in findings)


def read_backlog(path: pathlib.Path) -> Counts:
    """Reads a backlog: lines of path, rule name and count, separated by tabs. A missing file is an empty backlog."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    rows = (line.split("\t") for line in lines if not line.startswith("#"))
    return {(file, rule): int(number) for file, rule, number in rows}


def write_backlog(path: pathlib.Path, counts: Counts) -> None:
    """Writes a backlog, sorted, so that versions are easy to compare."""
    lines = ["# Phrases in older text that `make lint` accepts: file, rule, count. Written by lint_prose.py --update."]
    lines += [f"{file}\t{rule}\t{number}" for (file, rule), number in sorted(counts.items()) if number]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def complaints(findings: list[Finding], backlog: Counts) -> list[str]:
    """Compares the findings with the backlog.

    Returns:
        One line for every finding of a file and rule that the file has more often than the backlog allows, and one
        for every entry of the backlog that is larger than the number found.
    """
    found = count(findings)
    lines = []
    for finding in findings:
        key = finding.path, finding.rule.name
        allowed = backlog.get(key, 0)
        if found[key] > allowed:
            lines.append(
                f"{finding}" + (f" ({found[key]} in this file, the backlog allows {allowed})" if allowed else "")
            )
    for (path, rule), allowed in sorted(backlog.items()):
        number = found.get((path, rule), 0)
        if number < allowed:
            lines.append(
                f"{BACKLOG}: {path}: {rule!r} has {number}, not {allowed}: run python .ci/lint_prose.py --update"
            )
    return lines


def updated(findings: list[Finding], backlog: Counts, allow_growth: bool) -> Counts:
    """Returns the backlog with the counts found; without `allow_growth` no count becomes larger than it was."""
    found = count(findings)
    if allow_growth:
        return found
    return {key: min(number, found.get(key, 0)) for key, number in backlog.items()}


def main(arguments: list[str] | None = None) -> int:
    """Runs the check; returns the exit code."""
    parser = argparse.ArgumentParser(description="Finds words and forms that the rules for writing exclude.")
    parser.add_argument("--root", type=pathlib.Path, default=ROOT, help="the repository (default: this one)")
    parser.add_argument("--update", action="store_true", help=f"lower the counts in {BACKLOG} to what is found")
    parser.add_argument("--allow-growth", action="store_true", help="with --update, after files have moved: raise too")
    options = parser.parse_args(arguments)
    if options.allow_growth and not options.update:
        parser.error("--allow-growth needs --update")
    findings = find_all(options.root)
    backlog = read_backlog(options.root / BACKLOG)
    if options.update:
        backlog = updated(findings, backlog, options.allow_growth)
        write_backlog(options.root / BACKLOG, backlog)
    lines = complaints(findings, backlog)
    print(*lines, sep="\n", end="\n" if lines else "")
    print(f"prose: {len(lines)} errors; {sum(backlog.values())} phrases of older text in the backlog", file=sys.stderr)
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
