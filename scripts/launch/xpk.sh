#!/usr/bin/env bash
# TPU slices in a GKE cluster by xpk: xpk.sh ACTION --cluster CLUSTER [OPTION...] [-- COMMAND...]
#
#   create    a cluster with --slices slices of --type
#   start     COMMAND on all hosts, in --image; started again when a node was preempted or
#             COMMAND exits with 75, or with 134 as JAX does where others of
#             the run are gone; given up at any other exit code
#   logs      of all hosts of --name, and what follows
#   status    of --name
#   stop      delete the workload --name; the cluster stays
#   collect   copy --from (gs://BUCKET/FOLDER) to --to
#   delete    the cluster and all that runs there
#
#   --cluster CLUSTER      of GKE; of all but logs and collect
#   --name NAME            of the workload
#   --context CONTEXT      of kubectl, for logs; default its current one: see that it is the
#                          cluster's
#   --project, --zone      of Google Cloud; or PROJECT and ZONE in the environment
#   --type TYPE            accelerator type: v5litepod-16 and v6e-64 count chips, v4-32 and
#                          v5p-128 count cores, two in a chip
#   --slices N             default 1
#   --provision KIND       on-demand (default), spot, or the name of a reservation
#   --image IMAGE          with sophia-jax[tpu,gcs] installed; without gcs no gs:// path is read
#   --max-restarts N       default 100
#   --grace-seconds N      that COMMAND has for saving when it is preempted; default 300
#   --from gs://..., --to PATH
#   --yes-delete NAME      what is deleted, again, instead of typing it when asked
#   --dry-run              print the commands, run none
#
# Example:
#   xpk.sh start --cluster c1 --name run1 --type v5p-128 --image europe-docker.pkg.dev/p/r/i:1 \
#     -- sophia-jax update --run gs://my-bucket/run1 --resume

set -euo pipefail
# shellcheck source=scripts/launch/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

cluster='' name='' project=${PROJECT:-} zone=${ZONE:-} type='' slices=1
provision=on-demand image='' max_restarts=100 grace_seconds=300 from='' to=''
yes_delete='' context=''

# xpk_run GROUP VERB WORD...: in our cluster.
xpk_run() {
  run xpk "$@" --cluster="$cluster" --project="$project" --zone="$zone"
}

action=${1-}
[ "$action" != --help ] || { usage && exit; }
shift || fail "expected an action of --help, got none"
parse "cluster name project zone type slices provision image max-restarts grace-seconds
 from to yes-delete context" "" "$@"
if [[ ! $action =~ ^(logs|collect)$ ]]; then
  needs_name cluster "$cluster"
  needs_project
fi
needs_number slices "$slices" 1
needs_number max-restarts "$max_restarts" 1
needs_number grace-seconds "$grace_seconds" 1
case $action in
  create)
    needs type "$type" && slice "$type"
    needs_name provision "$provision"
    tier=("--reservation=$provision")
    [[ $provision =~ ^(on-demand|spot)$ ]] && tier=("--$provision")
    xpk_run cluster create --tpu-type="$type" --num-slices="$slices" "${tier[@]}"
    ;;
  start)
    needs_name name "$name"
    needs type "$type" && slice "$type"
    needs image "$image" && needs_command
    xpk_run workload create --workload="$name" --tpu-type="$type" --num-slices="$slices" \
      --docker-image="$image" --max-restarts="$max_restarts" \
      --restart-on-exit-codes="$restart_code,$aborted_code" \
      --termination-grace-period-seconds="$grace_seconds" --command="$(quoted "${command[@]}")"
    ;;
  logs)
    needs_name name "$name"
    run kubectl ${context:+--context="$context"} logs --selector="xpk.google.com/workload=$name" --all-containers --prefix \
      --max-log-requests=1024 --tail=100 --follow
    ;;
  status)
    needs_name name "$name"
    xpk_run workload list --filter-by-job="^$name\$"
    ;;
  stop)
    needs_name name "$name"
    confirmed "$name" "$yes_delete"
    xpk_run workload delete --workload="$name" --force
    ;;
  collect)
    needs from "$from" && needs to "$to"
    fetch_bucket "$from" "$to"
    ;;
  delete)
    confirmed "$cluster" "$yes_delete"
    xpk_run cluster delete --force
    ;;
  *) fail "expected an action of --help, got $action" ;;
esac
