#!/usr/bin/env bash
# Run the tests: bash tools/run_tests.sh [ARGS of pytest]
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
bash "$ROOT/tools/install.sh"
source "$ROOT/tools/python.sh"
cd "$ROOT"
"$PYTHON" -m ruff check .
"$PYTHON" -m ruff format --check .
# One thread a process: several threads on a small machine are far slower as soon as anything else runs.
OMP_NUM_THREADS=1 exec "$PYTHON" -m pytest --numprocesses auto --maxprocesses 4 "$@"
