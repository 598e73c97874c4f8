#!/bin/sh
# Tests under sanitizers: C and Swift under AddressSanitizer and (C) UndefinedBehaviorSanitizer, the worker pool under
# ThreadSanitizer. Usage: sanitize.sh [FILTER]    FILTER: tests of the first part, a regular expression
set -eu
cd "$(dirname "$0")/.."
swift=${SWIFT:-swift}
# The golden runs take minutes each under a sanitizer; whole runs are covered by the fuzzer's toys instead.
filter=${1:-KernelTests|ContainerTests|RasterTests|ComputeTests|Readers|Text|Refine}
export SWIFT_BACKTRACE=enable=no
export ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1

$swift test -c release --scratch-path .build-asan --sanitize address \
  -Xcc -fsanitize=undefined -Xcc -fno-sanitize-recover=undefined --filter "$filter"
$swift test -c release --scratch-path .build-tsan --sanitize thread --filter ComputeTests
