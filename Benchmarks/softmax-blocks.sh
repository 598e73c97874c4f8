#!/bin/sh
# Attention with one scale for 256, 128 or 64 keys: microseconds (the best of 400), error against exact attention, and the
# attention that falls to bytes of zero. AMX tiles are written for 256. Usage: softmax-blocks.sh [SIZE...]
set -eu
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
echo "| path | block | us | relative error | lost |"
echo "|---|---|---|---|---|"
[ $# -gt 0 ] || set -- 256 128 64
for block; do
  rm -rf "$work/kernels"
  cp -r Sources/CKernels "$work/kernels"
  sed -i "s/CK_SOFTMAX_BLOCK = [0-9]*/CK_SOFTMAX_BLOCK = $block/" "$work/kernels/include/ckernels.h"
  # shellcheck disable=SC2046
  clang -O2 -w -I "$work/kernels/include" -o "$work/bench" Benchmarks/softmax_blocks.c $(find "$work/kernels" -name '*.c') -lm
  "$work/bench"
done
