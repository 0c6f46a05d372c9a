# shellcheck shell=bash
# Sourced by the other scripts: finds Python, and keeps a virtual environment up to date.
# Honours PYTHON, the interpreter (3.11 or newer), and SOPHIA_VENV, the environment's folder.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=${SOPHIA_VENV:-$root/.venv}
export JAX_PLATFORMS=${JAX_PLATFORMS:-cpu}

is_new_enough() {
  "$1" -c 'import sys; raise SystemExit(sys.version_info < (3, 11))' 2>/dev/null
}

find_python() {
  local candidate
  for candidate in ${PYTHON:+"$PYTHON"} python3 python3.11 python3.12 python3.13 python3.14 python; do
    if is_new_enough "$candidate"; then
      echo "$candidate"
      return
    fi
    if [ "$candidate" = "${PYTHON:-}" ]; then
      echo "PYTHON: expected Python 3.11 or newer, got $PYTHON" >&2
      return 1
    fi
  done
  echo "expected Python 3.11 or newer on the PATH, got none; set PYTHON to one" >&2
  return 1
}

# prepare EXTRA: an environment with this project and its extra, as pyproject.toml has it.
prepare() {
  local extra=$1 python stamp wanted
  stamp=$venv/.sophia-jax-$extra
  wanted="$root $(cksum <"$root/pyproject.toml")"
  if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
    return
  fi
  if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    python=$(find_python)
    echo "making an environment in $venv"
    "$python" -m venv "$venv"
  fi
  echo "installing sophia-jax[$extra] into $venv; the first time it takes minutes"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    --editable "${root}[$extra]"
  echo "$wanted" >"$stamp"
}
