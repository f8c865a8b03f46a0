#!/usr/bin/env bash
# Run the tests: bash tools/run_tests.sh [ARGS of pytest]
set -euo pipefail
unset CDPATH # by which cd would print where it went
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
bash "$ROOT/tools/install.sh"
source "$ROOT/tools/python.sh"
cd "$ROOT"
# tests/slurm starts a Slurm of its own; the report is opened in a browser.
packages=()
PATH=$PATH:/usr/sbin command -v slurmctld >/dev/null || packages+=(slurm-wlm munge)
command -v chromium chromium-browser google-chrome >/dev/null || packages+=(chromium)
if [ ${#packages[@]} -gt 0 ]; then
    add() { DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null; }
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null && { add || { apt-get update -qq && add; }; }; then
        echo "Installed for the tests: ${packages[*]}."
    else
        echo "Not installed, which takes root and apt-get: ${packages[*]}. The tests that need them are skipped." >&2
    fi
fi
"$PYTHON" -m ruff check .
"$PYTHON" -m ruff format --check .
# Some tests wait, for a Slurm or a signal: one process more than a small machine has cores. One thread each: several
# threads are far slower as soon as anything else runs.
processes=$(($(nproc) < 4 ? $(nproc) + 1 : 4))
OMP_NUM_THREADS=1 exec "$PYTHON" -m pytest --numprocesses "$processes" --dist loadfile --no-loadscope-reorder "$@"
