#!/usr/bin/env bash
# RepFusion from nothing, with data that needs no download: bash tools/demo.sh [PART]; --help lists the parts
set -euo pipefail
unset CDPATH # by which cd would print where it went
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
bash "$ROOT/tools/install.sh"
source "$ROOT/tools/python.sh"
exec "$PYTHON" "$ROOT/tools/demo.py" "$@"
