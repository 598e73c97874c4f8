// libFuzzer's driver, which the compiler's runtime brings without a header, and files in memory, which
// Glibc's module hides.
#ifndef CFUZZER_H
#define CFUZZER_H
#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerRunDriver(int *argc, char ***argv, int (*one)(const uint8_t *bytes, size_t count));

/// A descriptor of an empty anonymous file, or -1.
int cf_memory_file(void);

#endif
