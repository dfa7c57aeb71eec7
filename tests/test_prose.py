"""The check of prose, .ci/lint_prose.py: what it finds, what it ignores, and that its backlog only shrinks."""

import importlib.util
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]
SCRIPT = ROOT / ".ci" / "lint_prose.py"


@pytest.fixture(scope="module")
def lint():
    spec = importlib.util.spec_from_file_location("lint_prose", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture
def repository(tmp_path):
    """A Git repository with one module that contains two phrases of old text."""
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    (tmp_path / ".ci").mkdir()
    (tmp_path / "old.py").write_text('"""Those of the split."""\n# it obeys\n')
    return tmp_path


def found(lint, path, source):
    return [(finding.line, finding.phrase, finding.rule.name) for finding in lint.find(path, source)]


def run(lint, root, *options):
    return lint.main([f"--root={root}", *options])


PLANTED = [
    ("m.py", '"""Whoever calls this."""\n', [(1, "Whoever", "whoever")]),
    ("m.py", "x = 1\n\n\n# as the user has it\n", [(4, "as the user has it", "has it")]),
    ("m.py", 'raise E(f"{x}: is refused")\n', [(1, "refused", "refuse")]),
    ("m.py", "x = 1  # what\n# there is, of everything\n", [(1, "what there is", "what there is")]),
    ("m.py", 'def f():\n    """Sorts.\n\n    Goes\n    by rows.\n    """\n', [(4, "Goes by", "go by")]),
    ("m.py", 'log("it goes "\n    "on")\n', [(1, "goes on", "go on")]),
    ("m.py", "x = r'\\d is told'\n", [(1, "told", "tell")]),
    (
        "m.md",
        "# Use\n\nThose of the\nsplit, for it is\nempty.\n",
        [(3, "Those of", "those of"), (4, "for it is", "for it is")],
    ),
    ("m.md", "| a | in short: b |\n", [(1, "in short:", "in short")]),
    ("m.sh", 'x=1\n# what is left\nsay "it is asked"\n', [(2, "what is left", "what is left"), (3, "asked", "ask")]),
    (
        "m.js",
        "let told = 1; // it obeys\nsay(`stands for ${told}`);\n",
        [(1, "obeys", "obey"), (2, "stands for", "stand for")],
    ),
    ("m.html", "<p>Counts on\nit</p>\n", [(1, "Counts on", "count on")]),
    ("CHANGELOG.md", "# Log\n\n## [Unreleased]\n\n- mended\n\n## [0.1.0]\n\n- mended\n", [(5, "mended", "mend")]),
]


@pytest.mark.parametrize(("path", "source", "expected"), PLANTED)
def test_finds_planted_phrases(lint, path, source, expected):
    assert found(lint, path, source) == expected


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("m.py", 'x = {\n    # a comment\n    "told": 1}\n'),
        ("m.py", "told = obeys(whoever).refused\n"),
        ("m.py", 'x = {"told": 1, "obeys": asked}\n'),  # without a space, a string is a name
        ("m.py", 'x = f"see {told} and {obeys[asked]}"\n'),
        ("m.py", '"""Passes `told` on to `obeys`."""\n'),
        ("m.py", '"""Colours that the colour-blind can tell apart, and tells the images apart."""\n'),
        ("m.py", '# what\n\n"""There is a file."""\n'),  # another paragraph
        ("m.py", '# prose: off\nx = "it obeys"\n# prose: on\n'),
        ("m.md", "Connection refused, after so many retries that the host must be down.\n"),
        ("m.md", "<!-- prose: off -->\n| Whoever |\n<!-- prose: on -->\nUse `told`.\n"),
        ("m.sh", 'refuse() { say "$@"; }\nrefuse "no such file"\n'),
        ("m.js", "const told = asked.obeys;\n"),
    ],
)
def test_ignores_the_rest(lint, path, source):
    assert found(lint, path, source) == []


def test_resumes_after_the_part_that_is_off(lint):
    source = "# prose: off\n# it obeys\n# prose: on\n# it obeys\n"
    assert found(lint, "m.py", source) == [(4, "obeys", "obey")]


def test_rules_have_distinct_names_and_no_groups(lint):
    assert len({rule.name for rule in lint.RULES}) == len(lint.RULES)
    assert {re.compile(rule.pattern).groups for rule in lint.RULES} == {0}  # the groups tell which rule matches


@pytest.mark.parametrize("path", ["data.csv", "LICENSE", "a.png", ".ci/lint_prose.py", "tests/test_prose.py"])
def test_other_files_are_not_checked(lint, path):
    assert not lint.is_checked(path)


@pytest.mark.parametrize("path", ["a/b.py", "README.md", "launch/run.sh", ".ci/run", "Makefile", "examples/a.ipynb"])
def test_prose_is_checked_in(lint, path):
    assert lint.is_checked(path)


def test_prints_place_phrase_and_advice(lint, repository, capsys):
    assert run(lint, repository) == 1
    assert capsys.readouterr().out.splitlines() == [
        "old.py:1: 'Those of': write the noun again: 'the labels of the test split' instead",
        "old.py:2: 'obeys': write 'follow', 'apply' or 'satisfy' instead",
    ]


def test_clean_repository_passes(lint, repository, capsys):
    (repository / "old.py").write_text('"""Returns the sum."""\n')
    assert run(lint, repository) == 0
    assert capsys.readouterr().out == ""


def test_files_that_git_ignores_are_not_checked(lint, repository, capsys):
    (repository / ".gitignore").write_text("old.py\n")
    assert run(lint, repository) == 0
    assert capsys.readouterr().out == ""


def backlog(root):
    lines = (root / ".ci" / "prose_backlog.txt").read_text().splitlines()
    assert lines.pop(0).startswith("#")
    return lines


@pytest.fixture
def with_backlog(lint, repository):
    assert run(lint, repository, "--update", "--allow-growth") == 0
    assert backlog(repository) == ["old.py\tobey\t1", "old.py\tthose of\t1"]
    return repository


def test_backlog_allows_older_text(lint, with_backlog, capsys):
    assert run(lint, with_backlog) == 0
    assert capsys.readouterr().out == ""


def test_one_more_phrase_in_a_listed_file_fails(lint, with_backlog, capsys):
    with (with_backlog / "old.py").open("a") as file:
        file.write("# they obey\n")
    assert run(lint, with_backlog) == 1
    of_rule = "write 'follow', 'apply' or 'satisfy' instead (2 in this file, the backlog allows 1)"
    assert capsys.readouterr().out.splitlines() == [f"old.py:2: 'obeys': {of_rule}", f"old.py:3: 'obey': {of_rule}"]


def test_a_phrase_in_another_file_fails(lint, with_backlog, capsys):
    (with_backlog / "new.md").write_text("It obeys.\n")
    assert run(lint, with_backlog) == 1
    assert capsys.readouterr().out.startswith("new.md:1: 'obeys'")


def test_backlog_larger_than_what_is_found_fails_until_it_shrinks(lint, with_backlog, capsys):
    (with_backlog / "old.py").write_text('"""Those of the split."""\n')
    assert run(lint, with_backlog) == 1
    assert capsys.readouterr().out.splitlines() == [
        ".ci/prose_backlog.txt: old.py: 'obey' has 0, not 1: run python .ci/lint_prose.py --update"
    ]
    assert run(lint, with_backlog, "--update") == 0
    assert backlog(with_backlog) == ["old.py\tthose of\t1"]
    assert run(lint, with_backlog) == 0


def test_backlog_entry_of_a_deleted_file_fails(lint, with_backlog):
    (with_backlog / "old.py").unlink()
    assert run(lint, with_backlog) == 1
    assert run(lint, with_backlog, "--update") == 0
    assert backlog(with_backlog) == []


def test_update_shrinks_but_does_not_grow(lint, with_backlog, capsys):
    (with_backlog / "old.py").write_text('"""It obeys, and obeys."""\n')
    assert run(lint, with_backlog, "--update") == 1
    assert backlog(with_backlog) == ["old.py\tobey\t1"]
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_growth_is_allowed_for_moved_files_on_request(lint, with_backlog):
    (with_backlog / "old.py").rename(with_backlog / "moved.py")
    assert run(lint, with_backlog, "--update") == 1
    assert run(lint, with_backlog, "--update", "--allow-growth") == 0
    assert backlog(with_backlog) == ["moved.py\tobey\t1", "moved.py\tthose of\t1"]


def test_allow_growth_alone_is_a_usage_error(lint, repository, capsys):
    with pytest.raises(SystemExit, match="2"):
        run(lint, repository, "--allow-growth")
    assert "--allow-growth needs --update" in capsys.readouterr().err


def test_the_examples_in_contributing_are_found(lint):
    """The left column of the table shows what the rules exclude, the right one what they accept."""
    rows = re.findall(r"^\| (.+) \| (.+) \|$", (ROOT / "CONTRIBUTING.md").read_text().partition("prose: off")[2], re.M)
    assert rows.pop(0) == ("instead of", "write")
    assert [len(lint.find("a.md", before)) for before, _ in rows] == [2, 2, 0, 0, 1]
    assert [lint.find("a.md", after) for _, after in rows] == [[]] * 5
