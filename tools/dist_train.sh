#!/usr/bin/env bash
# Train with one process a GPU (without GPUs: that many processes): bash tools/dist_train.sh <CONFIG> <GPUS> [ARGS of train.py]
set -euo pipefail
[ $# -ge 2 ] || { echo "usage: bash tools/dist_train.sh <CONFIG> <GPUS> [arguments of tools/train.py]" >&2; exit 2; }
source "$(dirname "$0")/python.sh"
exec "$PYTHON" -m torch.distributed.run --standalone --nproc_per_node="$2" \
    "$TOOLS/train.py" "$1" --launcher pytorch "${@:3}"
