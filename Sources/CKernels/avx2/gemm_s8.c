// Placeholder until the first kernel of this path lands.
#include "../internal.h"
#if CK_X86
void ck_fill__avx2(ck_table *table) { (void)table; }
#endif
