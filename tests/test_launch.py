"""The scripts in launch/: what they would run, and what they do where clouds and clusters are stand-ins."""

import copy
import dataclasses
import json
import os
import pathlib
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time

import pytest
import yaml

from helpers.command import TINY, write_digits

LAUNCH = pathlib.Path(__file__).parent.parent / "launch"
SCRIPTS = ("gke_jobset.sh", "local.sh", "slurm.sbatch", "tpu_pod.sh")
HARD = ("--config.sweep.fractions=(0.1, 0.3)", '--name=it\'s "x" & $HOME \\ *', "--empty=")
"""Arguments that a shell would change if it could."""
PARTS = ("apiVersion", "kind", "metadata", "spec")


@dataclasses.dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str
    seconds: float


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith(("SLURM_", "JAX_", "XLA_", "CUDA_VISIBLE", "DATA_REDUNDANCY", "MAX_RESTARTS")):
            monkeypatch.delenv(name)


def start(script: str, *arguments, **environment) -> subprocess.Popen:
    return subprocess.Popen(
        ["bash", LAUNCH / script, *arguments],
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def launch(script: str, *arguments, **environment) -> Done:
    began = time.monotonic()
    process = start(script, *arguments, **environment)
    out, err = process.communicate(timeout=120)
    return Done(process.returncode, out, err, time.monotonic() - began)


def error_line(done: Done) -> str:
    assert done.code == 2, done
    assert done.out == ""
    assert done.err.count("\n") == 1, done.err
    return done.err.strip()


@pytest.fixture
def fake(monkeypatch):
    """Puts a program on the path that records its arguments, then runs some lines of Bash; returns the calls so far."""
    folder = pathlib.Path("bin").resolve()
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    record = folder / "calls"
    record.touch()

    def install(name: str, body: str = "") -> None:
        lines = ["#!/usr/bin/env bash", f"printf '%s\\0' {name} \"$@\" $'\\36' >>{record}", body, ""]
        (folder / name).write_text("\n".join(lines))
        (folder / name).chmod(0o755)

    def calls() -> list[list[str]]:
        return [call.split("\0")[:-1] for call in record.read_text().split("\36\0")[:-1]]

    install.calls = calls
    return install


# --- all of them ---


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed (Debian: shellcheck)")
def test_shellcheck_finds_nothing():
    done = subprocess.run(["shellcheck", *(LAUNCH / name for name in SCRIPTS)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_all_scripts_are_tested():
    assert {path.name for path in LAUNCH.iterdir()} == {*SCRIPTS, "gke_jobset.yaml"}


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_is_the_header(script):
    done = launch(script, "--help")
    assert done.code == 0
    assert "\nusage: " in done.out
    assert "--dry-run" in done.out
    assert "set -euo" not in done.out


@pytest.mark.parametrize("script", SCRIPTS)
def test_unknown_options_are_refused_in_one_line(script):
    assert error_line(launch(script, "--dry_run", "x")) == f"{script}: --dry_run: no such option; see --help"


# --- local.sh ---

STUB = """
import json, os, pathlib, signal, subprocess, sys, time

flags = dict(argument[2:].split("=", 1) for argument in sys.argv[2:])
i = int(flags["process_id"])
child = subprocess.Popen(["sleep", "100"]) if "child" in flags else None
pids = [os.getpid(), *([child.pid] if child else [])]
print(json.dumps({"process": i, "argv": sys.argv[1:], "env": dict(os.environ), "pids": pids}), flush=True)

def save(*_):
    print("saved", flush=True)
    sys.exit(75)

if flags.get("on_signal") == "save":
    signal.signal(signal.SIGTERM, save)
    signal.signal(signal.SIGINT, save)
elif flags.get("on_signal") == "ignore":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
pathlib.Path(f"ready{i}").touch()
if flags.get("fails", "").startswith(f"{i}:"):
    while not all(pathlib.Path(f"ready{j}").exists() for j in range(int(flags["num_processes"]))):
        time.sleep(0.05)
    sys.exit(int(flags["fails"].split(":")[1]))
if "wait" in flags:
    time.sleep(100)
"""


@pytest.fixture
def stub():
    pathlib.Path("stub.py").write_text(STUB)
    return {"DATA_REDUNDANCY": f"{sys.executable} {pathlib.Path('stub.py').resolve()}"}


def reports(folder: str = "logs") -> list[dict]:
    """What the stubs said of themselves, by process."""
    return [json.loads(path.read_text().splitlines()[0]) for path in sorted(pathlib.Path(folder).iterdir())]


def alive(pids: list[int]) -> list[int]:
    def is_alive(pid):
        try:
            # A zombie has ended; here, nothing may be left to wait for it.
            return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0] != "Z"
        except (FileNotFoundError, ProcessLookupError):
            return False

    deadline = time.monotonic() + 5
    while (left := [pid for pid in pids if is_alive(pid)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


def wait_until_ready(processes: int) -> None:
    deadline = time.monotonic() + 30
    while not all(pathlib.Path(f"ready{i}").exists() for i in range(processes)):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_local_dry_run_prints_a_command_for_every_process():
    done = launch("local.sh", "--dry-run", "2", "4", "--", "sweep", "--workdir=runs/a b", *HARD)
    assert done.code == 0, done.err
    port = re.search(r"127\.0\.0\.1:(\d+)", done.out)[1]
    assert 20000 <= int(port) < 32000
    rest = (
        r"--workdir=runs/a\ b --config.sweep.fractions=\(0.1\,\ 0.3\) --name=it\'s\ \"x\"\ \&\ \$HOME\ \\\ \* --empty="
    )
    flags = "--xla_force_host_platform_device_count=4"
    common = f"env JAX_PLATFORMS=cpu XLA_FLAGS={flags} data-redundancy sweep --coordinator=127.0.0.1:{port}"
    assert done.out.splitlines() == [
        rf"{common} --num_processes=2 --process_id={i} --num_devices=8 {rest} >runs/a\ b/logs/process{i}.log 2>&1"
        for i in range(2)
    ]
    assert not pathlib.Path("runs").exists()


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, ["0,1", "2,3"]),
        ({"CUDA_VISIBLE_DEVICES": "7,5,3,1,0"}, ["7,5", "3,1"]),
    ],
)
def test_local_gives_every_process_gpus_of_its_own(environment, expected):
    done = launch("local.sh", "--dry-run", "2", "2", "--", "train", JAX_PLATFORMS="cuda", **environment)
    words = [shlex.split(line)[:4] for line in done.out.splitlines()]
    assert words == [["env", f"CUDA_VISIBLE_DEVICES={gpus}", "data-redundancy", "train"] for gpus in expected]


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        (["2", "--", "train"], {}, "PROCESSES DEVICES_EACH: must be given"),
        (["2", "0", "--", "train"], {}, "0: must be a whole number, 1 or more"),
        (["2", "1"], {}, "STAGE: must be given, after --"),
        (["--grace=soon", "2", "1", "--", "train"], {}, "--grace=soon: must be a whole number of seconds"),
        (["2", "1", "--", "train"], {"JAX_PLATFORMS": "tpu"}, "JAX_PLATFORMS=tpu: must be cpu, cuda or gpu"),
        (
            ["2", "2", "--", "train"],
            {"JAX_PLATFORMS": "cuda", "CUDA_VISIBLE_DEVICES": "0,1"},
            "CUDA_VISIBLE_DEVICES=0,1: 2 processes of 2 must have that many",
        ),
    ],
)
def test_local_refuses_mistakes(arguments, environment, said):
    assert error_line(launch("local.sh", *arguments, **environment)).startswith(f"local.sh: {said}")


def test_local_runs_all_processes_with_a_log_each_and_shows_the_first(stub):
    done = launch("local.sh", "3", "2", "--", "sweep", *HARD, XLA_FLAGS="--xla_dump_to=x", **stub)
    assert done.code == 0, done.err
    assert done.out == pathlib.Path("logs/process0.log").read_text()
    found = reports()
    assert [report["process"] for report in found] == [0, 1, 2]
    for i, report in enumerate(found):
        coordinator = report["argv"][1]
        assert re.fullmatch(r"--coordinator=127\.0\.0\.1:\d+", coordinator)
        assert coordinator == found[0]["argv"][1]
        assert report["argv"] == [
            *("sweep", coordinator, "--num_processes=3", f"--process_id={i}", "--num_devices=6"),
            *HARD,
        ]
        assert report["env"]["JAX_PLATFORMS"] == "cpu"
        assert report["env"]["XLA_FLAGS"] == "--xla_dump_to=x --xla_force_host_platform_device_count=2"


@pytest.mark.parametrize(
    ("options", "arguments", "folder"),
    [
        ([], ["--workdir=work"], "work/logs"),
        ([], ["--workdir=gs://bucket/work"], "logs"),
        (["--log-dir=some where"], ["--workdir=work"], "some where"),
    ],
)
def test_local_logs_beside_the_artifacts_where_it_can(stub, options, arguments, folder):
    assert launch("local.sh", *options, "1", "1", "--", "train", *arguments, **stub).code == 0
    assert [path.name for path in pathlib.Path(folder).iterdir()] == ["process0.log"]


@pytest.mark.parametrize("code", [1, 2, 75, 134])
def test_local_stops_all_when_one_fails_and_returns_its_code(stub, code):
    done = launch("local.sh", "3", "1", "--", "train", "--wait=1", "--child=1", f"--fails=1:{code}", **stub)
    assert done.code == code
    assert f"local.sh: process 1 ended with exit code {code}; log: logs/process1.log\n" in done.err
    assert done.seconds < 10
    assert alive([pid for report in reports() for pid in report["pids"]]) == []


def test_local_leaves_nothing_that_a_process_has_started(stub):
    # What a process leaves behind holds the pipe to its log.
    done = launch("local.sh", "2", "1", "--", "train", "--child=1", **stub)
    assert done.code == 0
    assert done.seconds < 10
    assert alive([pid for report in reports() for pid in report["pids"]]) == []


def test_local_kills_what_does_not_stop(stub):
    arguments = ("--grace=1", "2", "1", "--", "train", "--wait=1", "--on_signal=ignore", "--fails=1:3")
    done = launch("local.sh", *arguments, **stub)
    assert done.code == 3
    assert "still there 1 s after they were told to stop: killed" in done.err
    assert done.seconds < 10
    assert alive([pid for report in reports() for pid in report["pids"]]) == []


@pytest.mark.parametrize("kill", [os.kill, os.killpg])  # a terminal, and `timeout`, tell the whole group
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_local_passes_signals_on_and_returns_what_they_end_with(stub, name, kill):
    process = start("local.sh", "2", "1", "--", "train", "--wait=1", "--child=1", "--on_signal=save", **stub)
    wait_until_ready(2)
    kill(process.pid, getattr(signal, name))
    out, err = process.communicate(timeout=10)
    # Of SIGHUP the stub knows nothing.
    assert process.returncode == (75 if name != "SIGHUP" else 128 + signal.SIGHUP)
    assert f"local.sh: {name}: passed on to all processes" in err
    assert ("saved" in out) == (name != "SIGHUP")
    assert alive([pid for report in reports() for pid in report["pids"]]) == []


def test_local_does_not_let_its_own_flags_be_given():
    done = launch("local.sh", "2", "1", "--", "train", "--num_processes=3")
    assert error_line(done) == "local.sh: --num_processes=3: not after --, every process gets its own"


def test_local_kills_all_processes_at_the_second_signal(stub):
    process = start("local.sh", "2", "1", "--", "train", "--wait=1", "--on_signal=ignore", **stub)
    wait_until_ready(2)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=10)
    assert process.returncode == 128 + signal.SIGKILL
    assert alive([pid for report in reports() for pid in report["pids"]]) == []


@pytest.mark.slow
def test_local_runs_the_program_itself():
    data = write_digits(pathlib.Path("digits.npz"))
    done = launch(
        *("local.sh", "2", "2", "--", "train", *TINY, f"--config.dataset.name={data}", "--workdir=work"),
        DATA_REDUNDANCY=f"{sys.executable} -m data_redundancy",
    )
    assert done.code == 0, done.out + done.err
    assert list(pathlib.Path("work/trials").glob("full/seed*/result.json"))
    assert sorted(path.name for path in pathlib.Path("work/logs").iterdir()) == ["process0.log", "process1.log"]


@pytest.mark.slow
def test_local_returns_the_program_s_code_for_a_mistake():
    done = launch(
        *("local.sh", "2", "1", "--", "train", *TINY, "--config.train.batch_size=0", "--workdir=work"),
        DATA_REDUNDANCY=f"{sys.executable} -m data_redundancy",
    )
    assert done.code == 2, done.out + done.err
    # Both find it, and the first to end stops the other, which may not have told yet.
    named = re.search(r"ended with exit code 2; log: (\S+)", done.err)
    assert "config.train.batch_size" in pathlib.Path(named[1]).read_text()
    assert "still there" not in done.err  # SIGTERM while they end does not keep them from it


# --- slurm.sbatch ---

TASK = r"""'trap : TERM; "$@"; code=$?; ((!code)) || sleep 20; exit $code'"""
ARRAY = {"SLURM_ARRAY_TASK_MIN": "1", "SLURM_ARRAY_TASK_MAX": "4", "SLURM_ARRAY_TASK_COUNT": "4"}


def dry_words(done: Done) -> list:
    """The words of every command; comments as they are."""
    assert done.code == 0, done.err
    return [line if line.startswith("#") else shlex.split(line) for line in done.out.splitlines()]


def test_slurm_dry_run_prints_the_commands():
    done = launch("slurm.sbatch", "--dry-run", "train", *HARD, SLURM_JOB_ID="7", SLURM_CPUS_PER_TASK="8")
    assert dry_words(done) == [
        [*shlex.split(f"srun --kill-on-bad-exit=1 --cpus-per-task=8 bash -c {TASK} task data-redundancy train"), *HARD],
        "# on SIGTERM:",
        ["scancel", "--signal=TERM", "7"],
        "# after SIGTERM, and on exit codes 75 and 134:",
        ["scontrol", "requeue", "7"],
    ]


def test_slurm_array_gives_every_task_its_shard():
    for task in (1, 2, 3, 4):
        done = launch("slurm.sbatch", "--dry-run", "sweep", "--config=x", **ARRAY, SLURM_ARRAY_TASK_ID=str(task))
        assert dry_words(done)[0][-3:] == ["sweep", "--config=x", f"--shard={task - 1}/4"]


def test_slurm_array_stops_and_queues_again_one_task_only():
    # The job number of one of its tasks is that of the whole array, for scancel and scontrol too.
    numbers = {"SLURM_JOB_ID": "7", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "4"}
    words = dry_words(launch("slurm.sbatch", "--dry-run", "sweep", **ARRAY, **numbers))
    assert words[2] == ["scancel", "--signal=TERM", "7_4"]
    assert words[4] == ["scontrol", "requeue", "7_4"]


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        ([], {}, "STAGE: must be given"),
        (["train"], ARRAY, "--array=1-4: only the stage sweep can be split, not train"),
        (["sweep", "--shard=1/4"], ARRAY, "--shard=1/4: not with --array"),
        (["sweep"], ARRAY | {"SLURM_ARRAY_TASK_MAX": "7"}, "--array: 4 tasks from 1 to 7; must be all"),
        (
            ["sweep"],
            {"SLURM_ARRAY_TASK_MIN": "3", "SLURM_ARRAY_TASK_MAX": "3", "SLURM_ARRAY_TASK_COUNT": "1"},
            "--array: 1 tasks from 3 to 3; must be all of them, or none with --shard=i/n",
        ),
    ],
)
def test_slurm_refuses_mistakes(arguments, environment, said):
    if environment:
        environment = environment | {"SLURM_ARRAY_TASK_ID": "3"}
    done = launch("slurm.sbatch", "--dry-run", *arguments, **environment)
    assert error_line(done).startswith(f"slurm.sbatch: {said}")


def test_slurm_asks_for_what_the_job_needs():
    text = (LAUNCH / "slurm.sbatch").read_text()
    asked = re.findall(r"^#SBATCH --([^=\n]+)=?(.*)$", text, re.M)
    options = dict(asked)
    assert options["ntasks-per-node"] == options["gpus-per-node"]
    assert "gpus-per-task" not in options
    assert "requeue" in options
    assert options["signal"] == "B:TERM@120"
    # sbatch reads none that come after the first command.
    assert text.index("set -euo") > text.rindex("\n#SBATCH")


@pytest.mark.parametrize(("code", "requeued"), [(0, False), (1, False), (2, False), (75, True), (134, True)])
def test_slurm_queues_again_what_can_go_on(fake, code, requeued):
    fake("srun", f"exit {code}")
    fake("scontrol")
    done = launch("slurm.sbatch", "train", SLURM_JOB_ID="7")
    assert done.code == code
    assert (["scontrol", "requeue", "7"] in fake.calls()) == requeued


def test_slurm_does_not_queue_again_for_ever(fake):
    fake("srun", "exit 75")
    fake("scontrol")
    done = launch("slurm.sbatch", "train", SLURM_JOB_ID="7", SLURM_RESTART_COUNT="5", MAX_RESTARTS="5")
    assert done.code == 75
    assert [call[0] for call in fake.calls()] == ["srun"]
    assert "after 5 restarts (MAX_RESTARTS)" in done.err


# Runs one task, in a process group of its own; told to stop, it kills it at once, as the real one does.
SRUN = r"""
shift
set -m
trap 'echo "srun: forcing job termination" >&2; kill -s KILL -- "-$task"; exit 137' TERM
"$@" &
task=$!
echo "$task" >task
wait "$task"
"""
SAVES = "trap 'echo saved; exit {code}' TERM; touch ready0; while :; do command -p sleep 0.1; done"


@pytest.mark.parametrize(("code", "requeued"), [(137, True), (75, True), (2, False), (0, False)])
def test_slurm_passes_sigterm_on_and_queues_again(fake, code, requeued):
    # 137: srun may kill tasks after others have ended.
    fake("srun", SRUN)
    fake("scancel", '[[ $* == "--signal=TERM 7" ]] && kill -s TERM -- "-$(cat task)"')
    fake("scontrol")
    fake("sleep")
    fake("program", SAVES.format(code=code))
    process = start("slurm.sbatch", "train", SLURM_JOB_ID="7", DATA_REDUNDANCY="program")
    wait_until_ready(1)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=10)
    assert process.returncode == code
    assert out == "saved\n"
    assert "forcing job termination" not in err
    assert ("queued again" in err) == requeued
    assert ["scancel", "--signal=TERM", "7"] in fake.calls()
    assert (fake.calls()[-1] == ["scontrol", "requeue", "7"]) == requeued


def test_slurm_says_when_the_processes_cannot_be_told(fake):
    fake("srun", "touch ready0; while [[ ! -e end ]]; do sleep 0.1; done; exit 75")
    fake("scancel", "touch end; exit 1")
    fake("scontrol")
    process = start("slurm.sbatch", "train", SLURM_JOB_ID="7")
    wait_until_ready(1)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=10)
    assert process.returncode == 75
    assert "scancel failed: the processes do not know that they are to stop" in err
    assert fake.calls()[-1] == ["scontrol", "requeue", "7"]


def test_slurm_tasks_get_the_arguments_and_wait_a_little_when_they_fail(fake):
    fake("srun", 'shift; exec "$@"')
    fake("scontrol")
    fake("sleep")
    fake("program", "exit 75")
    done = launch("slurm.sbatch", "train", *HARD, DATA_REDUNDANCY="program -m x", SLURM_JOB_ID="7")
    assert done.code == 75
    assert fake.calls()[1:3] == [["program", "-m", "x", "train", *HARD], ["sleep", "20"]]


# --- gke_jobset.sh ---

TPU = ("--tpu=tpu-v5-lite-podslice:4x4", "train-1", "registry/image:tag", "4", "--", "train")
PATIENCE = "--start_timeout_s=3600"
JOBSET = """
apiVersion: jobset.x-k8s.io/v1alpha2
kind: JobSet
metadata:
  name: train-1
  annotations: {alpha.jobset.sigs.k8s.io/exclusive-topology: cloud.google.com/gke-nodepool}
spec:
  network: {enableDNSHostnames: true, publishNotReadyAddresses: true}
  failurePolicy:
    maxRestarts: 20
    rules: [{name: userMistake, action: FailJobSet, onJobFailureReasons: [PodFailurePolicy]}]
  replicatedJobs:
  - name: worker
    replicas: 1
    template:
      spec:
        parallelism: 4
        completions: 4
        completionMode: Indexed
        backoffLimit: 0
        podFailurePolicy:
          rules: [{action: FailJob, onExitCodes: {containerName: main, operator: In, values: [2]}}]
        template:
          spec:
            restartPolicy: Never
            terminationGracePeriodSeconds: 300
            serviceAccountName: writer
            nodeSelector:
              cloud.google.com/gke-tpu-accelerator: tpu-v5-lite-podslice
              cloud.google.com/gke-tpu-topology: 4x4
              cloud.google.com/gke-spot: "true"
            containers:
            - name: main
              image: registry/image:tag
              command: [data-redundancy]
              args: [train, "--start_timeout_s=3600", "--config=x"]
              env:
              - {name: JAX_COORDINATOR_ADDRESS, value: "train-1-worker-0-0.train-1:8476"}
              - {name: JAX_NUM_PROCESSES, value: "4"}
              - name: JAX_PROCESS_ID
                valueFrom:
                  fieldRef: {fieldPath: "metadata.annotations['batch.kubernetes.io/job-completion-index']"}
              resources: {limits: {google.com/tpu: 4}}
              volumeMounts: [{name: data, mountPath: /data, readOnly: true}]
            volumes: [{name: data, persistentVolumeClaim: {claimName: imagenet, readOnly: true}}]
"""


def check_jobset(manifest: dict) -> None:
    """Checks a manifest by the API's schema, as models made from it; fails on what it does not know as well."""
    from kubeflow_trainer_api.models.jobset_v1alpha2_job_set import JobsetV1alpha2JobSet

    # What the schema leaves open: which API it is, and the actions, which are strings there.
    assert (manifest["apiVersion"], manifest["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    for rule in manifest["spec"]["failurePolicy"]["rules"]:
        assert rule["action"] in ("FailJobSet", "RestartJobSet", "RestartJobSetAndIgnoreMaxRestarts")
    # Models leave out what they do not know.
    assert JobsetV1alpha2JobSet.from_dict(copy.deepcopy(manifest)).to_dict() == manifest


def manifests(done: Done) -> list[dict]:
    assert done.code == 0, done.err
    first, *lines, last = done.out.splitlines()
    assert shlex.split(first)[:2] == ["kubectl", "apply"]
    assert first.endswith(" -f - <<'END'")
    assert last == "END"
    return list(yaml.safe_load_all("\n".join(lines)))


def test_gke_dry_run_prints_the_manifest():
    options = ("--dry-run", "--spot", "--data-claim=imagenet", "--service-account=writer")
    [manifest] = manifests(launch("gke_jobset.sh", *options, *TPU, "--config=x"))
    assert manifest == yaml.safe_load(JOBSET)
    check_jobset(manifest)


def test_gke_takes_gpu_nodes():
    options = ("--dry-run", "--gpu=nvidia-h100-80gb", "--devices-per-host=8", "--max-restarts=0", "--namespace=team")
    done = launch("gke_jobset.sh", *options, "run", "image", "2", "--", "run", DATA_REDUNDANCY="python -m x")
    assert done.out.startswith("kubectl apply --namespace=team -f - ")
    [manifest] = manifests(done)
    check_jobset(manifest)
    assert manifest["metadata"]["annotations"] == {}
    assert manifest["spec"]["failurePolicy"]["maxRestarts"] == 0
    pod = manifest["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
    assert pod["nodeSelector"] == {"cloud.google.com/gke-accelerator": "nvidia-h100-80gb"}
    assert pod["containers"][0]["resources"] == {"limits": {"nvidia.com/gpu": 8}}
    assert pod["containers"][0]["command"] == ["python", "-m", "x"]
    assert pod["volumes"] == []


def test_gke_takes_arguments_through_unharmed():
    hard = (*HARD, "--places=${NAME} $(JAX_PROCESS_ID) $$ #", "--lines=a\tb\n---\nc: ü")
    [manifest] = manifests(launch("gke_jobset.sh", "--dry-run", *TPU, *hard))
    pod = manifest["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
    # Kubernetes makes one $ of two; a single one could begin the name of a variable.
    texts = pod["containers"][0]["args"]
    assert all(len(dollars) % 2 == 0 for text in texts for dollars in re.findall(r"\$+", text))
    assert [text.replace("$$", "$") for text in texts] == ["train", PATIENCE, *hard]


@pytest.mark.parametrize("own", [["--start_timeout_s=60"], ["--start_timeout_s", "60"], ["-start_timeout_s=60"]])
def test_gke_leaves_the_user_s_own_patience(own):
    [manifest] = manifests(launch("gke_jobset.sh", "--dry-run", *TPU, "--config=x", *own))
    assert manifest["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]["containers"][0]["args"] == [
        *("train", "--config=x", *own)
    ]


def test_gke_takes_no_other_argument_for_it():
    other = ("--name=a --start_timeout_s=60", "--start_timeout_s_x=1")
    [manifest] = manifests(launch("gke_jobset.sh", "--dry-run", *TPU, *other))
    assert manifest["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]["containers"][0]["args"] == [
        *("train", PATIENCE, *other)
    ]


def test_gke_makes_a_job_of_every_shard():
    arguments = ("--shards=3", *TPU[:-1], "sweep", "--config=x")
    jobs = manifests(launch("gke_jobset.sh", "--dry-run", *arguments))
    assert [job["metadata"]["name"] for job in jobs] == ["train-1-0", "train-1-1", "train-1-2"]
    for i, job in enumerate(jobs):
        check_jobset(job)
        container = job["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]["containers"][0]
        assert container["args"] == ["sweep", PATIENCE, "--config=x", f"--shard={i}/3"]
        assert container["env"][0]["value"] == f"train-1-{i}-worker-0-0.train-1-{i}:8476"


def test_gke_applies_what_the_dry_run_prints(fake):
    fake("kubectl", "cat >given.yaml")
    done = launch("gke_jobset.sh", *TPU)
    assert done.code == 0, done.err
    assert fake.calls() == [["kubectl", "apply", "-f", "-"]]
    [manifest] = manifests(launch("gke_jobset.sh", "--dry-run", *TPU))
    assert yaml.safe_load(pathlib.Path("given.yaml").read_text()) == manifest


def break_jobset(manifest: dict, where: str, value) -> dict:
    *path, last = (int(key) if key.isdigit() else key for key in where.split("/"))
    broken = place = copy.deepcopy(manifest)
    for key in path:
        place = place[key]
    place[last] = value
    return broken


JOB = "spec/replicatedJobs/0/template/spec"


@pytest.mark.parametrize(
    ("where", "value"),
    [
        ("apiVersion", "jobset.x-k8s.io/v1"),
        ("spec/maxRestarts", 3),
        ("spec/failurePolicy/maxRestarts", "3"),
        ("spec/failurePolicy/rules/0/action", "Fail"),
        ("spec/failurePolicy/rules/0/onExitCodes", [2]),
        ("spec/network/enableDnsHostnames", True),
        ("spec/replicatedJobs/0/name", None),
        (f"{JOB}/parallelism", "${HOSTS}"),
        (f"{JOB}/podFailurePolicy/rules/0/action", "FailJobSet"),
        (f"{JOB}/podFailurePolicy/rules/0/onExitCodes/values", [2, "75"]),
        (f"{JOB}/template/spec/terminationGracePeriod", 300),
        (f"{JOB}/template/spec/containers/0/args", "train --config=x"),
        (f"{JOB}/template/spec/containers/0/env/1/value", 4),
        (f"{JOB}/template/spec/volumes/0/persistentVolumeClaim/name", "x"),
    ],
)
def test_broken_manifests_do_not_pass(where, value):
    manifest = yaml.safe_load(JOBSET)
    check_jobset(manifest)
    with pytest.raises((ValueError, AssertionError)):
        check_jobset(break_jobset(manifest, where, value))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (TPU[1:], "--tpu=TYPE:TOPOLOGY or --gpu=TYPE: must be given"),
        (("--gpu=x", *TPU), "--gpu=x: not together with --tpu"),
        (("--tpu=v5", *TPU[1:]), "--tpu=v5: must be TYPE:TOPOLOGY"),
        (("--shards=3", *TPU), "--shards=3: only the stage sweep can be split, not train"),
        (("--devices-per-host=many", *TPU), "--devices-per-host=many: must be a whole number"),
        ((TPU[0], "Train_1", *TPU[2:]), "NAME=Train_1: must be small letters, digits and -"),
        (TPU[:4], "STAGE: must be given, after --"),
        (TPU[:3] + TPU[4:], "NAME IMAGE HOSTS: must be given"),
    ],
)
def test_gke_refuses_mistakes(arguments, said):
    assert error_line(launch("gke_jobset.sh", "--dry-run", *arguments)).startswith(f"gke_jobset.sh: {said}")


# --- tpu_pod.sh ---

POD = ("pod1", "--zone=z", "--type=v5litepod-16", "--version=v2-alpha-tpuv5-lite", "--poll=0")
STAGE = ("--", "run", "--config=x", "--workdir=gs://b/w")
INSTALL = (
    "set -e; python3 -m pip install --quiet --user uv; python3 -m uv venv --quiet --clear --python=3.12 ~/venv; "
    "python3 -m uv pip install --quiet --python=$HOME/venv/bin/python "
    '"data_redundancy[tpu,gcs] @ file://$HOME/data_redundancy.tar.gz"'
)
RUN = (
    'cd; flock --nonblock run.lock true || kill -s TERM "$(cat run.pid)"; '
    "flock --timeout 600 --conflict-exit-code 75 run.lock sh -c 'echo $$ >run.pid; exec \"$@\"' sh "
    "~/venv/bin/data-redundancy {arguments}; "
    'code=$?; echo "$(hostname): ended with exit code $code"; exit $code'
)


def tpu_commands(
    zone: str = "--zone=z", options: str = "", package: str = "/tmp/tpu_pod/data_redundancy.tar.gz"
) -> dict:
    """The commands that are expected, by what they are for."""
    tpus = ["gcloud", "compute", "tpus"]
    queue = [*tpus, "queued-resources"]
    ssh = [*tpus, "tpu-vm", "ssh", "pod1", *zone.split(), "--quiet", "--worker=all"]
    kind = ["--node-id=pod1", "--accelerator-type=v5litepod-16", "--runtime-version=v2-alpha-tpuv5-lite"]
    return {
        "create": [*queue, "create", "pod1", *zone.split(), *kind, *options.split()],
        "queue state": [*queue, "describe", "pod1", *zone.split(), "--format=value(state.state)"],
        "vm state": [*tpus, "tpu-vm", "describe", "pod1", *zone.split(), "--format=value(state)"],
        "copy": [*tpus, "tpu-vm", "scp", package, "pod1:", *zone.split(), "--quiet", "--worker=all"],
        "install": [*ssh, f"--command={INSTALL}"],
        "mount": [*ssh, "--command=mount data"],
        "run": [*ssh, f"--command={RUN.format(arguments='run --config=x --workdir=gs://b/w')}"],
        "delete": [*queue, "delete", "pod1", *zone.split(), "--quiet", "--force"],
        "archive": [
            *("git", "-C", str(LAUNCH.parent), "archive", "--format=tar.gz", "--prefix=data_redundancy/"),
            *(f"--output={package}", "HEAD"),
        ],
    }


def fetch_commands(to: str, parts=("config.json", "selections", "report")) -> list[list[str]]:
    return [
        ["mkdir", "-p", "--", to],
        *(["gcloud", "storage", "cp", "--recursive", f"gs://b/w/{part}", to] for part in parts),
    ]


def test_tpu_dry_run_prints_every_command_from_nothing_to_the_result():
    disk = "--data-disk=source=projects/p/zones/z/disks/d,mode=read-only"
    options = ("--project=p", "--spot", f"--create-flag={disk}", "--setup=mount data", "--max-restarts=5")
    done = launch("tpu_pod.sh", "--dry-run", "all", *POD, *options, *STAGE)
    commands = tpu_commands("--zone=z --project=p", f"--spot {disk}")
    create = [commands["create"], commands["queue state"]]
    install = [commands["archive"], commands["copy"], commands["install"], commands["mount"]]
    assert dry_words(done) == [
        *create,
        *install,
        commands["run"],
        "# after a failure, but for exit code 2, at most 5 times:",
        commands["vm state"],
        commands["queue state"],
        "# if the TPU is lost:",
        commands["delete"],
        *create,
        *install,
        "# if it is not:",
        commands["mount"],
        "# and the stage again",
        *fetch_commands("runs/pod1"),
        commands["delete"],
    ]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["create", *POD], ["create", "queue state"]),
        (["install", *POD[:2]], ["archive", "copy", "install"]),
        (["delete", *POD[:2]], ["delete"]),
    ],
)
def test_tpu_dry_run_of_one_action(arguments, expected):
    commands = tpu_commands()
    assert dry_words(launch("tpu_pod.sh", "--dry-run", *arguments)) == [commands[name] for name in expected]


def test_tpu_fetches_to_where_it_is_told():
    done = launch("tpu_pod.sh", "--dry-run", "fetch", *POD[:2], "--workdir=gs://b/w", "--to=a b")
    assert dry_words(done) == fetch_commands("a b")


@pytest.mark.parametrize(
    ("stage", "parts"),
    [
        ("report", ["config.json", "selections", "report"]),
        ("sweep", ["config.json", "selections"]),
        ("train", ["config.json"]),
    ],
)
def test_tpu_fetches_what_a_stage_makes(stage, parts):
    done = launch("tpu_pod.sh", "--dry-run", "fetch", *POD[:2], "--", stage, "--workdir=gs://b/w")
    assert dry_words(done) == fetch_commands("runs/pod1", parts)


def test_tpu_installs_a_wheel():
    pathlib.Path("data_redundancy-1.0-py3-none-any.whl").touch()
    done = launch("tpu_pod.sh", "--dry-run", "install", *POD[:2], "--wheel=data_redundancy-1.0-py3-none-any.whl")
    copy_wheel, install = dry_words(done)
    assert copy_wheel == tpu_commands(package="data_redundancy-1.0-py3-none-any.whl")["copy"]
    assert install[-1].endswith('@ file://$HOME/data_redundancy-1.0-py3-none-any.whl"')


def test_tpu_deletes_an_existing_vm_as_such():
    done = launch("tpu_pod.sh", "--dry-run", "delete", *POD[:2], "--existing")
    assert dry_words(done) == [["gcloud", "compute", "tpus", "tpu-vm", "delete", "pod1", "--zone=z", "--quiet"]]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "ACTION: must be given, one of create install run fetch delete all"),
        (["start", "pod1"], "start: no such action"),
        (["create", "Pod_1"], "NAME=Pod_1: must be small letters"),
        (["delete", "pod1"], "--zone: must be given"),
        (["create", "pod1", "--zone=z"], "--type: must be given"),
        (["run", "pod1", "--zone=z", "--type=t", *STAGE], "--version: must be given"),
        (["all", *POD, "--existing", *STAGE], "all: not with --existing"),
        (["run", *POD], "STAGE: must be given, after --"),
        (["run", *POD, "--", "run", "--workdir=runs/x"], "--workdir=runs/x: must be on gs://"),
        (["fetch", *POD], "--workdir=: must be on gs://"),
        (["run", *POD, "train", *STAGE], "train: not understood; STAGE ARGS come after --"),
        (["install", *POD, "--wheel=none.whl"], "--wheel=none.whl: no such file"),
    ],
)
def test_tpu_refuses_mistakes(arguments, said):
    assert error_line(launch("tpu_pod.sh", "--dry-run", *arguments)).startswith(f"tpu_pod.sh: {said}")


# A TPU that runs the stage as often as there are lines in `codes`: what a worker says; the exit code; the state then.
GCLOUD = r"""
case "$*" in
  *'tpu-vm describe'*) cat state 2>/dev/null ;;
  *'queued-resources create'*) [[ ! -e refuse ]] && echo READY >state ;;
  *'queued-resources describe'*) echo "$(cat queue 2>/dev/null || echo ACTIVE)" ;;
  *'data-redundancy run'*)
    IFS=';' read -r says code state <codes
    sed -i 1d codes
    echo "$says"
    if [[ $state == gone ]]; then rm -f state; else echo "$state" >state; fi
    exit "$code"
    ;;
  *'storage cp'*) [[ ! -e refuse_copy ]] ;;
esac
"""


@pytest.fixture
def pod(fake):
    """Runs tpu_pod.sh on a stand-in for gcloud; returns what was done, by the names of `tpu_commands`."""
    fake("gcloud", GCLOUD)
    fake("git")
    names = {}
    for name, command in tpu_commands().items():
        names[" ".join(command)] = name

    def run(action: str, *runs: str, options=POD, stage=STAGE) -> tuple[Done, list[str]]:
        pathlib.Path("state").write_text("READY\n")
        pathlib.Path("codes").write_text("".join(f"{line}\n" for line in runs))
        done = launch("tpu_pod.sh", action, *options, *stage)
        said = []
        for call in fake.calls():
            text = re.sub(
                r"\S*/data_redundancy\.tar\.gz pod1:", "/tmp/tpu_pod/data_redundancy.tar.gz pod1:", " ".join(call)
            )
            if call[0] == "gcloud":
                said.append("fetch" if call[1] == "storage" else names.get(text, text))
        return done, said

    return run


MADE_AGAIN = ["delete", "create", "queue state", "copy", "install"]


def test_tpu_runs_once_when_all_is_well(pod):
    done, said = pod("run", "w0: ended with exit code 0;0;READY")
    assert (done.code, said) == (0, ["run"])
    assert "w0: ended with exit code 0" in done.out


@pytest.mark.parametrize("state", ["PREEMPTED", "TERMINATED"])
def test_tpu_makes_a_lost_tpu_again_and_goes_on(pod, state):
    done, said = pod("run", f"lost;255;{state}", "w0: ended with exit code 0;0;READY")
    assert (done.code, said) == (0, ["run", "vm state", *MADE_AGAIN, "run"])
    assert "exit code 255; restart 1 of at most 20" in done.err


def test_tpu_asks_the_queue_where_there_is_no_vm_any_more(pod):
    pathlib.Path("queue").write_text("SUSPENDED\n")
    # It stays suspended: it cannot be made again, which counts as a restart, and is tried as often as allowed.
    done, said = pod("run", "x;255;gone", "x;255;gone", options=(*POD, "--max-restarts=1"))
    assert (done.code, said) == (255, ["run", "vm state", "queue state", "delete", "create", "queue state", "run"])
    assert "pod1: could not be made again" in done.err


def test_tpu_that_is_well_is_kept_after_a_failure(pod):
    runs = ["w0: ended with exit code 75;75;READY", "w1: ended with exit code 134;134;READY", "x;0;READY"]
    done, said = pod("run", *runs, options=(*POD, "--setup=mount data"))
    assert (done.code, said) == (0, ["run", "vm state", "mount", "run", "vm state", "mount", "run"])


def test_tpu_whose_state_cannot_be_told_is_kept(pod):
    pathlib.Path("queue").write_text("\n")
    done, said = pod("run", "no network;1;gone", "x;0;READY")
    assert (done.code, said) == (0, ["run", "vm state", "queue state", "run"])
    assert "pod1: state unknown" in done.err


def test_tpu_restarts_at_most_so_often(pod):
    done, said = pod("run", *["x;1;READY"] * 3, options=(*POD, "--max-restarts=2"))
    assert (done.code, said.count("run")) == (1, 3)
    assert "exit code 1 after 2 restarts" in done.err


def test_tpu_stops_at_exit_code_2(pod):
    done, said = pod("run", "w0: ended with exit code 2;2;READY", "x;0;READY")
    assert (done.code, said) == (2, ["run"])


def test_tpu_stops_at_exit_code_2_of_any_worker(pod):
    # gcloud gives the exit code of the first worker, which here had only lost another.
    done, said = pod("run", "w3: ended with exit code 2;75;READY", "x;0;READY")
    assert (done.code, said) == (2, ["run"])
    assert "a mistake that another run does not mend" in done.err


def test_existing_tpu_is_not_made_again(pod):
    done, said = pod("run", "x;255;PREEMPTED", options=(*POD[:2], "--poll=0", "--existing"))
    assert (done.code, said) == (255, ["run", "vm state"])
    assert "was not made here" in done.err


def test_all_goes_from_nothing_to_the_result_and_deletes_the_tpu(pod):
    done, said = pod("all", "x;0;READY")
    assert done.code == 0, done.err
    assert said == [*MADE_AGAIN[1:], "run", "fetch", "fetch", "fetch", "delete"]
    assert pathlib.Path("runs/pod1").is_dir()


def test_all_deletes_the_tpu_after_a_failure_too(pod):
    done, said = pod("all", "w0: ended with exit code 2;2;READY")
    assert (done.code, said) == (2, [*MADE_AGAIN[1:], "run", "delete"])


def test_all_deletes_nothing_that_it_did_not_make(pod):
    pathlib.Path("refuse").touch()
    done, said = pod("all")
    assert (done.code, said) == (1, ["create"])


def test_fetch_takes_what_there_is_and_says_what_failed(pod):
    pathlib.Path("refuse_copy").touch()
    done, said = pod("fetch")
    assert (done.code, said) == (1, ["fetch"] * 3)


def test_the_readme_s_sweep_on_three_pods_works_as_printed(fake):
    text = (LAUNCH.parent / "README.md").read_text()
    [recipe] = [block for block in re.findall(r"^```\n(.*?)^```$", text, re.M | re.S) if block.startswith("POD=(")]
    fake("gcloud", '[[ $* != *"queued-resources describe"* ]] || echo ACTIVE')
    fake("git")
    script = "set -eu; PROJECT=p ZONE=z\n" + recipe.replace("launch/tpu_pod.sh", f"bash {LAUNCH}/tpu_pod.sh")
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    calls = [call for call in fake.calls() if call[0] == "gcloud"]

    def of(pod: str, *verb: str) -> list[list[str]]:
        return [call for call in calls if pod in call and call[3 : 3 + len(verb)] == list(verb)]

    attached = []
    for pod in ("pod1", "pod2", "pod3"):
        [create] = of(pod, "queued-resources", "create")
        [disk] = [word.rpartition("/")[2] for word in create if word.startswith("--data-disk=")]
        attached.append(disk)
        assert of(f"{pod}:", "tpu-vm", "scp")
        assert len(of(pod, "queued-resources", "delete")) == 1
    assert attached == ["imagenet", "imagenet", "imagenet-copy"]
    # Installing, setting up, and the stages.
    commands = [[call[-1] for call in of(pod, "tpu-vm", "ssh")] for pod in ("pod1", "pod2", "pod3")]
    assert [len(texts) for texts in commands] == [2 + 6, 2 + 1, 2 + 1]
    assert all(texts[1].startswith("--command=sudo mkdir -p /mnt/data; mountpoint") for texts in commands)
    ran = [re.search(r"bin/data-redundancy (\w+) .*?(?:--shard=(\S+);|;)", text).groups()
           for texts in commands for text in texts[2:]]  # fmt: skip
    assert ran == [
        *[(stage, None) for stage in ("train", "embed", "cluster", "select")],
        *[("sweep", "0/3"), ("report", None), ("sweep", "1/3"), ("sweep", "2/3")],
    ]
    assert [call[-1] for call in calls if call[1] == "storage"][-1] == "runs/pod1"


@pytest.fixture
def worker(fake):
    """A worker's home, on this machine: `gcloud ... ssh` runs its command there."""
    fake("gcloud", f'for word; do [[ $word != --command=* ]] || HOME={os.getcwd()}/home bash -c "${{word#*=}}"; done')
    fake("git")
    home = pathlib.Path("home/venv/bin")
    home.mkdir(parents=True)
    (home / "data-redundancy").symlink_to(pathlib.Path("bin/program").resolve())
    return pathlib.Path("home")


@pytest.mark.skipif(shutil.which("flock") is None, reason="flock is not installed (util-linux; Linux only)")
def test_arguments_reach_the_workers_unharmed(fake, worker):
    fake("program", "exit 2")
    done = launch("tpu_pod.sh", "run", *POD, *STAGE, *HARD)
    assert done.code == 2, done.err
    assert ["program", "run", "--config=x", "--workdir=gs://b/w", *HARD] in fake.calls()
    assert re.search("^.+: ended with exit code 2$", done.out, re.M)


@pytest.mark.skipif(shutil.which("flock") is None, reason="flock is not installed (util-linux; Linux only)")
def test_a_process_that_only_has_the_number_of_an_old_run_is_let_alone(fake, worker):
    fake("program")
    with subprocess.Popen(["sleep", "100"]) as bystander:
        (worker / "run.pid").write_text(f"{bystander.pid}\n")
        done = launch("tpu_pod.sh", "run", *POD, *STAGE)
        untouched = bystander.poll() is None
        bystander.kill()
    assert done.code == 0, done.err
    assert untouched


@pytest.mark.skipif(shutil.which("flock") is None, reason="flock is not installed (util-linux; Linux only)")
def test_a_run_that_lost_its_connection_is_told_to_stop_before_the_next(fake, worker):
    fake("program", "trap 'echo saved >>log; exit 75' TERM; echo began >>log; [[ -e ready0 ]] && exit; touch ready0\n"
         "while :; do sleep 0.1; done")  # fmt: skip
    first = start("tpu_pod.sh", "run", *POD, "--max-restarts=0", *STAGE)
    deadline = time.monotonic() + 20
    while not (worker / "ready0").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    second = launch("tpu_pod.sh", "run", *POD, "--max-restarts=0", *STAGE)
    first.communicate(timeout=10)
    assert (first.returncode, second.code) == (75, 0)
    assert (worker / "log").read_text().split() == ["began", "saved", "began"]
