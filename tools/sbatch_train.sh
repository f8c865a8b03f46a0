#!/usr/bin/env bash
# Train as a batch job that outlives its time limit: sbatch [ARGS of sbatch] tools/sbatch_train.sh <CONFIG> [WORK_DIR] [ARGS of train.py]
# Submit it from a tree's folder. Arguments of sbatch win over the lines below, e.g.
#   sbatch -p vision -J distil -t 24:00:00 --nodes=2 tools/sbatch_train.sh configs/digits-hint/ddpm-r18_hint.py
# and --gres=none is for processors. Ahead of the limit the run is told to save its state and stop, and Slurm queues the
# job again; each start goes on from the newest checkpoint. An iteration, a validation and a checkpoint must fit into
# the seconds of --signal (which may come a minute early), and those into the time limit.
# SRUN_ARGS and PY_ARGS are more arguments of srun and train.py.
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=8
#SBATCH --gres=gpu:8
#SBATCH --cpus-per-task=5
#SBATCH --signal=B:USR1@300
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail
[ $# -ge 1 ] && [ -n "${SLURM_JOB_ID:-}" ] || {
    echo "usage: sbatch [arguments of sbatch] tools/sbatch_train.sh <CONFIG> [WORK_DIR] [arguments of tools/train.py]" >&2
    exit 2
}
# Slurm runs a copy of this file, so its own folder says nothing.
cd "$SLURM_SUBMIT_DIR"
[ -f tools/train.py ] && [ -d configs ] || { echo "There are no tools/train.py and configs in $PWD: submit from a tree's folder." >&2; exit 2; }
source tools/python.sh
config=$1
shift
work_dir=()
if [ $# -ge 1 ] && [[ $1 != -* ]]; then
    work_dir=(--work-dir "$1")
    shift
fi

set -f # SRUN_ARGS and PY_ARGS are split at spaces, and nothing else happens to them
# Since Slurm 22.05 srun does not take the processors a task from the job.
srun --kill-on-bad-exit=1 --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" ${SRUN_ARGS:-} \
    env OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" \
    "$PYTHON" -u "$TOOLS/train.py" "$config" "${work_dir[@]}" --launcher slurm --resume ${PY_ARGS:-} "$@" &
step=$!
stopped=
trap 'stopped=1; kill -USR1 "$step" || true' USR1 # the step may just have ended
# A signal interrupts wait, and the second one gives what the step ended with.
code=0
wait "$step" || code=$?
[ -z "$stopped" ] || { code=0; wait "$step" || code=$?; }

# By then --kill-on-bad-exit has replaced the exit code of the run, so the signal decides.
if [ -n "$stopped" ] && [ "$code" -ne 0 ]; then
    echo "Job $SLURM_JOB_ID was stopped ahead of its time limit, after $SECONDS s (start $((${SLURM_RESTART_COUNT:-0} + 1))); it goes back into the queue."
    exec scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
