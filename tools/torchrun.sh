# Sourced by dist_train.sh and dist_test.sh. torchrun <PROCESSES> <PROGRAM> [ARGS] becomes torch's launcher for this node.
# NNODES (1)               nodes; the command is given on each of them, with the same number of processes
# NODE_RANK (0)            which of them this one is
# MASTER_ADDR (127.0.0.1)  the address of node 0
# PORT                     a port of node 0; by default 29500, and on one node any that is free
source "$(dirname "${BASH_SOURCE[0]}")/python.sh"

torchrun() {
    local nodes=${NNODES:-1} rank=${NODE_RANK:-0} rendezvous=(--standalone)
    if [ "$nodes" -gt 1 ]; then
        [ -n "${NODE_RANK:-}" ] || echo "NODE_RANK is not set: this is taken for node 0 of $nodes." >&2
        [ -n "${MASTER_ADDR:-}" ] || echo "MASTER_ADDR, the address of node 0, is not set: 127.0.0.1, which no other machine reaches." >&2
    fi
    if [ "$nodes" -gt 1 ] || [ -n "${PORT:-}" ]; then
        rendezvous=(--nnodes="$nodes" --node_rank="$rank" --master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="${PORT:-29500}")
    fi
    echo "Starting $1 process(es): $3" >&2  # the libraries take seconds
    # Without this SIGUSR1 would end the launcher alone. As a variable, which a torch without the option passes over.
    export PET_SIGNALS_TO_HANDLE="${PET_SIGNALS_TO_HANDLE:-SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1}"
    exec "$PYTHON" -m torch.distributed.run "${rendezvous[@]}" --nproc_per_node="$1" "${@:2}"
}
