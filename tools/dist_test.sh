#!/usr/bin/env bash
# Test with one process a GPU (without GPUs: that many processes): bash tools/dist_test.sh <CONFIG> <CHECKPOINT> <GPUS> [ARGS of test.py]
set -euo pipefail
[ $# -ge 3 ] || { echo "usage: bash tools/dist_test.sh <CONFIG> <CHECKPOINT> <GPUS> [arguments of tools/test.py]" >&2; exit 2; }
source "$(dirname "$0")/python.sh"
exec "$PYTHON" -m torch.distributed.run --standalone --nproc_per_node="$3" \
    "$TOOLS/test.py" "$1" "$2" --launcher pytorch "${@:4}"
