import os
import pathlib
import re
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pyarrow.parquet as pq
import pytest

import data_redundancy as dr
from data_redundancy.experiment.shipped_configs import shipped_names
from helpers.command import LIMITED, TINY, error_line, run_here, run_process, write_digits


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    """Whatever a test writes by mistake lands here; and no flag needs a long path."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "prepared"))


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    return rng.normal(size=(60, 5)).astype(np.float32), np.arange(60) % 3


def select_command(embeddings, labels, *, fraction="0.1"):
    np.save("e.npy", embeddings)
    np.save("l.npy", labels)
    return ["select", "--embeddings=e.npy", "--labels=l.npy", f"--fraction={fraction}", "--out=kept"]


def npz_command(**replaced):
    write_digits("d.npz", **replaced)
    return ["train", *TINY, "--config.dataset.name=d.npz", "--workdir=w"]


# Mistakes on the command line


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["trian", *TINY], r"command=trian: must be one of prepare, train, .*, fields\. Did you mean train\?$"),
        (["--config=digits", "train"], "command=--config=digits: must be one of prepare, .* Put the command first; "),
        (["train"], r"--config: must be given, a file or one of cifar10, .*\. Give for example --config=digits\.$"),
        (
            ["train", "--config=digits"],
            r"--workdir: must be given\. Name a directory, such as --workdir=runs/digits\.$",
        ),
        (
            ["train", "--config=digit", "--workdir=w"],
            r"--config=digit: must be a file, or one of the shipped configs cifar10, .* Did you mean digits\?$",
        ),
        (["train", "--config"], "--config: needs a value$"),
        (
            ["train", "--config.train.steps=3", "--workdir=w"],
            "--config: must be given, .*: w has no config.json of an earlier command",
        ),
        (["train", *TINY, "--workdri=w"], r"--workdri=w: no such flag\. Did you mean --workdir\?$"),
        (
            ["train", *TINY, "--train.epochs=1"],
            r"--train.epochs=1: no such flag\. Did you mean --config\.train\.epochs or ",
        ),
        (["train", *TINY, "--xyzzy=1"], r"--xyzzy=1: no such flag\. Run 'data-redundancy train --help'\.$"),
        (["select", "--embedings=e.npy", "--out=k"], r"--embedings=e.npy: no such flag\. Did you mean --embeddings\?$"),
        (["run", "--confg=digits", "--workdir=w"], r"--confg=digits: no such flag\. Did you mean --config\?$"),
        (
            ["select", "--embeddings=e", "--labels=l", "--fraction=0.1", "--out=o", "--workdir=w"],
            r"--workdir=w: must not be given with --embeddings\. Use --out instead\.$",
        ),
        (["train", *TINY, "--workdir"], "--workdir: needs a value$"),
        (["train", *TINY, "--workdir=w", "more"], "arguments=more: must be a flag of the command train. "),
        (
            ["train", *TINY, "--workdir=w", "--veto=v.json"],
            "--veto=v.json: is a flag of the commands select and report only$",
        ),
        (
            ["train", *TINY, "--workdir=w", "--fraction=0.1"],
            "--fraction=0.1: is a flag of the commands select, sweep, report, run and answer only$",
        ),
        (["sweep", *TINY, "--workdir=w", "--largest"], "--largest: is a flag of the command answer only$"),
        (["select", "--embeddings=e.npy"], "--fraction: must be given with --embeddings. "),
        (["select", "--embeddings=e.npy", "--fraction=0.1"], "--out: must be given with --embeddings. "),
        (["select", *TINY, "--labels=l.npy", "--workdir=w"], "--labels=l.npy: needs --embeddings. "),
        (["select", *TINY, "--out=kept", "--workdir=w"], "--out=kept: needs --embeddings. "),
    ],
)
def test_mistaken_flags(capfd, arguments, told):
    assert re.match(told, error_line(run_here(capfd, *arguments)))
    assert os.listdir() == []


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("train.bath_size=3", r"no such field\. Did you mean train\.batch_size or "),
        ("xyzzy=3", r"no such field\. Run 'data-redundancy fields' for all fields\.$"),
        ("train=3", r"is a section\. Its fields are train\.epochs, train\.steps, "),
        ("train.batch_size=many", "must be a whole number"),
        ("train.batch_size=3.5", "must be a whole number"),
        ("train.batch_size=None", "must be a whole number"),
        ("train.epochs=ten", "must be a number"),
        ("train.flip=maybe", "must be true or false"),
        ("train.batch_size=0", "must be a whole number from 1 to 1,048,576$"),
        ("train.learning_rate=nan", "must be a number greater than 0 and at most 10,000$"),
        ("train.learning_rate=inf", "must be a number greater than 0 and at most 10,000$"),
        ("train.dtype=float16", "must be one of float32, bfloat16"),
        ("model.name=resnet9", "must be one of resnet8, resnet20, "),
        ("select.method=best", "must be one of agglomerative, random"),
        ("select.fraction=1.0", "must be a number at least 0 and less than 1$"),
        ("select.fraction=-0.1", "must be a number at least 0 and less than 1$"),
        ("select.allocation=fair", "must be one of per_class, global"),
        ("select.representative=mean", "must be one of centroid, medoid, nested"),
        ("cluster.linkage=ward", "must be one of complete, average, single"),
        ("sweep.methods=random,best", "must be one or more different values in brackets, each one of agglomerative, "),
        ("sweep.fractions=(0.1,1.0)", "must be one or more .* each a number greater than 0 and less than 1$"),
        ("sweep.methods=()", "must be one or more "),
        ("sweep.seeds=1,1", "must be one or more different values"),
        ("sweep.equal=time", "must be one of steps, epochs"),
    ],
)
def test_mistaken_overrides(capfd, override, told):
    line = error_line(run_here(capfd, "run", *TINY, "--workdir=w", f"--config.{override}"))
    assert re.match(rf"--config\.{re.escape(override)}: {told}", line), line
    assert os.listdir() == []


# Mistaken data


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["dataset.name="], "--config.dataset.name='': must not be empty$"),
        (["dataset.name=other.npz"], "other.npz: does not exist. Name an .npz file with image_train "),
        (["dataset.train_split=trian"], "--config.dataset.train_split=trian: must be a split. Use train, test, "),
        (
            ["dataset.test_split=test[:0]"],
            r"--config.dataset.test_split=test\[:0\]: must have an example, but test\[:0\] has none of test",
        ),
        (
            ["dataset.version=1.0.0"],
            "--config.dataset.version=1.0.0: must be empty for d.npz, because an .npz file has no version",
        ),
        (
            ["dataset.class_names=a,b"],
            r"d.npz: must have label_train from 0 to 1 \(2 classes\), but label_train\[\d+\] is \d",
        ),
        (
            ["train.warmup_steps=8"],
            "--config.train.warmup_steps=8: makes 8 steps of warm-up, .* fewer than the 8 steps of training",
        ),
    ],
)
def test_mistaken_data(capfd, overrides, told):
    command = npz_command()
    done = run_here(capfd, *command, *(f"--config.{override}" for override in overrides))
    line = error_line(done) if "warmup" not in told else done.err.splitlines()[-1].removeprefix("data-redundancy: ")
    assert done.code == 2
    assert re.match(told, line), line
    assert not os.path.exists("w")


def with_outlier(value):
    labels = np.arange(200) % 10
    labels[7] = value
    return labels


@pytest.mark.parametrize(
    ("replaced", "told"),
    [
        (
            {"label_train": with_outlier(-1)},
            r"must have label_train from 0 to 9 \(10 classes\), but label_train\[7\] is -1$",
        ),
        (
            {"label_train": with_outlier(12), "class_names": np.array(list("abcdefghij"))},
            r"must have label_train from 0 to 9 \(10 classes\), but label_train\[7\] is 12$",
        ),
        (
            {"label_train": np.arange(199) % 10},
            "must have one label per image, but label_train has 199 labels for 200 images$",
        ),
        (
            {"label_test": None},
            "must have the arrays .*, but lacks label_test; it has image_train, label_train, image_test$",
        ),
        (
            {"image_test": np.zeros((60, 9, 9), np.uint8)},
            r"must have images of one shape, but has \(8, 8, 1\) in image_train and \(9, 9, 1\) in image_test$",
        ),
        ({"image_train": np.zeros((200, 8, 8))}, r"must have uint8 images \(0 to 255\), but image_train is float64$"),
    ],
)
def test_mistaken_npz(capfd, replaced, told):
    line = error_line(run_here(capfd, *npz_command(**replaced)))
    assert re.match(rf"d\.npz: {told}", line), line


def test_images_of_differing_sizes(capfd):
    images = np.empty(200, object)
    images[:] = [np.zeros((8 + i % 2, 8), np.uint8) for i in range(200)]
    line = error_line(run_here(capfd, *npz_command(image_train=images)))
    told = (
        "d.npz: must not have Python objects, but image_train has them (images of different sizes?). Store one array "
    )
    assert line.startswith(told)


@pytest.mark.parametrize("field", ["train.batch_size", "embed.batch_size"])
def test_a_batch_size_that_the_devices_do_not_divide(capfd, field):
    done = run_here(capfd, *npz_command(), f"--config.{field}=20")  # 8 virtual devices
    assert done.code == 2
    assert re.fullmatch(
        rf"data-redundancy: --config\.{field}=20: must be .* the number of devices, 8.*", done.err.splitlines()[-1]
    )
    # Nothing that would stand in the way of the corrected command.
    assert not os.path.exists("w")


def test_a_data_set_that_is_not_prepared(capfd):
    config = ("--config=cifar10", "--config.train.batch_size=32", "--config.embed.batch_size=64")
    overrides = ["--config.dataset.name=nosuch", "--config.dataset.data_dir=t"]
    line = error_line(run_here(capfd, "train", *config, *overrides, "--workdir=w"))
    told = (
        "--config.dataset.name=nosuch: must be a prepared TFDS data set, but there is no t/nosuch/VERSION/dataset_info"
    )
    assert line.startswith(told)
    assert "Prepare it with tfds build nosuch --data_dir=t" in line


def test_a_data_set_that_a_stage_would_prepare(capfd):
    line = error_line(run_here(capfd, "train", *TINY, "--config.dataset.data_dir=t", "--workdir=w"))
    told = (
        "--config.dataset.name=digits: is not prepared yet (looked for t/digits/1.0.0). Run 'data-redundancy prepare' "
    )
    assert line.startswith(told)


@pytest.mark.parametrize("field", ["select.fraction", "sweep.fractions"])
def test_a_fraction_that_would_empty_a_class_is_told_before_training(capfd, field):
    write_digits("d.npz")
    override = f"--config.{field}=" + ("0.96" if field == "select.fraction" else "(0.1,0.96)")
    done = run_here(capfd, "run", *TINY, "--config.dataset.name=d.npz", override, "--workdir=w")
    assert done.code == 2
    assert f"data-redundancy: --config.{field}=0.96: must be at most 0.95, as each of 10 classes keeps" in done.err
    assert not os.path.exists("w")


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["prepare.source=nowhere"], "--config.prepare.source=nowhere: does not exist. Use digits, "),
        (["dataset.name=My-Set"], "--config.dataset.name=My-Set: must consist of lower-case letters, "),
        (["dataset.data_dir=file/t"], r"file/t/digits/1.0.0: cannot be written \(Not a directory\)$"),
    ],
)
def test_what_cannot_be_prepared(capfd, overrides, told):
    with open("file", "w"):
        pass
    overrides = [f"--config.{override}" for override in ["dataset.data_dir=t", *overrides]]
    line = error_line(run_here(capfd, "prepare", *TINY, *overrides, "--workdir=w"))
    assert re.match(told, line), line
    assert not os.path.exists("t")


@pytest.mark.parametrize("stage", ["embed", "cluster", "select", "sweep", "report"])
def test_a_stage_without_what_it_reads(capfd, stage):
    write_digits("d.npz")
    done = run_here(capfd, stage, *TINY, "--config.dataset.name=d.npz", "--workdir=w")
    needed = {"embed": "train", "cluster": "embed", "select": "embed", "sweep": "embed", "report": "select"}[stage]
    assert done.code == 2
    assert re.fullmatch(
        rf"data-redundancy: .*/w.*: .*\. Run 'data-redundancy {needed}' .*first\.", done.err.splitlines()[-1]
    )
    assert not os.path.exists("w")


@pytest.mark.parametrize("workdir", ["file", "file/w", "/proc/w"])
def test_a_workdir_that_cannot_be_written(capfd, workdir):
    with open("file", "w"):
        pass
    line = error_line(run_here(capfd, "train", *TINY, f"--workdir={workdir}"))
    assert re.match(rf"--workdir={workdir}: must be a writable directory \(", line)


# Selecting from arrays


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"select.method": "random", "select.seed": 3},
        {"cluster.linkage": "single"},
        {"select.representative": "medoid"},
        {"cluster.linkage": "average", "select.representative": "nested"},
    ],
)
def test_select_from_arrays_equals_the_api(capfd, arrays, overrides):
    command = select_command(*arrays, fraction="0.25")
    done = run_here(capfd, *command, *(f"--config.{name}={value}" for name, value in overrides.items()))
    assert (done.code, done.out) == (0, "")
    *announced, kept = done.err.splitlines()
    if overrides.get("select.method") == "random":
        assert announced == []  # it looks at no distances
    else:
        what = r"cluster: 3 classes of 20 examples, 5 dimensions, \w+ linkage, .*; expected: \S+ GB of memory"
        assert re.match(what, announced[0])
    assert kept == f"select: kept 45 of 60 ({os.path.join('kept', 'keep.npy')})"
    assert sorted(os.listdir("kept")) == ["examples.parquet", "keep.npy", "manifest.json"]
    dendrograms = dr.cluster(*arrays, linkage=overrides.get("cluster.linkage", "complete"))
    options = {name.partition(".")[2]: value for name, value in overrides.items() if name.startswith("select")}
    expected = dr.select(dendrograms, prune_fraction=0.25, **options)
    assert np.array_equal(np.load("kept/keep.npy"), expected.keep)
    rows = pq.read_table("kept/examples.parquet").to_pydict()
    assert rows["kept"] == expected.kept.tolist()
    assert rows["tfds_id"] == rows["class_name"] == [None] * 60


def test_select_from_arrays_refuses_what_is_there(capfd, arrays):
    command = select_command(*arrays)
    os.mkdir("kept")
    assert run_here(capfd, *command).code == 0  # an empty folder is none
    before = os.stat("kept/keep.npy").st_mtime_ns
    assert error_line(run_here(capfd, *command)) == "--out=kept: exists and is not empty. Name another directory."
    assert os.stat("kept/keep.npy").st_mtime_ns == before


def spoilt(x, index, value):
    x = x.copy()
    x[index] = value
    return x


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (
            lambda x, y: (spoilt(spoilt(x, 9, 0), (5, 2), np.nan), y),
            "--embeddings=e.npy: must have finite .*, but index 5 contains NaN$",
        ),
        (
            lambda x, y: (spoilt(spoilt(x, 9, 0), (5, 2), np.inf), y),
            "--embeddings=e.npy: must have finite .*, but index 5 is infinite$",
        ),
        (
            lambda x, y: (spoilt(spoilt(x, 9, np.nan), 5, 0), y),
            "--embeddings=e.npy: must have finite .*, but index 5 is a zero vector$",
        ),
        (lambda x, y: (x, y[:-1]), "--labels=l.npy: must have one label per embedding, but has 59 for 60 embeddings$"),
        (lambda x, y: (x, y - 1), "--labels=l.npy: must be at least 0, but index 0 has label -1$"),
        (lambda x, y: (x, y / 2), r"--labels=l.npy: must have one integer per example, but has .* type float64\. "),
        (
            lambda x, y: (x[0], y),
            r"--embeddings=e.npy: must be a matrix \[examples, dimensions\] .*, but has shape \(5,\)$",
        ),
    ],
)
def test_mistaken_arrays(capfd, arrays, spoil, told):
    line = error_line(run_here(capfd, *select_command(*spoil(*arrays))))
    assert re.match(told, line), line
    assert not os.path.exists("kept")


@pytest.mark.parametrize("fraction", ["1", "1.5", "-0.1", "nan", "tenth"])
def test_mistaken_fractions(capfd, arrays, fraction):
    line = error_line(run_here(capfd, *select_command(*arrays, fraction=fraction)))
    assert line == f"--fraction={fraction}: must be a number at least 0 and less than 1"


def test_a_fraction_that_would_empty_a_class(capfd, arrays):
    line = error_line(run_here(capfd, *select_command(*arrays, fraction="0.99")))
    assert line == "--fraction=0.99: must be at most 0.95, as each of 3 classes keeps at least one of 60 examples"


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--embeddings=none.npy"], "--embeddings=none.npy: does not exist$"),
        (["--labels=file"], "--labels=file: must be an .npy or .npz file, a Parquet file "),
        (["--labels=two.npz"], "--labels=two.npz: must name one of a, b, because none is called label or labels. "),
        (["--out=file/kept"], ".*file/kept: cannot be written "),
        (["--out=/proc/kept"], ".*/proc/kept: cannot be written "),
        (["--config.select.method=best"], "--config.select.method=best: must be one of agglomerative, random"),
    ],
)
def test_mistaken_files(capfd, arrays, flags, told):
    command = select_command(*arrays)
    with open("file", "w"):
        pass
    np.savez("two.npz", a=[1], b=[2])
    replaced = {flag.partition("=")[0] for flag in flags}
    command = [argument for argument in command if argument.partition("=")[0] not in replaced]
    line = error_line(run_here(capfd, *command, *flags))
    assert re.match(told, line), line
    assert not os.path.exists("kept")


# As processes


def test_the_exit_code_reaches_the_shell(tmp_path):
    done = run_process("train", "--config=digits", "--workdir=w", "--config.train.epoch=3", cwd=tmp_path)
    assert error_line(done).startswith("--config.train.epoch=3: no such field. Did you mean train.epochs or ")


@pytest.mark.slow
@pytest.mark.parametrize("num_bytes", [16, 5_000, 20_000])  # stopped in keep.npy; at its end; in the parquet file
def test_a_disk_that_fills_while_selecting(tmp_path, num_bytes):
    rng = np.random.default_rng(0)
    command = select_command(rng.normal(size=(3000, 4)), np.arange(3000) % 10)
    done = run_process(num_bytes, *command, cwd=tmp_path, code=LIMITED)
    assert done.code == 2, done
    line = done.err.splitlines()[-1]
    assert re.match(r"data-redundancy: .*kept: cannot be written \(.*\); an earlier version is unchanged$", line)
    assert sorted(os.listdir()) == ["e.npy", "l.npy"]


@pytest.mark.slow
def test_a_wheel_finds_its_configs(tmp_path):
    """Built from a copy, installed without pip, and run where neither the clone nor the editable install is seen."""
    source, target = tmp_path / "source", tmp_path / "target"
    root = pathlib.Path(__file__).parents[2]
    source.mkdir()
    for name in ("data_redundancy", "configs"):
        shutil.copytree(
            os.path.join(root, name), source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__")
        )
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(os.path.join(root, name), source)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(tmp_path)]
    subprocess.run([*build, str(source)], check=True, timeout=120)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(target)
    entry_points = next(target.glob("*.dist-info/entry_points.txt")).read_text()
    assert "data-redundancy = data_redundancy.cli.main:main" in entry_points
    shutil.rmtree(source)

    code = f"""
import sys
# The editable install is a finder of its own: the wheel must be found as in an environment without it.
sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in repr(finder).lower()]
sys.path.insert(0, {str(target)!r})
import data_redundancy
from data_redundancy.cli import main
from data_redundancy.experiment.shipped_configs import shipped_directory
assert data_redundancy.__file__.startswith({str(target)!r}), data_redundancy.__file__
assert str(shipped_directory()).startswith({str(target)!r}), shipped_directory()
sys.exit(main.main(sys.argv[1:]))
"""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = run_process("--help", cwd=elsewhere, code=code)
    assert (done.code, done.err) == (0, "")
    assert ", ".join(shipped_names()) in " ".join(done.out.split())
    write_digits(elsewhere / "d.npz")
    done = run_process(
        "train", "--config=digits", "--config.dataset.name=d.npz", "--config.train.steps=0", "--workdir=w",
        cwd=elsewhere, code=code,
    )  # fmt: skip
    assert error_line(done) == "--config.train.steps=0: must be a whole number from 1 to 10,000,000"
