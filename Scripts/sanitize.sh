#!/bin/sh
# Tests under sanitizers: all of them under AddressSanitizer and (C) UndefinedBehaviorSanitizer, the kernels' once more with
# operands that begin behind an unmapped page instead of ending before one, and under ThreadSanitizer the worker pool and
# whole runs with one to four threads.
# Where there is AVX-512 but no AMX or AVX-VNNI, stand-ins for those units let their kernels run, too.
# Usage: sanitize.sh [FILTER]    FILTER: these tests of the first part alone, a regular expression
set -eu
cd "$(dirname "$0")/.."
swift=${SWIFT:-swift}
export SWIFT_BACKTRACE=enable=no TRIDENT_TESTS_SANITIZED=1
# Leaks: Swift's runtime keeps what it allocates once.
export ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 TSAN_OPTIONS=halt_on_error=1

stand_ins=
if grep -q avx512_vnni /proc/cpuinfo && ! grep -q amx_int8 /proc/cpuinfo; then stand_ins='-Xcc -DCK_STAND_INS'; fi

with_addresses() {
  # shellcheck disable=SC2086
  $swift test -c release --scratch-path .build-asan --sanitize address \
    -Xcc -fsanitize=undefined -Xcc -fno-sanitize-recover=undefined $stand_ins "$@"
}

with_addresses --filter "${1:-.}"
[ $# -eq 0 ] || exit 0
# Whole runs again, with guard pages around every reservation of scratch memory: AddressSanitizer does not know
# where in the one block a reservation ends.
TRIDENT_ARENA=guarded with_addresses --skip-build --filter 'GoldenTests|SCCLIPTests|RADSegTests|PnPTests|BLIPTests'
TRIDENT_GUARD=front with_addresses --skip-build --filter KernelTests
$swift test -c release --scratch-path .build-tsan --sanitize thread --filter 'ComputeTests|InvarianceTests/threads'
