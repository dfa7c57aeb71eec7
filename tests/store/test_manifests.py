import pathlib

import pytest

import data_redundancy as dr
from data_redundancy.errors import InputError
from data_redundancy.store import files, manifests


def test_fingerprints_that_agree():
    manifests.check_fingerprint(pathlib.Path("a"), {"f": [1, 2], "g": None}, {"g": None, "f": (1, 2)})


def test_fingerprints_that_differ_are_told_with_both_values():
    with pytest.raises(InputError) as caught:
        manifests.check_fingerprint(pathlib.Path("w/a"), {"x": 1, "y": "a", "z": 3}, {"x": 2, "y": "b", "z": 3})
    assert str(caught.value).startswith(
        "w/a: was made with different inputs: x was 1 and is now 2; y was 'a' and is now 'b'. Use the inputs "
    )


def test_fingerprints_that_differ_in_much():
    with pytest.raises(InputError, match=r"c was 0 and is now 1 \(and 2 more fields\)\. "):
        manifests.check_fingerprint(pathlib.Path("a"), dict.fromkeys("abcde", 0), dict.fromkeys("abcde", 1))


def test_a_field_that_one_side_lacks_differs():
    with pytest.raises(InputError, match="x was None and is now 1"):
        manifests.check_fingerprint(pathlib.Path("a"), {}, {"x": 1})


def test_an_artifact_is_complete_once_it_has_a_manifest(tmp_path):
    assert not manifests.is_complete(tmp_path / "nowhere", {"x": 1})
    assert not manifests.is_complete(tmp_path, {"x": 1})
    files.write_json(tmp_path / manifests.MANIFEST, manifests.make({"x": 1}, about="it"))
    assert manifests.is_complete(tmp_path, {"x": 1})
    with pytest.raises(InputError, match="x was 1 and is now 2"):
        manifests.is_complete(tmp_path, {"x": 2})


def test_a_manifest_has_the_fingerprint_and_the_version():
    assert manifests.make({"x": 1}, about="it") == {
        "about": "it",
        "code_version": dr.__version__,
        "fingerprint": {"x": 1},
    }
