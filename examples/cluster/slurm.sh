#!/bin/bash
# A SLURM array of eight tasks, one shard each, then one task that puts the shards together:
#   array=$(sbatch --parsable slurm.sh)
#   sbatch --dependency=afterany:$array --wrap "kits-submit merge /scratch/predictions"
# Only some again: KITS_SHARDS=8 sbatch --array=2,5 slurm.sh (what they have done already is kept).
#SBATCH --job-name=kits-submit
#SBATCH --array=0-7
#SBATCH --cpus-per-task=4
#SBATCH --mem=8G
#SBATCH --time=08:00:00
# On GPU nodes: #SBATCH --gres=gpu:1, and --require-gpu below.

srun kits-submit run /data/kits/cases /scratch/predictions --shard auto --threads "$SLURM_CPUS_PER_TASK"
