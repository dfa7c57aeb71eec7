"""Layers: a package imports only packages of lower layers, nothing imports in a circle, and TensorFlow stays apart."""

import ast
import dataclasses
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1] / "data_redundancy"
LAYERS = (
    ("__main__",),
    ("cli",),
    ("stages",),
    ("reporting",),
    ("experiment",),
    ("__init__", "api", "exporting", "training"),
    ("gallery", "data"),
    ("clustering", "store"),
    ("selection", "evidence", "models", "runtime"),
    ("errors", "deprecation", "version"),
)
"""From the highest to the lowest. A package may import those of lower layers, not those of its own."""
ALLOWED_WITHIN = {("api", "__init__"), ("__init__", "api"), ("errors", "version")}
"""Imports within a layer: the public API is one thing in two modules."""
COMPOSITE = {"run", "answer"}
"""Commands that run other commands."""
TENSORFLOW = {"tensorflow", "tensorflow_datasets", "tensorboard", "clu", "etils", "google"}
LIGHT = "etils.epath"
"""Paths: they come with Orbax, and import neither TensorFlow nor a bucket's client before one lies in a bucket."""
MAY_USE_TENSORFLOW = ("data.tfds.", "exporting.", "store.metrics")

MODULES = sorted(
    str(path.relative_to(ROOT.parent).with_suffix("")).replace("/", ".").removesuffix(".__init__")
    for path in ROOT.rglob("*.py")
    if "configs" not in path.parts
)


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
    return f"{base}.{name}" if f"{base}.{name}" in MODULES or base == "etils" else base


def path_of(module):
    base = ROOT.parent / module.replace(".", "/")
    return base / "__init__.py" if base.is_dir() else base.with_suffix(".py")


def package_of(module):
    return module if path_of(module).name == "__init__.py" else module.rpartition(".")[0]


def part_of(module):
    """The package or top-level module, without `data_redundancy`."""
    return module.removeprefix("data_redundancy").removeprefix(".").partition(".")[0] or "__init__"


def layer_of(part):
    return next(number for number, parts in enumerate(LAYERS) if part in parts)


def violations(module, source):
    return [message for found in imports_of(module, source) if (message := _violation(module, found))]


def _violation(module, found):
    own = module.removeprefix("data_redundancy").removeprefix(".")
    top = found.target.partition(".")[0]
    if top == "configs" or found.target.startswith("data_redundancy.configs"):
        return f"{own}: imports configs"
    if found.target == LIGHT:
        return None
    if top in TENSORFLOW and not f"{own}.".startswith(MAY_USE_TENSORFLOW):
        return f"{own}: imports {found.target}"
    if top in TENSORFLOW and not found.lazy:
        return f"{own}: imports {found.target} outside a function"
    if top != "data_redundancy":
        return None
    part, own_part = part_of(found.target), part_of(module)
    if part == own_part:
        return _violation_within_stages(own, found)
    same_layer = layer_of(part) == layer_of(own_part) and (own_part, part) not in ALLOWED_WITHIN
    if layer_of(part) < layer_of(own_part) or same_layer:
        return f"{own}: imports {found.target.removeprefix('data_redundancy.')}"
    return None


def _violation_within_stages(own, found):
    """A command does not import another one, but for those that run others."""
    name, other = own.removeprefix("stages."), found.target.removeprefix("data_redundancy.stages.")
    if part_of(found.target) == "stages" and name != other and "." not in other and name not in COMPOSITE:
        return f"{own}: imports the command {other}"
    return None


def test_every_part_is_in_a_layer():
    parts = {part_of(module) for module in MODULES}
    assert parts - {part for layer in LAYERS for part in layer} == set()


@pytest.mark.parametrize("module", MODULES)
def test_module_imports_only_lower_layers(module):
    assert violations(module, path_of(module).read_text()) == []


def test_no_module_imports_in_a_circle():
    """Imports inside functions count as well: a circle is a circle."""
    edges = {
        module: {
            found.target
            for found in imports_of(module, path_of(module).read_text())
            if found.target in MODULES and found.target != module
        }
        for module in MODULES
    }
    while free := [module for module, targets in edges.items() if not targets & edges.keys()]:
        for module in free:
            del edges[module]
    assert edges == {}


@pytest.mark.parametrize(
    ("module", "line", "complaint"),
    [
        ("data.batches", "from data_redundancy import training", "imports training"),
        ("data.batches", "from data_redundancy.gallery.page import write", "imports gallery.page"),
        ("data.batches", "import data_redundancy.training.step", "imports training.step"),
        ("models.registry", "from ..data import load", "imports data"),
        ("clustering.linkage", "def f():\n    from data_redundancy.store import files", "imports store.files"),
        ("training.step", "from data_redundancy.exporting import driver", "imports exporting.driver"),
        ("runtime.devices", "from data_redundancy.store import metrics", "imports store.metrics"),
        ("store.workdir", "from data_redundancy.experiment import trials", "imports experiment.trials"),
        ("experiment.trials", "from data_redundancy.reporting import page", "imports reporting.page"),
        ("stages.embed", "from data_redundancy.stages import train", "imports the command train"),
        ("stages.train", "from data_redundancy.cli import main", "imports cli.main"),
        ("experiment.config_rules", "from data_redundancy.configs import default", "imports configs"),
        ("cli.main", "import configs.default", "imports configs"),
        ("store.metrics", "import clu", "imports clu outside a function"),
        ("data.tfds.source", "import tensorflow as tf", "imports tensorflow outside a function"),
        ("data.batches", "def f():\n    import tensorflow as tf", "imports tensorflow"),
        ("stages.embed", "def f():\n    from etils import etree", "imports etils.etree"),
        ("stages.embed", "from etils import epath, etree", "imports etils.etree"),
        ("errors", "from data_redundancy.runtime import devices", "imports runtime.devices"),
    ],
)
def test_rules_find_what_they_forbid(module, line, complaint):
    assert violations(f"data_redundancy.{module}", line) == [f"{module}: {complaint}"]


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("data.batches", "from data_redundancy.errors import InputError"),
        ("data.npz", "from data_redundancy.data.splits import Split"),
        ("data.raw", "from . import splits"),
        ("stages.embed", "from data_redundancy.experiment import dataset, trials"),
        ("stages.answer", "from data_redundancy.stages import report"),
        ("store.metrics", "def f():\n    from clu import metric_writers"),
        ("stages.embed", "from etils import epath"),
        ("stages.embed", "import etils.epath"),
    ],
)
def test_rules_allow_the_rest(module, line):
    assert violations(f"data_redundancy.{module}", line) == []


def test_local_paths_import_neither_tensorflow_nor_gcsfs(tmp_path):
    code = """
import sys
from data_redundancy.store import directories, files
from data_redundancy.store.workdir import Workdir
directory = Workdir(sys.argv[1])
files.write_json(directory.config, {})
with directories.atomic_directory(directory.report) as partial:
    files.write_json(partial / "a.json", {})
assert list(directory.report.iterdir()) and directory.report.is_dir() and directory.config.is_file()
print(*sorted({"tensorflow", "gcsfs", "google.cloud", "tensorstore"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "w"], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr
