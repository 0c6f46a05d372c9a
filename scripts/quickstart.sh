#!/usr/bin/env bash
# The whole loop on real handwriting, from a machine that has only Python 3.11 or newer.
# Options go to `sophia-jax quickstart`: scripts/quickstart.sh --seed 3 --out elsewhere
set -euo pipefail
# shellcheck source=scripts/environment.sh
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

prepare viz
exec "$venv/bin/sophia-jax" quickstart "$@"
