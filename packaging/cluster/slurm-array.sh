#!/bin/sh
# A Slurm array: a task a shard.
#   sbatch --array=0-63 slurm-array.sh PHOTOS.txt PARTS -m model.gguf --vocabulary words.tvoc -o labels
# Some tasks again: name how many there are in all, for Slurm only knows those that it was given:
#   TRIDENT_SHARDS=64 sbatch --array=3,17 slurm-array.sh PHOTOS.txt PARTS ...
#SBATCH --job-name=trident
#SBATCH --cpus-per-task=2
#SBATCH --mem-per-cpu=128M
#SBATCH --requeue
#SBATCH --open-mode=append
set -u
list=${1:?a list of photos}
parts=${2:?a folder for parts}
shift 2
tries=0
while :; do
  "${TRIDENT:-trident}" segment --list "$list" --parts "$parts" --threads "${SLURM_CPUS_PER_TASK:-2}" --quiet "$@"
  code=$?
  case $code in
    # Done; or nothing that another try would mend: usage, model, memory. 3: bad photos, with --fail-on-photo.
    0 | 2 | 3 | 4 | 5) exit $code ;;
  esac
  # Storage, or a process that was killed: the next one goes on where this one ended.
  tries=$((tries + 1))
  if [ "$tries" -ge "${TRIDENT_TRIES:-4}" ]; then exit $code; fi
  sleep "${TRIDENT_PAUSE:-10}"
done
