// Lets one call of a program fail: preloaded, it counts the calls that reach the system for files and memory,
// and the one numbered FAULT_AT ends as FAULT_MODE says:
//   fail       an error that fits the call: EIO, ENOSPC, ENOMEM, EMFILE, EWOULDBLOCK
//   interrupt  EINTR, once, where the call may end so
//   short      a third of the bytes, where the call may do less than it was asked
// FAULT_LOG: a file that gets the name of every call, in order.
//   cc -shared -fPIC -o fault.so fault.c -ldl
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

enum { PASS, FAIL, INTERRUPT, SHORT };

// What becomes of this call.
static int fate(const char *name) {
  static atomic_int calls;
  static atomic_int log = -2;
  int number = atomic_fetch_add(&calls, 1) + 1;
  const char *path = getenv("FAULT_LOG"), *at = getenv("FAULT_AT"), *mode = getenv("FAULT_MODE");
  if (path) {
    if (log == -2) {
      log = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    }
    char line[64];
    size_t length = strlen(name);
    memcpy(line, name, length);
    line[length] = '\n';
    (void)!syscall(SYS_write, log, line, length + 1);
  }
  if (!at || number != atoi(at)) return PASS;
  if (mode && !strcmp(mode, "interrupt")) return INTERRUPT;
  if (mode && !strcmp(mode, "short")) return SHORT;
  return FAIL;
}

// Bytes to move instead of `count`, or -1 with errno set.
static ssize_t moved(const char *name, size_t count, int code) {
  switch (fate(name)) {
    case FAIL: errno = code; return -1;
    case INTERRUPT: errno = EINTR; return -1;
    case SHORT: return count > 3 ? (ssize_t)(count / 3) : (ssize_t)count;
    default: return (ssize_t)count;
  }
}

#define MOVES(name, code, parameters, ...)                            \
  ssize_t name parameters {                                           \
    static ssize_t(*next) parameters;                                 \
    if (!next) next = (ssize_t(*) parameters)dlsym(RTLD_NEXT, #name); \
    ssize_t allowed = moved(#name, count, code);                      \
    if (allowed < 0) return -1;                                       \
    count = (size_t)allowed;                                          \
    return next(__VA_ARGS__);                                         \
  }

MOVES(read, EIO, (int fd, void *bytes, size_t count), fd, bytes, count)
MOVES(pread, EIO, (int fd, void *bytes, size_t count, off_t offset), fd, bytes, count, offset)
MOVES(pread64, EIO, (int fd, void *bytes, size_t count, off64_t offset), fd, bytes, count, offset)
MOVES(write, ENOSPC, (int fd, const void *bytes, size_t count), fd, bytes, count)
MOVES(pwrite, ENOSPC, (int fd, const void *bytes, size_t count, off_t offset), fd, bytes, count, offset)
MOVES(pwrite64, ENOSPC, (int fd, const void *bytes, size_t count, off64_t offset), fd, bytes, count, offset)

// Calls that give a number, -1 for an error; `interrupted`: whether they may end by a signal.
#define CALL(name, code, interrupted, parameters, ...)            \
  int name parameters {                                           \
    static int(*next) parameters;                                 \
    if (!next) next = (int(*) parameters)dlsym(RTLD_NEXT, #name); \
    int end = fate(#name);                                        \
    if (end == FAIL || (end == INTERRUPT && interrupted)) {       \
      errno = end == FAIL ? code : EINTR;                         \
      return -1;                                                  \
    }                                                             \
    return next(__VA_ARGS__);                                     \
  }

CALL(fsync, EIO, 0, (int fd), fd)
CALL(fdatasync, EIO, 0, (int fd), fd)
CALL(ftruncate, EIO, 1, (int fd, off_t length), fd, length)
CALL(ftruncate64, EIO, 1, (int fd, off64_t length), fd, length)
CALL(rename, EIO, 0, (const char *from, const char *to), from, to)
CALL(unlink, EIO, 0, (const char *path), path)
CALL(mkdir, ENOSPC, 0, (const char *path, mode_t mode), path, mode)
CALL(fstat, EIO, 0, (int fd, struct stat *status), fd, status)
CALL(stat, EIO, 0, (const char *path, struct stat *status), path, status)
CALL(lstat, EIO, 0, (const char *path, struct stat *status), path, status)
CALL(mkstemp, ENOSPC, 0, (char *pattern), pattern)
CALL(memfd_create, ENOMEM, 0, (const char *name, unsigned flags), name, flags)
CALL(mprotect, ENOMEM, 0, (void *base, size_t count, int access), base, count, access)
CALL(madvise, EAGAIN, 0, (void *base, size_t count, int advice), base, count, advice)
CALL(fchmod, EPERM, 0, (int fd, mode_t mode), fd, mode)

int flock(int fd, int operation) {
  static int (*next)(int, int);
  if (!next) next = (int (*)(int, int))dlsym(RTLD_NEXT, "flock");
  int end = fate("flock");
  if (end == FAIL || end == INTERRUPT) {
    errno = end == FAIL ? EWOULDBLOCK : EINTR;
    return -1;
  }
  return next(fd, operation);
}

off_t lseek(int fd, off_t offset, int whence) {
  static off_t (*next)(int, off_t, int);
  if (!next) next = (off_t (*)(int, off_t, int))dlsym(RTLD_NEXT, "lseek");
  if (fate("lseek") == FAIL) {
    errno = EIO;
    return -1;
  }
  return next(fd, offset, whence);
}

#define MAPS(name, offset_type)                                                                       \
  void *name(void *base, size_t count, int access, int flags, int fd, offset_type offset) {           \
    static void *(*next)(void *, size_t, int, int, int, offset_type);                                 \
    if (!next) next = (void *(*)(void *, size_t, int, int, int, offset_type))dlsym(RTLD_NEXT, #name); \
    if (fate(#name) == FAIL) {                                                                        \
      errno = ENOMEM;                                                                                 \
      return MAP_FAILED;                                                                              \
    }                                                                                                 \
    return next(base, count, access, flags, fd, offset);                                              \
  }

MAPS(mmap, off_t)
MAPS(mmap64, off64_t)

#define OPENS(name)                                                             \
  int name(const char *path, int flags, ...) {                                  \
    static int (*next)(const char *, int, ...);                                 \
    if (!next) next = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, #name); \
    va_list more;                                                               \
    va_start(more, flags);                                                      \
    mode_t mode = flags & O_CREAT ? va_arg(more, mode_t) : 0;                   \
    va_end(more);                                                               \
    int end = fate(#name);                                                      \
    if (end == FAIL || end == INTERRUPT) {                                      \
      errno = end == INTERRUPT ? EINTR : flags & O_CREAT ? ENOSPC : EMFILE;     \
      return -1;                                                                \
    }                                                                           \
    return next(path, flags, mode);                                             \
  }

OPENS(open)
OPENS(open64)
