"""The trials of a sweep, in order, and the shards of several jobs."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_redundancy.errors import InputError
from data_redundancy.experiment import config_files, trial_grid
from helpers.command import TINY, error_line, run_here, write_digits


def test_the_full_set_comes_first_then_every_method_at_every_fraction():
    config = config_files.load_default()
    config.sweep.fractions, config.sweep.methods, config.sweep.seeds = (0.3, 0.1), ("random", "el2n"), (4, 2)
    assert trial_grid.keys(config) == [
        ("full", 0.0, 4),
        ("full", 0.0, 2),
        ("random", 0.3, 4),
        ("random", 0.3, 2),
        ("el2n", 0.3, 4),
        ("el2n", 0.3, 2),
        ("random", 0.1, 4),
        ("random", 0.1, 2),
        ("el2n", 0.1, 4),
        ("el2n", 0.1, 2),
    ]


@given(num_keys=st.integers(1, 40), count=st.integers(1, 50))
def test_shards_have_every_trial_once(num_keys, count):
    keys = [("random", 0.1, seed) for seed in range(num_keys)]
    found = []
    for index in range(count):
        if index < num_keys:
            found += trial_grid.shard(keys, index, count)
        else:
            with pytest.raises(
                InputError, match=rf"^shard={index}/{count}: has no trial: there are only {num_keys}\. "
            ):
                trial_grid.shard(keys, index, count)
    assert sorted(found) == sorted(keys)


@pytest.mark.parametrize("dry_run", [[], ["--dry_run"]])
def test_a_shard_beyond_the_trials_is_rejected(tmp_path, monkeypatch, capfd, dry_run):
    """A mistake in the number of jobs: three trials for seven jobs. Before anything is read or written."""
    monkeypatch.chdir(tmp_path)
    write_digits("d.npz")
    flags = (*TINY, "--config.dataset.name=d.npz", "--config.sweep.seeds=(0,)", "--workdir=w")
    line = error_line(run_here(capfd, "sweep", *flags, "--shard=5/7", *dry_run))
    assert line == "--shard=5/7: has no trial: there are only 3. Use at most 3 jobs."
    assert sorted(os.listdir()) in (["d.npz"], ["d.npz", "w"])
    assert not os.path.exists("w") or os.listdir("w") == []
