#!/usr/bin/env bash
# Runs one stage on a TPU slice or on GPU nodes of a Kubernetes cluster (GKE) that has JobSet, by gke_jobset.yaml.
#
# usage: launch/gke_jobset.sh [--dry-run] (--tpu=TYPE:TOPOLOGY | --gpu=TYPE) [OPTIONS] NAME IMAGE HOSTS -- STAGE ARGS
#
#   launch/gke_jobset.sh --tpu=tpu-v5-lite-podslice:4x4 --devices-per-host=4 --data-claim=imagenet \
#       training us-docker.pkg.dev/me/images/data-redundancy 4 -- train --config=imagenet --workdir=gs://bucket/imagenet
#   launch/gke_jobset.sh --gpu=nvidia-h100-80gb --devices-per-host=8 --shards=4 \
#       sweep us-docker.pkg.dev/me/images/data-redundancy 1 -- sweep --config=imagenet --workdir=gs://bucket/imagenet
#
#   --dry-run               print the manifest and the command instead of applying it
#   --tpu=TYPE:TOPOLOGY     nodes by cloud.google.com/gke-tpu-accelerator and gke-tpu-topology
#   --gpu=TYPE              nodes by cloud.google.com/gke-accelerator
#   --devices-per-host=N    TPU chips or GPUs of one host (4)
#   --spot                  on spot nodes
#   --shards=N              only for the stage sweep: N jobs NAME-0, NAME-1, ... with --shard=0/N, 1/N, ... each
#   --max-restarts=N        of each job (20)
#   --data-claim=CLAIM      a persistent volume claim to be mounted read-only at /data
#   --service-account=NAME  whose rights the pods have, to write to gs:// (default)
#   --namespace=NAME        where the job runs (kubectl's own)
#
# The pods get --start_timeout_s=3600 unless STAGE ARGS has one: the first waits for the last, for which a node may have
# to be made, and the exit code 2 of one that waited in vain would end the job for good.
#
# The image must have the program installed. The environment variable DATA_REDUNDANCY names it, for example
# DATA_REDUNDANCY="python -m data_redundancy"; by default data-redundancy.

set -euo pipefail

refuse() { echo "gke_jobset.sh: $*" >&2; exit 2; }

dry_run=0
tpu=
gpu=
devices=4
spot=0
shards=
max_restarts=20
claim=
service_account=default
kubectl=(kubectl apply)
words=()
while (($#)); do
  case $1 in
    --help | -h) sed -n '2,/^$/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"; exit 0 ;;
    --dry-run) dry_run=1 ;;
    --tpu=*) tpu=${1#*=} ;;
    --gpu=*) gpu=${1#*=} ;;
    --devices-per-host=*) devices=${1#*=} ;;
    --spot) spot=1 ;;
    --shards=*) shards=${1#*=} ;;
    --max-restarts=*) max_restarts=${1#*=} ;;
    --data-claim=?*) claim=${1#*=} ;;
    --service-account=?*) service_account=${1#*=} ;;
    --namespace=?*) kubectl+=("$1") ;;
    --) break ;;
    -*) refuse "$1: no such option; see --help" ;;
    *) words+=("$1") ;;
  esac
  shift
done
((${#words[@]} == 3)) || refuse "NAME IMAGE HOSTS: must be given, three words, before -- STAGE ARGS"
(($# > 1)) || refuse "STAGE: must be given, after --"
shift
name=${words[0]}
image=${words[1]}
hosts=${words[2]}
stage=$1
# Names of pods and hosts are made of it, and have 63 characters at most.
[[ $name =~ ^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$ ]] ||
  refuse "NAME=$name: must be small letters, digits and -, at most 40, from a letter to a letter or digit"
check_number() { [[ $2 =~ ^[1-9][0-9]{0,4}$ ]] || refuse "$1=$2: must be a whole number, 1 or more"; }
check_number HOSTS "$hosts"
check_number --devices-per-host "$devices"
[[ $max_restarts == 0 ]] || check_number --max-restarts "$max_restarts"
[[ -z $shards ]] || check_number --shards "$shards"
[[ -z $shards || $stage == sweep ]] || refuse "--shards=$shards: only the stage sweep can be split, not $stage"
[[ -n $tpu || -n $gpu ]] || refuse "--tpu=TYPE:TOPOLOGY or --gpu=TYPE: must be given"
[[ -z $tpu || -z $gpu ]] || refuse "--gpu=$gpu: not together with --tpu"
[[ -z $tpu || $tpu == ?*:?* ]] || refuse "--tpu=$tpu: must be TYPE:TOPOLOGY, such as tpu-v5-lite-podslice:4x4"

# --- values in JSON, which YAML contains: no quoting to get wrong ---

json() { # $1 as a JSON string
  local text=$1
  text=${text//\\/\\\\}
  text=${text//\"/\\\"}
  text=${text//$'\n'/\\n}
  text=${text//$'\r'/\\r}
  text=${text//$'\t'/\\t}
  printf '"%s"' "$text"
}

json_list() { # all arguments; Kubernetes would expand $(NAME) in them
  local separator='' word
  printf '['
  for word in "$@"; do
    printf '%s' "$separator"
    json "${word//\$/\$\$}"
    separator=', '
  done
  printf ']'
}

# STAGE ARGS, with time for all nodes to be there.
arguments=("$stage" --start_timeout_s=3600 "${@:2}")
for word in "${@:2}"; do
  # The user's own goes before.
  [[ ! $word =~ ^--?start_timeout_s(=|$) ]] || arguments=("$@")
done

read -ra program <<<"${DATA_REDUNDANCY:-data-redundancy}"
annotations='{}'
if [[ -n $tpu ]]; then
  # All hosts of one slice, where there are several.
  ((hosts == 1)) || annotations='{"alpha.jobset.sigs.k8s.io/exclusive-topology": "cloud.google.com/gke-nodepool"}'
  selector="\"cloud.google.com/gke-tpu-accelerator\": $(json "${tpu%%:*}")"
  selector+=", \"cloud.google.com/gke-tpu-topology\": $(json "${tpu#*:}")"
  resource=google.com/tpu
else
  selector="\"cloud.google.com/gke-accelerator\": $(json "$gpu")"
  resource=nvidia.com/gpu
fi
((!spot)) || selector+=', "cloud.google.com/gke-spot": "true"'
volumes='[]'
mounts='[]'
if [[ -n $claim ]]; then
  volumes="[{\"name\": \"data\", \"persistentVolumeClaim\": {\"claimName\": $(json "$claim"), \"readOnly\": true}}]"
  mounts='[{"name": "data", "mountPath": "/data", "readOnly": true}]'
fi

manifest() { # of the job $1 with the stage and arguments that follow
  local job=$1 text key
  shift
  local -A values=(
    [NAME]=$(json "$job")
    [ANNOTATIONS]=$annotations
    [MAX_RESTARTS]=$max_restarts
    [HOSTS]=$hosts
    [SERVICE_ACCOUNT]=$(json "$service_account")
    [NODE_SELECTOR]="{$selector}"
    [IMAGE]=$(json "$image")
    [COMMAND]=$(json_list "${program[@]}")
    [ARGS]=$(json_list "$@")
    [COORDINATOR]=$(json "$job-worker-0-0.$job:8476")
    [LIMITS]="{\"$resource\": $devices}"
    [VOLUME_MOUNTS]=$mounts
    [VOLUMES]=$volumes
  )
  # Line by line, one place a line: a value that looks like a place is left alone.
  while IFS= read -r text; do
    if [[ $text =~ ^([^#]*)\$\{([A-Z_]+)\}(.*)$ ]]; then
      key=${BASH_REMATCH[2]}
      text="${BASH_REMATCH[1]}${values[$key]}${BASH_REMATCH[3]}"
    fi
    printf '%s\n' "$text"
  done <"$(dirname "${BASH_SOURCE[0]}")/gke_jobset.yaml"
}

all_manifests() {
  local i
  if [[ -z $shards ]]; then
    manifest "$name" "$@"
    return
  fi
  for ((i = 0; i < shards; i++)); do
    ((i == 0)) || echo ---
    manifest "$name-$i" "$@" "--shard=$i/$shards"
  done
}

kubectl+=(-f -)
filled=$(all_manifests "${arguments[@]}")
if ((dry_run)); then
  printf '%q ' "${kubectl[@]}"
  printf '<<%s\n%s\n%s\n' "'END'" "$filled" END
else
  "${kubectl[@]}" <<<"$filled"
fi
