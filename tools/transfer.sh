#!/usr/bin/env bash
# Distil, then train and test a downstream model from the student: bash tools/transfer.sh <DISTILL CONFIG> <DOWNSTREAM CONFIG> <GPUS> [--amp]
set -euo pipefail
source "$(dirname "$0")/python.sh"
exec "$PYTHON" "$TOOLS/transfer.py" "$@"
