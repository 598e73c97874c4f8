// Running another program to its end, and the pages of this one.
#define _GNU_SOURCE
#include "cprocess.h"

#include <errno.h>
#include <link.h>
#include <spawn.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

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

// Code is never written, so that its pages come back from the file as they were.
static int release_code(struct dl_phdr_info *object, size_t size, void *page) {
  (void)size;
  uintptr_t mask = *(uintptr_t *)page - 1;
  for (int i = 0; i < object->dlpi_phnum; i++) {
    const ElfW(Phdr) *part = &object->dlpi_phdr[i];
    if (part->p_type != PT_LOAD || !(part->p_flags & PF_X) || part->p_flags & PF_W) continue;
    uintptr_t begin = (object->dlpi_addr + part->p_vaddr + mask) & ~mask;
    uintptr_t end = (object->dlpi_addr + part->p_vaddr + part->p_memsz) & ~mask;
    if (end > begin) madvise((void *)begin, end - begin, MADV_DONTNEED);
  }
  return 0;
}

void cs_release_code(void) {
  uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
  dl_iterate_phdr(release_code, &page);
}
