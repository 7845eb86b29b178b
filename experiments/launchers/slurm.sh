#!/usr/bin/env bash
# A command under a SLURM of one node that lives as long as the command: bash experiments/launchers/slurm.sh [COMMAND…]
#
# Without a command: the sweep of twelve under every launcher, results in outputs/launchers/<time>. Needs root on Debian or
# Ubuntu; slurm-wlm and munge are installed where they are missing, and stay. Network, host name, processes and mounts are
# namespaces of their own, configuration, state, logs and the key a temporary folder: when the command ends, or anything
# fails, the kernel ends every process in there and the folder goes. An installed SLURM is neither used nor touched.
set -euo pipefail

fail() { echo "slurm.sh: $*" >&2; exit 1; }

if [[ -z ${RLI_SLURM_FOLDER:-} ]]; then
    [[ $(id -u) == 0 ]] || fail "needs root"
    missing=()
    command -v slurmctld >/dev/null && command -v slurmd >/dev/null || missing+=(slurm-wlm)
    command -v munged >/dev/null || missing+=(munge)
    if ((${#missing[@]})); then
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${missing[@]}" >/dev/null
    fi
    RLI_SLURM_FOLDER=$(mktemp -d -t rli-slurm.XXXXXX)
    export RLI_SLURM_FOLDER
    inner=
    trap '{ kill -KILL $inner && wait; } 2>/dev/null || true; rm -rf "$RLI_SLURM_FOLDER"' EXIT
    trap 'exit 130' INT TERM HUP
    unshare --net --uts --ipc --mount --pid --fork --kill-child --mount-proc bash "$0" "$@" <&0 &
    inner=$!
    status=0
    wait "$inner" || status=$?
    inner=
    exit "$status"
fi

folder=$RLI_SLURM_FOLDER
node=rli-slurm
# One set aside for documentation; with 127.0.0.1 alone, SLURM finds no address that it may listen on.
address=192.0.2.1
hostname "$node"
ip link set lo up
ip address add "$address/32" dev lo
chmod 755 "$folder"
mkdir "$folder/state" "$folder/spool"
printf '%s\n' "127.0.0.1 localhost" "$address $node" >"$folder/hosts"
mount --bind "$folder/hosts" /etc/hosts

dd if=/dev/urandom of="$folder/munge.key" bs=1024 count=1 status=none
chmod 600 "$folder/munge.key"
munged --key-file="$folder/munge.key" --socket="$folder/munge.socket" --pid-file="$folder/munge.pid" \
    --log-file="$folder/munge.log" --seed-file="$folder/munge.seed"

cat >"$folder/slurm.conf" <<CONF
ClusterName=rli
SlurmctldHost=$node($address)
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
ReturnToService=2
NodeName=$node NodeAddr=$address CPUs=$(nproc) State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
export SLURM_CONF=$folder/slurm.conf

slurmctld
slurmd
until
    state=$(timeout 5 sinfo --noheader --format=%T 2>/dev/null)
    [[ $state == idle ]]
do
    if ((SECONDS > 60)); then
        for log in "$folder"/*.log; do tail -n 20 "$log" >&2; done
        fail "no idle node after a minute"
    fi
    sleep 1
done
sinfo

if (($#)); then
    "$@"
else
    python=.venv/bin/python
    [[ -x $python ]] || python=python3
    "$python" -m experiments.launchers.twelve basic joblib submitit_local submitit_slurm \
        --out "outputs/launchers/$(date +%Y-%m-%d_%H-%M-%S)"
fi
