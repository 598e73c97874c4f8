#!/bin/sh
# Shards on the machines of one's own, by GNU parallel: so many shards, so many at once.
#   sh gnu-parallel.sh 64 16 PHOTOS.txt PARTS -m model.gguf --vocabulary words.tvoc --threads 1 -o labels
# On several machines that see the same folders: PARALLEL="--sshloginfile machines.txt --workdir ." in front.
# A shard that ends with an error is tried four times. What is done is not done again, so the same line goes on after a
# crash.
set -u
shards=${1:?how many shards}
jobs=${2:?how many at once}
list=${3:?a list of photos}
parts=${4:?a folder for parts}
shift 4
seq "$shards" | parallel --jobs "$jobs" --retries 4 --tag \
  "${TRIDENT:-trident}" segment --list "$list" --parts "$parts" --shard "{}/$shards" --quiet "$@"
