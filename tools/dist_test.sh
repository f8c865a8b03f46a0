#!/usr/bin/env bash
# Test with one process a GPU (without GPUs: that many processes): bash tools/dist_test.sh <CONFIG> <CHECKPOINT> <GPUS> [ARGS of test.py]
# On several nodes as with dist_train.sh.
set -euo pipefail
[ $# -ge 3 ] || { echo "usage: bash tools/dist_test.sh <CONFIG> <CHECKPOINT> <GPUS> [arguments of tools/test.py]" >&2; exit 2; }
source "$(dirname "$0")/torchrun.sh"
torchrun "$3" "$TOOLS/test.py" "$1" "$2" --launcher pytorch "${@:4}"
