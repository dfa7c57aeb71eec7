"""Exporting: invalid options, and the state after an interrupted run."""

import fcntl
import io
import os
import pathlib
import random
import re
import shutil
import signal
import tarfile
import time

import numpy as np
import PIL.Image
import pyarrow.parquet as pq
import pytest

from data_redundancy.errors import InputError
from data_redundancy.exporting import driver, records
from data_redundancy.exporting.contents import shards_for
from data_redundancy.exporting.format import Description, Shard
from helpers import imagenet_like
from helpers.command import LIMITED, ends, error_line, popen, run_here, run_process, start_all, write_digits

NUM_TRAIN, NUM_TEST, SELECTION = 100, 30, "random-0.4-seed0"
NO_TENSORFLOW = """
import sys
for name in ("tensorflow", "tensorflow_datasets", "clu"):
    sys.modules[name] = None  # importing it raises ImportError
from data_redundancy.cli import main
sys.exit(main.main())
"""
SHARDS = [Shard(split="train", number=i, of=4, first=2 * i, length=2) for i in range(4)]
ABOUT = Description("d", "1.0.0", ("a", "b"), "", "", {"selection": "s"}, {"train": 8})


class Lines:
    """Writes a line for every example; a `Format` that may break down."""

    def __init__(self, breaks_at=None, seen=None):
        self.breaks_at, self.written, self.seen = breaks_at, [], seen

    def write_shard(self, directory, shard, examples, about):
        (directory / "sub").mkdir()
        with (directory / "sub" / f"{shard.split}-{shard.number}").open("w") as file:
            for example in examples:
                file.write(f"{example}\n")
        if shard.number == self.breaks_at:
            raise RuntimeError("broken")
        if self.seen:
            self.seen()
        self.written.append(shard.number)

    def finish(self, directory, shards, about):
        assert len(list((directory / "sub").iterdir())) == len(shards)
        (directory / "about").write_text(about.name)


@pytest.fixture(autouse=True)
def one_at_a_time(monkeypatch):
    """Writes shards in order; separate processes write several at the same time."""
    monkeypatch.setattr(driver, "THREADS", 1)


def export(out, writer, *, plan=None, overwrite=False):
    def examples(shard):
        return range(shard.first, shard.first + shard.length)

    return driver.export(out, writer, SHARDS, examples, ABOUT, plan=plan or {"keep": "x"}, overwrite=overwrite)


def contents(directory):
    """All files below a directory, hidden ones too."""
    return {str(p.relative_to(directory)): p.read_bytes() for p in sorted(directory.rglob("*")) if p.is_file()}


WHOLE = {"about": b"d", **{f"sub/train-{i}": f"{2 * i}\n{2 * i + 1}\n".encode() for i in range(4)}}


def test_what_breaks_down_goes_on_and_shows_nothing_before(tmp_path):
    out = tmp_path / "out"
    with pytest.raises(RuntimeError, match="broken"):
        export(out, Lines(breaks_at=2))
    assert not out.exists()
    assert sorted(os.listdir(tmp_path / ".out.exporting/data/sub")) == ["train-0", "train-1"]
    seen = []
    second = Lines(seen=lambda: seen.append(out.exists()))
    assert export(out, second) == 2
    assert (second.written, seen) == ([2, 3], [False, False])
    assert contents(out) == WHOLE
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize("lost", [lambda path: path.unlink(), lambda path: path.write_text("")])
def test_what_a_machine_that_went_down_has_lost_is_written_again(tmp_path, lost):
    """Names of files, or their ends, may not have reached the disk when the note that they are whole has."""
    out = tmp_path / "out"
    with pytest.raises(RuntimeError, match="broken"):
        export(out, Lines(breaks_at=3))
    lost(tmp_path / ".out.exporting/data/sub/train-1")
    lost(tmp_path / ".out.exporting/done/train-2")
    second = Lines()
    assert export(out, second) == 1
    assert second.written == [1, 2, 3]
    assert contents(out) == WHOLE


def test_another_plan_begins_anew(tmp_path):
    out = tmp_path / "out"
    with pytest.raises(RuntimeError, match="broken"):
        export(out, Lines(breaks_at=2))
    (tmp_path / ".out.exporting/data/sub/stale").write_text("of the other plan")
    second = Lines()
    assert export(out, second, plan={"keep": "y"}) == 0
    assert second.written == [0, 1, 2, 3]
    assert contents(out) == WHOLE


def test_overwriting_keeps_the_old_one_until_the_new_one_is_whole(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "precious").write_text("old")
    with pytest.raises(
        InputError,
        match=r"^out=.*out: exists already and is not empty\. Name another directory, or set overwrite to replace it",
    ):
        export(out, Lines())
    with pytest.raises(RuntimeError, match="broken"):
        export(out, Lines(breaks_at=3), overwrite=True)
    assert contents(out) == {"precious": b"old"}
    seen = []
    export(out, Lines(seen=lambda: seen.append(contents(out))), overwrite=True)
    assert seen == [{"precious": b"old"}]  # the last shard; the others were there
    assert contents(out) == WHOLE
    assert os.listdir(tmp_path) == ["out"]


@pytest.mark.parametrize(
    ("function", "named"),
    [("rename", "out"), ("rename", "data"), ("rmtree", ".out.replaced"), ("rmtree", ".out.exporting")],
)
def test_killed_while_replacing(tmp_path, monkeypatch, function, named):
    """Between any two steps of the replacement, one of both is there or comes back."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "precious").write_text("old")
    module = os if function == "rename" else shutil
    real = getattr(module, function)

    def killed(path, *rest, **options):
        if pathlib.Path(path).name == named:
            raise KeyboardInterrupt
        return real(path, *rest, **options)

    with monkeypatch.context() as patch:
        patch.setattr(module, function, killed)
        with pytest.raises(KeyboardInterrupt):
            export(out, Lines(), overwrite=True)
    driver._recover(out)
    assert contents(out) == (WHOLE if function == "rmtree" else {"precious": b"old"})
    export(out, Lines(), overwrite=True)
    assert contents(out) == WHOLE
    assert os.listdir(tmp_path) == ["out"]


def test_an_empty_directory_made_meanwhile_does_not_cost_the_old_one(tmp_path):
    """Killed in the middle of a replacement; before the next run somebody makes the directory."""
    (tmp_path / ".out.replaced").mkdir()
    (tmp_path / ".out.replaced/precious").write_text("old")
    (tmp_path / "out").mkdir()
    with pytest.raises(RuntimeError, match="broken"):
        export(tmp_path / "out", Lines(breaks_at=0), overwrite=True)
    assert contents(tmp_path / "out") == {"precious": b"old"}


def test_an_empty_directory_is_taken(tmp_path):
    (tmp_path / "out").mkdir()
    export(tmp_path / "out", Lines())
    assert contents(tmp_path / "out") == WHOLE


def test_two_jobs_do_not_write_to_one_place(tmp_path):
    (tmp_path / ".out.exporting").mkdir()
    descriptor = os.open(tmp_path / ".out.exporting", os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with pytest.raises(InputError, match=r"^out=.*out: is being written by another export\. Wait until it ends\.$"):
        export(tmp_path / "out", Lines())
    os.close(descriptor)
    export(tmp_path / "out", Lines())
    assert contents(tmp_path / "out") == WHOLE


def test_what_is_not_to_be_replaced(tmp_path, monkeypatch):
    (tmp_path / "data/set").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "data")
    for out in (tmp_path / "data", tmp_path, pathlib.Path("/"), pathlib.Path.home()):
        with pytest.raises(InputError, match=r"^out=/.*: must not be or contain /.*\. Name a separate directory\.$"):
            driver.check_free(out, overwrite=True)
    monkeypatch.chdir("/")
    (tmp_path / "link").symlink_to("data")
    for out in (tmp_path / "data", tmp_path / "data/set", tmp_path / "link"):
        with pytest.raises(InputError, match=r"^out=.*: must not be or contain /.*data/set\. "):
            driver.check_free(out, overwrite=True, keep_clear_of=[tmp_path / "data/set"])
    with pytest.raises(InputError, match=r"^out=.*: must not be in .*set\. Name a directory elsewhere\.$"):
        driver.check_free(tmp_path / "data/set/out", overwrite=True, keep_out_of=[tmp_path / "data/set"])
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"^out=.*file: exists already and is not a directory"):
        driver.check_free(tmp_path / "file", overwrite=True)
    with pytest.raises(InputError, match=r"^out=/dev/shm: must not be the mount point of a disk"):
        driver.check_free(pathlib.Path("/dev/shm"), overwrite=True)


def test_shards_are_of_tfds_size():
    from tensorflow_datasets.core.utils import shard_utils

    mib = 2**20
    for size in (1, 63 * mib, 64 * mib, 127 * mib, 500 * mib, 2**36, 2**38, 2**40, 2**42):
        for number in (1, 5, 10_000_000):
            if number > 5:  # TFDS does not come to an end where there are fewer examples than it wants files
                expected = shard_utils.ShardConfig.calculate_number_shards(size - 16 * number, number)
                assert shards_for(size, number) == expected, (size, number)
            assert 1 <= shards_for(size, number) <= number


@pytest.fixture(scope="module")
def npz(tmp_path_factory):
    """An .npz and a selection of it."""
    folder = tmp_path_factory.mktemp("npz")
    write_digits(folder / "d.npz", NUM_TRAIN, NUM_TEST)
    own = ("--config=default", "--workdir=w", "--config.dataset.name=d.npz", "--config.select.method=random")
    done = run_process("select", *own, "--config.select.fraction=0.4", cwd=folder, code=NO_TENSORFLOW)
    assert done.code == 0, done.err
    return folder, np.load(folder / "w/selections" / SELECTION / "keep.npy")


@pytest.fixture
def command(npz, capfd, monkeypatch):
    """Runs `export` in the folder of the .npz."""
    folder, _ = npz
    monkeypatch.chdir(folder)

    def run(*more, selection=SELECTION):
        own = ("--config=default", "--workdir=w", "--config.dataset.name=d.npz", f"--selection={selection}")
        return run_here(capfd, "export", *own, *more)

    return run


def tar_images(out):
    found = []
    for path in sorted(out.glob("train-*.tar")):
        with tarfile.open(path) as tar:
            found += [tar.extractfile(m).read() for m in tar if m.name.endswith(".png")]
    return found


def parquet_images(out):
    return [
        row["bytes"] for path in sorted(out.glob("data/train-*")) for row in pq.read_table(path)["image"].to_pylist()
    ]


def folder_images(out):
    return [path.read_bytes() for path in sorted(out.glob("train/*/*"), key=lambda path: path.name)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "images"), [("webdataset", tar_images), ("huggingface", parquet_images), ("imagefolder", folder_images)]
)
def test_other_formats_without_tensorflow(npz, tmp_path, name, images):
    folder, keep = npz
    own = ("--config=default", "--workdir=w", "--config.dataset.name=d.npz", f"--selection={SELECTION}")
    more = (f"--format={name}", f"--out={tmp_path / 'out'}", "--num_shards=3", "--splits=none")
    done = run_process("export", *own, *more, cwd=folder, code=NO_TENSORFLOW)
    assert done.code == 0, done.err
    pixels = [np.asarray(PIL.Image.open(io.BytesIO(image))) for image in images(tmp_path / "out")]
    np.testing.assert_array_equal(pixels, np.load(folder / "d.npz")["image_train"][keep])
    assert os.listdir(tmp_path) == ["out"]


def test_lists_are_one_file(npz, command, tmp_path):
    _, keep = npz
    out = tmp_path / "kept.npy"
    assert command("--format=npy", f"--out={out}").code == 0
    np.testing.assert_array_equal(np.load(out), keep)
    assert "kept.npy: exists already. Name another file, or " in error_line(command("--format=npy", f"--out={out}"))
    assert command("--format=txt", f"--out={out}", "--overwrite").code == 0
    assert out.read_text().split() == [str(index) for index in keep]
    assert "must be a file, but is a directory. Name a file." in error_line(
        command("--format=csv", f"--out={tmp_path}", "--overwrite")
    )


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ((), "--out: must be given. Give for example --out=exported."),
        (("--selection=", "--out=x"), "--selection='': must not be empty"),
        (
            ("--out=x", "--format=zip"),
            "--format=zip: must be one of tfds, webdataset, huggingface, imagefolder, txt, csv",
        ),
        (("--out=x", "--file_format=riegeli"), "--file_format=riegeli: must be one of tfrecord, array_record"),
        (
            ("--out=x", "--format=txt", "--splits=all"),
            "--splits=all: is an option of format=tfds or webdataset or huggingface",
        ),
        (
            ("--out=x", "--format=webdataset", "--file_format=tfrecord"),
            "--file_format=tfrecord: is an option of format=tfds only",
        ),
        (("--out=x", "--num_shards=0"), "--num_shards=0: must be a whole number from 1"),
        (("--out=x", "--num_shards=2.5"), "--num_shards=2.5: must be a whole number from 1"),
        (
            ("--out=x", "--format=webdataset", "--num_shards=61"),
            "--num_shards=61: must be at most 60, the number of kept",
        ),
        (
            ("--out=x", "--format=webdataset", "--splits=val"),
            "--splits=val: must be all or none, or names with commas out of test",
        ),
        (("--out=x", "--format=webdataset", "--splits=train"), "--splits=train: must be all or none, or names with"),
        (("--out=x", "--overwrite=maybe"), "--overwrite=maybe: must be true or false"),
        (("--out=gs://bucket/x",), "--out=gs://bucket/x: must be a local path"),
        (
            ("--out=x", "--selection=random-0.9"),
            f"must be the directory of a selection, or a selection of this workdir: {SELECTION}",
        ),
        (
            ("--out=x", f"--selection=w/selections/{SELECTION}/keep.npy"),
            "keep.npy: must be the directory of a selection",
        ),
        (("--out=x", "--selection=../w"), "--selection=../w: must be the directory of a selection"),
        (("--out=w",), "w: must not be or contain "),
        (("--out=.", "--overwrite"), ": must not be or contain "),
        ((f"--out=w/selections/{SELECTION}", "--overwrite"), ": must not be or contain "),
        (("--out=d.npz", "--overwrite", "--format=webdataset"), "d.npz"),
        (
            ("--out=x", "--format=webdataset", "--config.dataset.train_split=train[:50]"),
            "dataset.num_train was 100 and is now 50",
        ),
    ],
)
def test_wrong_options(npz, command, more, message):
    folder, _ = npz
    before = contents(folder)
    line = command(*more).err.splitlines()[-1]
    assert line.startswith("data-redundancy: ")
    assert message in line
    assert contents(folder) == before


@pytest.mark.slow
def test_a_full_disk(npz, tmp_path):
    """The error is one line, the old files stay, and with more room the export resumes."""
    folder, _ = npz
    out = tmp_path / "out"
    out.mkdir()
    (out / "precious").write_text("old")
    own = ("--config=default", f"--workdir={folder / 'w'}", f"--config.dataset.name={folder / 'd.npz'}")
    more = (f"--selection={SELECTION}", "--format=webdataset", f"--out={out}", "--num_shards=2", "--overwrite")
    done = run_process("30000", "export", *own, *more, cwd=tmp_path, code=LIMITED)
    assert done.code == 2, done.err
    line = done.err.splitlines()[-1]
    assert line.startswith(f"data-redundancy: {out}: cannot be written (File too large); an earlier version is un")
    assert contents(out) == {"precious": b"old"}
    assert not list((tmp_path / ".out.exporting").rglob("*.tar"))
    done = run_process("10000000", "export", *own, *more, cwd=tmp_path, code=LIMITED)
    assert done.code == 0, done.err
    assert len(tar_images(out)) == 60
    assert not (out / "precious").exists()


@pytest.mark.slow
def test_a_full_disk_and_tfds(imagenet, tmp_path):
    """As before, with the writers of TFRecord and ArrayRecord files, of which TensorFlow and C++ do one each."""
    for more in ((), ("--file_format=array_record",)):
        arguments = ("50000", "export", *imagenet, f"--out={tmp_path / 'out'}", "--num_shards=1", *more)
        done = run_process(*arguments, cwd=tmp_path, code=LIMITED.replace('sys.modules["tensorflow"] = None', ""))
        assert done.code == 2, done.err
        line = done.err.splitlines()[-1]
        assert line.startswith(f"data-redundancy: {tmp_path / 'out'}: cannot be written (")
        assert "File too large" in line
        assert not (tmp_path / "out").exists()


def test_a_selection_of_other_data(npz, capfd, tmp_path, monkeypatch):
    folder, _ = npz
    monkeypatch.chdir(tmp_path)
    own = ("--config=default", f"--workdir={folder / 'w'}", f"--selection={folder / 'w/selections' / SELECTION}")
    own = (*own, "--format=webdataset", "--out=out", "--config.dataset.name=d.npz")
    write_digits(tmp_path / "d.npz", NUM_TRAIN, NUM_TEST, image_train=np.zeros((NUM_TRAIN, 8, 8), np.uint8))
    line = run_here(capfd, "export", *own).err.splitlines()[-1]
    assert f"{SELECTION}: was made with different inputs: dataset.train_digest was " in line
    write_digits(tmp_path / "d.npz", NUM_TRAIN - 1, NUM_TEST)
    line = run_here(capfd, "export", *own).err.splitlines()[-1]
    assert "dataset.num_train was 100 and is now 99" in line
    # Only the test split is another one: no business of the selection's.
    write_digits(tmp_path / "d.npz", NUM_TRAIN, NUM_TEST + 1)
    assert run_here(capfd, "export", *own).code == 0


def test_a_damaged_keep_list(npz, command, tmp_path):
    folder, _ = npz
    selection = shutil.copytree(folder / "w/selections" / SELECTION, tmp_path / "s")
    for keep in ([3, 2], [-1, 5], [5, 100], [0.5], [], [[1]]):
        np.save(selection / "keep.npy", np.array(keep))
        line = command("--out=x", selection=selection).err.splitlines()[-1]
        assert f"{selection / 'keep.npy'}: must hold ascending integers from 0 to 99" in line
    (selection / "keep.npy").write_bytes(b"not an array")
    assert f"{selection / 'keep.npy'}: cannot be read (" in command("--out=x", selection=selection).err
    np.save(selection / "keep.npy", np.arange(4))
    assert command(f"--out={tmp_path / 'out'}", "--format=webdataset", selection=selection).code == 0


def test_a_selection_from_arrays(npz, command, capfd, tmp_path):
    """It says nothing of a data set but labels and their number: these are compared."""
    folder, _ = npz
    labels = np.load(folder / "d.npz")["label_train"]
    x = np.random.default_rng(0).normal(size=(NUM_TRAIN, 4))
    other = labels.copy()
    other[7] += 1
    cases = {"same": (x, labels), "other": (x, other), "fewer": (x[1:], labels[1:])}
    for name, (embeddings, given) in cases.items():
        np.save(tmp_path / "e.npy", embeddings)
        np.save(tmp_path / "l.npy", given)
        own = (f"--embeddings={tmp_path / 'e.npy'}", f"--labels={tmp_path / 'l.npy'}", "--fraction=0.2")
        assert run_here(capfd, "select", *own, f"--out={tmp_path / name}").code == 0
    more = ("--format=webdataset", f"--out={tmp_path / 'out'}")
    line = command(*more, selection=tmp_path / "other").err
    assert f"was made from other labels: example 7 has {other[7]} there and {labels[7]} in train of d.npz" in line
    assert "is of 99 examples, but train of d.npz has 100" in command(*more, selection=tmp_path / "fewer").err
    assert command(*more, selection=tmp_path / "same").code == 0
    assert len(tar_images(tmp_path / "out")) == 80


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory):
    """Arguments for a streamed data set like ImageNet, and a selection of it."""
    folder = tmp_path_factory.mktemp("imagenet")
    imagenet_like.write(folder / "tfds")
    own = (
        "--config=imagenet",
        f"--workdir={folder / 'w'}",
        f"--config.dataset.name={imagenet_like.NAME}",
        f"--config.dataset.data_dir={folder / 'tfds'}",
        "--config.prepare.source=None",
        "--config.select.method=random",
    )
    done = run_process("select", *own, "--config.select.fraction=0.3", cwd=folder)
    assert done.code == 0, done.err
    return (*own, "--selection=random-0.3-seed0")


SLOWLY = """
import sys, time
from data_redundancy.cli import main
from data_redundancy.exporting import driver, records
write = driver._write
def slowly(*arguments):
    write(*arguments)
    time.sleep(0.05)
driver._write = slowly
sys.exit(main.main())
"""


@pytest.mark.slow
def test_killed_at_random_moments(imagenet, capfd, tmp_path):
    """After several SIGKILLs the result equals that of an undisturbed run, and no shard was written twice."""
    rng = random.Random(0)
    out, work = tmp_path / "out", tmp_path / ".out.exporting"
    arguments = ("export", *imagenet, "--num_shards=40")
    reached = []
    for _ in range(3):
        process = popen(["-c", SLOWLY, *arguments, f"--out={out}"], cwd=tmp_path)
        wanted = (reached[-1] if reached else 0) + rng.randint(1, 12)
        deadline = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline:
            if work.is_dir() and (work / "done").is_dir() and len(os.listdir(work / "done")) >= wanted:
                break
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.1))
        process.send_signal(signal.SIGKILL)
        _, err = process.communicate()
        assert process.returncode == -signal.SIGKILL, err
        assert not out.exists()
        reached.append(len(os.listdir(work / "done")))
    assert 0 < reached[0] < reached[1] < reached[2] < 44
    kept = {path.name: path.stat().st_mtime_ns for path in (work / "data").rglob("*.tfrecord-*")}
    done = run_here(capfd, *arguments, f"--out={out}")
    assert done.code == 0, done.err
    assert f", including {reached[-1]} files of an earlier run" in done.err
    there = {path.name: path.stat().st_mtime_ns for path in out.rglob("*.tfrecord-*")}
    assert sum(there[name] == kept[name] for name in kept) >= reached[-1]
    assert run_here(capfd, *arguments, f"--out={tmp_path / 'undisturbed'}").code == 0
    assert contents(out) == contents(tmp_path / "undisturbed")
    assert sorted(os.listdir(tmp_path)) == ["out", "undisturbed"]


@pytest.mark.slow
def test_two_processes(imagenet, capfd, tmp_path):
    """They share the files, and write what one alone does."""
    arguments = ("export", *imagenet, "--num_shards=9")
    code = """
import sys
from data_redundancy.cli import main
from data_redundancy.exporting import driver, records
write = driver._write
def write_and_report(writer, work, shard, *rest):
    write(writer, work, shard, *rest)
    sys.stdout.write(driver._name(shard) + '\\n')  # in one piece: threads write at the same time
driver._write = write_and_report
sys.exit(main.main())
"""
    processes = start_all(["-c", code, *arguments, f"--out={tmp_path / 'two'}"], cwd=tmp_path, devices=1)
    finished = ends(processes)
    assert [status for status, _, _ in finished] == [0, 0], finished
    shares = [set(re.findall(r"^(?:train|validation)-\d+$", out, re.M)) for _, out, _ in finished]
    assert [len(share) for share in shares] == [7, 6]  # 9 of train, 4 of validation
    assert not shares[0] & shares[1]
    assert run_here(capfd, *arguments, f"--out={tmp_path / 'one'}").code == 0
    assert contents(tmp_path / "two") == contents(tmp_path / "one")


@pytest.mark.slow
def test_records_that_are_others_than_were_listed(imagenet, capfd, tmp_path):
    """The list of a streamed data set is of files by name and size: records are looked at, too."""
    folder = shutil.copytree(pathlib.Path(imagenet[1].removeprefix("--workdir=")).parent, tmp_path / "copy")
    own = [*imagenet, f"--workdir={folder / 'w'}", f"--config.dataset.data_dir={folder / 'tfds'}"]
    first = np.load(folder / "w/selections/random-0.3-seed0/keep.npy")[0]
    path = next((folder / "tfds").rglob("*-train.tfrecord-00000-of-*"))
    read = list(records.read(path, "tfrecord", range(58)))
    others = [record.content.replace(b"JFIF", b"jfif") for record in read]
    # As long as the files are, records are others, or at other places, or damaged.
    cases = {
        f"--config.dataset.data_dir: has changed: the example {path.name}__{first} differs from that in": others,
        f"--config.dataset.data_dir: has changed: the example {path.name}__{first} differs": [
            r.content for r in read[::-1]
        ],
        f"{path}: is damaged or not a complete TFRecord file": None,
    }
    for message, contents_ in cases.items():
        if contents_ is None:
            damaged = path.read_bytes().replace(b"JFIF", b"jfif")
            path.write_bytes(damaged)
        else:
            size = path.stat().st_size
            records.write(path, "tfrecord", map(records.Record, contents_))
            assert path.stat().st_size == size
        done = run_here(capfd, "export", *own, f"--out={tmp_path / 'out'}")
        assert done.code == 2
        assert message in done.err
        assert not (tmp_path / "out").exists()
        records.write(path, "tfrecord", read)
    assert run_here(capfd, "export", *own, f"--out={tmp_path / 'out'}").code == 0
