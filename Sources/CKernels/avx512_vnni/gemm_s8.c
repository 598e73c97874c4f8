// INT8 product with vpdpbusd: 12 rows x 2 panels of 16 channels in 24 registers.
#include "../internal.h"

#if CK_X86
#if defined(__clang__)
#pragma clang attribute push( \
    __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,fma,f16c"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,fma,f16c")
#endif
#include "lanes.h"
#include "../lane_functions.h"

enum {
  TILE_ROWS = 12,
  TILE_PANELS = 2,
  TILE_KINDS = 8,
  CHUNK_BYTES = 640 * 1024  // panels walked by all rows before the next ones: they stay in the second cache
};
#include "../lane_dot_product.h"

CK_TILE(12, 2, 32, avx512_vnni)
CK_TILE(8, 2, 32, avx512_vnni)
CK_TILE(7, 2, 32, avx512_vnni)
CK_TILE(6, 2, 32, avx512_vnni)
CK_TILE(5, 2, 32, avx512_vnni)
CK_TILE(4, 2, 32, avx512_vnni)
CK_TILE(2, 2, 32, avx512_vnni)
CK_TILE(1, 2, 32, avx512_vnni)
CK_TILE(12, 1, 16, avx512_vnni)
CK_TILE(8, 1, 16, avx512_vnni)
CK_TILE(7, 1, 16, avx512_vnni)
CK_TILE(6, 1, 16, avx512_vnni)
CK_TILE(5, 1, 16, avx512_vnni)
CK_TILE(4, 1, 16, avx512_vnni)
CK_TILE(2, 1, 16, avx512_vnni)
CK_TILE(1, 1, 16, avx512_vnni)

static const tile_kind tiles[TILE_KINDS] = {
    {12, {ck_gemm_u8s8_12x16k4__avx512_vnni, ck_gemm_u8s8_12x32k4__avx512_vnni}},
    {8, {ck_gemm_u8s8_8x16k4__avx512_vnni, ck_gemm_u8s8_8x32k4__avx512_vnni}},
    {7, {ck_gemm_u8s8_7x16k4__avx512_vnni, ck_gemm_u8s8_7x32k4__avx512_vnni}},
    {6, {ck_gemm_u8s8_6x16k4__avx512_vnni, ck_gemm_u8s8_6x32k4__avx512_vnni}},
    {5, {ck_gemm_u8s8_5x16k4__avx512_vnni, ck_gemm_u8s8_5x32k4__avx512_vnni}},
    {4, {ck_gemm_u8s8_4x16k4__avx512_vnni, ck_gemm_u8s8_4x32k4__avx512_vnni}},
    {2, {ck_gemm_u8s8_2x16k4__avx512_vnni, ck_gemm_u8s8_2x32k4__avx512_vnni}},
    {1, {ck_gemm_u8s8_1x16k4__avx512_vnni, ck_gemm_u8s8_1x32k4__avx512_vnni}},
};

static const uint8_t next_kinds[2 * TILE_ROWS] = {
    // 1 = 1, 2 = 2, 3 = 2 + 1, 4 to 8 = themselves, 9 = 5 + 4, 10 = 5 + 5, 11 = 6 + 5
    0, 7, 6, 6, 5, 4, 3, 2, 1, 4, 4, 3,
    // 12, 13 = 7 + 6, 14 = 8 + 6, 15 = 8 + 7, 16 = 8 + 8, 17 to 20 = 12 + rest, 21 to 23 = 8 + rest
    0, 2, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1};

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

void ck_fill__avx512_vnni(ck_table *table) {
  ck_fill_rows__avx512_vnni(table);
  fill_products(table);
}
#endif
