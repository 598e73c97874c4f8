// Row operations and float products over this path's sixteen lanes (two 256-bit registers). Written once in
// lane_rows.h and lane_floats.h; here they meet the instructions of the path.
//
//   a row:  | lanes 0..15 | lanes 16..31 | lanes 0..15 | ...     two vectors of partial sums per row
#include "../internal.h"

#if CK_X86
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
#endif
#include "lanes.h"
#include "../lane_functions.h"
#include "../lane_rows.h"
#include "../lane_softmax.h"
#include "../lane_floats.h"

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

void ck_fill_rows__avx2(ck_table *table) { fill_rows(table); }
#endif
