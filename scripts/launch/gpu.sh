#!/usr/bin/env bash
# One machine with GPUs, this one or one over ssh: gpu.sh ACTION [OPTION...] [-- COMMAND...]
#
#   install   this project with its extras cuda and gcs, in ~/.sophia-jax/venv
#   start     COMMAND in the background, on all GPUs; started again when it exits with 75
#   logs      what it printed, and what follows
#   status    of the command
#   stop      SIGTERM: it saves, exits with 75 and is not started again
#   collect   copy --from to --to
#
#   --host USER@MACHINE    over ssh; default this machine
#   --repository URL, --ref REF  install from git; without, the commit that is checked out
#   --run RUN              folder of log and exit code in ~/.sophia-jax/runs; default run
#   --max-restarts N       default 100
#   --from PATH, --to PATH
#   --dry-run              print the commands, run none
#
# Example:
#   gpu.sh start --host me@box -- sophia-jax update --run runs/run1 --resume

set -euo pipefail
# shellcheck source=scripts/launch/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

host='' repository='' ref='' run=run max_restarts=100 from='' to=''

# there WORD...: host.sh on the machine.
there() {
  if [ -n "$host" ]; then
    run ssh "$host" "$(quoted bash .sophia-jax/host.sh "$@")"
  else
    run bash "$launch/host.sh" "$@"
  fi
}

install() {
  local source=git+$repository@$ref
  [ -z "$host" ] || run ssh "$host" "mkdir -p .sophia-jax"
  [ -z "$host" ] || run scp "$launch/host.sh" "$host:.sophia-jax/"
  if [ -z "$ref" ]; then
    source=$root/dist/source.tar.gz
    pack "$source"
    if [ -n "$host" ]; then
      run scp "$source" "$host:.sophia-jax/"
      source=source.tar.gz
    fi
  fi
  there install cuda,gcs "$source"
}

action=${1-}
[ "$action" != --help ] || { usage && exit; }
shift || fail "expected an action of --help, got none"
parse "host repository ref run max-restarts from to" "" "$@"
needs_number max-restarts "$max_restarts" 0
[[ $run =~ ^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$ ]] ||
  fail "--run: expected letters, digits, - and _, got $run"
[[ -z $host || $host =~ ^([a-z_][a-z0-9_-]*@)?[A-Za-z0-9][A-Za-z0-9.-]*$ ]] ||
  fail "--host: expected USER@MACHINE, got $host"
[ -z "$ref" ] || needs repository "$repository"
case $action in
  install) install ;;
  start) needs_command && there start "$max_restarts" "$run" "${command[@]}" ;;
  logs | status | stop) there "$action" "$run" ;;
  collect)
    needs from "$from" && needs to "$to"
    if [ -n "$host" ]; then
      fetch "$from" "$to" scp -r "$host:$from"
    else
      fetch "$from" "$to" cp -r "$from"
    fi
    ;;
  *) fail "expected an action of --help, got $action" ;;
esac
