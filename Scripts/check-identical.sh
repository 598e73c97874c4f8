#!/bin/sh
# Labels are the same, byte for byte, for every thread count and memory limit.
# Usage: check-identical.sh TRIDENT MODEL PHOTO [CLASSES]
set -eu
trident=$1 model=$2 photo=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if [ $# -ge 4 ]; then cp "$4" "$work/classes"; else printf 'sky\ngrass\ndog; puppy\nhouse\n' >"$work/classes"; fi
"$trident" text -m "$model" --classes "$work/classes" -o "$work/v.tvoc" --no-cache --quiet
run() { # name, flags...
  name=$1
  shift
  "$trident" segment -m "$model" "$photo" -o "$work/$name.png" --quiet "$@"
}
run base --vocabulary "$work/v.tvoc" --threads 1
smallest=$("$trident" plan -m "$model" --photo "$photo" --classes "$work/classes" --smallest --threads 1 |
  sed -n 's/.*--memory-limit \([0-9]*M\).*/\1/p')
check() {
  cmp "$work/base.png" "$work/next.png" || { echo "differs: $*" >&2; exit 1; }
  echo "same: $*"
}
for flags in "--threads 2" "--threads 3" "--threads 4" "--threads 2 --memory-limit 64M" \
  "--threads 2 --memory-limit 48M" "--threads 2 --memory-limit 40M" "--threads 4 --memory-limit 38M" \
  "--threads 2 --memory-limit 37M" "--threads 1 --memory-limit $smallest" "--keep-weights"; do
  # Flags are words.
  # shellcheck disable=SC2086
  run next --vocabulary "$work/v.tvoc" $flags
  check "$flags"
done
# The text of the same run, cut small.
for flags in "--threads 2 --memory-limit 40M --no-cache" "--threads 1 --memory-limit $smallest --no-cache"; do
  # shellcheck disable=SC2086
  run next --classes "$work/classes" $flags
  check "$flags"
done
