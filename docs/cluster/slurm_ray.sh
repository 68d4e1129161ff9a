#!/usr/bin/env bash
# A Ray cluster on the machines of one SLURM job. From the checkout, after `make setup` and
# `.venv/bin/pip install -c constraints.txt -e '.[dev,distributed]'`:
#     sbatch --nodes=4 docs/cluster/slurm_ray.sh
#SBATCH --job-name=marl-gre
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=32
#SBATCH --mem=64G
#SBATCH --exclusive
#SBATCH --time=12:00:00
#SBATCH --output=slurm-%j.log
set -euo pipefail
cd "${PROJECT:-${SLURM_SUBMIT_DIR:-.}}"
export PATH="${VENV:-$PWD/.venv}/bin:$PATH"

# One copy of the command per machine: they form a cluster, and the first runs what follows `--`. This folder is shared,
# and so is the mirror in it; with local disks only, name an object store: MARL_GRE_MIRROR=s3://bucket/mirror.
hosts="$(scontrol show hostnames "$SLURM_JOB_NODELIST")"
export RAY_ADDRESS="${hosts%%$'\n'*}:6379" # the first; `| head -n 1` may end scontrol by SIGPIPE, and this script with it
export MARL_GRE_MIRROR="${MARL_GRE_MIRROR:-$PWD/work/mirror}"
srun --nodes="$SLURM_JOB_NUM_NODES" --ntasks="$SLURM_JOB_NUM_NODES" \
  ray symmetric-run --address "$RAY_ADDRESS" --min-nodes "$SLURM_JOB_NUM_NODES" --num-cpus "$SLURM_CPUS_PER_TASK" -- \
  python -m benchmarks.launch --engine ray --address "$RAY_ADDRESS" "$@"
