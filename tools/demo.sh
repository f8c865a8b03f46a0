#!/usr/bin/env bash
# RepFusion on real digits, end to end: bash tools/demo.sh [full]
set -euo pipefail
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
bash "$ROOT/tools/install.sh"
source "$ROOT/tools/python.sh"
exec "$PYTHON" "$ROOT/tools/demo.py" "$@"
