// Descriptors: opening, positioned reads, complete writes; the table of temporary files.
#define _GNU_SOURCE
#include "csystem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

static int started_count;
static char **started_with;

#ifdef __GLIBC__
__attribute__((constructor)) static void keep_arguments(int count, char **arguments) {
  started_count = count;
  started_with = arguments;
}
#endif

char **cs_arguments(int *count) {
  *count = started_count;
  return started_with;
}

int cs_write_all(int fd, const void *bytes, size_t count) {
  const char *next = bytes;
  while (count > 0) {
    ssize_t written = write(fd, next, count);
    if (written < 0) {
      if (errno == EINTR) continue;
      return errno;
    }
    if (written == 0) return EIO;
    next += written;
    count -= (size_t)written;
  }
  return 0;
}

int cs_write_at(int fd, const void *bytes, size_t count, int64_t offset) {
  const char *next = bytes;
  while (count > 0) {
    ssize_t written = pwrite(fd, next, count, (off_t)offset);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return written < 0 ? errno : EIO;
    next += written;
    offset += written;
    count -= (size_t)written;
  }
  return 0;
}

int64_t cs_read_at(int fd, void *bytes, size_t count, int64_t offset) {
  char *next = bytes;
  size_t done = 0;
  while (done < count) {
    ssize_t got = pread(fd, next + done, count - done, (off_t)(offset + (int64_t)done));
    if (got < 0) {
      if (errno == EINTR) continue;
      return -(int64_t)errno;
    }
    if (got == 0) break;
    done += (size_t)got;
  }
  return (int64_t)done;
}

int cs_open_for_reading(const char *path, uint32_t *mode, int64_t *byte_count) {
  int fd;
  do fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
  while (fd < 0 && errno == EINTR);
  if (fd < 0) return -errno;
  struct stat status;
  if (fstat(fd, &status) != 0) {
    int code = errno;
    close(fd);
    return -code;
  }
  *mode = (uint32_t)status.st_mode;
  *byte_count = (int64_t)status.st_size;
  return fd;
}

// Source: Linux statfs(2).
int cs_is_memory(const char *folder) {
  struct statfs status;
  if (statfs(folder, &status) != 0) return 0;
  return (uint32_t)status.f_type == 0x01021994u || (uint32_t)status.f_type == 0x858458F6u;
}

int cs_open_nameless(const char *folder) {
  for (;;) {
    int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0 || errno != EINTR) return fd < 0 ? -errno : fd;
  }
}

int cs_create_in_memory(void) {
  int fd = memfd_create("trident", MFD_CLOEXEC);
  return fd < 0 ? -errno : fd;
}

int cs_create_new(const char *path) {
  for (;;) {
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (fd < 0 && errno == EINTR) continue;
    if (fd < 0) return -errno;
    // A file system without locks only means that nothing is ever swept there.
    (void)flock(fd, LOCK_EX | LOCK_NB);
    struct stat status;
    if (fstat(fd, &status) != 0 || status.st_nlink > 0) return fd;
    // A sweep came between the two calls.
    close(fd);
  }
}

static int is_temporary_name(const char *name) {
  static const char prefix[] = ".trident-", suffix[] = ".part";
  size_t length = strlen(name);
  return length > sizeof prefix + sizeof suffix - 2 && !strncmp(name, prefix, sizeof prefix - 1) &&
         !strcmp(name + length - (sizeof suffix - 1), suffix);
}

int cs_sweep(const char *directory) {
  uint64_t hash = 0xCBF29CE484222325u;
  for (const char *c = directory; *c; c++) hash = (hash ^ (unsigned char)*c) * 0x100000001B3u;
  static _Atomic uint64_t last;
  if (atomic_exchange(&last, hash) == hash) return 0;
  DIR *folder = opendir(directory);
  if (!folder) return 0;
  int removed = 0;
  for (struct dirent *entry; (entry = readdir(folder));) {
    if (!is_temporary_name(entry->d_name)) continue;
    int fd = openat(dirfd(folder), entry->d_name, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) continue;
    struct stat status;
    // Whoever writes a temporary file holds its lock; the system drops the locks of a process that ended.
    if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && flock(fd, LOCK_EX | LOCK_NB) == 0 &&
        unlinkat(dirfd(folder), entry->d_name, 0) == 0)
      removed++;
    close(fd);
  }
  closedir(folder);
  return removed;
}

int cs_status(const char *path, uint32_t *mode) {
  struct stat status;
  if (stat(path, &status) != 0) return errno;
  *mode = (uint32_t)status.st_mode;
  return 0;
}

int cs_set_permissions(int fd, uint32_t mode) { return fchmod(fd, (mode_t)(mode & 0777)) == 0 ? 0 : errno; }

void cs_sync_directory(const char *directory) {
  int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  (void)fsync(fd);
  close(fd);
}

void cs_print_by_lines(void) {
  struct stat status;
  if (fstat(STDOUT_FILENO, &status) == 0 && (S_ISFIFO(status.st_mode) || S_ISSOCK(status.st_mode)))
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
}

int cs_print_end(void) {
  if (fflush(NULL) != 0) return errno;
  return ferror(stdout) ? EIO : 0;
}

// A slot owns its string until someone exchanges it out; whoever gets the pointer decides about it, once.
#define CS_SLOTS 512
static _Atomic(char *) cs_slots[CS_SLOTS];

int cs_temporary_add(const char *path) {
  char *copy = strdup(path);
  if (!copy) return -1;
  for (int slot = 0; slot < CS_SLOTS; slot++) {
    char *expected = NULL;
    if (atomic_compare_exchange_strong(&cs_slots[slot], &expected, copy)) return slot;
  }
  free(copy);
  return -1;
}

void cs_temporary_remove(int ticket) {
  if (ticket < 0 || ticket >= CS_SLOTS) return;
  free(atomic_exchange(&cs_slots[ticket], NULL));
}

int cs_temporary_unlink_all(void) {
  int removed = 0;
  int saved = errno;
  for (int slot = 0; slot < CS_SLOTS; slot++) {
    // The string is not freed here: free() is not async-signal-safe, and the process is about to end.
    char *path = atomic_exchange(&cs_slots[slot], NULL);
    if (path && unlink(path) == 0) removed++;
  }
  errno = saved;
  return removed;
}
