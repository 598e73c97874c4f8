// What the files of this target share and Swift does not see.
#pragma once

#include "craster.h"
#include "csystem.h"

#include <sys/types.h>

// Buffered forward reading by position, so the descriptor's own offset never matters.
typedef struct cr_input {
  int fd;
  int64_t next;     // file position of the first byte not yet in the buffer
  int32_t problem;  // CR_TRUNCATED or CR_IO once a refill has failed
  int32_t system_error;
} cr_input;

// Reads at most `count` bytes; 0 means that `problem` is set. Errors: see above.
size_t cr_input_read(cr_input *input, void *bytes, size_t count);

// Fills a failure; `message` is cut to fit.
void cr_fail(cr_failure *failure, int code, int system_error, int64_t offset, const char *message);
