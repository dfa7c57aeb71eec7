import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from data_redundancy.errors import InputError
from data_redundancy.store import directories, files, manifests


def files_below(path):
    return sorted(str(p.relative_to(path)) for p in path.rglob("*"))


def test_a_directory_replaces_the_old_one(tmp_path):
    path = tmp_path / "artifact"
    for name in ("old", "new"):
        with directories.atomic_directory(path) as partial:
            (partial / name).write_text(name)
            assert not (path / name).exists()
    assert files_below(tmp_path) == ["artifact", "artifact/new"]


def test_a_directory_that_fails_leaves_the_old_one(tmp_path):
    path = tmp_path / "artifact"
    with directories.atomic_directory(path) as partial:
        (partial / "old").write_text("old")
    with contextlib.suppress(ZeroDivisionError), directories.atomic_directory(path) as partial:
        (partial / "new").write_text("half")
        raise ZeroDivisionError
    assert files_below(tmp_path) == ["artifact", "artifact/old"]


def test_a_directory_of_a_killed_process_is_forgotten(tmp_path):
    path = tmp_path / "artifact"
    code = f"""
import os, pathlib, signal
from data_redundancy.store import directories
path = pathlib.Path({str(path)!r})
with directories.atomic_directory(path) as partial:
    (partial / "old").write_text("old")
with directories.atomic_directory(path) as partial:
    (partial / "half").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run([sys.executable, "-c", code], timeout=120)
    assert killed.returncode == -signal.SIGKILL
    assert (path / "old").read_text() == "old"
    assert not (path / "half").exists()
    with directories.atomic_directory(path) as partial:
        (partial / "new").write_text("new")
    assert files_below(tmp_path) == ["artifact", "artifact/new"]


OTHER_JOB = """
import os, pathlib, signal, sys
from data_redundancy.runtime import devices
from data_redundancy.store import directories
devices.os.getpid = lambda: int(sys.argv[2])
devices._host = lambda: sys.argv[3]
with directories.atomic_directory(pathlib.Path(sys.argv[1])) as partial:
    print(partial.name, flush=True)
    sys.stdin.readline()
"""


def other_job(path, number, host):
    """Another process that has begun to write a directory, and the name it gave it."""
    command = [sys.executable, "-c", OTHER_JOB, str(path), str(number), host]
    job = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    return job, job.stdout.readline().strip()


def test_jobs_whose_hosts_begin_alike_leave_each_other_alone(tmp_path, monkeypatch):
    """As in containers, where every job is process 1."""
    path, host = tmp_path / "artifact", "a-long-name-of-a-pod-in-a-cluster-of-many-"
    monkeypatch.setattr(directories.devices, "_host", lambda: f"{host}0")
    job, name = other_job(path, os.getpid(), f"{host}1")
    with directories.atomic_directory(path) as partial:
        assert partial.name != name
        assert (tmp_path / name).is_dir()
    job.kill()
    job.communicate()


def test_two_jobs_never_have_one_name(tmp_path):
    jobs = [other_job(tmp_path / directory, 1, "host") for directory in "ab"]
    assert jobs[0][1].removeprefix("a.") != jobs[1][1].removeprefix("b.")
    for job, _ in jobs:
        job.kill()
        job.communicate()


def test_a_restarted_container_removes_what_it_left(tmp_path):
    """The same host, and the number of this process again."""
    job, name = other_job(tmp_path / "artifact", os.getpid(), directories.devices._host())
    job.kill()
    job.communicate()
    assert os.listdir(tmp_path) == [name]
    with directories.atomic_directory(tmp_path / "artifact"):
        assert name not in os.listdir(tmp_path)


def test_directories_of_others_stay(tmp_path):
    """Their names begin and end like those of unfinished artifacts, and they are old."""
    names = ["a.b.old", "a.best.partial", "a.2024-01.old", "a.run-7-abc.old", "aXhost-1-0123abcd.old"]
    for name in names:
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (0, 0))
    with directories.atomic_directory(tmp_path / "a") as partial:
        (partial / "content").write_text("a")
    assert sorted(os.listdir(tmp_path)) == sorted([*names, "a"])


# Directories that several jobs make


def write_shared(path, content, fingerprint=("x", 1)):
    with directories.shared_directory(path, dict([fingerprint])) as partial:
        (partial / "content").write_text(content)
        files.write_json(partial / manifests.MANIFEST, {"fingerprint": dict([fingerprint])})


def test_the_first_that_is_done_stays(tmp_path):
    path = tmp_path / "s"
    with directories.shared_directory(path, {"x": 1}) as partial:
        write_fully = [
            sys.executable,
            "-c",
            f"""
import pathlib, sys
sys.path.insert(0, {str(pathlib.Path(__file__).parent)!r})
import test_directories
test_directories.write_shared(pathlib.Path({str(path)!r}), "first")
""",
        ]
        subprocess.run(write_fully, check=True, timeout=120)
        there = (path / "content").stat()
        (partial / "content").write_text("second")
        files.write_json(partial / manifests.MANIFEST, {"fingerprint": {"x": 1}})
    assert files_below(tmp_path) == ["s", "s/content", "s/manifest.json"]
    assert (path / "content").read_text() == "first"
    assert ((path / "content").stat().st_ino, path.stat().st_nlink) == (there.st_ino, path.stat().st_nlink)


def test_what_is_not_whole_or_of_something_else(tmp_path):
    path = tmp_path / "s"
    path.mkdir()
    (path / "half").write_text("half")
    write_shared(path, "whole")
    with pytest.raises(InputError, match="s: was made with different inputs: x was 1 and is now 2"):
        write_shared(path, "other", ("x", 2))
    assert files_below(tmp_path) == ["s", "s/content", "s/manifest.json"]
    assert (path / "content").read_text() == "whole"


RACE = """
import pathlib, sys, time
sys.path.insert(0, sys.argv[1])
import test_directories
for number in range(200):
    path = pathlib.Path(sys.argv[2]) / str(number)
    while time.time() < float(sys.argv[3]) + number / 100:
        pass
    test_directories.write_shared(path, "content")
"""


def test_jobs_that_race_leave_no_gap(tmp_path):
    command = [sys.executable, "-c", RACE, str(pathlib.Path(__file__).parent), str(tmp_path), str(time.time() + 8)]
    jobs = [subprocess.Popen(command) for _ in range(2)]
    first_seen = {}
    while any(job.poll() is None for job in jobs):
        for path in [path for path in tmp_path.iterdir() if path.name.isdecimal()]:
            node = (path / "content").stat().st_ino  # raises where there is a gap
            assert first_seen.setdefault(path.name, node) == node
    assert [job.returncode for job in jobs] == [0, 0]
    assert sorted(os.listdir(tmp_path), key=int) == [str(number) for number in range(200)]
