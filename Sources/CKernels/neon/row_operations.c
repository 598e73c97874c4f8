// Row operations and float products over this path's sixteen lanes (four 128-bit registers). Written once in
// lane_rows.h and lane_floats.h; here they meet the instructions of the path. NEON is part of every 64-bit
// ARM.
//
//   a row:  | lanes 0..15 | lanes 16..31 | lanes 0..15 | ...     two vectors of partial sums per row
#include "../internal.h"

#if CK_ARM64
#include "lanes.h"
#include "../lane_functions.h"
#include "../lane_rows.h"
#include "../lane_softmax.h"
#include "../lane_floats.h"

void ck_fill_rows__neon(ck_table *table) { fill_rows(table); }
#endif
