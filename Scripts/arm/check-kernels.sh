#!/bin/sh
# Cross-compiles the C of CKernels for 64-bit ARM and compares every path with the scalar one, under emulation of
# three processors: Cortex-A72 (NEON), Cortex-A76 (adds dot products) and all features (adds 8-bit matrix products).
# Needs: apt-get install gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user-static
set -e
cd "$(dirname "$0")/../.."
compiler=${CC:-aarch64-linux-gnu-gcc}
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
"$compiler" -O2 -Wall -Wextra -Werror -ffp-contract=off -static Tests/KernelTests/arm/check.c \
  Sources/CKernels/*.c Sources/CKernels/*/*.c -o "$out/check"
for pair in "cortex-a53 neon" "cortex-a72 neon" "cortex-a76 neon neon_dotprod" "max neon neon_dotprod neon_i8mm"; do
  cpu=${pair%% *}
  echo "== $cpu"
  # shellcheck disable=SC2086
  qemu-aarch64-static -cpu "$cpu" "$out/check" ${pair#* }
done
