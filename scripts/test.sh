#!/usr/bin/env bash
# Everything that a change must pass, from a machine that has only Python 3.11 or newer.
# Options go to pytest: scripts/test.sh -k name
set -euo pipefail
# shellcheck source=scripts/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

prepare test
cd "$root"
"$venv/bin/ruff" check .
"$venv/bin/ruff" format --check .
# Two at a time, a file each: modules share what they make. tests/conftest.py has the order.
exec "$venv/bin/python" -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder "$@"
