#!/bin/bash
# test.sh [ROOT]: everything that can be proven about ARM without a board and without a virtual machine. Builds with Debian
# 13's Swift, then runs the arm64 program under emulation of three processors: Cortex-A72 (Pi 4: NEON), Cortex-A76 (Pi 5:
# adds dot products) and all features (adds 8-bit matrix products). Fails if one of those kernel paths was not exercised.
# A suite that takes over half an hour counts as stalled.
set -euo pipefail
. "$(dirname "$0")/common.sh"
need python3 gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user-static
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$project/Scripts/arm/check-kernels.sh"
"$project/Scripts/arm/build.sh" "$root" amd64 --product trident
"$project/Scripts/arm/build.sh" "$root" arm64 --build-tests

# What stands on top is plain Swift, or whole runs that take minutes each under emulation: jobs, sinks, commands (all of
# ApplicationTests but the demo's labels), hostile files, edited models. What it stands on is tested here: kernels,
# networks, methods, labels, files. float32 of all methods but Trident is OpenBLAS under emulation. All of it runs
# wherever `make test` does.
skipped='ApplicationTests\.[A-CE-Z]|NegativeTests|AdversaryTests|LibraryTests|TextHalvesTests|QuantizationTests\.Readers'
skipped="$skipped|QuantizerRefusalTests|SchemaTests|QuantizerSidecarTests|(SCCLIP|RADSeg|PnP)Tests/float32"

# suite CPU PATHS [FILTER]: the test suite (as Tests/TestSupport/Effort.swift trims it), or some tests of it; its last
# words must name the paths.
suite() {
  local cpu=$1 paths=$2 filter=${3:-.} path
  echo "== test suite as on $cpu"
  emulated "$cpu" -E TRIDENT_TESTS_EMULATED=1 /build/arm64/release/tridentPackageTests.xctest \
    --testing-library swift-testing --filter "$filter" --skip "$skipped" > "$work/log" 2>&1 ||
    { grep -v '✔\|started' "$work/log" | tail -n 40; echo "$cpu: the suite failed or stalled"; return 1; }
  grep ' skipped' "$work/log" || true
  tail -n 2 "$work/log"
  for path in $paths; do
    grep -q "^kernel paths exercised:.*\b$path\b" "$work/log" || { echo "$cpu: $path was not exercised"; return 1; }
  done
}
suite max "scalar neon neon_dotprod neon_i8mm"
# What depends on the processor: kernels, products, encoders and whole photos in INT8. The rest has run above.
depends='^KernelTests\.|^ComputeTests\.|storedLabels|GoldenTests/int8|InvarianceTests/threads'
suite cortex-a76 "scalar neon neon_dotprod" "$depends"
suite cortex-a72 "scalar neon" "$depends"

x86_labels street "$work/street.png"
for cpu in cortex-a72 cortex-a76 max; do
  echo "== a whole photo as on $cpu"
  emulated "$cpu" /build/arm64/release/trident segment --model models/demo/demo.gguf --no-cache --quiet \
    --classes models/demo/scenes/classes.txt models/demo/scenes/images/street.jpg --output /tmp/labels.png
  python3 "$project/Scripts/arm/compare-labels.py" "$work/street.png" "$root/tmp/labels.png"
done
