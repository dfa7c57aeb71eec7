"""The size and shape of the code: small modules and functions, configs only where they belong, one class per name."""

import ast
import collections
import pathlib

ROOT = pathlib.Path(__file__).parents[1] / "data_redundancy"
PATHS = sorted(path for path in ROOT.rglob("*.py") if "configs" not in path.parts)
MOST_LINES_OF_A_FILE, MOST_LINES_OF_A_FUNCTION, MOST_LINES_OF_A_STAGE = 450, 70, 150
KNOW_CONFIGS = {"cli", "stages", "experiment"}
TREES = {path: ast.parse(path.read_text()) for path in PATHS}


def name_of(path):
    return str(path.relative_to(ROOT))


def functions():
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield path, node


def test_files_are_short():
    lengths = {name_of(path): len(path.read_text().splitlines()) for path in PATHS}
    assert {name: length for name, length in lengths.items() if length > MOST_LINES_OF_A_FILE} == {}


def test_functions_are_short():
    lengths = {f"{name_of(path)}:{node.name}": node.end_lineno - node.lineno + 1 for path, node in functions()}
    assert {name: length for name, length in lengths.items() if length > MOST_LINES_OF_A_FUNCTION} == {}


def test_only_upper_layers_know_configs():
    found = [
        f"{name_of(path)}:{node.name}"
        for path, node in functions()
        if path.relative_to(ROOT).parts[0] not in KNOW_CONFIGS
        for argument in [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        if argument.arg == "config"
    ]
    assert found == []


def test_stages_hold_only_commands():
    from data_redundancy.cli.commands import COMMANDS

    assert {path.stem for path in (ROOT / "stages").glob("*.py")} == {"__init__", *COMMANDS}
    for name in COMMANDS:
        body = TREES[ROOT / "stages" / f"{name}.py"].body
        defined = {node.name for node in body if isinstance(node, ast.FunctionDef)}
        assert {"run", "preview"} <= defined, name


def test_stages_are_thin():
    lengths = {path.name: len(path.read_text().splitlines()) for path in (ROOT / "stages").glob("*.py")}
    assert {name: length for name, length in lengths.items() if length > MOST_LINES_OF_A_STAGE} == {}


def test_every_class_has_a_name_of_its_own():
    homes = collections.defaultdict(list)
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and node.name != "Options":  # every command has one
                homes[node.name].append(name_of(path))
    assert {name: places for name, places in homes.items() if len(places) > 1} == {}


def test_no_module_caches_data_sets_or_trainers():
    """Caches of modules outlive an experiment: only what depends on no input may be cached there."""
    allowed = {
        "clustering/strategy.py:speed",
        "data/batches.py:_epoch_order",  # a permutation, by its arguments
        "experiment/config_fields.py:comments",
        "runtime/devices.py:job_name",
    }
    found = set()
    for path, node in functions():
        for decorator in node.decorator_list:
            text = ast.unparse(decorator)
            if "cache" in text and "cached_property" not in text:
                found.add(f"{name_of(path)}:{node.name}")
    assert found - allowed == set()
