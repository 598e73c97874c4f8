// What libpng's and libjpeg's sides of this target share.
#define _GNU_SOURCE
#include "internal.h"

#include <string.h>

size_t cr_input_read(cr_input *input, void *bytes, size_t count) {
  int64_t got = cs_read_at(input->fd, bytes, count, input->next);
  if (got < 0) {
    input->problem = CR_IO;
    input->system_error = (int32_t)-got;
    return 0;
  }
  if (got == 0) {
    input->problem = CR_TRUNCATED;
    return 0;
  }
  input->next += got;
  return (size_t)got;
}

void cr_fail(cr_failure *failure, int code, int system_error, int64_t offset, const char *message) {
  failure->code = code;
  failure->system_error = system_error;
  failure->offset = offset;
  size_t length = strnlen(message, sizeof failure->message - 1);
  memcpy(failure->message, message, length);
  failure->message[length] = 0;
}
