#!/usr/bin/env bash
# Test on a Slurm cluster: [GPUS=16] bash tools/slurm_test.sh <PARTITION> <JOB_NAME> <CONFIG> <CHECKPOINT> [ARGS of test.py]
# What else can be set is in slurm.sh.
set -euo pipefail
[ $# -ge 4 ] || {
    echo "usage: bash tools/slurm_test.sh <PARTITION> <JOB_NAME> <CONFIG> <CHECKPOINT> [arguments of tools/test.py]" >&2
    exit 2
}
for file in "$3" "$4"; do
    [ -f "$file" ] || { echo "There is no file $file in $PWD." >&2; exit 2; }
done
source "$(dirname "$0")/slurm.sh"
run_tasks "$1" "$2" "$TOOLS/test.py" "$3" "$4" --launcher slurm ${PY_ARGS:-} "${@:5}"
