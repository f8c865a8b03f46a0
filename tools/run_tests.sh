#!/usr/bin/env bash
# Run the tests: bash tools/run_tests.sh [ARGS of pytest]
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
bash "$ROOT/tools/install.sh"
source "$ROOT/tools/python.sh"
cd "$ROOT"
# tests/slurm starts a Slurm of its own.
if ! PATH=$PATH:/usr/sbin command -v slurmctld >/dev/null; then
    slurm() { DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends slurm-wlm munge >/dev/null; }
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null && { slurm || { apt-get update -qq && slurm; }; }; then
        echo "Slurm was installed for tests/slurm."
    else
        echo "Slurm is not installed, and could not be (that takes root and apt-get): tests/slurm is skipped." >&2
    fi
fi
"$PYTHON" -m ruff check .
"$PYTHON" -m ruff format --check .
# One thread a process: several threads on a small machine are far slower as soon as anything else runs.
OMP_NUM_THREADS=1 exec "$PYTHON" -m pytest --numprocesses auto --maxprocesses 4 "$@"
