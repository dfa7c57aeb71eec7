"""Files for contributors agree with what they describe: hooks, workflow, citation and changelog."""

import os
import pathlib
import re
import shutil
import subprocess

import pytest
import yaml

from data_redundancy.version import __version__

ROOT = pathlib.Path(__file__).parents[1]


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


def commands(*targets):
    """The commands of make for these targets, in an environment that is installed."""
    installed = ("setup.py", ".venv/.package", ".venv/.installed")
    arguments = ["make", "--dry-run", "--no-print-directory", *(f"--old-file={file}" for file in installed)]
    # The tests themselves may run under make, which passes its own options on.
    variables = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    command = [*arguments, "VENV=.venv", *targets]
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_make_lint_checks_code_types_and_prose():
    assert commands("lint") == [
        ".venv/bin/ruff check .",
        ".venv/bin/ruff format --check .",
        ".venv/bin/mypy",
        ".venv/bin/python .ci/lint_prose.py",
    ]


def test_commit_hooks_run_what_make_lint_runs():
    (repository,) = yaml.safe_load(read(".pre-commit-config.yaml"))["repos"]
    assert repository["repo"] == "local"
    run = []
    for hook in repository["hooks"]:
        # On the whole tree, by tools of the environment: no hook sees only the files of a commit.
        assert (hook["language"], hook["pass_filenames"]) == ("system", False)
        program, target = hook["entry"].split()
        assert program == "make"
        run += commands(target)
    assert run == commands("lint")


def test_make_test_all_measures_coverage():
    test, report = commands("test-all")
    assert test.endswith(" --cov --cov-report=")
    assert "-m " not in test.partition("-m pytest")[2]
    assert "coverage report --format=total" in report


def test_the_workflow_runs_the_script_of_continuous_integration():
    text = read(".github/workflows/ci.yml")
    workflow = yaml.safe_load(text)
    assert workflow[True] == ["push", "pull_request"]  # YAML 1.1 reads the key `on` as true
    (job,) = workflow["jobs"].values()
    assert job["steps"][-1]["run"] == "bash .ci/run ${{ matrix.targets }}"
    runs = {row["python"]: row["targets"].split() for row in job["strategy"]["matrix"]["include"]}
    assert runs == {"3.11": ["lint", "test-all"], "3.12": ["lint", "test"], "3.13": ["lint", "test"]}
    assert all(commands(*targets) for targets in runs.values())


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed (Debian: shellcheck)")
def test_shellcheck_finds_nothing_in_the_script_of_continuous_integration():
    done = subprocess.run(["shellcheck", ROOT / ".ci" / "run"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_citation():
    citation = yaml.safe_load(read("CITATION.cff"))
    assert (citation["cff-version"], citation["type"], citation["version"]) == ("1.2.0", "software", __version__)
    assert {"message", "title", "authors"} <= citation.keys()
    assert citation["license"] == "Apache-2.0"
    assert "Apache License" in read("LICENSE")
    (paper,) = citation["references"]
    assert [author["family-names"] for author in paper["authors"]] == ["Birodkar", "Mobahi", "Bengio"]
    assert paper["identifiers"][0]["value"] == "arXiv:1901.11409"


def test_changelog():
    text = read("CHANGELOG.md")
    releases = re.findall(r"^## \[(.+?)\](?: - (\d{4}-\d\d-\d\d))?$", text, re.M)
    assert releases[0] == ("Unreleased", "")
    assert all(date for _, date in releases[1:])
    assert __version__ in dict(releases)
    assert len(re.findall(r"^## ", text, re.M)) == len(releases)
    kinds = set(re.findall(r"^### (.+)$", text, re.M))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
