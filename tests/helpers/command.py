"""Runs the command line in a separate process, as users do, or in this process if that makes no difference."""

import dataclasses
import os
import pathlib
import socket
import subprocess
import sys
import tarfile

import numpy as np
from sklearn.datasets import load_digits

from data_redundancy.cli import main

TINY = (
    "--config=digits",
    "--config.train.steps=8",
    "--config.train.warmup_steps=2",
    "--config.train.batch_size=32",
    "--config.train.checkpoint_every_steps=4",
    "--config.train.log_every_steps=2",
    "--config.embed.batch_size=64",
    "--config.sweep.fractions=(0.2,)",
    "--config.sweep.seeds=(0,1)",
)
"""A whole job in seconds: a ResNet-8, eight steps, six trials."""


@dataclasses.dataclass(frozen=True)
class Done:
    """The exit code and the output of a command."""

    code: int
    out: str
    err: str


NO_TENSORFLOW = """
import sys
for name in ("tensorflow", "tensorflow_datasets", "clu"):
    sys.modules[name] = None  # importing it raises ImportError
from data_redundancy.cli import main
sys.exit(main.main())
"""
"""Code for `run_process`: the command line where TensorFlow is not installed."""

LIMITED = """
import atexit, resource, sys
sys.modules["tensorflow"] = None  # it is not needed, and slow to import
from data_redundancy.cli import main
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
atexit.register(resource.setrlimit, resource.RLIMIT_FSIZE, (soft, hard))  # coverage writes its file after that
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv.pop(1)), hard))
sys.exit(main.main())
"""
"""Simulates a full disk: no file can grow beyond a number of bytes, the first argument."""


def environment(devices: int = 1) -> dict[str, str]:
    flags = f"--xla_force_host_platform_device_count={devices}"
    # As on a user's machine: no warnings turned into errors, nothing from the settings of the tests.
    return {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags}


def popen(command, *, cwd, devices: int = 1, **options) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, *map(str, command)],
        cwd=cwd,
        env=environment(devices),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def run_process(*arguments, cwd, devices: int = 1, code: str | None = None, **options) -> Done:
    """`python -m data_redundancy ARGUMENTS`, or `python -c CODE ARGUMENTS`."""
    start = ["-m", "data_redundancy"] if code is None else ["-c", code]
    process = popen([*start, *arguments], cwd=cwd, devices=devices, **options)
    out, err = process.communicate(timeout=300)
    return Done(process.returncode, out, err)


def run_here(capfd, *arguments) -> Done:
    capfd.readouterr()
    code = main.main([str(argument) for argument in arguments])
    return Done(code, *capfd.readouterr())


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def start_all(arguments, *, cwd, count=2, devices=4, own=lambda process: ()) -> list[subprocess.Popen]:
    """Starts several processes of one job; `own` returns the additional arguments of each process."""
    flags = [f"--coordinator=127.0.0.1:{free_port()}", f"--num_processes={count}"]
    return [
        popen([*arguments, *own(process), *flags, f"--process_id={process}"], cwd=cwd, devices=devices)
        for process in range(count)
    ]


def ends(processes: list[subprocess.Popen], timeout: float = 200) -> list[tuple[int, str, str]]:
    """Exit code, stdout and stderr of each."""
    try:
        return [(p.returncode, *out) for p, out in [(p, p.communicate(timeout=timeout)) for p in processes]]
    finally:
        for process in processes:
            process.kill()


def run_two_processes(script: str, *arguments, cwd: pathlib.Path, devices: int = 1) -> list[str]:
    """Runs a script twice at the same time, with its process number and a free port before the arguments.

    Returns:
        What each of them printed; both ended well.
    """
    port = free_port()
    processes = [popen(["-c", script, process, port, *arguments], cwd=cwd, devices=devices) for process in range(2)]
    try:
        outputs = [process.communicate(timeout=240) for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, (_, err) in zip(processes, outputs, strict=True):
        assert process.returncode == 0, err
    return [out for out, _ in outputs]


def mtimes(folder: pathlib.Path) -> dict[str, int]:
    """The modification time of every file below a folder."""
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def tree(folder: str | os.PathLike[str] = ".") -> dict[str, int | None]:
    """Every file below a folder, with the time it was written, and every directory."""
    found = sorted(pathlib.Path(folder).rglob("*"))
    return {str(path): path.stat().st_mtime_ns if path.is_file() else None for path in found}


def unpack_old_workdir(folder: pathlib.Path) -> pathlib.Path:
    """Unpacks data.npz and w/, a workdir of version 0.1.0 with one trial that was interrupted at step 4 of 8."""
    with tarfile.open(pathlib.Path(__file__).parents[1] / "fixtures" / "workdir_0.1.0.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder / "w"


def write_digits(path: pathlib.Path, num_train: int = 200, num_test: int = 60, **replaced) -> pathlib.Path:
    """Writes some digits as an .npz; `replaced` arrays take the place of its own, and None omits one."""
    digits = load_digits()
    images, labels = (digits.images * (255 / 16)).astype(np.uint8), digits.target
    stop = num_train + num_test
    arrays = {
        "image_train": images[:num_train],
        "label_train": labels[:num_train],
        "image_test": images[num_train:stop],
        "label_test": labels[num_train:stop],
        **replaced,
    }
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return path


def error_line(done: Done) -> str:
    """The one line of an error; fails if anything else was printed."""
    assert done.code == 2, done
    assert done.out == ""
    assert done.err.count("\n") == 1, done.err
    assert done.err.startswith("data-redundancy: "), done.err
    return done.err.removeprefix("data-redundancy: ").strip()
