"""Help: what it says, that it is true, and that it fits the terminal; and shell completion."""

import re
import shlex
import subprocess
import sys

import pytest

from data_redundancy.cli import arguments, config
from data_redundancy.cli.commands import COMMANDS, COMMON, PROCESSES
from data_redundancy.experiment import config_files
from data_redundancy.experiment.config_rules import FIELDS
from data_redundancy.experiment.rules import Choice
from data_redundancy.experiment.shipped_configs import shipped_names
from data_redundancy.stages import run
from helpers.command import environment, error_line, run_here

ON_EXPERIMENTS = [name for name, command in COMMANDS.items() if command.has_experiment]
SECTIONS = list(dict.fromkeys(field.partition(".")[0] for field in FIELDS))


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")


def help_of(capfd, *argv):
    done = run_here(capfd, *argv)
    assert (done.code, done.err) == (0, "")
    return done.out


def test_help_names_commands_flags_and_configs(capfd):
    text = help_of(capfd, "--help")
    flags = ("--config", "--workdir", "--dry_run", "--json", "--quiet", "--version", "--print_completion")
    for word in (*COMMANDS, *flags, *shipped_names()):
        assert re.search(rf"(?<!\w){word}\b", text), word
    for argv in ([], ["help"], ["-h"], ["-help"], ["--helpfull"], ["--config=digits", "--help"]):
        assert help_of(capfd, *argv) == text


def test_run_goes_through_the_commands_in_the_order_of_the_help(capfd):
    found = re.findall(r"^  (\w+)  ", help_of(capfd, "--help"), re.MULTILINE)
    assert tuple(found[: len(run.STAGES)]) == run.STAGES
    assert sorted(found) == sorted(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command(capfd, command):
    text = help_of(capfd, command, "--help")
    parts = [line for line in text.splitlines() if line and not line.startswith(" ")]
    assert parts[0].startswith(f"usage: data-redundancy {command} ")
    assert parts[1] == COMMANDS[command].summary
    assert {"Reads:", "Writes:", "Example:", "options of every command:"} <= set(parts)
    flags = [*COMMANDS[command].options, *COMMANDS[command].common]
    if command in ON_EXPERIMENTS:
        flags += PROCESSES
    for option in flags:
        assert re.search(rf"^  --{option.name}\b", text, re.MULTILINE), option.name
        if isinstance(option.rule, Choice):
            assert option.rule.allowed() in " ".join(text.split())
    for argv in (["help", command], [command, "-h"], [command, "--config=digits", "--help"]):
        assert help_of(capfd, *argv) == text


@pytest.mark.parametrize("command", ON_EXPERIMENTS)
def test_the_help_lists_the_fields_that_a_command_reads(capfd, command):
    listed = dict(re.findall(r"^  (\w+\.\w+) {2,}(.+)$", help_of(capfd, command, "--help"), re.MULTILINE))
    defaults = config_files.load_default()
    reads = COMMANDS[command].reads
    assert list(listed) == [name for name in FIELDS if name in reads or name.partition(".")[0] in reads]
    for name, described in listed.items():
        section, key = name.split(".")
        assert described == f"{FIELDS[name].rule.type_name()}, default {defaults[section][key]!r}"


def test_every_field_is_read_by_some_command():
    for field in FIELDS:
        section = field.partition(".")[0]
        assert any({field, section} & set(command.reads) for command in COMMANDS.values()), field


def test_every_entry_of_reads_exists():
    for command in COMMANDS.values():
        assert set(command.reads) <= {*FIELDS, *SECTIONS}


@pytest.mark.parametrize("columns", [80, 100, 120, 300])
def test_help_fits_the_terminal(capfd, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    for argv in (["--help"], *([command, "--help"] for command in COMMANDS), ["fields"]):
        for line in help_of(capfd, *argv).splitlines():
            breakable = len(line.split()) > 1
            assert len(line) <= min(columns, 120) or not breakable, line
            assert line == line.rstrip()


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("command", COMMANDS)
def test_the_examples_of_the_help_parse(capfd, monkeypatch, command, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    text = help_of(capfd, command, "--help").replace("\\\n", "")
    examples = re.findall(r"^  (data-redundancy .+)$", text, re.MULTILINE)
    assert examples
    for example in examples:
        program, *argv = shlex.split(example)
        line = arguments.parse(argv)
        assert (program, line.command.name) == ("data-redundancy", command)
        if "--config" in example and command in ON_EXPERIMENTS:
            config.resolve(line)
        if command not in ("fields", "diff"):
            assert line.options["workdir"] or line.options["out"]


def test_wrapping_loses_no_word(capfd, monkeypatch):
    for command in COMMANDS.values():
        monkeypatch.setenv("COLUMNS", "80")
        narrow = help_of(capfd, command.name, "--help").replace("\\\n", "").split()
        docstring = command.docstring.split()
        first = narrow.index(docstring[0], 1)
        while narrow[first : first + len(docstring)] != docstring:
            first = narrow.index(docstring[0], first + 1)


def test_help_of_what_does_not_exist(capfd):
    for argv in (["help", "trian"], ["trian", "--help"]):
        assert error_line(run_here(capfd, *argv)).startswith("command=trian: must be one of prepare, ")


@pytest.mark.parametrize("value", ["help", "-h", "--help"])
def test_help_as_a_value(capfd, value):
    """A selection may be called help; what begins with a dash is a flag, as everywhere."""
    argv = ["export", "--config=default", f"--selection={value}", "--out=x", "--workdir=w"]
    assert error_line(run_here(capfd, *argv)).startswith(f"--selection={value}: must be the directory of a selection")
    argv = ["export", "--config=default", "--selection", value, "--out=x", "--workdir=w"]
    done = run_here(capfd, *argv)
    assert (done.code, done.out == "") == ((2, True) if value == "help" else (0, False))


@pytest.mark.parametrize("command", ["train", "run", "fields"])
def test_help_is_quick_and_quiet(command):
    code = [sys.executable, "-X", "importtime", "-m", "data_redundancy", command, "--help"]
    done = subprocess.run(code, env=environment(), capture_output=True, text=True, timeout=60)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "ml_collections" in imported
    assert not {"jax", "numpy", "tensorflow", "scipy", "pyarrow"} & imported


# fields


def test_fields_lists_every_field(capfd):
    text = help_of(capfd, "fields")
    found = re.findall(r"^(\w+\.\w+) = (.+)  \[(.+)\]$", text, re.MULTILINE)
    defaults = config_files.load_default()
    assert [name for name, _, _ in found] == list(FIELDS)
    for name, default, type_name in found:
        section, key = name.split(".")
        assert (default, type_name) == (repr(defaults[section][key]), FIELDS[name].rule.type_name())
    words = " ".join(text.split())
    for field in FIELDS.values():
        assert f"allowed: {field.rule.allowed()}" in words
        assert field.reason in words


@pytest.mark.parametrize("section", SECTIONS)
def test_fields_of_a_section(capfd, section):
    found = re.findall(r"^(\w+)\.\w+ = ", help_of(capfd, "fields", section), re.MULTILINE)
    assert set(found) == {section}


def test_fields_of_other_configs(capfd):
    assert "model.name = 'resnet8'  [str]" in help_of(capfd, "fields", "model", "--config=digits")
    assert "model.width = 3  [int]" in help_of(capfd, "fields", "model", "--config.model.width=3")


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["trian"], r"section=trian: must be one of .*\. Did you mean train\?$"),
        (["train.epochs"], r"section=train\.epochs: must be a section, not a field\. Name train\.$"),
        ([""], "section='': must not be empty"),
        (["train", "embed"], "section='train embed': must be one section of the config$"),
        (["--workdir=w"], "--config: must be given, .*: w has no config.json"),
        (["--config=digit"], "--config=digit: must be a file"),
        (["--coordinator=h:1"], "--coordinator=h:1: no such flag"),
    ],
)
def test_mistaken_fields(capfd, argv, told):
    assert re.match(told, error_line(run_here(capfd, "fields", *argv)))


# Shell completion


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
@pytest.mark.parametrize("form", ["--print_completion={}", "--print-completion={}", "--print_completion {}"])
def test_completion_scripts(capfd, shell, form):
    script = help_of(capfd, *form.format(shell).split())
    for word in (*COMMANDS, *(f"config.{field}" for field in FIELDS), *(option.name for option in COMMON)):
        assert word in script, word
    for option in (option for command in COMMANDS.values() for option in command.options):
        assert option.name in script, option.name
    for choice in ("agglomerative", "resnet18_v2", "webdataset", "lars"):
        assert choice in script, choice


@pytest.mark.parametrize(
    ("typed", "completions"),
    [
        (["tr"], {"train"}),
        ([""], set(COMMANDS)),
        (["sweep", "--sh"], {"--shard"}),
        (["train", "--config.train.b"], {"--config.train.batch_size"}),
        (["train", "--config.train.optimizer", ""], {"sgd", "lars"}),
        (["train", "--config", "cifar"], {"cifar10", "cifar100"}),
        (["export", "--format", "w"], {"webdataset"}),
        (["fields", "tr"], {"train"}),
        (["select", "--veto", "v"], {"veto.json"}),
    ],
)
def test_completion_in_bash(capfd, tmp_path, typed, completions):
    (tmp_path / "veto.json").touch()
    (tmp_path / "complete.bash").write_text(help_of(capfd, "--print_completion=bash"))
    assert subprocess.run(["bash", "-n", "complete.bash"], capture_output=True, timeout=60).stderr == b""
    words = " ".join(map(shlex.quote, ["data-redundancy", *typed]))
    script = f"""
source complete.bash
COMP_WORDS=({words}); COMP_CWORD={len(typed)}
$(complete -p data-redundancy | sed 's/.*-F \\([^ ]*\\).*/\\1/')
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60)
    assert set(done.stdout.split()) == completions


@pytest.mark.parametrize("argv", [["--print_completion=fish"], ["--print_completion"], ["--print_completion", "ksh"]])
def test_other_shells(capfd, argv):
    assert re.match(r"--print_completion=.*: must be one of bash, zsh, tcsh", error_line(run_here(capfd, *argv)))
