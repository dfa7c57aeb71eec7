"""Who may import whom: the layers stay apart, and TensorFlow stays out of everybody's way."""

import ast
import dataclasses
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1] / "data_redundancy"
MODULES = sorted(
    str(path.relative_to(ROOT.parent).with_suffix("")).replace("/", ".").removesuffix(".__init__")
    for path in ROOT.rglob("*.py")
)
STAGES = ("prepare", "train", "embed", "cluster", "score", "select", "sweep", "report", "answer", "export", "diff")
STAGE_HELPERS = (
    "verdicts",
    "arrays",
    "common",
    "fingerprints",
    "trials",
    "keeplists",
    "grid",
    "check",
    "trees",
    "inputs",
    "scoring",
    "vetoes",
    "answers",
    "looks",
    "pictures",
    "questions",
)
LIBRARIES = ("data", "models", "clustering", "selection", "evidence", "gallery")
BASE = {"errors", "storage", "parallel", "workdir", "metrics"}

# What each part may import beside itself and `errors`, which everyone may. The store of artifacts asks `parallel` which
# process writes.
ALLOWED = {
    "errors": set(),
    "storage": set(),
    "stopping": set(),
    "distributed": set(),
    "parallel": {"distributed"},
    "metrics": {"storage"},
    "workdir": {"parallel", "storage"},
    **dict.fromkeys(LIBRARIES, BASE),
    "training": BASE | {"data", "models", "stopping"},
    "exporting": BASE | {"data"},
    "artifacts": {"workdir", "parallel", "storage"},
    "stages": BASE | {*LIBRARIES, "training", "exporting", "artifacts"},
    "config_flags": set(),
    "main": BASE | {"stages", "config_flags", "distributed", "stopping"},
    "": {"clustering", "selection", "gallery"},  # the public API
}
TENSORFLOW = {"tensorflow", "tensorflow_datasets", "tensorboard", "clu", "etils", "google"}
# Paths, local and in buckets: it comes with Orbax, and reaches neither TensorFlow nor a bucket's client before it is
# given a path in a bucket (`test_local_paths_import_neither_tensorflow_nor_gcsfs`).
LIGHT = "etils.epath"
MAY_USE_TENSORFLOW = {
    "data.tfds_source",
    "data.tfds_writer",
    "data.catalog",
    "data.streaming",
    "exporting.source",
    "exporting.tfds",
    "stages.prepare",
    "metrics",
}


@dataclasses.dataclass(frozen=True)
class Import:
    target: str  # dotted, absolute
    lazy: bool  # inside a function


def imports_of(module, source):
    return list(_walk(ast.parse(source), package_of(module), lazy=False))


def _walk(node, package, lazy):
    if isinstance(node, ast.Import):
        yield from (Import(alias.name, lazy) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            parts = package.split(".")
            base = ".".join([*parts[: len(parts) - node.level + 1], *filter(None, [base])])
        yield from (Import(_submodule(base, alias.name), lazy) for alias in node.names)
    lazy = lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
    for child in ast.iter_child_nodes(node):
        yield from _walk(child, package, lazy)


def _submodule(base, name):
    """`from a import b` imports a.b where that is a module."""
    return f"{base}.{name}" if f"{base}.{name}" in MODULES or base in ("data_redundancy", "etils") else base


def path_of(module):
    base = ROOT.parent / module.replace(".", "/")
    return base / "__init__.py" if base.is_dir() else base.with_suffix(".py")


def package_of(module):
    return module if path_of(module).name == "__init__.py" else module.rpartition(".")[0]


def violations(module, source):
    own = module.removeprefix("data_redundancy").removeprefix(".")
    return [message for found in imports_of(module, source) if (message := _violation(own, found))]


def _violation(own, found):
    top, _, rest = found.target.partition(".")
    if top == "configs" or found.target.startswith("data_redundancy.configs"):
        return f"{own}: imports configs"
    if found.target == LIGHT:
        return None
    if top in TENSORFLOW and own not in MAY_USE_TENSORFLOW:
        return f"{own}: imports {found.target}"
    if top in TENSORFLOW and not found.lazy:
        return f"{own}: imports {found.target} outside a function"
    if top != "data_redundancy":
        return None
    part, own_part = rest.partition(".")[0], own.partition(".")[0]
    if part not in {own_part, "errors", ""} | ALLOWED[own_part]:
        return f"{own}: imports {rest}"
    if own_part == part == "stages" and _is_stage(rest) and own != rest:
        return f"{own}: imports the stage {rest}"
    return None


def _is_stage(name):
    return name.removeprefix("stages.") in STAGES


def test_every_module_is_ruled():
    """A new part has to say here what it may import; a new stage module whether it is a stage."""
    parts = {module.removeprefix("data_redundancy").removeprefix(".").partition(".")[0] for module in MODULES}
    assert parts - set(ALLOWED) == set()
    in_stages = {m.removeprefix("data_redundancy.stages.") for m in MODULES if m.startswith("data_redundancy.stages.")}
    assert in_stages - set(STAGE_HELPERS) == set(STAGES)


@pytest.mark.parametrize("module", MODULES)
def test_module_obeys(module):
    assert violations(module, path_of(module).read_text()) == []


@pytest.mark.parametrize(
    ("module", "line", "complaint"),
    [
        ("data.batches", "from data_redundancy import models", "imports models"),
        ("data.batches", "from data_redundancy.models.registry import create", "imports models.registry"),
        ("data.batches", "import data_redundancy.training.step", "imports training.step"),
        ("models.registry", "from ..data import load", "imports data"),
        ("clustering.linkage", "def f():\n    from data_redundancy.selection import Pool", "imports selection"),
        ("training.step", "from data_redundancy import evidence", "imports evidence"),
        ("training.step", "from data_redundancy import artifacts", "imports artifacts"),
        ("parallel", "from data_redundancy import metrics", "imports metrics"),
        ("artifacts", "from data_redundancy.store.metrics import Sums", "imports metrics"),
        ("workdir", "from data_redundancy import artifacts", "imports artifacts"),
        ("training.trainer", "from data_redundancy.stages import common", "imports stages.common"),
        ("stages.embed", "from data_redundancy.stages import train", "imports the stage stages.train"),
        ("stages.common", "from .train import run", "imports the stage stages.train"),
        ("stages.train", "from data_redundancy import main", "imports main"),
        ("stages.check", "from data_redundancy.configs import default", "imports configs"),
        ("main", "import configs.default", "imports configs"),
        ("metrics", "import clu", "imports clu outside a function"),
        ("data.tfds_source", "import tensorflow as tf", "imports tensorflow outside a function"),
        ("data.batches", "def f():\n    import tensorflow as tf", "imports tensorflow"),
        ("stages.embed", "def f():\n    from etils import etree", "imports etils.etree"),
        ("stages.embed", "from etils import epath, etree", "imports etils.etree"),
        ("storage", "from data_redundancy import parallel", "imports parallel"),
    ],
)
def test_rules_find_what_they_forbid(module, line, complaint):
    assert violations(f"data_redundancy.{module}", line) == [f"{module}: {complaint}"]


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("data.batches", "from data_redundancy.errors import InputError"),
        ("data.batches", "from data_redundancy.data.splits import Split"),
        ("data.raw", "from . import dataset"),
        ("stages.embed", "from data_redundancy.stages import common, trials"),
        ("stages.embed", "from data_redundancy import artifacts, data, models, training, clustering"),
        ("metrics", "def f():\n    from clu import metric_writers"),
        ("stages.embed", "from etils import epath"),
        ("stages.embed", "import etils.epath"),
    ],
)
def test_rules_leave_the_rest_alone(module, line):
    assert violations(f"data_redundancy.{module}", line) == []


def test_local_paths_import_neither_tensorflow_nor_gcsfs(tmp_path):
    code = """
import sys
from data_redundancy.store import workdir
directory = workdir.Workdir(sys.argv[1])
workdir.write_json(directory.config, {})
with workdir.atomic_directory(directory.report) as partial:
    workdir.write_json(partial / "a.json", {})
assert list(directory.report.iterdir()) and directory.report.is_dir() and directory.config.is_file()
print(*sorted({"tensorflow", "gcsfs", "google.cloud", "tensorstore"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "w"], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr
