# Sets PYTHON to the interpreter that RepFusion is installed in: $PYTHON, the active one, or that of $VENV (.venv).
unset CDPATH # by which cd would print where it went
TOOLS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
ROOT=$(dirname "$TOOLS")
VENV=${VENV:-$ROOT/.venv}
[[ $VENV = /* ]] || VENV=$PWD/$VENV
if [ -z "${PYTHON:-}" ]; then
    if [ -n "${VIRTUAL_ENV:-}${CONDA_PREFIX:-}" ] && python -c 'import importlib.util as u; assert u.find_spec("mmcls")' 2>/dev/null; then
        PYTHON=python
    elif [ -x "$VENV/bin/python" ]; then
        PYTHON=$VENV/bin/python
    else
        echo "RepFusion is not installed: run 'bash $ROOT/tools/install.sh' first." >&2
        exit 1
    fi
fi
export PYTHON
