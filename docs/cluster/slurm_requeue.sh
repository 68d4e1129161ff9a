#!/usr/bin/env bash
# One SLURM job with many cores that asks to be queued again until everything is done. From the checkout:
#     sbatch docs/cluster/slurm_requeue.sh
#SBATCH --job-name=marl-gre
#SBATCH --cpus-per-task=32
#SBATCH --mem=64G
#SBATCH --time=12:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=slurm-%j.log
set -euo pipefail
cd "${PROJECT:-${SLURM_SUBMIT_DIR:-.}}"
export PATH="${VENV:-$PWD/.venv}/bin:$PATH"

# SIGTERM saves every run and ends with 143.
code=0
srun python -m benchmarks.launch --jobs "$SLURM_CPUS_PER_TASK" "$@" || code=$?
if [ "$code" -eq 143 ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
