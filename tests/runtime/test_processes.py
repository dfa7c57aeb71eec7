"""Several processes: how they find each other, work together, and end together."""

import contextlib
import json
import pathlib
import signal
import socket
import threading
import time

import jax
import numpy as np
import pytest

import data_redundancy as dr
from data_redundancy.cli.failure import RESUME
from data_redundancy.errors import InputError
from data_redundancy.runtime import processes as distributed
from data_redundancy.runtime import rendezvous, watch
from data_redundancy.runtime.processes import Processes, resolve
from helpers import training_script as script
from helpers.command import TINY, ends, free_port, popen, run_process, run_two_processes, start_all, write_digits

TESTS = pathlib.Path(__file__).parents[1]


# What they are given


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch):
    for name in ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)


def test_without_arguments_there_is_one_process():
    assert resolve() == Processes(None, None, None, None, 300.0, 7200.0)


def test_arguments_win_over_the_environment(monkeypatch):
    monkeypatch.setenv("JAX_COORDINATOR_ADDRESS", "host:1")
    monkeypatch.setenv("JAX_NUM_PROCESSES", "4")
    monkeypatch.setenv("JAX_PROCESS_ID", "3")
    assert resolve() == Processes("host:1", 4, 3)
    assert resolve(process_id=0, start_timeout_s=2.5) == Processes("host:1", 4, 0, start_timeout_s=2.5)
    monkeypatch.setenv("JAX_PROCESS_ID", "")
    monkeypatch.setenv("JAX_NUM_PROCESSES", " 5 ")
    assert resolve(process_id=0) == Processes("host:1", 5, 0)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"coordinator": "host:1"},
            "num_processes: must be given if any of coordinator, num_processes and process_id is given. "
            "Give it, or set JAX_NUM_PROCESSES in the environment.",
        ),
        (
            {"num_processes": 2, "process_id": 0},
            "coordinator: must be given if any of coordinator, num_processes and process_id is given. "
            "Give it, or set JAX_COORDINATOR_ADDRESS in the environment.",
        ),
        (
            {"coordinator": "host", "num_processes": 2, "process_id": 0},
            "coordinator=host: must be HOST:PORT, such as 10.0.0.1:1234",
        ),
        (
            {"coordinator": "h:0", "num_processes": 2, "process_id": 0},
            "coordinator=h:0: must be HOST:PORT, such as 10.0.0.1:1234",
        ),
        (
            {"coordinator": "h:1", "num_processes": 0, "process_id": 0},
            "num_processes=0: must be a whole number, at least 1",
        ),
        (
            {"coordinator": "h:1", "num_processes": 2, "process_id": 2},
            "process_id=2: must be less than num_processes, which is 2",
        ),
        (
            {"coordinator": "h:1", "num_processes": 2, "process_id": -1},
            "process_id=-1: must be a whole number, at least 0",
        ),
        ({"num_devices": 0}, "num_devices=0: must be a whole number, at least 1"),
        (
            {"start_timeout_s": 0.0},
            "start_timeout_s=0.0: must be a number of seconds, greater than 0 and less than 1,000,000",
        ),
        (
            {"barrier_timeout_s": float("nan")},
            "barrier_timeout_s=nan: must be a number of seconds, greater than 0 and less than 1,000,000",
        ),
        (
            {"barrier_timeout_s": 1e6},
            "barrier_timeout_s=1000000.0: must be a number of seconds, greater than 0 and less than 1,000,000",
        ),
    ],
)
def test_arguments_are_checked(given, message):
    with pytest.raises(InputError) as caught:
        resolve(**given)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"JAX_COORDINATOR_ADDRESS": "host"}, "JAX_COORDINATOR_ADDRESS=host: must be HOST:PORT, such as 10.0.0.1:1234"),
        ({"JAX_NUM_PROCESSES": "many"}, "JAX_NUM_PROCESSES=many: must be a whole number, at least 1"),
        ({"JAX_NUM_PROCESSES": "0"}, "JAX_NUM_PROCESSES=0: must be a whole number, at least 1"),
        ({"JAX_PROCESS_ID": "-1"}, "JAX_PROCESS_ID=-1: must be a whole number, at least 0"),
        ({"JAX_PROCESS_ID": "4"}, "JAX_PROCESS_ID=4: must be less than JAX_NUM_PROCESSES, which is 4"),
    ],
)
def test_the_environment_is_checked(monkeypatch, variables, message):
    sound = {"JAX_COORDINATOR_ADDRESS": "host:1", "JAX_NUM_PROCESSES": "4", "JAX_PROCESS_ID": "3"}
    for name, value in {**sound, **variables}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError) as caught:
        resolve()
    assert str(caught.value) == message


def test_under_slurm_the_rest_is_found_out(monkeypatch):
    monkeypatch.setenv("SLURM_PROCID", "1")
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")
    assert resolve(coordinator="host:1").num_processes is None


def test_counts_that_were_asked_for():
    distributed.start(Processes(num_devices=8, num_processes=1))
    with pytest.raises(InputError, match=r"^num_devices=4: must be the number of devices of this job, which is 8$"):
        distributed.start(Processes(num_devices=4))
    assert not distributed.is_watching()


# The meeting at the coordinator's address


def meet(*processes: Processes) -> list[str | None]:
    """What each of them makes of the others."""
    said: list[str | None] = [None] * len(processes)

    def go(position: int) -> None:
        try:
            one = processes[position]
            rendezvous.meet(one.coordinator, one.num_processes, one.process_id, timeout_s=one.start_timeout_s)
        except InputError as error:
            said[position] = str(error)

    threads = [threading.Thread(target=go, args=(position,)) for position in range(len(processes))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert not any(thread.is_alive() for thread in threads)
    return said


def at(port: int, num_processes: int, process_id: int, timeout: float = 20) -> Processes:
    return Processes(f"127.0.0.1:{port}", num_processes, process_id, start_timeout_s=timeout)


def test_all_that_were_expected_meet():
    port = free_port()
    assert meet(*(at(port, 4, process) for process in range(4))) == [None] * 4
    with socket.create_server(("", port)):
        pass  # the port is free at once, for JAX


def test_noise_at_the_port_is_ignored():
    port = free_port()

    def noise():
        for _ in range(50):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1) as there:
                there.sendall(b"GET / HTTP/1.1\r\n\r\n")
                return
            time.sleep(0.05)

    thread = threading.Thread(target=noise)
    thread.start()
    time.sleep(0.2)
    assert meet(at(port, 2, 0), at(port, 2, 1)) == [None] * 2
    thread.join()


@pytest.mark.parametrize("said", [b"{}\n", b"[]\n", b"[" * 5000, b'{"process_id": true, "num_processes": null}\n', b""])
def test_what_is_no_greeting_is_ignored(said):
    with socket.create_server(("", 0)) as listener, socket.create_connection(listener.getsockname()) as there:
        there.sendall(said)
        there.shutdown(socket.SHUT_WR)
        assert list(rendezvous._arrivals(listener, time.monotonic() + 0.3)) == []


def connected(port: int) -> socket.socket:
    """A connection to a port at which somebody will listen soon."""
    deadline = time.monotonic() + 10
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port))
        except ConnectionRefusedError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_nobody_waits_for_connections_that_say_nothing():
    port = free_port()
    process_0 = threading.Thread(target=lambda: said.extend(meet(at(port, 3, 0))))
    said = []
    process_0.start()
    with contextlib.ExitStack() as silent:
        for beginning in (b"", b'{"process_id"'):
            silent.enter_context(connected(port)).sendall(beginning)
        started = time.monotonic()
        assert meet(at(port, 3, 1), at(port, 3, 2)) == [None] * 2
        process_0.join(timeout=30)
        assert said == [None]
        assert time.monotonic() - started < 3


def test_the_time_is_over_though_somebody_says_nothing():
    port = free_port()
    said = []
    process_0 = threading.Thread(target=lambda: said.extend(meet(at(port, 2, 0, timeout=2))))
    process_0.start()
    with connected(port):
        process_0.join(timeout=30)
    assert said == [
        "num_processes=2: must be the number of processes that run: after 2 s, process 1 had not connected to "
        f"127.0.0.1:{port}"
    ]


def test_they_meet_at_an_address_of_ipv6():
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6) as free:
            port = free.getsockname()[1]
    except OSError:
        pytest.skip("no IPv6 on this machine")
    processes = [Processes(f"[::1]:{port}", 3, process, start_timeout_s=20) for process in range(2)]
    assert meet(*processes, at(port, 3, 2)) == [None] * 3  # the last one by IPv4


def test_one_that_does_not_come_is_named_to_all():
    port = free_port()
    said = meet(at(port, 4, 0, timeout=1), at(port, 4, 2))
    assert (
        said
        == [
            "num_processes=4: must be the number of processes that run: after 1 s, processes 1, 3 had not connected to "
            f"127.0.0.1:{port}"
        ]
        * 2
    )


def test_nobody_at_the_address():
    port = free_port()
    assert meet(at(port, 2, 1, timeout=1)) == [
        f"coordinator=127.0.0.1:{port}: must be the address of process 0, but nothing answered there within 1 s"
    ]


def test_different_counts():
    port = free_port()
    said = meet(at(port, 2, 0), at(port, 3, 1))
    assert said == ["num_processes: must be the same for all processes, but is 3 for process 1 and 2 for process 0"] * 2


def test_one_number_twice():
    port = free_port()
    said = meet(at(port, 3, 0), at(port, 3, 1), at(port, 3, 1))
    assert said == ["process_id=1: must differ between processes, but two processes have this number"] * 3


def test_a_port_that_is_taken():
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        (said,) = meet(at(port, 2, 0))
    assert said == (
        f"coordinator=127.0.0.1:{port}: must have a port on which process 0 can listen (Address already in use)"
    )


# Real processes


COMMAND = ("-m", "data_redundancy")

FROM_FLAGS = f"""
import pathlib, sys
sys.modules["tensorflow"] = None
sys.path.insert(0, {str(TESTS)!r})
import data_redundancy as dr
from data_redundancy.runtime import processes as distributed
from helpers.joining import join
join(sys.argv[1:])
"""


@pytest.mark.slow
def test_two_processes_of_four_devices_train_and_embed_as_one_of_eight(tmp_path):
    """The same tolerance as for other numbers of devices in one process.

    Sums over processes are rounded in another order; from 2e-7, that has grown to 3e-5 by the eleventh step.
    """
    code = FROM_FLAGS + (
        "import numpy as np, jax\n"
        "from helpers import training_script as script\n"
        "from data_redundancy.runtime import devices\n"
        "found = script.train_and_embed(pathlib.Path.cwd() / 'run', num_steps=8)\n"
        "found['embedding'] = devices.gather_rows(found['embedding'])\n"
        "np.savez(f'outcome{jax.process_index()}.npz', **found)\n"
    )
    for code_, _, err in ends(start_all(["-c", code], cwd=tmp_path)):
        assert code_ == 0, err
    (tmp_path / "one").mkdir()
    expected = script.train_and_embed(tmp_path / "one", num_steps=8)
    for process in range(2):
        found = dict(np.load(tmp_path / f"outcome{process}.npz"))
        assert found["devices"] == jax.device_count() == 8
        assert found.keys() == expected.keys()
        for name, array in expected.items():
            assert np.allclose(found[name], array, rtol=0, atol=2e-5), name
    labels = script.digits()[1][:1400]
    trees = [dr.cluster(outcome["embedding"], labels) for outcome in (expected, found)]
    for label, tree in trees[0].trees.items():
        assert np.allclose(trees[1].trees[label].merges[:, 2], tree.merges[:, 2], rtol=0, atol=2e-5)
    for fraction in (0.1, 0.3):
        assert np.array_equal(*(dr.select(dendrograms, prune_fraction=fraction).keep for dendrograms in trees))


@pytest.fixture(scope="module")
def digits_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("several")
    write_digits(folder / "d.npz")
    return folder


JOB = (*TINY, "--config.dataset.name=d.npz")


@pytest.mark.slow
@pytest.mark.parametrize("dying", [0, 1])
def test_when_one_is_killed_the_other_ends_and_the_same_command_goes_on(digits_folder, dying):
    workdir = digits_folder / f"killed{dying}"
    arguments = (*COMMAND, "train", *JOB, f"--workdir={workdir}", "--config.train.steps=40")
    processes = start_all(arguments, cwd=digits_folder)
    checkpoints = workdir / "trials" / "full" / "seed0" / "checkpoints"
    deadline = time.monotonic() + 150
    while time.monotonic() < deadline and not (checkpoints / "8").exists():
        time.sleep(0.05)
    processes[dying].kill()
    died = time.monotonic()
    found = ends(processes)
    assert time.monotonic() - died < watch.SILENCE_S + 30
    assert found[dying][0] == -signal.SIGKILL
    code, _, err = found[1 - dying]
    # With process 0 goes JAX's service, whose clients JAX aborts.
    assert code in ((75,) if dying == 1 else (75, -signal.SIGABRT)), err
    assert ("data-redundancy: " if code == 75 else "another task died") in err
    steps = [int(p.name) for p in checkpoints.iterdir() if p.name.isdigit()]
    assert max(steps) < 40
    again = ends(start_all(arguments, cwd=digits_folder))
    assert [code for code, _, _ in again] == [0, 0], again
    assert "resumed at step" in again[0][2]
    assert json.loads((checkpoints.parent / "result.json").read_text())["steps"] == 40


@pytest.mark.slow
def test_sigterm_to_a_process_of_its_own_saves_the_run_and_the_same_command_goes_on(digits_folder):
    workdir = digits_folder / "alone"
    arguments = (*COMMAND, "train", *JOB, f"--workdir={workdir}", "--config.train.steps=400")
    arguments = (*arguments, "--config.train.checkpoint_every_steps=100000")
    process = popen(arguments, cwd=digits_folder)
    lines = workdir / "trials" / "full" / "seed0" / "metrics.jsonl"
    deadline = time.monotonic() + 150
    while time.monotonic() < deadline and not (lines.exists() and lines.read_text().count("\n") > 2):
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    ((code, _, err),) = ends([process])
    assert code == 75, err
    (saved,) = [int(p.name) for p in (lines.parent / "checkpoints").iterdir() if p.name.isdigit()]
    assert saved < 400
    assert err.splitlines()[-1] == (
        f"data-redundancy: stopped by SIGTERM: saved full seed 0 at step {saved} of 400; {RESUME}"
    )
    ((code, _, err),) = ends([popen(arguments, cwd=digits_folder)])
    assert code == 0, err
    assert f"resumed at step {saved} of 400" in err
    assert json.loads((lines.parent / "result.json").read_text())["steps"] == 400


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        ("ValueError('x')", 75, f"another is gone; {RESUME}"),
        ("Stopped('stopped')", 75, f"stopped; {RESUME}"),
        ("InputError('a', 1, 'must be 2')", 2, "a=1: must be 2"),
        ("SystemExit(3)", 3, None),
    ],
)
def test_sigterm_while_an_error_is_described_changes_nothing(tmp_path, error, code, line):
    script_ = f"""
import os, signal, sys
from data_redundancy.runtime import processes as distributed
from data_redundancy.cli import failure, main
from data_redundancy.errors import InputError, Stopped
describe = failure.describe
def describe_after_sigterm(*arguments):
    os.kill(os.getpid(), signal.SIGTERM)
    return describe(*arguments)
def run(argv):
    raise {error}
main._print_help, failure.describe = run, describe_after_sigterm
distributed.ends_because_of_another = lambda error: "another is gone"
sys.exit(main.main())
"""
    done = run_process(cwd=tmp_path, code=script_)
    assert (done.code, done.out, done.err) == (code, "", f"data-redundancy: {line}\n" if line else "")


@pytest.mark.slow
def test_sigterm_to_one_saves_the_run_and_ends_all(digits_folder):
    workdir = digits_folder / "stopped"
    arguments = (*COMMAND, "train", *JOB, f"--workdir={workdir}", "--config.train.steps=3000")
    processes = start_all((*arguments, "--config.train.checkpoint_every_steps=100000"), cwd=digits_folder)
    lines = workdir / "trials" / "full" / "seed0" / "metrics.jsonl"
    deadline = time.monotonic() + 150
    while time.monotonic() < deadline and not (lines.exists() and lines.read_text().count("\n") > 2):
        time.sleep(0.05)
    processes[1].send_signal(signal.SIGTERM)
    found = ends(processes)
    assert [code for code, _, _ in found] == [75, 75], found
    for _, _, err in found:
        assert "stopped by SIGTERM: saved full seed 0 at step" in err
        assert "Traceback" not in err
    (saved,) = [int(p.name) for p in (lines.parent / "checkpoints").iterdir() if p.name.isdigit()]
    assert f"saved full seed 0 at step {saved} of 3000" in found[1][2]


@pytest.mark.slow
def test_a_mistake_that_one_process_finds_ends_all(digits_folder):
    code = (
        "import sys\nsys.modules['tensorflow'] = None\nfrom data_redundancy.cli import main\n"
        "from data_redundancy.errors import InputError\nfrom data_redundancy.stages import train\n"
        "if '--process_id=1' in sys.argv:\n"
        "    def run(*_):\n        raise InputError('x', 1, 'must be 2')\n    train.run = run\n"
        "sys.exit(main.main())\n"
    )
    arguments = ("-c", code, "train", *JOB, f"--workdir={digits_folder / 'mistake'}", "--config.train.steps=100000")
    first, second = ends(start_all(arguments, cwd=digits_folder, devices=1))
    assert (first[0], second[0]) == (2, 2), (first, second)
    assert second[2].splitlines()[-1] == "data-redundancy: x=1: must be 2"
    assert "data-redundancy: stopped because process 1 stopped: x=1: must be 2" in first[2]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("own", "message"),
    [
        (lambda process: ["--num_devices=4"], "--num_devices=4: must be the number of devices of this job, which is 2"),
        (
            lambda process: ["--config.train.batch_size=33"],
            "--config.train.batch_size=33: must be a positive multiple of the number of devices, 2 (2 processes of 1)",
        ),
    ],
)
def test_a_mistake_that_all_find_is_told_by_each(digits_folder, own, message):
    arguments = (*COMMAND, "train", *JOB, f"--workdir={digits_folder / 'all'}")
    for code, out, err in ends(start_all(arguments, cwd=digits_folder, devices=1, own=own)):
        assert code == 2, err
        assert [line for line in out.splitlines() if not line.startswith("[Gloo]")] == []  # a library announces itself
        assert err.splitlines()[-1] == f"data-redundancy: {message}"
        assert "Traceback" not in err


@pytest.mark.slow
def test_an_error_of_what_the_main_process_looks_up_is_raised_by_all(tmp_path):
    code = FROM_FLAGS + (
        "import jax\nfrom data_redundancy.errors import InputError\nfrom data_redundancy.runtime import devices\n"
        "def look():\n    assert jax.process_index() == 0\n    raise InputError('a', 1, 'must be 2', 'Write 2')\n"
        "for _ in range(2):\n    try:\n        devices.call_on_main(look)\n"
        "    except InputError as error:\n        print(error.args, flush=True)\n"
        "print(devices.call_on_main(lambda: 3), flush=True)\n"
    )
    for exit_code, out, err in ends(start_all(["-c", code], cwd=tmp_path, devices=1)):
        assert exit_code == 0, err
        assert out.splitlines()[-3:] == [str(("a", 1, "must be 2", "Write 2"))] * 2 + ["3"]


@pytest.mark.slow
def test_stdout_has_nothing_but_the_result(digits_folder):
    """Gloo writes to it from C++."""
    arguments = (*COMMAND, "train", *JOB, f"--workdir={digits_folder / 'json'}", "--json")
    first, second = ends(start_all(arguments, cwd=digits_folder, devices=1))
    assert (first[0], second[0]) == (0, 0), (first, second)
    assert json.loads(first[1])["command"] == "train"
    assert second[1] == ""


@pytest.mark.slow
def test_a_barrier_is_the_same_whatever_its_name(tmp_path):
    """There may be a path in it, which differs between hosts."""
    code = FROM_FLAGS + "import jax\ndistributed.barrier(f'wrote /mnt/{jax.process_index()}/w')\n"
    own = lambda process: ["--barrier_timeout_s=20"]  # noqa: E731
    for code_, _, err in ends(start_all(["-c", code], cwd=tmp_path, devices=1, own=own)):
        assert code_ == 0, err


@pytest.mark.slow
def test_a_barrier_has_a_time_limit(tmp_path):
    code = FROM_FLAGS + (
        "import time, jax\n"
        "if jax.process_index() == 1:\n    time.sleep(15)\n    import os; os._exit(0)\n"
        "try:\n    distributed.barrier('the end')\n"
        "except RuntimeError as error:\n    print(error, flush=True)\n    import os; os._exit(0)\n"
    )
    own = lambda process: ["--barrier_timeout_s=1"]  # noqa: E731
    first, _ = ends(start_all(["-c", code], cwd=tmp_path, devices=1, own=own))
    assert "another process did not reach the barrier 'the end' within barrier_timeout_s=1" in first[1]


ONE_THAT_ENDS_WHILE_THE_WATCH_TALKS = """
import sys
import jax
process, port = int(sys.argv[1]), sys.argv[2]
jax.config.update("jax_cpu_collectives_implementation", "gloo")
jax.distributed.initialize(f"127.0.0.1:{port}", 2, process)
from data_redundancy.runtime import processes as distributed
from data_redundancy.runtime import watch
watch._BEAT_S = 0.0005
distributed.start(distributed.Processes())
print(jax.process_count())
"""


@pytest.mark.slow
def test_the_watch_ends_before_python_does(tmp_path):
    """A thread that is inside JAX's client when Python ends aborts the process: every other time, if left."""
    for _ in range(4):
        said = run_two_processes(ONE_THAT_ENDS_WHILE_THE_WATCH_TALKS, cwd=tmp_path)  # which end with exit code 0
        assert [out.split()[-1] for out in said] == ["2", "2"]
