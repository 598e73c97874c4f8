#!/bin/sh
# Cycles of the inner loops on the cores of small boards, modelled and never measured: compiles the C of CKernels for
# 64-bit ARM as the Swift package does and hands the loops to llvm-mca (docs/lab/kernels.md, "Expected on boards").
# Needs: apt-get install llvm-19 libc6-dev-arm64-cross python3, and the clang that comes with Swift.
set -e
cd "$(dirname "$0")/../.."
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
cross() {
  "${CC:-clang}" --target=aarch64-linux-gnu -I/usr/aarch64-linux-gnu/include -ISources/CKernels -O2 -ffp-contract=off \
    -c "$1" -o "$out/$2.o"
}
for path in neon neon_dotprod neon_i8mm; do cross "Sources/CKernels/$path/gemm_s8.c" "$path"; done
# Row operations, and two loops that the products and activations hold among branches.
cat > "$out/rows.c" <<'END'
#include "neon/row_operations.c"
void gelu(float *x, size_t count) {
  for (size_t i = 0; i < count; i += 64) {
    vf four[4];
    V_EACH4 four[j] = v_load(x + i + 16 * j);
    v_gelu4(four);
    V_EACH4 v_store(x + i + 16 * j, four[j]);
  }
}
void finish(const int32_t *sums, const v_target *target, size_t rows, float *out) {
  v_target t = *target;
  for (size_t r = 0; t.bias && r < rows; r++) {
    v_store(out + 16 * r, v_dequantize(&t, v_load_ints(sums + 16 * r), r, 0));
  }
}
END
cross "$out/rows.c" rows
python3 Scripts/arm/cycles.py "$out"
