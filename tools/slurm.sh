# Sourced by slurm_train.sh and slurm_test.sh: run_tasks <PARTITION> <JOB_NAME> <PROGRAM> [ARGS] becomes srun. It reads
#   GPUS (8)           tasks in all, one a GPU
#   GPUS_PER_NODE (8, or GPUS where that is less), CPUS_PER_TASK (5)
#   SRUN_ARGS          more arguments of srun, e.g. "--time=4:00:00 --account=vision"; they win over those given here
#   PY_ARGS            more arguments of the program, before those on the command line
#   MASTER_ADDR, MASTER_PORT  where the tasks meet, instead of the first node's name and a port made from the job's number
# A partition without GPUs gets GPUS processes on its processors.
source "$(dirname "${BASH_SOURCE[0]}")/python.sh"
GPUS=${GPUS:-8}
GPUS_PER_NODE=${GPUS_PER_NODE:-$((GPUS < 8 ? GPUS : 8))}
CPUS_PER_TASK=${CPUS_PER_TASK:-5}
set -f # SRUN_ARGS and PY_ARGS are split at spaces, and nothing else happens to them

run_tasks() {
    command -v srun >/dev/null || { echo "srun was not found: this machine is not part of a Slurm cluster." >&2; exit 1; }
    local gpus=$GPUS_PER_NODE gres=(--gres="gpu:$GPUS_PER_NODE") nodes
    [[ " ${SRUN_ARGS:-} " != *' --gres=none '* ]] || gpus=0 gres=()
    nodes=$(describe_nodes "$1")
    if [ -n "$nodes" ]; then
        if ! grep -qv ' 0 GPUs' <<<"$nodes"; then
            echo "Partition $1 has no GPUs: $GPUS processes run on its processors." >&2
            gpus=0 gres=()
        fi
        refuse_too_many "$1" "$nodes" "$gpus"
    fi
    exec srun --partition="$1" --job-name="$2" "${gres[@]}" --ntasks="$GPUS" --ntasks-per-node="$GPUS_PER_NODE" \
        --cpus-per-task="$CPUS_PER_TASK" --kill-on-bad-exit=1 ${SRUN_ARGS:-} \
        env OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" "$PYTHON" -u "${@:3}"
}

# Lines of "<NODES> with <N> GPUs and <N> processors"; nothing for a partition that is not there, which srun names.
describe_nodes() {
    sinfo --noheader --exact --partition="$1" --format='%D %c %G' | awk '{
        gpus = 0
        gsub(/\([^)]*\)/, "", $3) # gpu:a100:4(S:0-1),gpu:t4:2
        n = split($3, kinds, ",")
        for (i = 1; i <= n; i++) if (kinds[i] ~ /^gpu:/) { sub(/.*:/, "", kinds[i]); gpus += kinds[i] }
        print $1 " with " gpus " GPUs and " $2 " processors"
    }'
}

# Slurm itself would let such a job wait for nodes to be added: refuse_too_many <PARTITION> <ITS NODES> <GPUS A NODE>
refuse_too_many() {
    local needed=$(((GPUS + GPUS_PER_NODE - 1) / GPUS_PER_NODE)) cpus=$((GPUS_PER_NODE * CPUS_PER_TASK)) fitting
    fitting=$(awk -v gpus="$3" -v cpus="$cpus" '$3 >= gpus && $6 + 0 >= cpus { n += $1 } END { print n + 0 }' <<<"$2")
    [ "$fitting" -lt "$needed" ] || return 0
    echo "GPUS=$GPUS GPUS_PER_NODE=$GPUS_PER_NODE CPUS_PER_TASK=$CPUS_PER_TASK: that takes $needed node(s) with $3 GPUs and" \
        "$cpus processors; partition $1 has $fitting of them. Its nodes: $(paste -sd ',' <<<"$2")." >&2
    exit 1
}
