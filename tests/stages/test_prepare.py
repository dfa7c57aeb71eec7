"""The command `prepare`: the name under which it writes images. Reading them is tested with the package `data`."""

import os
import pathlib

import numpy as np
import PIL.Image
import pytest

from helpers.command import TINY, error_line, run_here, write_digits

DATA = ("--config.dataset.data_dir=tfds", "--workdir=w")


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def write_folder(folder="photos"):
    """Writes class folders of image files."""
    rng = np.random.default_rng(0)
    for label in ("cat", "dog"):
        pathlib.Path(folder, label).mkdir(parents=True)
        for number in range(10):
            pixels = rng.integers(0, 256, (8, 8, 3), np.uint8)
            PIL.Image.fromarray(pixels).save(f"{folder}/{label}/{number}.png")
    return folder


def write_npz():
    return write_digits(pathlib.Path("d.npz")).name


@pytest.mark.parametrize("command", ["prepare", "run", "answer"])
@pytest.mark.parametrize("config", ["default", "digits"])
@pytest.mark.parametrize("write", [write_folder, write_npz])
def test_images_of_the_user_are_not_written_as_digits(capfd, command, config, write):
    """The name of the data set in the default config is that of the shipped digits."""
    source = write()
    flags = (f"--config={config}", f"--config.prepare.source={source}", *DATA)
    line = error_line(run_here(capfd, command, *flags))
    assert line == (
        f"--config.dataset.name=digits: must not be the name of the shipped digits for the images of {source}. Name "
        "the data set, such as --config.dataset.name=photos."
    )
    assert not os.path.exists("tfds")
    assert not os.path.exists("w/config.json")


def test_a_dry_run_rejects_them_as_well(capfd):
    flags = (f"--config.prepare.source={write_folder()}", *DATA, "--dry_run")
    assert error_line(run_here(capfd, "prepare", "--config=digits", *flags)).startswith("--config.dataset.name=digits:")
    assert sorted(os.listdir()) == ["photos"]


@pytest.mark.slow
def test_they_are_written_under_a_name_of_their_own(capfd):
    batch = "--config.train.batch_size=8"
    flags = (*TINY, f"--config.prepare.source={write_folder()}", "--config.dataset.name=photos", batch, *DATA)
    done = run_here(capfd, "prepare", *flags)
    assert done.code == 0, done.err
    assert "prepare: written (tfds/photos/1.0.0)\n" in done.err
    assert "data set photos 1.0.0: 16 training and 4 test images of 8x8x3, 2 classes\n" in done.err
    assert os.listdir("tfds") == ["photos"]
    again = run_here(capfd, "prepare", "--workdir=w")  # with the config that the workdir remembers
    assert "prepare: already done, skipped (tfds/photos/1.0.0)\n" in again.err


@pytest.mark.slow
def test_the_shipped_digits_are_written_as_digits(capfd):
    done = run_here(capfd, "prepare", *TINY, *DATA)
    assert done.code == 0, done.err
    assert os.listdir("tfds") == ["digits"]
