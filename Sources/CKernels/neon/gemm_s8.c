// Placeholder until the first kernel of this path lands.
#include "../internal.h"
#if CK_ARM64
void ck_fill__neon(ck_table *table) { (void)table; }
#endif
