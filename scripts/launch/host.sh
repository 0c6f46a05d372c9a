#!/usr/bin/env bash
# On one host: installs the project, and runs a command in the background.
#
#   host.sh install EXTRA SOURCE         into ~/.sophia-jax/venv; SOURCE is a tarball of the
#                                        project, or git+URL@REF
#   host.sh start RESTARTS RUN WORD...   the command WORD..., with its log in
#                                        ~/.sophia-jax/runs/RUN; goes on after the session
#   host.sh status RUN                   one line: HOST idle, HOST running PID CHECKSUM,
#                                        HOST exit CODE CHECKSUM, HOST lost CHECKSUM
#   host.sh logs RUN                     the log's last lines, and what follows
#   host.sh stop RUN                     SIGTERM: the command saves, and exits with 75
#
# RESTARTS is how often the command is started anew here when it exits with 75; 0 where
# several hosts have to restart together. SOPHIA_HOME replaces ~/.sophia-jax.

set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)/$(basename "${BASH_SOURCE[0]}")
base=${SOPHIA_HOME:-$HOME/.sophia-jax}
restart_code=75

fail() {
  echo "host.sh: error: $1" >&2
  exit 2
}

checksum() {
  printf '%s\0' "$@" | cksum | cut -d ' ' -f 1
}

# folder_of RUN: where a run's log, process and exit code are kept.
folder_of() {
  [[ $1 =~ ^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$ ]] ||
    fail "run: expected letters, digits, - and _, got $1"
  echo "$base/runs/$1"
}

# is_running FOLDER: the process is there and is ours, not another after a reboot.
is_running() {
  local pid
  pid=$(cat "$1/pid" 2>/dev/null) || return 1
  kill -0 "$pid" 2>/dev/null && tr '\0' ' ' <"/proc/$pid/cmdline" | grep -q ' supervise '
}

# make_environment: with Python 3.11 or newer, which the images of older TPUs lack.
make_environment() {
  local python
  for python in python3.13 python3.12 python3.11 python3; do
    if "$python" -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      "$python" -m venv venv && return
    fi
  done
  python3 -m pip install --quiet --user uv
  python3 -m uv venv --quiet --python 3.12 --seed venv
}

install() {
  local extra=$1 source=$2
  mkdir -p "$base"
  cd "$base"
  rm -f installed
  [ -x venv/bin/python ] || make_environment
  if [[ $source == git+* ]]; then
    source="sophia-jax[$extra] @ $source"
  else
    rm -rf source
    mkdir source
    tar -xzf "$source" -C source
    source="./source[$extra]"
  fi
  venv/bin/python -m pip install --quiet --disable-pip-version-check "$source"
  venv/bin/python -m pip list --disable-pip-version-check |
    grep -iE '^(sophia-jax|jax|jaxlib|libtpu) ' | tee installed.part
  mv installed.part installed
}

start() {
  local restarts=$1 folder
  folder=$(folder_of "$2")
  shift 2
  [ $# -gt 0 ] || fail "expected a command, got none"
  is_running "$folder" && fail "run: expected none running, got process $(cat "$folder/pid")"
  mkdir -p "$folder"
  rm -f "$folder/exit-code" "$folder/pid"
  checksum "$@" >"$folder/checksum"
  setsid nohup bash "$here" supervise "$restarts" "$folder" "$@" \
    >>"$folder/log" 2>&1 </dev/null &
  echo $! >"$folder/pid"
  echo "started $(hostname) $(cat "$folder/pid"), log in $folder/log"
}

# supervise RESTARTS FOLDER WORD...: what runs in the background.
supervise() {
  local restarts=$1 folder=$2 stopped='' code
  shift 2
  PATH=$base/venv/bin:$PATH
  trap 'stopped=1' TERM # the command has it too, and its exit code says what came of it
  while true; do
    echo "== $(date -u +%FT%TZ) $*"
    code=0
    "$@" || code=$?
    echo "== $(date -u +%FT%TZ) exit code $code"
    if [ "$code" != "$restart_code" ] || [ -n "$stopped" ] || ((restarts-- <= 0)); then
      break
    fi
  done
  echo "$code" >"$folder/exit-code.part"
  mv "$folder/exit-code.part" "$folder/exit-code"
}

status() {
  local folder sum
  folder=$(folder_of "$1")
  sum=$(cat "$folder/checksum" 2>/dev/null) || sum=
  if [ -z "$sum" ]; then
    [ -e "$base/installed" ] && echo "$(hostname) idle" || echo "$(hostname) bare"
  elif is_running "$folder"; then
    echo "$(hostname) running $(cat "$folder/pid") $sum"
  elif [ -e "$folder/exit-code" ]; then
    echo "$(hostname) exit $(cat "$folder/exit-code") $sum"
  else
    echo "$(hostname) lost $sum"
  fi
}

logs() {
  exec tail -n 100 -F "$(folder_of "$1")/log"
}

stop() {
  local folder
  folder=$(folder_of "$1")
  is_running "$folder" || fail "run: expected a running command, got $(status "$1")"
  kill -TERM -- "-$(cat "$folder/pid")"
}

case ${1-} in
  install | start | status | logs | stop | supervise) "$@" ;;
  --help) sed -n '2,/^$/s/^# \{0,1\}//p' "$0" ;;
  *) fail "expected install, start, status, logs or stop, got ${1-none}" ;;
esac
