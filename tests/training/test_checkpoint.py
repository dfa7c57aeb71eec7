"""Checkpoints: a run that is interrupted and resumed equals an uninterrupted one bit for bit, despite damaged files."""

import json
import pathlib
import shutil
import signal
import sys
import threading

import numpy as np
import pytest

from data_redundancy.errors import InputError
from data_redundancy.training.checkpoint import Checkpoints
from helpers import training_runs
from helpers import training_script as script
from helpers.command import ends, start_all
from helpers.training_runs import CutError, assert_same, cut_at, run_script

without_tensorboard = pytest.fixture(autouse=True)(training_runs.without_tensorboard)
cache = pytest.fixture(scope="module", autouse=True)(training_runs.shared_compilations)


def steps_of(directory):
    return sorted(int(path.name) for path in (directory / "checkpoints").iterdir() if path.name.isdigit())


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The directory of an uninterrupted run, and its final state."""
    run = script.make_run(tmp_path_factory.mktemp("whole"))
    trainer = script.tiny_trainer()
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setitem(sys.modules, "tensorflow", None)
        trainer.train(run)
    return run.directory, script.flatten(trainer.restore(run))


@pytest.fixture(scope="module")
def cut(tmp_path_factory):
    """The directory of a run interrupted after step 8, with the checkpoints 4 and 8."""
    run = script.make_run(tmp_path_factory.mktemp("cut"))
    with pytest.MonkeyPatch.context() as monkeypatch, cut_at(9), pytest.raises(CutError):
        monkeypatch.setitem(sys.modules, "tensorflow", None)
        script.tiny_trainer().train(run)
    assert steps_of(run.directory) == [4, 8]
    return run.directory


@pytest.fixture
def own_copy(cut, tmp_path):
    shutil.copytree(cut, tmp_path / "run")
    return script.make_run(tmp_path / "run")


# Interrupted and resumed


@pytest.mark.slow
@pytest.mark.parametrize(("steps_per_call", "ema_decay"), [(1, 0.9), (3, None)])
def test_interrupted_before_any_call(steps_per_call, ema_decay, tmp_path):
    """With three steps per call, checkpoints (every four steps) are at 6, 9 and 11."""
    trainer = script.tiny_trainer(steps_per_call=steps_per_call, ema_decay=ema_decay)
    uninterrupted = script.make_run(tmp_path / "uninterrupted")
    trainer.train(uninterrupted)
    expected = script.flatten(trainer.restore(uninterrupted))
    assert any(name.startswith(".average") for name in expected) == (ema_decay is not None)
    for step in range(0, script.NUM_STEPS, steps_per_call):
        run = script.make_run(tmp_path / f"cut{step}")
        with cut_at(step), pytest.raises(CutError):
            trainer.train(run)
        trainer.train(run)
        assert_same(script.flatten(trainer.restore(run)), expected)
        assert script.read_metrics(run.directory) == script.read_metrics(uninterrupted.directory)


@pytest.mark.slow
def test_killed_and_resumed(tmp_path, cache):
    """Processes are killed by SIGKILL one after the other; each resumes where the last one stopped."""
    codes, saved = [], []
    for end in (["save:6"], ["save:9"], ["line:9"], []):
        codes.append(run_script("resume", tmp_path, 3, *end, num_devices=2, cache=cache))
        saved.append(steps_of(tmp_path / "cut"))
    assert codes == [-signal.SIGKILL] * 3 + [0]
    assert saved == [[], [6], [6], [9, 11]]
    cut, uninterrupted = (dict(np.load(tmp_path / f"{name}.npz")) for name in ("cut", "uninterrupted"))
    assert {name.split("[")[0] for name in cut} == {".step", ".params", ".batch_stats", ".opt_state"}
    assert_same(cut, uninterrupted)
    lines = [(tmp_path / name / "metrics.jsonl").read_text() for name in ("cut", "uninterrupted")]
    assert lines[0] == lines[1]
    assert json.loads(lines[0].splitlines()[-1])["step"] == 11


def test_an_unfinished_checkpoint_is_ignored(own_copy, whole):
    """Such as the files of Orbax when it is killed while writing."""
    newest = own_copy.directory / "checkpoints" / "8"
    partial = newest.with_name("8.orbax-checkpoint-tmp")
    newest.rename(partial)
    (partial / "state" / "manifest.ocdbt").unlink()
    trainer = script.tiny_trainer()
    assert int(trainer.restore(own_copy).step) == 4
    trainer.train(own_copy)
    assert_same(script.flatten(trainer.restore(own_copy)), whole[1])
    assert steps_of(own_copy.directory) == [8, 11]


def test_the_newest_few_are_kept(tmp_path):
    trainer = script.tiny_trainer(keep_checkpoints=3, checkpoint_every_steps=2)
    trainer.train(script.make_run(tmp_path))
    assert steps_of(tmp_path) == [8, 10, 11]


# Saving in the background


class Renames:
    """Blocks the renaming of a checkpoint until it may continue; a single hook, as audit hooks cannot be removed."""

    def __init__(self):
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.error = None
        sys.addaudithook(self)

    def __call__(self, event, arguments):
        if event == "os.rename" and str(arguments[1]).endswith("/checkpoints/0"):
            self.may_go_on.wait(timeout=20)
            if self.error:
                raise self.error


@pytest.fixture(scope="module")
def renames():
    return Renames()


def checkpoints_in(directory):
    return Checkpoints(directory / "checkpoints", keep=2)


@pytest.fixture
def state():
    return script.tiny_trainer()._create_state(np.uint32(0))


def test_saving_goes_on_in_the_background_until_waited_for(tmp_path, state, renames):
    final = tmp_path / "checkpoints" / "0"
    with checkpoints_in(tmp_path) as checkpoints:
        renames.may_go_on.clear()
        checkpoints.save(state)
        assert not final.exists(), "save must not wait"
        renames.may_go_on.set()
        checkpoints.wait()
        assert final.exists()
        with checkpoints_in(tmp_path) as other:
            restored, sums = other.restore(script.tiny_trainer()._create_state)
    assert_same(script.flatten(restored), script.flatten(state))
    assert sums is None


@pytest.mark.parametrize("raised_by", ["wait", "save"])
def test_a_failure_to_write_is_raised(tmp_path, state, renames, raised_by):
    renames.error = OSError(28, "No space left on device")
    try:
        with pytest.raises(OSError, match="No space left"):
            with checkpoints_in(tmp_path) as checkpoints:
                checkpoints.save(state)
                if raised_by == "wait":
                    checkpoints.wait()
                else:
                    checkpoints.save(state.replace(step=state.step + 1))
                pytest.fail("no error was raised")
    finally:
        renames.error = None


def test_what_is_saved_is_the_state_of_that_moment(tmp_path, state):
    """The arrays may change, or be reused by the next step, while they are written."""
    kept = script.flatten(state)
    leaf = np.array(state.params["head"]["kernel"])
    state.params["head"]["kernel"] = leaf
    with checkpoints_in(tmp_path) as checkpoints:
        checkpoints.save(state, {"loss": 0.1 + 0.2, "count": 3})
        leaf += 1
        checkpoints.wait()
        restored, sums = checkpoints.restore(script.tiny_trainer()._create_state)
    assert_same(script.flatten(restored), kept)
    assert sums == {"loss": 0.1 + 0.2, "count": 3}


# Damage


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path):
    content = bytearray(path.read_bytes())
    for place in range(0, len(content), max(1, len(content) // 16)):
        content[place] ^= 0x10
    path.write_bytes(content)


def empty(path):
    path.write_bytes(b"")


DAMAGES = [truncate, flip, empty, pathlib.Path.unlink]


def largest_file(directory):
    return max((path for path in directory.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


def damaged_steps(caplog):
    return [(record.levelname, record.args[:2]) for record in caplog.records if "is damaged" in record.getMessage()]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_reported_and_the_one_before_used(own_copy, whole, caplog, damage):
    directory, expected = whole
    damage(largest_file(own_copy.directory / "checkpoints" / "8"))
    trainer = script.tiny_trainer()
    trainer.train(own_copy)
    assert damaged_steps(caplog) == [("WARNING", (own_copy.directory, 8))]
    assert_same(script.flatten(trainer.restore(own_copy)), expected)
    assert script.read_metrics(own_copy.directory) == script.read_metrics(directory)
    assert steps_of(own_copy.directory) == [8, 11]


def test_every_file_of_a_checkpoint_may_be_damaged(cut, tmp_path, caplog):
    """Either the state is intact all the same, or the checkpoint before is used."""
    trainer = script.tiny_trainer()
    states = {8: script.flatten(trainer.restore(script.make_run(cut)))}
    files = [path.relative_to(cut) for path in (cut / "checkpoints" / "8").rglob("*") if path.is_file()]
    shutil.copytree(cut, tmp_path / "before")
    shutil.rmtree(tmp_path / "before" / "checkpoints" / "8")
    states[4] = script.flatten(trainer.restore(script.make_run(tmp_path / "before")))
    found = set()
    for i, (file, damage) in enumerate((file, damage) for file in files for damage in DAMAGES):
        run = script.make_run(tmp_path / str(i))
        shutil.copytree(cut, run.directory)
        damage(run.directory / file)
        caplog.clear()
        state = script.flatten(trainer.restore(run))
        step = int(state[".step"])
        assert_same(state, states[step])
        assert damaged_steps(caplog) == ([("WARNING", (run.directory, 8))] if step == 4 else [])
        assert steps_of(run.directory) == [4, 8], "only a run that resumes replaces it"
        found.add(step)
        shutil.rmtree(run.directory)
    assert found == {4, 8}


def test_other_numbers_in_a_readable_checkpoint_are_damage(own_copy, caplog):
    """Orbax itself does not detect this."""
    newest = own_copy.directory / "checkpoints" / "8"
    trainer = script.tiny_trainer()
    changed = trainer.restore(own_copy)
    mean = changed.batch_stats["BatchNorm_0"]["mean"]
    changed.batch_stats["BatchNorm_0"]["mean"] = mean.at[0].add(1e-6)
    with checkpoints_in(own_copy.directory / "other") as checkpoints:
        checkpoints.save(changed)
    shutil.rmtree(newest / "state")
    shutil.copytree(own_copy.directory / "other" / "checkpoints" / "8" / "state", newest / "state")
    assert int(trainer.restore(own_copy).step) == 4
    assert "step 8 is damaged (its content has changed)" in caplog.text


def test_where_all_are_damaged_nothing_is_removed(own_copy, caplog):
    for step in (4, 8):
        truncate(largest_file(own_copy.directory / "checkpoints" / str(step)))
    before = {path: path.read_bytes() for path in own_copy.directory.rglob("*") if path.is_file()}
    message = rf"^{own_copy.directory}/checkpoints: has damaged checkpoints only \(steps 8, 4\). Remove the directory "
    with pytest.raises(InputError, match=message):
        script.tiny_trainer().train(own_copy)
    assert [args[1] for _, args in damaged_steps(caplog)] == [8, 4]
    assert {path: path.read_bytes() for path in own_copy.directory.rglob("*") if path.is_file()} == before


# Several processes

RESTORE = f"""
import pathlib, sys
sys.modules["tensorflow"] = None
sys.path.insert(0, {str(pathlib.Path(__file__).parents[1])!r})
from helpers.joining import join
folder = pathlib.Path(join(sys.argv[1:])["folder"])
import numpy as np
from helpers import training_script as script
from data_redundancy.runtime import devices
run = script.make_run(folder / "run")
np.savez(folder / f"restored{{devices.process_index()}}.npz", **script.flatten(script.tiny_trainer().restore(run)))
script.tiny_trainer().train(run)
np.savez(folder / f"trained{{devices.process_index()}}.npz", **script.flatten(script.tiny_trainer().restore(run)))
"""


@pytest.mark.slow
def test_two_processes_resume_from_the_checkpoint_of_one(own_copy, tmp_path):
    """Only the first process reads checkpoints, so only it can see that the newest one is damaged."""
    truncate(largest_file(own_copy.directory / "checkpoints" / "8"))
    expected = script.flatten(script.tiny_trainer().restore(own_copy))
    processes = start_all(["-c", RESTORE], cwd=tmp_path, own=lambda process: [f"--folder={tmp_path}"])
    for code, _, err in ends(processes):
        assert code == 0, err
    restored, trained = (
        [dict(np.load(tmp_path / f"{name}{process}.npz")) for process in range(2)] for name in ("restored", "trained")
    )
    for found in restored:
        assert_same(found, expected)
    assert trained[0][".step"] == 11
    assert_same(*trained)
    assert steps_of(own_copy.directory) == [8, 11]
