#!/bin/bash
# test.sh [ROOT]: everything that can be proven about ARM without a board and without a virtual machine. Builds with Debian
# 13's Swift, then runs the arm64 program under emulation of three processors: Cortex-A72 (Pi 4: NEON), Cortex-A76 (Pi 5:
# adds dot products) and all features (adds 8-bit matrix products). Fails if one of those kernel paths was not exercised.
# A suite that takes over half an hour counts as stalled.
set -euo pipefail
. "$(dirname "$0")/common.sh"
need python3 gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user-static
work=$(mktemp -d)
# shellcheck disable=SC2046
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$work"' EXIT

"$project/Scripts/arm/check-kernels.sh"
"$project/Scripts/arm/build.sh" "$root" amd64 --product trident
"$project/Scripts/arm/build.sh" "$root" arm64 --build-tests

# What does not depend on the processor stays out: jobs, sinks, commands (all of ApplicationTests but the demo's labels),
# refusals, identities, plans, limits, absent classes, words. What it stands on is tested here: kernels, products,
# networks, methods, labels, readers of files. All of it runs wherever `make test` does.
skipped='ApplicationTests\.[A-CE-Z]|NegativeTests|AdversaryTests|LibraryTests|TextHalvesTests|IdentityTests'
skipped="$skipped|IntegrityTests|Tile(Method)?Tests|ConfidenceTests|QuantizationTests\.Readers|QuantizerRefusalTests|SchemaTests"
skipped="$skipped|QuantizerSidecarTests|QuantizerAssumptionTests|CalibrationTests|(SCCLIP|RADSeg|PnP|SigLIP)Tests/float32"
skipped="$skipped|(RADSeg|SigLIP)Tests/invariance|SigLIPTests/tokenizerFiles|SCCLIPTests/(absence|unknown|plans|rules)"
skipped="$skipped|Invariance(Memory)?Tests/(plans|failing|limits|everyTiling|words)"

# suite CPU PATHS [FILTER]: the test suite (as Tests/TestSupport/Effort.swift trims it), or some tests of it; its last
# words must name the paths. One test at a time: side by side, their workers wait for each other under emulation.
suite() {
  local cpu=$1 paths=$2 filter=${3:-.} path log=$work/$1.log
  emulated "$cpu" -E TRIDENT_TESTS_EMULATED=1 /build/arm64/release/tridentPackageTests.xctest \
    --testing-library swift-testing --no-parallel --filter "$filter" --skip "$skipped" > "$log" 2>&1 ||
    { grep -v '✔' "$log" | tail -n 40; echo "$cpu: the suite failed or stalled"; return 1; }
  echo "== test suite as on $cpu"
  grep ' skipped' "$log" || true
  tail -n 2 "$log"
  for path in $paths; do
    grep -q "^kernel paths exercised:.*\b$path\b" "$log" || { echo "$cpu: $path was not exercised"; return 1; }
  done
}
# All on one core; beside it, on two older processors, what depends on the processor: kernels, products, encoders and
# whole photos in INT8.
depends='^KernelTests\.|^ComputeTests\.|storedLabels|GoldenTests/int8|InvarianceTests/threads'
suite max "scalar neon neon_dotprod neon_i8mm" &
whole=$!
suite cortex-a76 "scalar neon neon_dotprod" "$depends"
suite cortex-a72 "scalar neon" "$depends"
wait $whole

x86_labels street "$work/street.png"
for cpu in cortex-a72 cortex-a76 max; do
  echo "== a whole photo as on $cpu"
  emulated "$cpu" /build/arm64/release/trident segment --model models/demo/demo.gguf --no-cache --quiet \
    --classes models/demo/scenes/classes.txt models/demo/scenes/images/street.jpg --output /tmp/labels.png
  python3 "$project/Scripts/arm/compare-labels.py" "$work/street.png" "$root/tmp/labels.png"
done
