#!/usr/bin/env bash
# A JobSet in a GKE cluster, on TPUs or GPUs: gke.sh ACTION --name NAME [OPTION...] [-- COMMAND...]
#
#   create    a node pool with a slice of --type for each of --slices, in --cluster
#   render    print the JobSet, as start applies it
#   start     COMMAND on all hosts, in --image; started again when a node was preempted or
#             COMMAND exits with 75, or with 134 as JAX does where others of
#             the run are gone; given up at any other exit code
#   logs      of all hosts, and what follows
#   status    of the JobSet and its pods
#   stop      delete the JobSet; the nodes stay
#   collect   copy --from (gs://BUCKET/FOLDER) to --to
#   delete    all node pools that are called NAME-0, NAME-1, ...
#
#   --name NAME            of the JobSet, and of the node pools (NAME-0, NAME-1, ...)
#   --type TYPE            accelerator type: v5litepod-16 and v6e-64 count chips, v4-32 and
#                          v5p-128 count cores, two in a chip
#   --topology T           instead of the type's usual one, as 4x4x8
#   --slices N             default 1
#   --gpu GPU              instead of --type: nvidia-h100-80gb, nvidia-h200-141gb, ...
#   --hosts N, --gpus N    hosts, default 1, and GPUs of each, default 8; with --gpu
#   --image IMAGE          with sophia-jax[tpu,gcs] or sophia-jax[cuda,gcs] installed; without
#                          gcs no gs:// path is read
#   --max-restarts N       default 100
#   --grace-seconds N      that COMMAND has for saving when it is preempted; default 300
#   --context CONTEXT      of kubectl; default its current one
#   --namespace NAMESPACE  default default
#   --cluster CLUSTER, --project, --zone  of create and delete; or PROJECT and ZONE in the
#                          environment
#   --provision KIND       of create: on-demand (default), spot, or a reservation's name
#   --from gs://..., --to PATH
#   --yes-delete NAME      the name again, instead of typing it when asked
#   --dry-run              print the commands, run none
#
# Example:
#   gke.sh start --name run1 --type v6e-64 --image europe-docker.pkg.dev/p/r/i:1 \
#     -- sophia-jax update --run gs://my-bucket/run1 --resume

set -euo pipefail
# shellcheck source=scripts/launch/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

name='' type='' slices=1 gpu='' gpus='' hosts='' image='' max_restarts=100 grace_seconds=300
context='' namespace=default cluster='' project=${PROJECT:-} zone=${ZONE:-}
provision=on-demand from='' to='' yes_delete='' topology=''

kube() {
  run kubectl ${context:+--context="$context"} --namespace="$namespace" "$@"
}

# pools VERB WORD...: of gcloud.
pools() {
  run gcloud container node-pools "$@" --cluster="$cluster" --project="$project" \
    --location="$zone"
}

# delete_pools: as many as there are, whatever --slices is now.
delete_pools() {
  local list pool
  list=$(pools list --filter="name~^$name-[0-9]+\$" --format="value(name)")
  if [ -n "$dry_run" ]; then
    echo "$list"
    echo "# for each of them:"
    list=$name-0
  fi
  [ -n "$list" ] || fail "--name: expected node pools called $name-0 and so on, got none"
  for pool in $list; do
    pools delete "$pool" --quiet
  done
}

# needs_accelerator: sets what the template says of chips or GPUs.
needs_accelerator() {
  local wanted=$topology
  if [ -n "$gpu" ]; then
    [ -z "$type" ] || fail "--type, --gpu: expected one of them, got both"
    [[ $gpu =~ ^nvidia-[a-z0-9-]+$ ]] || fail "--gpu: expected as nvidia-h100-80gb, got $gpu"
    [ -z "$topology" ] || fail "--topology: expected none with --gpu, got $topology"
    [ "$slices" = 1 ] || fail "--slices: expected 1 with --gpu, got $slices"
    hosts=${hosts:-1}
    resource=nvidia.com/gpu count=${gpus:-8}
    selector="{cloud.google.com/gke-accelerator: $gpu}"
    return
  fi
  needs type "$type"
  [ -z "$hosts$gpus" ] || fail "--hosts, --gpus: expected none with --type, which has its own"
  slice "$type"
  topology=${wanted:-$topology}
  [[ $topology =~ ^[1-9][0-9]*(x[1-9][0-9]*){1,2}$ && $((${topology//x/*})) -eq $chips ]] ||
    fail "--topology: expected $chips chips, as $type has, got $topology"
  resource=google.com/tpu count=$((chips / hosts))
  selector="{cloud.google.com/gke-tpu-accelerator: $gke_accelerator,"
  selector+=" cloud.google.com/gke-tpu-topology: $topology}"
}

# as_json OPTION WORD...: a list of strings, which is YAML too.
as_json() {
  local given word list=
  for given in "${@:2}"; do
    word=${given//\\/\\\\}
    word=${word//\"/\\\"}
    word=${word//$'\n'/\\n}
    word=${word//$'\t'/\\t}
    [[ ! $word =~ [[:cntrl:]] ]] || fail "$1: expected no control characters, got ${given@Q}"
    # Kubernetes expands $(NAME) in a command; $$ keeps it for the command's own shell.
    list+=", \"${word//\$/\$\$}\""
  done
  echo "[${list#, }]"
}

# render: the template with all that stands between @ replaced.
render() {
  local text key given_image given_command
  # Apart from the list below, in which a failure would be lost.
  given_image=$(as_json --image "$image") || exit
  given_command=$(as_json command "${command[@]}") || exit
  local -A values=(
    [NAME]=$name [MAX_RESTARTS]=$max_restarts [SLICES]=$slices [HOSTS]=$hosts
    [RESTART_CODES]="$restart_code, $aborted_code" [GRACE_SECONDS]=$grace_seconds
    [SELECTOR]=$selector [RESOURCE]=$resource [CHIPS]=$count
    [IMAGE]=${given_image:1:-1} [COMMAND]=$given_command
  )
  text=$(<"$launch/jobset.yaml")
  for key in "${!values[@]}"; do
    [ "$key" = COMMAND ] || text=${text//"@$key@"/"${values[$key]}"}
  done
  # The command comes last, since it may hold what looks like a place.
  text=${text//@COMMAND@/"${values[COMMAND]}"}
  echo "$text"
}

needs_jobset() {
  needs_accelerator
  needs image "$image"
  [[ $image =~ ^[A-Za-z0-9._/:@-]+$ && $image != *@*@* ]] ||
    fail "--image: expected REGISTRY/NAME:TAG, got $image"
  needs_command
}

needs_cluster() {
  needs_name cluster "$cluster"
  needs_project
}

action=${1-}
[ "$action" != --help ] || { usage && exit; }
shift || fail "expected an action of --help, got none"
parse "name type topology slices gpu hosts gpus image max-restarts grace-seconds context
 namespace cluster project zone provision from to yes-delete" "" "$@"
needs_name name "$name"
[ ${#name} -le 37 ] || fail "--name: expected up to 37, to which pools add, got $name"
needs_name namespace "$namespace"
needs_number slices "$slices" 1
[ -z "$hosts" ] || needs_number hosts "$hosts" 1
[ -z "$gpus" ] || needs_number gpus "$gpus" 1
needs_number max-restarts "$max_restarts" 1
needs_number grace-seconds "$grace_seconds" 1
case $action in
  create)
    needs_cluster
    needs type "$type" && needs_accelerator
    needs_name provision "$provision"
    tier=("--reservation-affinity=specific" "--reservation=$provision")
    [ "$provision" != spot ] || tier=(--spot)
    [ "$provision" != on-demand ] || tier=()
    for ((number = 0; number < slices; number++)); do
      pools create "$name-$number" --machine-type="$machine" --tpu-topology="$topology" \
        --num-nodes="$hosts" "${tier[@]}"
    done
    run gcloud container clusters get-credentials "$cluster" --project="$project" \
      --location="$zone"
    ;;
  render) needs_jobset && render ;;
  start)
    needs_jobset
    rendered=$(render)
    if [ -n "$dry_run" ]; then
      echo "$(kube create -f -) <<'JOBSET'"
      printf '%s\nJOBSET\n' "$rendered"
    else
      kube create -f - <<<"$rendered"
    fi
    ;;
  logs)
    kube logs --selector="jobset.sigs.k8s.io/jobset-name=$name" --prefix --tail=100 \
      --max-log-requests=1024 --follow
    ;;
  status)
    kube get jobset "$name"
    kube get pods --selector="jobset.sigs.k8s.io/jobset-name=$name" --output=wide
    ;;
  stop)
    confirmed "$name" "$yes_delete"
    kube delete jobset "$name"
    ;;
  collect)
    needs from "$from" && needs to "$to"
    fetch_bucket "$from" "$to"
    ;;
  delete)
    needs_cluster
    confirmed "$name" "$yes_delete"
    delete_pools
    ;;
  *) fail "expected an action of --help, got $action" ;;
esac
