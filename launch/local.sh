#!/usr/bin/env bash
# Runs one stage in several processes on this machine; when one of them fails, the others are stopped.
#
# usage: launch/local.sh [--dry-run] [--log-dir=DIR] [--grace=SECONDS] PROCESSES DEVICES_EACH -- STAGE ARGS
#
#   launch/local.sh 2 4 -- run --config=digits --workdir=runs/digits
#   JAX_PLATFORMS=cuda launch/local.sh 2 4 -- train --config=imagenet --workdir=runs/imagenet
#
# By default every process gets DEVICES_EACH virtual CPU devices. With JAX_PLATFORMS=cuda (or gpu) it gets so many GPUs,
# in the order of CUDA_VISIBLE_DEVICES where that is set.
#
#   --dry-run        print the commands instead of running them
#   --log-dir=DIR    where process<i>.log go; by default WORKDIR/logs, or ./logs if the workdir is not a local one
#   --grace=SECONDS  from SIGTERM to SIGKILL, for those that are still there (60)
#
# The output of process 0 is shown as well. SIGTERM, SIGINT and SIGHUP are passed on to all of them; a second one kills
# them. The exit code is that of the process that failed first, or 0. The environment variable DATA_REDUNDANCY names the
# program, for example DATA_REDUNDANCY="python -m data_redundancy"; by default data-redundancy.

set -euo pipefail

say() { echo "local.sh: $*" >&2; }
refuse() { say "$@"; exit 2; }

dry_run=0
log_dir=
grace=60
counts=()
while (($#)); do
  case $1 in
    --help | -h) sed -n '2,/^$/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
    --dry-run) dry_run=1 ;;
    --log-dir=?*) log_dir=${1#*=} ;;
    --grace=*) grace=${1#*=} ;;
    --) break ;;
    -*) refuse "$1: no such option; see --help" ;;
    *) counts+=("$1") ;;
  esac
  shift
done
number='^[1-9][0-9]{0,5}$'
((${#counts[@]} == 2)) || refuse "PROCESSES DEVICES_EACH: must be given, two numbers, such as: 2 4 -- STAGE ARGS"
for value in "${counts[@]}"; do
  [[ $value =~ $number ]] || refuse "$value: must be a whole number, 1 or more"
done
[[ $grace =~ $number ]] || refuse "--grace=$grace: must be a whole number of seconds, 1 or more"
(($# > 1)) || refuse "STAGE: must be given, after --"
shift
processes=${counts[0]}
devices=${counts[1]}
stage=$1
shift
read -ra program <<<"${DATA_REDUNDANCY:-data-redundancy}"
for argument in "$@"; do
  case $argument in
    --coordinator | --coordinator=* | --num_processes | --num_processes=* | --process_id | --process_id=*)
      refuse "$argument: not after --, every process gets its own"
      ;;
  esac
done

if [[ -z $log_dir ]]; then
  log_dir=logs
  previous=
  for argument in "$@"; do
    workdir=
    case $previous,$argument in
      *,--workdir=?*) workdir=${argument#*=} ;;
      --workdir,*) workdir=$argument ;;
    esac
    [[ -z $workdir || $workdir == *://* ]] || log_dir=$workdir/logs
    previous=$argument
  done
fi

# --- the command of every process ---

port() {
  # Below the range that the system hands out by itself, so that none is taken between now and when process 0 listens.
  local candidate
  for _ in {1..100}; do
    candidate=$((20000 + RANDOM % 12000))
    (: <>"/dev/tcp/127.0.0.1/$candidate") 2>/dev/null || { echo "$candidate"; return; }
  done
  refuse "no free port between 20000 and 32000"
}

platform=${JAX_PLATFORMS:-cpu}
case $platform in
  cpu) ;;
  cuda | gpu)
    if [[ -n ${CUDA_VISIBLE_DEVICES:-} ]]; then
      IFS=, read -ra gpus <<<"$CUDA_VISIBLE_DEVICES"
    else
      gpus=()
      for ((i = 0; i < processes * devices; i++)); do gpus+=("$i"); done
    fi
    ((${#gpus[@]} >= processes * devices)) ||
      refuse "CUDA_VISIBLE_DEVICES=$CUDA_VISIBLE_DEVICES: $processes processes of $devices must have that many"
    ;;
  *) refuse "JAX_PLATFORMS=$platform: must be cpu, cuda or gpu" ;;
esac

coordinator=127.0.0.1:$(port)

command_of() { # of process $1, into the array `command`
  local IFS=,
  if [[ $platform == cpu ]]; then
    # Of several such flags the last one counts.
    local flags="${XLA_FLAGS:+$XLA_FLAGS }--xla_force_host_platform_device_count=$devices"
    command=(env JAX_PLATFORMS=cpu "XLA_FLAGS=$flags")
  else
    command=(env "CUDA_VISIBLE_DEVICES=${gpus[*]:$1 * devices:devices}")
  fi
  command+=("${program[@]}" "$stage" "--coordinator=$coordinator" "--num_processes=$processes" "--process_id=$1"
    "--num_devices=$((processes * devices))" "${arguments[@]}")
}

arguments=("$@")
if ((dry_run)); then
  for ((i = 0; i < processes; i++)); do
    command_of "$i"
    printf '%q ' "${command[@]}"
    printf '>%q 2>&1\n' "$log_dir/process$i.log"
  done
  exit 0
fi

# --- run them ---

pids=()     # of the processes, which are also their process groups
running=()  # 1 or 0
told=0      # whether all have been told to stop
deadline=   # when those left are killed, in seconds since this script began
first_code=0

signal_all() { # signal $1 to every process that runs, and to what it has started
  local i
  for i in "${!pids[@]}"; do
    ((!running[i])) || kill -s "$1" -- "-${pids[i]}" 2>/dev/null || true
  done
}

stop_all() { # once by signal $1, then by SIGKILL
  ((!told)) || return 0
  told=1
  deadline=$((SECONDS + grace))
  signal_all "$1"
}

passed_on=0
# shellcheck disable=SC2317  # called by trap
pass_on() {
  if ((passed_on)); then
    say "SIG$1 again: killing all processes"
    signal_all KILL
  else
    passed_on=1
    say "SIG$1: passed on to all processes"
    told=0 # they may have been told by another signal
    stop_all "$1"
  fi
}

leave_nothing() { # whatever ended this script
  local pid
  for pid in "${pids[@]}"; do
    kill -s KILL -- "-$pid" 2>/dev/null || true
  done
}

mkdir -p -- "$log_dir"
trap leave_nothing EXIT
trap 'pass_on TERM' TERM
trap 'pass_on INT' INT
trap 'pass_on HUP' HUP

# Ctrl-C in a terminal reaches tee as well; it has to stay until the last line is through.
exec 3> >(trap '' TERM INT HUP; exec tee -- "$log_dir/process0.log")
tee_pid=$!

set -m # a process group each; without, they would also start with SIGINT ignored
for ((i = 0; i < processes; i++)); do
  command_of "$i"
  running[i]=1
  if ((i == 0)); then
    "${command[@]}" </dev/null >&3 2>&1 3>&- &
  else
    "${command[@]}" </dev/null >"$log_dir/process$i.log" 2>&1 3>&- &
  fi
  pids[i]=$!
done
set +m
exec 3>&-
((!passed_on)) || signal_all TERM # those that started after the signal came

left=$processes
while ((left)); do
  for i in "${!pids[@]}"; do
    # Bash has waited for a process as soon as it has ended; then there is none to signal, but its code is kept.
    if ((running[i])) && ! kill -0 "${pids[i]}" 2>/dev/null; then
      code=0
      wait "${pids[i]}" 2>/dev/null || code=$?
      running[i]=0
      left=$((left - 1))
      if ((code)) && ((!first_code)); then
        first_code=$code
        say "process $i ended with exit code $code; log: $log_dir/process$i.log"
        stop_all TERM
      fi
    fi
  done
  if [[ -n $deadline ]] && ((SECONDS >= deadline)); then
    say "still there ${grace} s after they were told to stop: killed"
    signal_all KILL
    deadline=
  fi
  # A signal to the whole process group, such as Ctrl-C, ends sleep too.
  ((!left)) || sleep 0.1 || true
done
leave_nothing
wait "$tee_pid" || true
exit "$first_code"
