#!/usr/bin/env bash
# A TPU slice by plain gcloud: tpu.sh ACTION --name NAME [OPTION...] [-- COMMAND...]
#
#   create    ask for the slice, and wait until it is active
#   install   this project with its extras tpu and gcs on all hosts, in ~/.sophia-jax/venv
#   start     COMMAND on all hosts; it goes on when this session ends
#   logs      of host --worker (a number, or all), and what follows
#   status    of the slice, and of the command on each host
#   stop      SIGTERM to the command: it saves, and exits with 75; end keep before
#   keep      create, install and start whatever is missing, and start COMMAND again when
#             the slice was preempted or COMMAND exits with 75; ends with its exit code.
#             What was preempted or has failed is deleted and asked for again
#   collect   copy --from (a path on host 0, or gs://BUCKET/FOLDER) to --to
#   delete    the slice and all that is on its disks
#
#   --name NAME            of the slice and its queued resource
#   --project, --zone      of Google Cloud; or PROJECT and ZONE in the environment
#   --type TYPE            accelerator type: v5litepod-16 and v6e-64 count chips, v4-32 and
#                          v5p-128 count cores, two in a chip
#   --provision KIND       on-demand (default), spot or reserved
#   --runtime VERSION      of the hosts' software; the default fits the type
#   --repository URL, --ref REF  install from git; without, the commit that is checked out
#   --run RUN              folder of log and exit code on the hosts; default run
#   --worker N             default 0
#   --from PATH, --to PATH
#   --poll-seconds N       between two looks at the slice; default 30
#   --max-restarts N       of keep; default 100
#   --yes-delete NAME      the name again, instead of typing it when asked
#   --dry-run              print the commands, run none
#
# Examples:
#   export PROJECT=my-project ZONE=us-east5-b
#   tpu.sh keep --name run1 --type v6e-64 --provision spot -- \
#     sophia-jax update --run gs://my-bucket/run1 --resume
#   tpu.sh logs --name run1
#   tpu.sh collect --name run1 --from gs://my-bucket/run1 --to runs/run1
#   tpu.sh delete --name run1

set -euo pipefail
# shellcheck source=scripts/launch/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

name='' project=${PROJECT:-} zone=${ZONE:-} type='' provision=on-demand runtime=''
repository='' ref='' run=run worker=0 from='' to=''
poll_seconds=30 max_restarts=100 yes_delete=''
chips=0 hosts=0 topology=''
MOST_FAILURES=10 # of looks at a slice in a row

# tpus GROUP VERB WORD...: gcloud on what is named, in our place.
tpus() {
  run gcloud compute tpus "$1" "$2" "${@:3}" --project="$project" --zone="$zone"
}

# on_hosts WORKER WORD...: a command on hosts; its words arrive as they are here.
on_hosts() {
  tpus tpu-vm ssh "$name" --worker="$1" --command="$(quoted "${@:2}")"
}

needs_type() {
  needs type "$type"
  local wanted=$runtime
  slice "$type"
  runtime=${wanted:-$runtime}
}

request() {
  local tier=()
  [ "$provision" = on-demand ] || tier=("--$provision")
  say "$name: $type, topology $topology, $chips chips on $hosts hosts, $provision"
  tpus queued-resources create "$name" --node-id="$name" --accelerator-type="$type" \
    --runtime-version="$runtime" "${tier[@]}"
}

# state: of the slice, in Google Cloud's words; ABSENT, or UNKNOWN where nobody answers.
state() {
  local answer
  if answer=$(tpus queued-resources describe "$name" --format='value(state.state)' 2>&1); then
    tail -n 1 <<<"$answer"
  elif [[ $answer == *NOT_FOUND*"queuedResources/$name'"* ]]; then
    echo ABSENT
  else
    say "$answer"
    echo UNKNOWN
  fi
}

# wait_for_slice: until it is active; says each new state.
wait_for_slice() {
  local last='' now failures=0
  if [ -n "$dry_run" ]; then
    state
    return
  fi
  while true; do
    now=$(state)
    [ "$now" = "$last" ] || say "$name: $now after $((SECONDS / 60)) min"
    last=$now
    case $now in
      ACTIVE) return ;;
      CREATING | ACCEPTED | PROVISIONING | WAITING_FOR_RESOURCES) failures=0 ;;
      UNKNOWN) ((++failures < MOST_FAILURES)) || return 1 ;;
      *) return 1 ;;
    esac
    sleep "$poll_seconds"
  done
}

# install: each function here says by its code whether all of it went well, since keep
# calls them where bash does not end at a failure.
install() {
  local source=git+$repository@$ref
  on_hosts all mkdir -p .sophia-jax || return
  tpus tpu-vm scp "$launch/host.sh" "$name:.sophia-jax/" --worker=all || return
  if [ -z "$ref" ]; then
    source=source.tar.gz
    pack "$root/dist/$source" || return
    tpus tpu-vm scp "$root/dist/$source" "$name:.sophia-jax/" --worker=all || return
  fi
  on_hosts all bash .sophia-jax/host.sh install tpu,gcs "$source"
}

start() {
  on_hosts all bash .sophia-jax/host.sh start 0 "$run" "${command[@]}"
}

# host_states: a line for each host; fails where one is missing.
host_states() {
  local answer found
  answer=$(tpus tpu-vm ssh "$name" --worker=all --command="if [ -e .sophia-jax/host.sh ]; \
then bash .sophia-jax/host.sh status $run; else echo \$(hostname) bare; fi") || return
  if [ -n "$dry_run" ]; then
    echo "$answer"
    return
  fi
  found=$(grep -E '^[^ ]+ (bare|idle|(running|exit) [0-9]+ [0-9]+|lost [0-9]+)$' <<<"$answer") ||
    return
  echo "$found"
  [ "$(wc -l <<<"$found")" -eq "$hosts" ]
}

# verdict STATES CHECKSUM: what the hosts' states ask for, in one word.
verdict() {
  local sums codes
  sums=$(sed -nE 's/^.* ([0-9]+)$/\1/p' <<<"$1" | sort -u)
  codes=$(sed -nE 's/^.* exit ([0-9]+) .*$/\1/p' <<<"$1" | sort -nu | tr '\n' ' ')
  if grep -q ' bare$' <<<"$1"; then
    echo install
  elif [ -n "$sums" ] && [ "$sums" != "$2" ]; then
    echo other
  elif grep -q ' running ' <<<"$1"; then
    echo wait
  elif grep -qE ' (idle|lost [0-9]+)$' <<<"$1"; then
    echo start
  elif [ "$codes" = '0 ' ]; then
    echo finished
  elif [[ $codes =~ ^(0 )?"$restart_code "("$aborted_code ")?$ ]]; then
    echo start
  else
    echo "failed with exit code ${codes% }"
  fi
}

# act_on_slice: bring it to ACTIVE; fails where nobody answers.
act_on_slice() {
  case $1 in
    ABSENT) request && wait_for_slice ;;
    SUSPENDING | DELETING) sleep "$poll_seconds" ;;
    SUSPENDED | FAILED)
      say "$name: $1; asking for it again"
      tpus queued-resources delete "$name" --force --quiet
      ;;
    UNKNOWN) return 1 ;;
    *) wait_for_slice ;;
  esac
}

keep() {
  local failures=0 requests=0 starts=0 sum now states word
  sum=$(printf '%s\0' "${command[@]}" | cksum | cut -d ' ' -f 1)
  while ((failures < MOST_FAILURES)); do
    now=$(state)
    if [ "$now" != ACTIVE ]; then
      [ "$now" != ABSENT ] || ((requests++ <= max_restarts)) ||
        fail "--max-restarts: $max_restarts are used up"
      if act_on_slice "$now"; then failures=0; else ((++failures)) && sleep "$poll_seconds"; fi
      continue
    fi
    if ! states=$(host_states); then
      ((++failures)) && sleep "$poll_seconds"
      continue
    fi
    failures=0
    word=$(verdict "$states" "$sum")
    case $word in
      install) install || ((++failures)) ;;
      start)
        ((starts++ <= max_restarts)) || fail "--max-restarts: $max_restarts are used up"
        say "$name: start $starts of the command"
        start || ((++failures))
        ;;
      wait) sleep "$poll_seconds" ;;
      finished) say "$name: finished" && return ;;
      other) fail "--run: expected a run of this command, got another's; see --run" ;;
      *) say "$name: $word; tpu.sh logs shows why" && return 1 ;;
    esac
  done
  say "$name: gave up after $MOST_FAILURES failures in a row"
  return 1
}

keep_dry() {
  echo "# while there is no slice:"
  request
  echo "# until it is ACTIVE, every $poll_seconds s:"
  state
  echo "# when it is SUSPENDED or FAILED, before asking again:"
  tpus queued-resources delete "$name" --force --quiet
  echo "# on hosts without the project:"
  install
  echo "# at first, and after exit code $restart_code, at most $max_restarts times:"
  start
  echo "# every $poll_seconds s:"
  host_states
}

action=${1-}
[ "$action" != --help ] || { usage && exit; }
shift || fail "expected an action of --help, got none"
parse "name project zone type provision runtime repository ref run worker from to
 poll-seconds max-restarts yes-delete" "" "$@"
needs_name name "$name"
needs_project
needs_number poll-seconds "$poll_seconds" 0
needs_number max-restarts "$max_restarts" 0
[[ $provision =~ ^(on-demand|spot|reserved)$ ]] ||
  fail "--provision: expected on-demand, spot or reserved, got $provision"
[[ $run =~ ^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$ ]] ||
  fail "--run: expected letters, digits, - and _, got $run"
[[ $worker =~ ^(all|[0-9]+)$ ]] || fail "--worker: expected a number or all, got $worker"
[ -z "$ref" ] || needs repository "$repository"
[ -n "$dry_run" ] || command -v gcloud >/dev/null ||
  fail "gcloud: expected the Google Cloud CLI on the PATH, got none"
case $action in
  create)
    needs_type
    request
    wait_for_slice || fail "$name: expected the slice to become active"
    ;;
  install) install ;;
  start) needs_command && start ;;
  logs) on_hosts "$worker" bash .sophia-jax/host.sh logs "$run" ;;
  status)
    needs_type
    if [ -z "$dry_run" ]; then echo "$name $(state)"; else state; fi
    host_states || fail "$name: expected an answer of $hosts hosts"
    ;;
  stop) on_hosts all bash .sophia-jax/host.sh stop "$run" ;;
  keep)
    needs_type && needs_command
    if [ -n "$dry_run" ]; then keep_dry; else keep; fi
    ;;
  collect)
    needs from "$from" && needs to "$to"
    if [[ $from == gs://* ]]; then
      fetch_bucket "$from" "$to"
    else
      fetch "$from" "$to" gcloud compute tpus tpu-vm scp --recurse --worker=0 \
        --project="$project" --zone="$zone" "$name:$from"
    fi
    ;;
  delete)
    confirmed "$name" "$yes_delete"
    tpus queued-resources delete "$name" --force --quiet
    ;;
  *) fail "expected an action of --help, got $action" ;;
esac
