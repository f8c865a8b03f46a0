#!/usr/bin/env bash
# Install RepFusion and all it needs into .venv (or $VENV): bash tools/install.sh
# Does nothing when it is already installed and neither the requirements, pyproject.toml nor this script has changed.
set -euo pipefail
unset CDPATH # by which cd would print where it went
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
VENV=${VENV:-$ROOT/.venv}
[[ $VENV = /* ]] || VENV=$PWD/$VENV
NEEDED_GB=8

fail() { echo "install.sh: $*" >&2; exit 1; }

stamp() { cat "$ROOT/requirements.txt" "$ROOT"/requirements/*.txt "$ROOT/pyproject.toml" "$ROOT/tools/install.sh" <(echo "$ROOT") | sha256sum | cut -d' ' -f1; }

if [ -x "$VENV/bin/python" ] && [ "$(cat "$VENV/repfusion.stamp" 2>/dev/null)" = "$(stamp)" ]; then
    exit 0
fi

is_new() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; }

BASE=$(command -v "${BASE_PYTHON:-python3}") ||
    fail "${BASE_PYTHON:-python3} was not found. Install Python 3.11 or newer, or name one in BASE_PYTHON."
is_new "$BASE" ||
    fail "$BASE is $("$BASE" -V 2>&1), and RepFusion needs Python 3.11 or newer. Name one in BASE_PYTHON, e.g. BASE_PYTHON=python3.12."
[ ! -x "$VENV/bin/python" ] || is_new "$VENV/bin/python" ||
    fail "$VENV is an environment of $("$VENV/bin/python" -V 2>&1), and RepFusion needs Python 3.11 or newer. Remove it and run this again."
"$BASE" -c 'import venv, ensurepip' 2>/dev/null || fail "$BASE has no venv module. On Debian and Ubuntu: apt-get install python3-venv."
command -v cc >/dev/null || command -v gcc >/dev/null ||
    fail "no C compiler was found; xtcocotools is built here. On Debian and Ubuntu: apt-get install gcc python3-dev."
"$BASE" -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' ||
    fail "Python.h of $BASE is missing; xtcocotools is built here. On Debian and Ubuntu: apt-get install python3-dev."
if [ ! -x "$VENV/bin/python" ]; then
    mkdir -p "$(dirname "$VENV")"
    free_gb=$(df -Pk "$(dirname "$VENV")" | awk 'NR == 2 {print int($4 / 1048576)}')
    [ "$free_gb" -ge "$NEEDED_GB" ] || fail "$(dirname "$VENV") has $free_gb GB free; the environment needs $NEEDED_GB GB. Name another place in VENV."
    "$BASE" -m venv "$VENV"
fi

PIP=("$VENV/bin/python" -m pip --disable-pip-version-check)
echo "Installing RepFusion into $VENV (about 6 GB, a few minutes) ..."
"${PIP[@]}" install -q -r "$ROOT/requirements.txt"
# Without their dependencies: mmcv-lite asks for upstream mmengine, which would overwrite onedl-mmengine, and mmpose for
# chumpy, which no longer builds and serves 3-D bodies only.
"${PIP[@]}" install -q --no-deps mmcv-lite==2.1.0 mmpose==1.1.0
# Built here: its wheel is compiled against numpy 1.
"${PIP[@]}" install -q --no-deps --no-build-isolation --no-binary xtcocotools xtcocotools==1.14.3
"${PIP[@]}" install -q --no-deps --no-build-isolation -e "$ROOT"
MMCLS=$(cd / && "$VENV/bin/python" -c 'import importlib.util; print(importlib.util.find_spec("mmcls").origin)')
[ "$MMCLS" = "$ROOT/classification_distill/mmcls/__init__.py" ] ||
    fail "the package mmcls in $VENV is $MMCLS, MMClassification's of old, and not RepFusion's. Remove it: $VENV/bin/python -m pip uninstall mmcls"
"$VENV/bin/python" -c 'import mmcls, mmpretrain, mmseg, mmpose, xtcocotools' >/dev/null ||
    fail "the environment in $VENV does not import; remove that folder and run this again."
stamp >"$VENV/repfusion.stamp"
echo "Installed."
