#!/bin/sh
# Runs every fuzz target for a stated time, two at a time, on the committed seeds and on what earlier runs found.
# Usage: fuzz.sh SECONDS [TARGET...]    Folders: $FUZZ_BUILD (default Fuzz/.build), $FUZZ_WORK (default out/fuzz)
# FUZZ_CPU_MINUTES=20: slices of SECONDS, until a target has had so many minutes of processor time, however busy the
# machine. What each has had is kept in $FUZZ_WORK/TARGET.state; ended at any moment, the next run goes on from there.
set -eu
seconds=${1:?usage: fuzz.sh SECONDS [TARGET...]}
shift
cd "$(dirname "$0")/.."
build=${FUZZ_BUILD:-Fuzz/.build}
work=${FUZZ_WORK:-out/fuzz}
wanted=${FUZZ_CPU_MINUTES:-}
fixtures=Tests/Fixtures
# In memory where possible: whole runs sync their outputs.
TMPDIR=$(mktemp -d "$([ -w /dev/shm ] && echo /dev/shm || echo /tmp)/trident-fuzz-XXXXXX")
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT
trap 'trap - INT TERM HUP; kill -- $(jobs -p) 2>/dev/null; wait; exit 130' INT TERM HUP
# The backtracer would stall a crashing run.
export SWIFT_BACKTRACE=enable=no

${SWIFT:-swift} build --package-path Fuzz --scratch-path "$build" -c release \
  -Xswiftc -sanitize=fuzzer,address -Xswiftc -use-ld=lld \
  -Xcc -fsanitize=fuzzer-no-link,address,undefined -Xcc -fno-sanitize-recover=undefined
fuzz=$build/release/fuzz

# Inputs need no more bytes than this; larger ones only slow a target down.
length() {
  case $1 in
    classes) echo 1024 ;;
    *) echo 16384 ;;
  esac
}

# Fixtures that are seeds as they are; the rest is in Fuzz/Corpora.
seeds() {
  case $1 in
    zip | checkpoint) echo "$fixtures/checkpoints" ;;
    merges) echo "$fixtures/golden/toy-b" ;;
    npz) echo "$fixtures/vocabulary" ;;
    jpeg | png | frames) echo "$fixtures/raster/files" ;;
    tiff | webp) echo "$fixtures/raster/rasters" ;;
  esac
  if [ -d "Fuzz/Corpora/$1" ]; then echo "Fuzz/Corpora/$1"; fi
}

# An input may take this long; where a fuzzer gets what others leave, waiting counts, too.
patience=25
if [ -n "$wanted" ]; then patience=900; fi

# One run of a target. A job of its own, so that the script's end is the fuzzer's end.
slice() {
  # shellcheck disable=SC2046
  "$fuzz" "$1" -max_total_time="$seconds" -timeout=$patience -rss_limit_mb=1024 -malloc_limit_mb=512 -max_len="$(length "$1")" \
    -print_final_stats=1 -artifact_prefix="$work/$1-" "$work/$1" $(seeds "$1") >"$work/$1.log" 2>&1 &
  fuzzer=$!
  trap 'kill $fuzzer 2>/dev/null; wait $fuzzer; keep "$target"; exit 130' INT TERM HUP
  if ! wait "$fuzzer"; then
    echo "$1: FAILED, see $work/$1.log"
    grep -m 3 'Fatal error\|ERROR: \|runtime error' "$work/$1.log" || tail -n 5 "$work/$1.log"
    return 1
  fi
}

# Adds the run just ended to the target's state: processor seconds and runs in all, most places reached.
keep() {
  # The shell's own times, then those of what it ran, as 1m2.3s.
  times >"$work/$1.times"
  total=$(awk 'NR == 2 { gsub("[ms]", " "); print $1 * 60 + $2 + $3 * 60 + $4 }' "$work/$1.times")
  runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$work/$1.log")
  reached=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$work/$1.log" | tail -n 1)
  if [ "${reached:-0}" -gt "$places" ]; then places=$reached; fi
  echo "$had $total $before ${runs:-0} $places" | awk '{ print $1 + $2, $3 + $4, $5 }' >"$work/$1.new"
  mv "$work/$1.new" "$work/$1.state"
  before=$((before + ${runs:-0}))
}

# In a shell of its own: its times are the target's.
run() {
  target=$1
  mkdir -p "$work/$1"
  had=0 before=0 places=0
  if [ -n "$wanted" ] && [ -f "$work/$1.state" ]; then read -r had before places <"$work/$1.state"; fi
  while :; do
    if [ -n "$wanted" ] && awk -v had="$(cut -d ' ' -f 1 "$work/$1.state" 2>/dev/null)" -v wanted="$wanted" \
      'BEGIN { exit !(had >= wanted * 60) }'; then break; fi
    slice "$1" || return 1
    keep "$1"
    if [ -z "$wanted" ]; then break; fi
  done
  read -r had before places <"$work/$1.state"
  echo "$1: $before runs, $had processor seconds, $places places reached"
}

mkdir -p "$work"
# shellcheck disable=SC2046
if [ $# -eq 0 ]; then set -- $("$fuzz"); fi
failed=0
while [ $# -gt 0 ]; do
  run "$1" &
  first=$!
  second=
  if [ $# -gt 1 ]; then
    run "$2" &
    second=$!
    shift
  fi
  shift
  wait "$first" || failed=1
  if [ -n "$second" ]; then wait "$second" || failed=1; fi
done
exit "$failed"
