// Running another program to its end.
#include "cprocess.h"

#include <errno.h>
#include <spawn.h>
#include <sys/wait.h>

extern char **environ;

int cs_run_program(const char *path, char *const *arguments, int *failed) {
  pid_t child = 0;
  *failed = posix_spawn(&child, path, 0, 0, arguments, environ);
  if (*failed) return -1;
  int status = 0;
  while (waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) return -1;
  }
  return status;
}
