# Sourced by the launchers: options, names, dry runs, slices.
# shellcheck shell=bash disable=SC2034 # what is set here is read there

if ((BASH_VERSINFO[0] * 100 + BASH_VERSINFO[1] < 404)); then
  echo "bash: expected 4.4 or newer, got $BASH_VERSION" >&2
  exit 2
fi
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
launch=$root/scripts/launch
restart_code=75 # EX_TEMPFAIL: sophia-jax was interrupted, and can go on
aborted_code=134 # JAX aborts a process whose peers have left before it
dry_run=
command=()

# fail MESSAGE: one line, and the exit code of what cannot be used.
fail() {
  echo "${0##*/}: error: $1" >&2
  exit 2
}

# say MESSAGE: what is going on, beside what commands print.
say() {
  echo "${0##*/}: $1" >&2
}

# usage: the comment at the top of the script.
usage() {
  sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
}

# quoted WORD...: as they can be pasted into a shell.
quoted() {
  local word line=
  for word; do
    if [[ ! $word =~ ^[A-Za-z0-9_@%+=:,./-]+$ ]]; then
      if [[ $word =~ ^(--[a-z-]+=)(.*)$ ]]; then
        word=${BASH_REMATCH[1]}${BASH_REMATCH[2]@Q}
      else
        word=${word@Q}
      fi
    fi
    line+="$word "
  done
  echo "${line% }"
}

# run COMMAND...: or only show it, in a dry run.
run() {
  if [ -n "$dry_run" ]; then
    quoted "$@"
  else
    "$@"
  fi
}

# parse VALUED FLAGS ARGUMENT...: sets the variables that options are named after, with _
# for -, and the command after --.
parse() {
  local valued=" ${1//$'\n'/ } " flags=" $2 dry-run " option value
  shift 2
  while [ $# -gt 0 ]; do
    case $1 in
      --help) usage && exit ;;
      --) shift && command=("$@") && return ;;
      --*) ;;
      *) fail "$1: expected an option, or -- before the command" ;;
    esac
    option=${1%%=*}
    option=${option#--}
    if [[ $flags == *" $option "* && $1 != *=* ]]; then
      value=1
    elif [[ $valued == *" $option "* && $1 == *=* ]]; then
      value=${1#*=}
    elif [[ $valued == *" $option "* ]]; then
      [ $# -gt 1 ] || fail "--$option: expected a value, got none"
      value=$2
      shift
    else
      fail "${1%%=*}: expected an option of --help, got ${1%%=*}"
    fi
    printf -v "${option//-/_}" %s "$value"
    shift
  done
}

# needs OPTION VALUE [VARIABLE]: a value was given.
needs() {
  [ -n "$2" ] && return
  fail "--$1: expected a value${3:+, or one in the environment variable $3}, got none"
}

# needs_name OPTION VALUE [VARIABLE]: a name as Google Cloud and Kubernetes take them.
needs_name() {
  needs "$@"
  [[ $2 =~ ^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$ ]] ||
    fail "--$1: expected up to 63 of a-z, 0-9 and -, from a letter on, got $2"
}

# needs_number OPTION VALUE LEAST: a whole number.
needs_number() {
  needs "$1" "$2"
  [[ $2 =~ ^(0|[1-9][0-9]{0,8})$ && $2 -ge $3 ]] ||
    fail "--$1: expected a whole number >= $3, got $2"
}

# needs_command: what is to be run, after --.
needs_command() {
  [ ${#command[@]} -gt 0 ] || fail "expected a command after --, got none"
}

# needs_project: project and zone, neither of which has a default.
needs_project() {
  # shellcheck disable=SC2154 # of the script
  needs_name project "$project" PROJECT
  # shellcheck disable=SC2154 # of the script
  needs_name zone "$zone" ZONE
}

# confirmed NAME TYPED: deletes nothing whose name was not typed out.
confirmed() {
  local name=$1 typed=$2
  if [ -z "$typed" ] && [ -z "$dry_run" ] && [ -t 0 ]; then
    read -r -p "type $name to delete it: " typed
  fi
  [ "$typed" = "$name" ] ||
    fail "--yes-delete: expected $name, the name of what is deleted, got ${typed:-none}"
}

# pack TARBALL: of the commit that is checked out.
pack() {
  run mkdir -p "$(dirname "$1")" || return
  run git -C "$root" archive --output="$1" HEAD || return
  if [ -z "$dry_run" ] && [ -n "$(git -C "$root" status --porcelain)" ]; then
    say "changes that are not committed are not installed"
  fi
}

# free_target TO: nothing is there, and no slash at its end.
free_target() {
  [ ! -e "$1" ] || fail "--to: expected a path that does not exist, got $1"
}

# fetch FROM TO COMMAND...: the command copies FROM into a folder, as scp -r does; what is
# in there becomes TO when it is whole.
fetch() {
  local from=${1%/} to=${2%/} part=${2%/}.part
  shift 2
  free_target "$to"
  [ ! -e "$part" ] ||
    fail "--to: expected no $part, which a copy that failed has left; delete it"
  run mkdir -p "$part"
  run "$@" "$part"
  run mv "$part/${from##*/}" "$to"
  run rmdir "$part"
}

# fetch_bucket FROM TO: from a bucket; one that was broken off goes on, by the name of its
# folder, which tells it from those of other sources.
fetch_bucket() {
  local to=${2%/} part
  [[ $1 =~ ^gs://[a-z0-9]([-a-z0-9_.]*)(/.*)?$ ]] ||
    fail "--from: expected gs://BUCKET/FOLDER, got $1"
  free_target "$to"
  part=$to.$(cksum <<<"${1%/}" | cut -d ' ' -f 1).part
  run mkdir -p "$part"
  run gcloud storage rsync --recursive --delete-unmatched-destination-objects "$1" "$part"
  run mv "$part" "$to"
}

# slice TYPE: sets chips, hosts, topology, runtime, gke_accelerator and machine.
# v4-N and v5p-N count cores, of which a chip has two; the others count chips.
# Reference: cloud.google.com/tpu/docs/runtimes and the pages of v4, v5e, v5p and v6e.
slice() {
  local family=${1%-*} number=${1##*-} kind
  [[ $1 =~ ^(v4|v5litepod|v5p|v6e)-[1-9][0-9]{0,4}$ ]] ||
    fail "--type: expected an accelerator type, as v5litepod-16, v5p-128, v6e-64 or v4-32, got $1"
  case $family in
    v4) runtime=tpu-ubuntu2204-base gke_accelerator=tpu-v4-podslice kind=ct4p-hightpu ;;
    v5p) runtime=v2-alpha-tpuv5 gke_accelerator=tpu-v5p-slice kind=ct5p-hightpu ;;
    v5litepod) runtime=v2-alpha-tpuv5-lite gke_accelerator=tpu-v5-lite-podslice kind=ct5lp-hightpu ;;
    v6e) runtime=v2-alpha-tpuv6e gke_accelerator=tpu-v6e-slice kind=ct6e-standard ;;
  esac
  case $family-$number in
    v[56]*[de]-1) topology=1x1 ;;
    v5litepod-4 | v6e-4) topology=2x2 ;;
    v5litepod-8 | v6e-8) topology=2x4 ;;
    v5litepod-16 | v6e-16) topology=4x4 ;;
    v5litepod-32 | v6e-32) topology=4x8 ;;
    v5litepod-64 | v6e-64) topology=8x8 ;;
    v5litepod-128 | v6e-128) topology=8x16 ;;
    v5litepod-256 | v6e-256) topology=16x16 ;;
    v4-8 | v5p-8) topology=2x2x1 ;;
    v4-16 | v5p-16) topology=2x2x2 ;;
    v4-32 | v5p-32) topology=2x2x4 ;;
    v4-64 | v5p-64) topology=2x4x4 ;;
    v4-128 | v5p-128) topology=4x4x4 ;;
    v4-256 | v5p-256) topology=4x4x8 ;;
    v4-512 | v5p-512) topology=4x8x8 ;;
    v4-1024 | v5p-1024) topology=8x8x8 ;;
    v4-2048 | v5p-2048) topology=8x8x16 ;;
    v4-4096 | v5p-4096) topology=8x16x16 ;;
    *) fail "--type: expected a usual size of $family, a power of two, got $1" ;;
  esac
  chips=$((${topology//x/*}))
  hosts=$(((chips + 3) / 4))
  [ "$chips" -ne 8 ] || [ "$topology" != 2x4 ] || hosts=1
  machine=$kind-$((chips / hosts))t
}
