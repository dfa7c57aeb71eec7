"""Processes that cluster together: how they share the classes, and that the result does not depend on it."""

import json
import re
import types

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import data_redundancy as dr
from data_redundancy.clustering import workload
from data_redundancy.runtime import devices
from helpers.cluster_workdir import CONFIG, assert_are_trees_of, trees, write_workdir
from helpers.clustering_oracles import digits
from helpers.command import run_two_processes


class Workload(workload.Workload):
    def strategy(self, label: int) -> types.SimpleNamespace:
        return types.SimpleNamespace(algorithm="matrix" if len(self.classes[label]) == 99 else "graph")


def work_of(sizes: list[int]) -> workload.Workload:
    classes = {label: np.arange(size) for label, size in enumerate(sizes)}
    return Workload(classes, 8, {label: size - 1 for label, size in enumerate(sizes)}, "complete", 1e9)


def test_the_most_expensive_classes_are_shared_out_first():
    # 100, 81, 64, 49, 36 and 25 operations, times a constant.
    assert workload.assign_to_processes(work_of([5, 6, 7, 8, 9, 10]), range(6), 2) == ([], [[5, 2, 0], [4, 3, 1]])
    assert workload.assign_to_processes(work_of([3] * 7), range(7), 3) == ([], [[0, 3, 6], [1, 4], [2, 5]])


def test_a_class_of_more_than_one_share_is_for_all_together():
    assert workload.assign_to_processes(work_of([100, 5, 6]), range(3), 2) == ([0], [[2], [1]])
    assert workload.assign_to_processes(work_of([100, 5, 6]), range(3), 1) == ([], [[0, 2, 1]])
    assert workload.assign_to_processes(work_of([100, 5, 6]), [1, 2], 1) == ([], [[2, 1]])
    assert workload.assign_to_processes(work_of([10, 10]), range(2), 2) == ([], [[0], [1]])  # each one share, not more
    assert workload.assign_to_processes(work_of([10, 10]), [], 3) == ([], [[], [], []])
    # A matrix is not shared.
    assert workload.assign_to_processes(work_of([99, 5, 6]), range(3), 2) == ([], [[0], [2, 1]])


@given(sizes=st.lists(st.integers(100, 1000), min_size=1, max_size=40), num_processes=st.integers(1, 9), data=st.data())
def test_every_class_is_given_out_once_and_fairly(sizes, num_processes, data):
    labels = data.draw(st.lists(st.sampled_from(range(len(sizes))), unique=True))
    joint, own = workload.assign_to_processes(work_of(sizes), labels, num_processes)
    assert len(own) == num_processes
    assert sorted([*joint, *(label for part in own for label in part)]) == sorted(labels)
    cost = {label: sizes[label] ** 2 for label in labels}
    share = sum(cost.values()) / num_processes
    assert set(joint) == {label for label in labels if cost[label] > share and num_processes > 1}
    assert len(joint) < num_processes
    # Longest processing time first: a process gets its last class when no other has less work.
    load = [sum(cost[label] for label in part) for part in own]
    for part, total in zip(own, load, strict=True):
        assert [cost[label] for label in part] == sorted((cost[label] for label in part), reverse=True)
        if part:
            assert total - cost[part[-1]] <= min(load)


def test_one_process_has_all_rows():
    part = np.arange(6.0).reshape(3, 2)
    assert devices.gather_rows(part) is part


ONE_OF_TWO = """
import json, os, sys
sys.modules["tensorflow"] = None
import jax
import numpy as np
process, port, runs = int(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])
jax.config.update("jax_cpu_collectives_implementation", "gloo")
jax.distributed.initialize(f"127.0.0.1:{port}", 2, process)
from data_redundancy.cli import main
from data_redundancy.runtime import devices
from data_redundancy.clustering import memory, neighbours

def gathered(parts):
    found, expected = devices.gather_rows(parts[process]), np.concatenate(parts)
    return found.dtype == expected.dtype and found.shape == expected.shape and found.tobytes() == expected.tobytes()

rng = np.random.default_rng(0)
words = rng.integers(-(2**63), 2**63, (7, 3))
floats = np.array([0.1, -0.0, np.nan, np.inf, 5e-324, 1 + 2**-52, 1e300])
print("said:", json.dumps([
    gathered(parts) for array in (words, floats, floats[:6].astype(np.float32), words > 0, words[:, 0].astype(np.int32))
    for cut in (0, 2, 7) for parts in [(array[:cut], array[cut:])]
] + [gathered((words[:0], words[:0])), gathered((words[::2], words[1::2].copy()))]))

written, counts = [], {}

def audit(event, arguments):
    if event == "os.rename" and "dendrograms" in str(arguments[1]):
        written.append(os.path.basename(str(arguments[1])))

sys.addaudithook(audit)

class Counted(neighbours.Neighbours):
    def within(self, *arguments, **options):
        counts["passes together"] += self._together
        try:
            return super().within(*arguments, **options)
        except neighbours.TooManyPairs:
            counts["too many pairs"] += 1
            raise

from data_redundancy.clustering import search
search.Neighbours = Counted
free, here = memory.free, os.getcwd()
for folder, flags, gigabytes in runs:
    os.chdir(os.path.join(here, folder))
    written.clear()
    counts.update({"passes together": 0, "too many pairs": 0})
    memory.free = free if gigabytes is None else lambda: 1e9 * gigabytes[process]
    code = main.main(["cluster", *flags])
    print("said:", json.dumps({"code": code, "written": written, **counts}), flush=True)
"""


def one_large_class() -> tuple[np.ndarray, np.ndarray]:
    """Digits of which the first thousand are one class."""
    embeddings, labels = digits(1797)
    return embeddings, np.where(np.arange(1797) < 1000, 0, labels % 9 + 1)


def one_large_class_of_equal_distances() -> tuple[np.ndarray, np.ndarray]:
    """Two small classes, and one in which all pairs have the same distance."""
    embeddings = np.eye(400, dtype=np.float32)
    embeddings = np.concatenate([embeddings, embeddings[:40] + embeddings[1:41]])
    return embeddings, np.repeat([0, 1, 2], [400, 20, 20])


def one_large_class_of_few_distances() -> tuple[np.ndarray, np.ndarray]:
    """Every vector except the last has 92 nearest neighbours at the same distance; the last is a separate class."""
    first, second = np.triu_indices(48, 1)
    embeddings = np.repeat(np.eye(48)[first] + np.eye(48)[second], 2, axis=1).astype(np.float32)
    return np.concatenate([embeddings, embeddings[:1]]), np.append(np.zeros(len(embeddings), np.int64), 1)


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory):
    """The folder of four runs of the command on two processes, and what each process printed about them."""
    folder = tmp_path_factory.mktemp("two")
    depth = "--config.cluster.max_prune_fraction=0.2"
    # The free memory that each process reports, in gigabytes; None for the actual one.
    runs = {
        "large": (one_large_class, [], None),
        "equal": (one_large_class_of_equal_distances, ["--config.cluster.memory_limit_gb=1"], None),
        "unlike": (one_large_class_of_equal_distances, [], (8, 0.05 / 0.6)),
        "short": (one_large_class_of_few_distances, ["--config.cluster.memory_limit_gb=0.0418"], None),
    }
    for name, (make, _, _) in runs.items():
        write_workdir(folder / name, *make())
    commands = json.dumps([[name, [*CONFIG, depth, *flags], free] for name, (_, flags, free) in runs.items()])
    outputs = run_two_processes(ONE_OF_TWO, commands, cwd=folder)
    said = [[json.loads(text) for text in re.findall("^said: (.*)$", out, re.MULTILINE)] for out in outputs]
    of_runs = zip(*(of_one[1:] for of_one in said), strict=True)
    return folder, [of_one[0] for of_one in said], dict(zip(runs, of_runs, strict=True))


def written_by_each(runs) -> list[list[str]]:
    return [sorted(name for name in run["written"] if name.endswith(".npz")) for run in runs]


@pytest.mark.slow
def test_rows_of_two_processes_come_together_to_the_last_bit(two_processes):
    for correct in two_processes[1]:
        assert correct == [True] * 17


@pytest.mark.slow
def test_two_processes_share_a_large_class_and_divide_the_others(two_processes):
    folder, _, said = two_processes
    assert [run["code"] for run in said["large"]] == [0, 0]
    assert [run["passes together"] for run in said["large"]] == [said["large"][0]["passes together"]] * 2
    assert said["large"][0]["passes together"] > 0
    main_wrote, other_wrote = written_by_each(said["large"])
    assert sorted(main_wrote + other_wrote) == [f"class_{label}.npz" for label in range(10)]
    sizes = np.bincount(one_large_class()[1]).tolist()
    joint, own = workload.assign_to_processes(work_of(sizes), range(10), 2)
    assert joint == [0]
    assert [main_wrote, other_wrote] == [
        sorted(f"class_{label}.npz" for label in part) for part in (joint + own[0], own[1])
    ]
    expected = dr.cluster(*one_large_class(), max_prune_fraction=0.2)
    assert_are_trees_of(trees(folder / "large" / "w"), expected)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["equal", "unlike"])
def test_two_processes_agree_on_what_is_too_much(two_processes, name):
    folder, _, said = two_processes
    one, other = said[name]
    assert one["code"] == other["code"] == 0
    assert [one[count] for count in ("passes together", "too many pairs")] == [
        other[count] for count in ("passes together", "too many pairs")
    ]
    assert one["passes together"] > 0
    assert one["too many pairs"] > 0 or name == "unlike"
    expected = dr.cluster(*one_large_class_of_equal_distances(), max_prune_fraction=0.2)
    assert_are_trees_of(trees(folder / name / "w"), expected)


@pytest.mark.slow
def test_two_processes_give_up_together(two_processes):
    folder, _, said = two_processes
    assert [run["code"] for run in said["short"]] == [2, 2]
    assert said["short"][0]["too many pairs"] == said["short"][1]["too many pairs"] > 0
    assert trees(folder / "short" / "w") == {}
