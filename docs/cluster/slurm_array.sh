#!/usr/bin/env bash
# A SLURM array: every job runs its share of the cells, without Ray. From the checkout, after `make setup`:
#     sbatch --array=1-32 docs/cluster/slurm_array.sh
# and when all jobs are done, on any machine that sees this folder: make repro
# Single jobs of it again: SHARDS=32 sbatch --array=3,7 docs/cluster/slurm_array.sh
#SBATCH --job-name=marl-gre
#SBATCH --array=1-32
#SBATCH --cpus-per-task=1
#SBATCH --mem=4G
#SBATCH --time=12:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=slurm-%A_%a.log
set -euo pipefail
cd "${PROJECT:-${SLURM_SUBMIT_DIR:-.}}"
export PATH="${VENV:-$PWD/.venv}/bin:$PATH"

# 120 s before the time is up, and when the job is preempted, srun's processes get SIGTERM: runs save and end with 143.
code=0
srun python -m benchmarks.launch \
  --shard "$SLURM_ARRAY_TASK_ID/${SHARDS:-$SLURM_ARRAY_TASK_COUNT}" --jobs "${SLURM_CPUS_PER_TASK:-1}" "$@" || code=$?
if [ "$code" -eq 143 ]; then
  scontrol requeue "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID" # the same job goes on from its checkpoints
fi
exit "$code"
