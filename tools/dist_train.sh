#!/usr/bin/env bash
# Train with one process a GPU (without GPUs: that many processes): bash tools/dist_train.sh <CONFIG> <GPUS> [ARGS of train.py]
# On several nodes: NNODES=2 NODE_RANK=<0 or 1> MASTER_ADDR=<of node 0> bash tools/dist_train.sh <CONFIG> <GPUS A NODE> on each.
set -euo pipefail
[ $# -ge 2 ] || { echo "usage: bash tools/dist_train.sh <CONFIG> <GPUS> [arguments of tools/train.py]" >&2; exit 2; }
source "$(dirname "$0")/torchrun.sh"
torchrun "$2" "$TOOLS/train.py" "$1" --launcher pytorch "${@:3}"
