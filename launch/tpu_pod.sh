#!/usr/bin/env bash
# Runs one stage on all workers of a Cloud TPU, from nothing to the fetched result; goes on after preemption.
#
# usage: launch/tpu_pod.sh [--dry-run] ACTION NAME --zone=ZONE [OPTIONS] [-- STAGE ARGS]
#
#   launch/tpu_pod.sh all pod1 --zone=us-west4-a --type=v5litepod-16 --version=v2-alpha-tpuv5-lite --spot \
#       -- run --config=imagenet --workdir=gs://bucket/imagenet
#
# actions:
#   create    ask for the TPU NAME as a queued resource, and wait for it
#   install   install the package on all workers, into ~/venv
#   run       run the stage on all workers at the same time; when the TPU is lost, make it again and go on
#   fetch     copy report, selections and config.json from the workdir to this machine; after a stage, what it makes
#   delete    delete the TPU; the workdir stays
#   all       all of these, one after the other; deletes the TPU also when the stage has failed
#
# options:
#   --dry-run               print the commands instead of running them
#   --zone=ZONE             where the TPU is
#   --project=ID            (gcloud's own)
#   --type=TYPE             for create, and for run to make it again: accelerator type, such as v5litepod-16
#   --version=VERSION       for the same: runtime, such as v2-alpha-tpuv5-lite
#   --spot                  for the same: cheaper, may be taken away at any time
#   --create-flag=FLAG      for the same: one more flag for gcloud, such as --create-flag=--reserved; may be repeated
#   --existing              the TPU VM was made by other means: it is never made again; delete deletes the VM
#   --repo=DIR              install the last commit of this checkout (the one this script is in)
#   --wheel=FILE            install this wheel instead
#   --setup=COMMAND         run on every worker after installing and before going on, such as mounting the data; it
#                           must be able to run twice
#   --max-restarts=N        how often run begins again (20), after any failure but exit code 2
#   --poll=SECONDS          between looks at the state of the TPU (30)
#   --workdir=gs://...      for fetch; by default that of the stage
#   --to=DIR                for fetch (runs/NAME)
#
# The workdir must be on gs://: the workers share no disk, and theirs go with the TPU.

set -euo pipefail

say() { echo "tpu_pod.sh: $*" >&2; }
refuse() { say "$@"; exit 2; }

dry_run=0
action=
name=
where=()
zone=
project=
type=
version=
create_flags=()
existing=0
repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
wheel=
setup=
max_restarts=20
poll=30
workdir=
to=
while (($#)); do
  case $1 in
    --help | -h) sed -n '2,/^$/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
    --dry-run) dry_run=1 ;;
    --zone=*) zone=${1#*=} ;;
    --project=*) project=${1#*=} ;;
    --type=*) type=${1#*=} ;;
    --version=*) version=${1#*=} ;;
    --spot) create_flags+=(--spot) ;;
    --create-flag=?*) create_flags+=("${1#*=}") ;;
    --existing) existing=1 ;;
    --repo=?*) repo=${1#*=} ;;
    --wheel=?*) wheel=${1#*=} ;;
    --setup=?*) setup=${1#*=} ;;
    --max-restarts=*) max_restarts=${1#*=} ;;
    --poll=*) poll=${1#*=} ;;
    --workdir=*) workdir=${1#*=} ;;
    --to=?*) to=${1#*=} ;;
    --) shift; break ;;
    -*) refuse "$1: no such option; see --help" ;;
    *)
      if [[ -z $action ]]; then action=$1
      elif [[ -z $name ]]; then name=$1
      else refuse "$1: not understood; STAGE ARGS come after --"; fi
      ;;
  esac
  shift
done
stage=("$@")
actions='create install run fetch delete all'
[[ -n $action ]] || refuse "ACTION: must be given, one of $actions"
[[ " $actions " == *" $action "* ]] || refuse "$action: no such action; one of $actions"
[[ $name =~ ^[a-z]([-a-z0-9]{0,60}[a-z0-9])?$ ]] ||
  refuse "NAME=$name: must be small letters, digits and -, from a letter to a letter or digit"
[[ -n $zone ]] || refuse "--zone: must be given, such as --zone=us-west4-a"
[[ $max_restarts =~ ^[0-9]{1,5}$ ]] || refuse "--max-restarts=$max_restarts: must be a whole number"
[[ $poll =~ ^[0-9]{1,5}$ ]] || refuse "--poll=$poll: must be a whole number of seconds"

for word in "${stage[@]}"; do
  [[ $word != --workdir=* || -n $workdir ]] || workdir=${word#*=}
done
does() { [[ $action == "$1" || $action == all ]]; }
if does create || { does run && ((!existing)); }; then
  ((!existing)) || refuse "$action: not with --existing; install, run, fetch and delete are"
  [[ -n $type ]] || refuse "--type: must be given, such as --type=v5litepod-16; or --existing"
  [[ -n $version ]] || refuse "--version: must be given, such as --version=v2-alpha-tpuv5-lite; or --existing"
fi
if does run; then
  ((${#stage[@]})) || refuse "STAGE: must be given, after --"
fi
if does run || does fetch; then
  [[ $workdir == gs://?* ]] || refuse "--workdir=$workdir: must be on gs://, which all workers see"
fi
[[ -z $wheel || -f $wheel ]] || refuse "--wheel=$wheel: no such file"

where=("--zone=$zone")
[[ -z $project ]] || where+=("--project=$project")
to=${to:-runs/$name}
tpus=(gcloud compute tpus)

print() {
  local line
  printf -v line '%q ' "$@"
  echo "${line% }"
}

run() { # a command, or in a dry run only prints it
  if ((dry_run)); then print "$@"; else "$@"; fi
}

on_workers() { # a shell command, on all of them at the same time; its exit code is that of the first that failed
  run "${tpus[@]}" tpu-vm ssh "$name" "${where[@]}" --quiet --worker=all "--command=$1"
}

# --- the TPU ---

queue_state() { # ACTIVE once there is a TPU; nothing if it cannot be told
  run "${tpus[@]}" queued-resources describe "$name" "${where[@]}" '--format=value(state.state)'
}

request() {
  run "${tpus[@]}" queued-resources create "$name" "${where[@]}" "--node-id=$name" "--accelerator-type=$type" \
    "--runtime-version=$version" "${create_flags[@]}"
}

wait_for_it() {
  local state=none now
  if ((dry_run)); then
    queue_state
    return
  fi
  while :; do
    now=$(queue_state) || now=
    [[ $now == "$state" ]] || say "$name: ${now:-state unknown}"
    state=$now
    case $state in
      ACTIVE) return 0 ;;
      FAILED | SUSPENDING | SUSPENDED) return 1 ;;
    esac
    sleep "$poll"
  done
}

delete() {
  if ((existing)); then
    run "${tpus[@]}" tpu-vm delete "$name" "${where[@]}" --quiet
  else
    run "${tpus[@]}" queued-resources delete "$name" "${where[@]}" --quiet --force
  fi
}

vm_state() { # READY if all is well; nothing if it cannot be told
  run "${tpus[@]}" tpu-vm describe "$name" "${where[@]}" '--format=value(state)'
}

is_lost() {
  local state
  # What cannot be told is not lost: the network may be away, and the TPU at work.
  state=$(vm_state 2>/dev/null) || state=
  if [[ -z $state ]] && ((!existing)); then
    state=$(queue_state 2>/dev/null) || state=
  fi
  say "$name: ${state:-state unknown}"
  case $state in
    PREEMPTED | TERMINATED | STOPPING | STOPPED | DELETING | SUSPENDING | SUSPENDED | FAILED) return 0 ;;
    *) return 1 ;;
  esac
}

# --- the package ---

scratch=/tmp/tpu_pod # in a dry run
if ((!dry_run)); then
  scratch=$(mktemp -d)
  trap 'rm -rf -- "$scratch"' EXIT
fi

install() {
  local package=$wheel
  if [[ -z $package ]]; then
    package=$scratch/data_redundancy.tar.gz
    if ((!dry_run)) && [[ -n $(git -C "$repo" status --porcelain --untracked-files=no) ]]; then
      say "$repo: the last commit is installed, without the changes since"
    fi
    run git -C "$repo" archive --format=tar.gz --prefix=data_redundancy/ "--output=$package" HEAD || return
  fi
  run "${tpus[@]}" tpu-vm scp "$package" "$name:" "${where[@]}" --quiet --worker=all || return
  # The workers' own Python may be too old.
  # shellcheck disable=SC2088  # expanded on the workers
  on_workers "set -e; python3 -m pip install --quiet --user uv; \
python3 -m uv venv --quiet --clear --python=3.12 ~/venv; \
python3 -m uv pip install --quiet --python=\$HOME/venv/bin/python \
\"data_redundancy[tpu,gcs] @ file://\$HOME/$(basename "$package")\"" || return
  set_up
}

set_up() { [[ -z $setup ]] || on_workers "$setup"; }

# --- the stage ---

stage_command() { # the shell command for every worker
  local words
  printf -v words '%q ' "${stage[@]}"
  # A run that lost its connection may still be there, and hold the TPU: it is told to save and to end.
  # shellcheck disable=SC2016  # expanded on the workers
  printf '%s' 'cd; flock --nonblock run.lock true || kill -s TERM "$(cat run.pid)"; ' \
    'flock --timeout 600 --conflict-exit-code 75 run.lock ' \
    "sh -c 'echo \$\$ >run.pid; exec \"\$@\"' sh ~/venv/bin/data-redundancy ${words% }; " \
    'code=$?; echo "$(hostname): ended with exit code $code"; exit $code'
}

run_once() { # returns the exit code of the stage; 2 if that is what any worker ended with
  local code=0
  on_workers "$(stage_command)" 2>&1 | tee "$scratch/run.log" || code=$?
  # gcloud tells the exit code of one worker; others may have ended only because that which ended with 2 was gone.
  if ((code)) && grep --quiet ': ended with exit code 2$' "$scratch/run.log"; then code=2; fi
  return "$code"
}

run_stage() {
  local restarts=0 code
  if ((dry_run)); then
    on_workers "$(stage_command)"
    echo "# after a failure, but for exit code 2, at most $max_restarts times:"
    vm_state
    if ((!existing)); then
      queue_state
      echo "# if the TPU is lost:"
      delete
      request
      wait_for_it
      install
    fi
    if [[ -n $setup ]]; then
      echo "# if it is not:"
      set_up
    fi
    echo "# and the stage again"
    return
  fi
  while :; do
    code=0
    run_once || code=$?
    if ((!code)); then return 0; fi
    if ((code == 2)); then
      say "exit code 2: a mistake that another run does not mend"
      return 2
    fi
    if ((restarts == max_restarts)); then
      say "exit code $code after $restarts restarts"
      return "$code"
    fi
    restarts=$((restarts + 1))
    say "exit code $code; restart $restarts of at most $max_restarts"
    sleep "$poll" # a preemption takes a while to show
    if ! is_lost; then
      set_up || say "setup failed"
    elif ((existing)); then
      say "$name: was not made here, and is not made again"
      return "$code"
    else
      delete || say "$name: could not be deleted"
      # If this fails, the next run does, and it is tried again.
      { request && wait_for_it && install; } || say "$name: could not be made again"
    fi
  done
}

fetch() {
  local parts part code=0
  case ${stage[0]:-report} in
    run | report) parts=(config.json selections report) ;;
    select | sweep) parts=(config.json selections) ;;
    *) parts=(config.json) ;;
  esac
  run mkdir -p -- "$to" || return
  for part in "${parts[@]}"; do
    run gcloud storage cp --recursive "$workdir/$part" "$to" || code=$?
  done
  return "$code"
}

case $action in
  create) request && wait_for_it ;;
  install) install ;;
  run) run_stage ;;
  fetch) fetch ;;
  delete) delete ;;
  all)
    # It costs money as long as it is there.
    trap 'say "stopped; the TPU may still be there: launch/tpu_pod.sh delete $name --zone=$zone"; exit 130' INT TERM
    # If this fails, there may be another TPU of that name, which is not to be deleted.
    request
    code=0
    { wait_for_it && install && run_stage && fetch; } || code=$?
    delete || say "$name: could not be deleted"
    exit "$code"
    ;;
esac
