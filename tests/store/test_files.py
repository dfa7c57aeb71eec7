import contextlib
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_redundancy.errors import InputError
from data_redundancy.store import directories, files


def files_below(path):
    return sorted(str(p.relative_to(path)) for p in path.rglob("*"))


def test_a_file_appears_whole(tmp_path):
    path = tmp_path / "new" / "a.json"
    with files.atomic_file(path) as partial:
        assert partial.suffix == ".json"
        assert partial.parent == path.parent
        partial.write_text("one")
        assert not path.exists()
    assert files_below(tmp_path) == ["new", "new/a.json"]
    assert path.read_text() == "one"


def test_a_file_that_fails_leaves_the_old_one(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("old")
    with contextlib.suppress(ZeroDivisionError), files.atomic_file(path) as partial:
        partial.write_text("half")
        raise ZeroDivisionError
    assert files_below(tmp_path) == ["a.json"]
    assert path.read_text() == "old"


def test_a_file_is_left_alone_if_nothing_changes(tmp_path):
    path = tmp_path / "a"
    assert files.write_if_changed(path, b"one")
    os.utime(path, ns=(1, 1))
    assert not files.write_if_changed(path, b"one")
    assert path.stat().st_mtime_ns == 1
    assert files.write_if_changed(path, b"two")
    assert path.read_bytes() == b"two"


@given(st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()))
def test_json_comes_back(tmp_path_factory, value):
    path = tmp_path_factory.mktemp("json") / "value.json"
    files.write_json(path, value)
    assert files.read_json(path) == value


def test_json_that_is_missing_or_broken(tmp_path):
    assert files.read_json(tmp_path / "a.json") is None
    (tmp_path / "a.json").write_text('{"a": 1')
    with pytest.raises(InputError, match=r"a\.json: must be a JSON file \(.*\)\. Remove it and run again\.$"):
        files.read_json(tmp_path / "a.json")


@pytest.mark.parametrize("writer", [files.atomic_file, directories.atomic_directory])
def test_what_cannot_be_written_is_told(tmp_path, writer):
    (tmp_path / "file").write_text("not a directory")
    told = r"file/a: cannot be written \((Not a directory|File exists)\)"
    with pytest.raises(InputError, match=told), writer(tmp_path / "file" / "a"):
        pytest.fail("the block must not start")


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(28, "No space left on device"), "No space left on device"),
        (OSError("3600 requested and 2484 written"), "3600 requested and 2484 written"),  # NumPy
        (ValueError("Error writing \"a\": Failed to write [os_error_code='28']"), "No space left on device"),
        (RuntimeError("INTERNAL: [os_error_code='122']"), "Disk quota exceeded"),
    ],
)
def test_a_full_disk_is_told_and_the_old_artifact_survives(tmp_path, error, reason):
    path = tmp_path / "artifact"
    with directories.atomic_directory(path) as partial:
        (partial / "old").write_text("old")
    with pytest.raises(InputError) as caught, directories.atomic_directory(path):
        raise error
    assert str(caught.value) == f"{path}: cannot be written ({reason}); an earlier version is unchanged"
    assert files_below(tmp_path) == ["artifact", "artifact/old"]


def test_other_errors_stay_what_they_are(tmp_path):
    with pytest.raises(ValueError, match=r"^shapes differ$"), files.writing(tmp_path):
        raise ValueError("shapes differ")
