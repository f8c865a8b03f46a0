#!/usr/bin/env bash
# Train on a Slurm cluster, and wait for it: [GPUS=16] bash tools/slurm_train.sh <PARTITION> <JOB_NAME> <CONFIG> [WORK_DIR] [ARGS of train.py]
# What else can be set is in slurm.sh. tools/sbatch_train.sh is for what takes longer than the cluster's time limit.
set -euo pipefail
[ $# -ge 3 ] || {
    echo "usage: bash tools/slurm_train.sh <PARTITION> <JOB_NAME> <CONFIG> [WORK_DIR] [arguments of tools/train.py]" >&2
    exit 2
}
[ -f "$3" ] || { echo "There is no config $3 in $PWD." >&2; exit 2; }
source "$(dirname "$0")/slurm.sh"
work_dir=()
if [ $# -ge 4 ] && [[ $4 != -* ]]; then
    work_dir=(--work-dir "$4")
    set -- "${@:1:3}" "${@:5}"
fi
run_tasks "$1" "$2" "$TOOLS/train.py" "$3" "${work_dir[@]}" --launcher slurm ${PY_ARGS:-} "${@:4}"
