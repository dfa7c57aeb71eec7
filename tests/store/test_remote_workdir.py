"""A workdir in a bucket, and behaviour that it shares with one on a disk. The bucket belongs to an emulator, a separate
process, which gcsfs and TensorStore access over HTTP."""

import contextlib
import functools
import http.server
import importlib.util
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid

import numpy as np
import pyarrow.parquet as pq
import pytest
from etils import epath
from etils.epath import gpath

import data_redundancy as dr
from data_redundancy.errors import InputError
from data_redundancy.store import artifacts, directories, files, filesystems, manifests, metrics
from data_redundancy.store.workdir import Workdir
from helpers.command import TINY, error_line, run_process, run_two_processes, write_digits

EMULATOR = """
import http, logging, re, sys
from gcp_storage_emulator.handlers import objects

# TensorStore uses generations, which Google's server supports and the emulator (2026.7) does not.
def generation(storage, request, name):
    try:
        return storage.get_file_obj(request.params["bucket_name"], name)["generation"]
    except objects.NotFound:
        return "0"

def download(request, response, storage, *arguments, original=objects.download, **options):
    original(request, response, storage, *arguments, **options)
    response["x-goog-generation"] = generation(storage, request, request.params["object_id"])
    # It also lacks suffix ranges, by which Zarr reads the index of a shard.
    if last := re.fullmatch("bytes=-([0-9]+)", request.get_header("range") or ""):
        size = len(response._content)
        response["Content-Range"] = f"bytes {size - int(last[1])}-{size - 1}/{size}"
        response._content = response._content[-int(last[1]):]
        response.status = http.HTTPStatus.PARTIAL_CONTENT

def insert(request, response, storage, *arguments, original=objects.insert, **options):
    expected = request.query.get("ifGenerationMatch")
    if expected and expected[0] != generation(storage, request, request.query["name"][0]):
        response.status = http.HTTPStatus.PRECONDITION_FAILED
        return
    original(request, response, storage, *arguments, **options)

objects.download, objects.insert = download, insert
from gcp_storage_emulator.server import create_server

logging.disable()
create_server("127.0.0.1", int(sys.argv[1]), in_memory=True, default_bucket="bucket").start()
print("ready", flush=True)
"""
WITHOUT_TENSORFLOW = """
import sys
for name in ("tensorflow", "tensorflow_datasets", "clu"):
    sys.modules[name] = None
from data_redundancy.cli import main
sys.exit(main.main())
"""
FROM_NPZ = ("--config.dataset.name=d.npz",)


def needs(*packages: str) -> None:
    """Skips, without importing them: what they do may depend on the environment then."""
    for package in packages:
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed; it comes with '.[test]'")


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture(scope="module")
def emulator():
    """The address of a server that has one bucket, named bucket."""
    needs("gcsfs", "gcp_storage_emulator")
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-c", EMULATOR, str(port)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout.readline() == "ready\n"
    yield f"http://127.0.0.1:{port}"
    process.kill()
    process.communicate()


@pytest.fixture(autouse=True)
def settings(monkeypatch):
    """Sets what `filesystems` sets for good, and undoes it after the test."""
    monkeypatch.setenv("EPATH_USE_TF", "0")
    monkeypatch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    gpath._is_tf_installed.cache_clear()  # other tests may have called it
    yield
    gpath._is_tf_installed.cache_clear()


def use_server(monkeypatch, address: str) -> None:
    """Sends this process, and those it starts, to a server instead of Google's."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", address)
    monkeypatch.setenv("TENSORSTORE_GCS_HTTP_URL", address)
    monkeypatch.setenv("GOOGLE_AUTH_TOKEN_FOR_TESTING", "token")


@pytest.fixture
def bucket(emulator, monkeypatch):
    """A separate directory in the bucket."""
    use_server(monkeypatch, emulator)
    return filesystems.locate(f"gs://bucket/{uuid.uuid4().hex}/w", "workdir")


@pytest.fixture(params=["disk", "bucket"])
def place(request, tmp_path):
    return request.getfixturevalue("bucket") if request.param == "bucket" else epath.Path(tmp_path) / "w"


def files_below(path):
    """Names and contents of all files; `epath` has no other way to go through a bucket."""
    found = {}
    for child in path.iterdir() if path.exists() else ():
        if child.is_dir():
            found |= {f"{child.name}/{name}": content for name, content in files_below(child).items()}
        else:
            found[child.name] = child.read_bytes()
    return found


def without_log_of_libraries(done):
    """TensorStore says on stderr where it found credentials, or did not."""
    lines = [line for line in done.err.splitlines(True) if not re.match(r"[IWE]\d{4} .*google_auth_provider\.cc", line)]
    return type(done)(done.code, done.out, "".join(lines))


# Where


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("s3://bucket/w", "must be a local path or gs://BUCKET/DIRECTORY"),
        ("gs:/bucket/w", "must be a local path or gs://BUCKET/DIRECTORY"),
        ("file:///tmp/w", "must be a local path or gs://BUCKET/DIRECTORY"),
        ("gs://", "must name a bucket, as in gs://BUCKET/DIRECTORY"),
        ("gs:///w", "must name a bucket, as in gs://BUCKET/DIRECTORY"),
        ("gs://bucket/w[1]*", "must not contain * [ ]"),
    ],
)
def test_places_that_are_refused(name, told):
    with pytest.raises(InputError) as caught:
        Workdir(name)
    assert str(caught.value) == f"workdir={name}: {told}"


def test_local_places_are_made_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")
    assert filesystems.locate("w", "workdir") == epath.Path(tmp_path / "w")
    assert filesystems.locate("~/w", "workdir") == epath.Path("/home/somebody/w")
    assert not filesystems.is_remote(filesystems.locate("gs/b", "workdir"))


def test_a_bucket_needs_gcsfs(monkeypatch):
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(InputError, match=r"^workdir=gs://bucket/w: needs the package gcsfs, .*pip install "):
        Workdir("gs://bucket/w")


@pytest.mark.parametrize("bucket", ["b", "Abc", "a..b", "-ab", "ab-", "a" * 223, "a b", "caf\u00e9", "a%b"])
def test_names_that_no_bucket_has(bucket):
    with pytest.raises(InputError, match=r"^out=.*: must name a bucket of 3 to 222 lower-case letters"):
        filesystems.locate(f"gs://{bucket}/x", "out")


def test_tensorstore_finds_the_same_place():
    assert filesystems.kvstore(epath.Path("/a/b")) == {"driver": "file", "path": "/a/b/"}
    assert filesystems.kvstore(epath.Path("gs://b/a/c")) == {"driver": "gcs", "bucket": "b", "path": "a/c/"}
    assert filesystems.kvstore(epath.Path("gs://b")) == {"driver": "gcs", "bucket": "b", "path": ""}


def test_the_paths_of_a_workdir_in_a_bucket(bucket):
    directory = Workdir(bucket)
    assert str(directory.trial("random-0.1-seed2", 2)) == f"{bucket}/trials/random-0.1-seed2/seed2"
    assert directory.show(directory.embeddings) == f"{bucket}/embeddings"
    assert files_below(bucket) == {}, "the probe is still there"


# Files


def test_a_file_appears_whole(place):
    path = place / "new" / "a.json"
    with files.atomic_file(path) as partial:
        assert partial.suffix == ".json"
        partial.write_text("one")
        assert not path.exists()
    assert files_below(place) == {"new/a.json": b"one"}


def test_a_file_that_fails_leaves_the_old_one(place):
    files.write_json(place / "a.json", 1)
    before = files_below(place)
    with contextlib.suppress(ZeroDivisionError), files.atomic_file(place / "a.json") as partial:
        partial.write_text("half")
        raise ZeroDivisionError
    assert files_below(place) == before


def test_json_that_is_missing_broken_or_replaced(place):
    path = place / "a.json"
    assert files.read_json(path) is None
    for value in ({"a": 1}, {"a": "longer than before"}, {}):
        files.write_json(path, value)
        assert files.read_json(path) == value
    with files.atomic_file(path) as partial:
        partial.write_text("{")
    with pytest.raises(InputError, match=r"a\.json: must be a JSON file \(.*\)\. Remove it and run again\.$"):
        files.read_json(path)


def test_a_file_is_written_if_it_changes(place):
    assert files.write_if_changed(place / "a", b"one")
    assert not files.write_if_changed(place / "a", b"one")
    assert files.write_if_changed(place / "a", b"two")
    assert files_below(place) == {"a": b"two"}


def test_what_another_process_writes_is_seen_at_once(bucket):
    files.write_json(bucket / "a.json", 1)
    assert [path.name for path in bucket.iterdir()] == ["a.json"]
    other = f"""
from data_redundancy.store import files, filesystems
directory = filesystems.locate({str(bucket)!r}, "workdir")
files.write_json(directory / "a.json", "another length")
files.write_json(directory / "b.json", 2)
"""
    subprocess.run([sys.executable, "-c", other], check=True, timeout=120)
    assert files.read_json(bucket / "a.json") == "another length"
    assert sorted(path.name for path in bucket.iterdir()) == ["a.json", "b.json"]
    assert (bucket / "b.json").is_file()


# Directories


def write_artifact(path, *names):
    with directories.atomic_directory(path) as partial:
        for name in names:
            with files.file_within(partial / name) as file:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(name)
            assert manifests.read(path) is None or not filesystems.is_remote(path)
        files.write_json(partial / manifests.MANIFEST, manifests.make({}, names=names))


def test_a_directory_replaces_the_old_one(place):
    write_artifact(place / "e", "old", "c/0/old", "both")
    write_artifact(place / "e", "new", "c/0/new", "both")
    assert sorted(files_below(place)) == ["e/both", "e/c/0/new", "e/manifest.json", "e/new"]
    assert manifests.read(place / "e")["names"] == ["new", "c/0/new", "both"]


def test_a_directory_that_fails_is_the_old_one_or_none(place):
    write_artifact(place / "e", "old")
    before = files_below(place)
    with contextlib.suppress(ZeroDivisionError), directories.atomic_directory(place / "e") as partial:
        with files.file_within(partial / "new") as file:
            file.write_text("new")
        raise ZeroDivisionError
    assert files_below(place) == ({} if filesystems.is_remote(place) else before)


@pytest.mark.parametrize("files_first", [0, 1])
def test_a_directory_of_a_killed_process_is_not_whole(bucket, files_first):
    write_artifact(bucket / "e", "old")
    code = f"""
import os, signal
from data_redundancy.store import directories, files, filesystems
path = filesystems.locate({str(bucket / "e")!r}, "workdir")
with directories.atomic_directory(path) as partial:
    for _ in range({files_first}):
        files.write_json(partial / "half", 1)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert subprocess.run([sys.executable, "-c", code], timeout=120).returncode == -signal.SIGKILL
    assert manifests.read(bucket / "e") is None
    assert sorted(files_below(bucket)) == ["e/half"] * files_first
    write_artifact(bucket / "e", "new")
    assert sorted(files_below(bucket)) == ["e/manifest.json", "e/new"]


def test_a_process_killed_while_it_removes_the_old_directory_leaves_no_manifest(bucket, monkeypatch):
    write_artifact(bucket / "e", "old")
    monkeypatch.setattr(type(bucket), "rmtree", lambda *arguments, **options: pytest.exit("killed"))
    with pytest.raises(pytest.exit.Exception), directories.atomic_directory(bucket / "e"):
        pytest.fail("the block must not start")
    assert sorted(files_below(bucket)) == ["e/old"]


ONE_OF_TWO = """
import sys, time
import jax
import numpy as np
process, port, directory = int(sys.argv[1]), sys.argv[2], sys.argv[3]
jax.config.update("jax_cpu_collectives_implementation", "gloo")
jax.distributed.initialize(f"127.0.0.1:{port}", 2, process)
from data_redundancy.store import artifacts, filesystems, manifests
artifacts.CHUNK_BYTES = 4 * 2 * 5  # 5 rows
directory = filesystems.locate(directory, "workdir") / "embeddings"
rows = np.arange(20, dtype=np.float32).reshape(10, 2)
with artifacts.write_embeddings(directory, np.arange(10), num_dimensions=2, fingerprint={}) as store:
    if process == 1:
        time.sleep(2)
        assert manifests.read(directory) is None, "whole before all rows are there"
    store[5 * process : 5 * process + 5] = rows[5 * process : 5 * process + 5]
assert manifests.read(directory)["num_examples"] == 10
assert np.array_equal(artifacts.read_embeddings(directory)[0], rows)
"""


@pytest.mark.slow
def test_two_processes_write_one_store(bucket, tmp_path):
    run_two_processes(ONE_OF_TWO, bucket, cwd=tmp_path)
    assert np.array_equal(artifacts.read_embeddings(bucket / "embeddings")[1], np.arange(10))


# Artifacts


def test_embeddings_come_back(place, monkeypatch):
    monkeypatch.setattr(artifacts, "CHUNK_BYTES", 4 * 5 * 7)  # 7 rows of 5 dimensions: three chunks
    embeddings = np.random.default_rng(0).normal(size=(20, 5)).astype(np.float32)
    for labels in (np.zeros(20, int), np.arange(20) % 3):  # the second replaces the first
        with artifacts.write_embeddings(place / "e", labels, num_dimensions=5, fingerprint={"a": 1}) as store:
            for first in range(0, 20, 5):
                store[first : first + 5] = embeddings[first : first + 5]
    read, read_labels = artifacts.read_embeddings(place / "e")
    assert np.array_equal(read, embeddings)
    assert np.array_equal(read_labels, labels)
    assert manifests.read(place / "e")["num_examples"] == 20
    chunks = [f"embedding/c/{row}/0" for row in range(3)]
    assert sorted(files_below(place / "e")) == [
        *chunks,
        "embedding/zarr.json",
        "label/c/0",
        "label/zarr.json",
        "manifest.json",
        "zarr.json",
    ]


def test_a_selection_that_another_job_finished_meanwhile_stays(place):
    """Both jobs found no selection before; in a bucket, no object is rewritten."""
    selection = dr.select(dr.cluster(np.eye(4), np.zeros(4, int)), prune_fraction=0.5)
    about = dict.fromkeys(("labels", "class_names", "tfds_ids", "file_names")) | {"fingerprint": {"a": 1}}
    with directories.shared_directory(place / "s", {"a": 1}) as partial:
        (partial / "keep.npy").write_bytes(b"another job's")
        files.write_json(partial / manifests.MANIFEST, {"fingerprint": {"a": 1}})
    before = files_below(place)
    artifacts.write_selection(place / "s", selection, **about)
    assert files_below(place) == before
    with pytest.raises(InputError, match="s: was made with different inputs: a was 1 and is now 2"):
        artifacts.write_selection(place / "s", selection, **{**about, "fingerprint": {"a": 2}})
    assert files_below(place) == before


def test_a_selection_of_a_killed_job_in_a_bucket_is_made_whole(bucket):
    (bucket / "s" / "keep.npy").write_bytes(b"half")
    selection = dr.select(dr.cluster(np.eye(4), np.zeros(4, int)), prune_fraction=0.5)
    about = dict.fromkeys(("labels", "class_names", "tfds_ids", "file_names"))
    artifacts.write_selection(bucket / "s", selection, **about, fingerprint={})
    assert np.array_equal(artifacts.read_keep(bucket / "s"), selection.keep)


def test_embeddings_that_are_not_there(place):
    with pytest.raises(InputError, match=r"embedding: must be a Zarr array \("):
        artifacts.read_embeddings(place / "e")


def test_dendrograms_come_back(place):
    rng = np.random.default_rng(0)
    trees = dr.cluster(rng.normal(size=(40, 3)), np.arange(40) % 4).trees
    assert artifacts.read_dendrograms(place, trees, "class") == {}
    artifacts.remove_dendrograms(place)
    files.write_json(place / "manifest.json", {})
    for label in (0, 1, 3):
        path = artifacts.dendrogram_path(place, label, "class")
        artifacts.write_dendrogram(path, members=trees[label].members, merges=trees[label].merges)
    found = artifacts.read_dendrograms(place, trees, "class")
    assert list(found) == [0, 1, 3]
    for label, (members, linkage) in found.items():
        assert np.array_equal(members, trees[label].members)
        assert np.array_equal(linkage, trees[label].merges)
    artifacts.remove_dendrograms(place)
    assert list(files_below(place)) == ["manifest.json"]


def test_selections_come_back(place):
    labels = np.repeat([0, 2], [12, 8])
    selection = dr.select(dr.cluster(np.random.default_rng(0).normal(size=(20, 4)), labels), prune_fraction=0.25)
    about = {"labels": labels, "class_names": ("cat", "dog", "eel"), "tfds_ids": None, "file_names": None}
    artifacts.write_selection(place / "s", selection, **about, fingerprint={"a": 1})
    assert np.array_equal(artifacts.read_keep(place / "s"), selection.keep)
    assert sorted(files_below(place / "s")) == ["examples.parquet", "keep.npy", "manifest.json"]
    with (place / "s" / "examples.parquet").open("rb") as file:
        rows = pq.read_table(file).to_pydict()
    assert rows["kept"] == selection.kept.tolist()
    assert manifests.read(place / "s")["fingerprint"] == {"a": 1}


# Metrics


@pytest.fixture
def clock(monkeypatch):
    """Time that passes only when a test advances it, without TensorFlow."""

    class Clock:
        now = 1000.0

    monkeypatch.setitem(sys.modules, "tensorflow", None)
    monkeypatch.setattr(metrics.time, "monotonic", lambda: Clock.now)
    return Clock


def steps_in(directory):
    return [json.loads(line)["step"] for line in (directory / "metrics.jsonl").read_text().splitlines()]


def test_metrics_in_a_bucket_are_there_when_flushed_closed_or_old(bucket, clock):
    writer = metrics.MetricWriter(bucket)
    assert steps_in(bucket) == []
    writer.write(1, {"loss": 1.0})
    assert steps_in(bucket) == []
    writer.flush()
    assert steps_in(bucket) == [1]
    writer.write(2, {"loss": 1.0})
    clock.now += 61
    writer.write(3, {"loss": 1.0})
    assert steps_in(bucket) == [1, 2, 3]
    writer.write(4, {"loss": 1.0})
    writer.close()
    assert steps_in(bucket) == [1, 2, 3, 4]


def test_metrics_of_a_resumed_run_are_those_of_one_never_cut_off(place, clock):
    first = metrics.MetricWriter(place)
    for step in (2, 4):
        first.write(step, {"loss": 1 / step})
    first.flush()  # and a checkpoint of step 4
    first.write(6, {"loss": 1 / 6})
    if not filesystems.is_remote(place):
        first.close()  # the process is gone
    second = metrics.MetricWriter(place, resume_step=4)
    for step in (6, 8):
        second.write(step, {"loss": 1 / step})
    second.close()
    assert (place / "metrics.jsonl").read_text() == "".join(
        json.dumps({"step": step, "loss": 1 / step}) + "\n" for step in (2, 4, 6, 8)
    )


# Buckets that cannot be used


class Refuses(http.server.BaseHTTPRequestHandler):
    """Answers every request with an error, as Google's server words it."""

    def __init__(self, *arguments, code: int, message: str):
        self.code, self.message = code, message
        super().__init__(*arguments)

    def answer(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = json.dumps({"error": {"code": self.code, "message": self.message}}).encode()
        self.send_response(self.code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_DELETE = answer  # noqa: N815

    def log_message(self, *arguments):
        pass


@contextlib.contextmanager
def refusing_server(code: int, message: str):
    handler = functools.partial(Refuses, code=code, message=message)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


UNUSABLE = "must be a directory that can be read and written"


def complaint(tmp_path, *arguments, code=WITHOUT_TENSORFLOW) -> str:
    started = time.monotonic()
    done = run_process(*arguments, cwd=tmp_path, code=code)
    assert time.monotonic() - started < 60
    return error_line(without_log_of_libraries(done))


def test_a_bucket_that_is_not_there(emulator, tmp_path, monkeypatch):
    use_server(monkeypatch, emulator)
    line = complaint(tmp_path, "cluster", "--config=digits", "--workdir=gs://missing/w")
    assert line == f"--workdir=gs://missing/w: {UNUSABLE} (no such bucket or object)"


def test_a_server_that_cannot_be_reached(tmp_path, monkeypatch):
    needs("gcsfs")
    use_server(monkeypatch, f"http://127.0.0.1:{free_port()}")
    line = complaint(tmp_path, "cluster", "--config=digits", "--workdir=gs://bucket/w")
    assert line.startswith(f"--workdir=gs://bucket/w: {UNUSABLE} (CURL error Could not connect to serv")
    np.save(tmp_path / "e.npy", np.eye(3))
    flags = ("--embeddings=e.npy", "--labels=l.npy", "--fraction=0.1", "--out=gs://bucket/s")
    assert complaint(tmp_path, "select", *flags).startswith(f"--out=gs://bucket/s: {UNUSABLE} (CURL err")


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (401, "Anonymous caller does not have storage.objects.create access to the Google Cloud Storage object."),
        (403, "somebody@example.com does not have storage.objects.create access to the Google Cloud Storage object."),
        (503, "Service Unavailable"),
    ],
)
def test_a_server_that_refuses(tmp_path, monkeypatch, code, message):
    needs("gcsfs")
    with refusing_server(code, message) as address:
        use_server(monkeypatch, address)
        line = complaint(tmp_path, "cluster", "--config=digits", "--workdir=gs://bucket/w")
    assert line.startswith(f"--workdir=gs://bucket/w: {UNUSABLE} (")
    assert message.rstrip(".") in line


def test_a_server_that_does_not_answer(tmp_path, monkeypatch):
    needs("gcsfs")
    impatient = (
        f"from data_redundancy.store import filesystems\nfilesystems.PROBE_TIMEOUT_S = 1.5\n{WITHOUT_TENSORFLOW}"
    )
    with socket.create_server(("127.0.0.1", 0)) as silent:
        use_server(monkeypatch, f"http://127.0.0.1:{silent.getsockname()[1]}")
        line = complaint(tmp_path, "cluster", "--config=digits", "--workdir=gs://bucket/w", code=impatient)
    assert line == f"--workdir=gs://bucket/w: {UNUSABLE} (no answer in 1.5 seconds)"


IMPATIENT = """
import asyncio, sys, types
import gcsfs.retry
from data_redundancy.store import artifacts, files, filesystems, manifests
from data_redundancy.cli import main
gcsfs.retry.asyncio = types.SimpleNamespace(sleep=lambda seconds: asyncio.sleep(0))
of_a_directory = filesystems.kvstore
filesystems.kvstore = lambda path: {**of_a_directory(path), "context": {"gcs_request_retries": {"max_retries": 1}}}
"""
"""Tries again at once, and not for minutes."""


@pytest.mark.parametrize("write", ["file", "embeddings"])
@pytest.mark.parametrize(
    ("status", "code", "reason"),
    [
        (403, 2, r"gs://bucket/w/a: cannot be written \(.*no luck.*\)"),
        (
            503,
            75,
            r"gs://bucket/w/a: cannot be written at the moment \(.*no luck.*\); run the same command again, .*",
        ),
    ],
)
def test_a_bucket_that_can_no_longer_be_written(tmp_path, monkeypatch, write, status, code, reason):
    needs("gcsfs")
    script = f"""{IMPATIENT}
def run(argv):
    path = filesystems.locate("gs://bucket/w/a", "workdir")
    if {write!r} == "file":
        files.write_json(path, 1)
    else:
        with files.writing(path):
            artifacts._create_array(path, (2, 2), (2, 2), "float32")
main._print_help = run
sys.exit(main.main())
"""
    with refusing_server(status, "no luck") as address:
        use_server(monkeypatch, address)
        done = without_log_of_libraries(run_process(cwd=tmp_path, code=script))
    assert (done.code, done.out) == (code, ""), done
    assert re.fullmatch(rf"data-redundancy: {reason}\n", done.err), done


@pytest.mark.parametrize("read", ["manifests.read", "artifacts.read_embeddings"])
def test_a_bucket_that_cannot_be_read_for_the_moment(tmp_path, monkeypatch, read):
    needs("gcsfs")
    script = f"""{IMPATIENT}
main._print_help = lambda argv: {read}(filesystems.locate("gs://bucket/w/a", "workdir"))
sys.exit(main.main())
"""
    with refusing_server(503, "no luck") as address:
        use_server(monkeypatch, address)
        done = without_log_of_libraries(run_process("train", "--workdir=gs://bucket/w", cwd=tmp_path, code=script))
    assert (done.code, done.out) == (75, ""), done
    assert re.fullmatch(r"data-redundancy: a bucket is unavailable \(.*no luck.*\); run the same .*\n", done.err), done


def test_failures_of_a_bucket_that_pass_by_themselves():
    needs("gcsfs")
    import aiohttp
    import gcsfs.retry
    import google.auth.exceptions
    import requests

    passing = [gcsfs.retry.HttpError({"code": code, "message": "m"}) for code in (408, 429, 500, "503")]
    passing += [aiohttp.ClientConnectionError("m"), requests.exceptions.ProxyError(), TimeoutError(), ConnectionError()]
    passing += [google.auth.exceptions.TransportError("m"), gcsfs.retry.ChecksumError("m")]
    passing += [ValueError("UNAVAILABLE: m [http_response_code='503']"), ValueError("m [curl_code='7']")]
    assert all(map(filesystems.passes, passing))
    assert all(map(filesystems.failure, passing))
    lasting = [gcsfs.retry.HttpError({"code": code, "message": "m"}) for code in (400, 401, 412)]
    lasting += [
        OSError("Forbidden: w"),
        OSError(28, "No space left"),
        google.auth.exceptions.DefaultCredentialsError("m"),
    ]
    lasting += [ValueError("m [http_response_code='404']"), ValueError("m [os_error_code='28']"), ValueError("m")]
    assert not any(map(filesystems.passes, lasting))


# Whole jobs


def run_job(folder, place, *flags, stage="run", code=WITHOUT_TENSORFLOW):
    return run_process(stage, *TINY, *FROM_NPZ, f"--workdir={place}", *flags, cwd=folder, code=code)


@pytest.fixture(scope="module")
def local_job(tmp_path_factory):
    folder = tmp_path_factory.mktemp("job")
    write_digits(folder / "d.npz")
    done = run_job(folder, "w")
    assert done.code == 0, done.err
    return folder


def same_for_all_runs(path, content: bytes):
    """What a file says beside times and the place it is in."""
    if path.endswith("result.json"):
        return {name: value for name, value in json.loads(content).items() if name != "train_seconds"}
    if path.endswith("timing.jsonl"):
        return [json.loads(line).keys() for line in content.splitlines()]
    return content


@pytest.mark.slow
def test_a_whole_job_in_a_bucket_does_what_it_does_on_a_disk(local_job, bucket):
    done = run_job(local_job, bucket)
    assert done.code == 0, done.err
    assert f"{bucket}/report/results.csv" in done.out
    found, expected = files_below(bucket), files_below(epath.Path(local_job / "w"))
    assert not [name for name in found if "partial" in name or "tmp" in name or "writable" in name]
    # Orbax names its own files by chance.
    found, expected = ({n: c for n, c in files.items() if "/checkpoints/" not in n} for files in (found, expected))
    assert sorted(found) == sorted(expected)
    for name in expected:
        assert same_for_all_runs(name, found[name]) == same_for_all_runs(name, expected[name]), name
    again = run_job(local_job, bucket)
    assert again.code == 0, again.err
    assert again.err.count("already done, skipped") == 6, again.err
    assert {n: c for n, c in files_below(bucket).items() if "/checkpoints/" not in n} == found


KILLED_AT_A_CHECKPOINT = f"""
import os, signal
from data_redundancy.training import checkpoint
save = checkpoint.Checkpoints.save
def save_or_die(self, state, *sums):
    if int(state.step) == 8:
        self.wait()
        os.kill(os.getpid(), signal.SIGKILL)
    save(self, state, *sums)
checkpoint.Checkpoints.save = save_or_die
{WITHOUT_TENSORFLOW}"""


@pytest.mark.slow
def test_training_that_was_killed_goes_on_in_a_bucket(local_job, bucket):
    killed = run_job(local_job, bucket, stage="train", code=KILLED_AT_A_CHECKPOINT)
    assert killed.code == -signal.SIGKILL, killed.err
    done = run_job(local_job, bucket, stage="train")
    assert done.code == 0, done.err
    assert "resumed at step 4 of 8" in done.err
    trial, expected = bucket / "trials/full/seed0", epath.Path(local_job / "w/trials/full/seed0")
    for name in ("result.json", "metrics.jsonl"):
        contents = [same_for_all_runs(name, (directory / name).read_bytes()) for directory in (trial, expected)]
        assert contents[0] == contents[1], name


@pytest.mark.slow
def test_selecting_into_a_bucket_where_tensorflow_is_installed(bucket, tmp_path):
    """TensorFlow, which most users have installed, does not access the bucket."""
    rng = np.random.default_rng(0)
    np.save(tmp_path / "e.npy", rng.normal(size=(30, 4)))
    np.save(tmp_path / "l.npy", np.arange(30) % 3)
    flags = ("--embeddings=e.npy", "--labels=l.npy", "--fraction=0.5")
    for out in (bucket, "local"):
        done = run_process("select", *flags, f"--out={out}", cwd=tmp_path)
        assert done.code == 0, done.err
    assert files_below(bucket) == files_below(epath.Path(tmp_path / "local"))
    done = without_log_of_libraries(run_process("select", *flags, f"--out={bucket}", cwd=tmp_path))
    assert error_line(done) == f"--out={bucket}: exists and is not empty. Name another directory."
    assert os.listdir(tmp_path / "local")
