// A mount of an object store, as far as programs notice: preloaded, the folder OBJECT_STORE takes new files
// that are written once, from the first byte to the last, and nothing else. Renaming, deleting, linking,
// cutting, adding to a file and opening one that is there for writing end with "operation not permitted"; a
// try is a line in OBJECT_STORE_LOG. OBJECT_STORE_ENDS=n: the process dies at the n-th file it opens there
// for writing.
//   cc -shared -fPIC -o object-store.so object-store.c -ldl
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

static void complain(const char *call, const char *path) {
  const char *log = getenv("OBJECT_STORE_LOG");
  if (!log) return;
  int fd = (int)syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (fd < 0) return;
  char line[PATH_MAX + 64];
  int length = snprintf(line, sizeof line, "%s %s\n", call, path);
  if (length > 0) (void)!syscall(SYS_write, fd, line, (size_t)length);
  syscall(SYS_close, fd);
}

// Whether a path lies in the store; paths that are not absolute lie in the current folder.
static int is_stored(int folder, const char *path) {
  const char *store = getenv("OBJECT_STORE");
  if (!store || !path) return 0;
  char full[2 * PATH_MAX];
  if (path[0] == '/') {
    snprintf(full, sizeof full, "%s", path);
  } else {
    char here[PATH_MAX] = "", link[64];
    if (folder == AT_FDCWD) {
      if (!getcwd(here, sizeof here)) return 0;
    } else {
      snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
      ssize_t count = readlink(link, here, sizeof here - 1);
      if (count < 0) return 0;
      here[count] = 0;
    }
    snprintf(full, sizeof full, "%s/%s", here, path);
  }
  size_t length = strlen(store);
  return !strncmp(full, store, length) && (full[length] == '/' || full[length] == 0);
}

static int refuse(const char *call, const char *path) {
  complain(call, path);
  errno = EPERM;
  return -1;
}

// 0 where a file may be opened so.
static int check_open(int folder, const char *path, int flags) {
  if ((flags & O_ACCMODE) == O_RDONLY && !(flags & O_TRUNC)) return 0;
  if (!is_stored(folder, path)) return 0;
  const char *ends = getenv("OBJECT_STORE_ENDS");
  static int opened;
  if (ends && ++opened == atoi(ends)) kill(getpid(), SIGKILL);
  if (flags & O_APPEND) return refuse("append", path);
  if ((flags & O_ACCMODE) == O_RDWR) return refuse("read and write", path);
  struct stat status;
  if (fstatat(folder, path, &status, AT_SYMLINK_NOFOLLOW) != 0) return 0;
  if (flags & O_EXCL) {
    errno = EEXIST;
    return -1;
  }
  return refuse("write what is there", path);
}

#define OPENS(name)                                                             \
  int name(const char *path, int flags, ...) {                                  \
    static int (*next)(const char *, int, ...);                                 \
    if (!next) next = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, #name); \
    va_list more;                                                               \
    va_start(more, flags);                                                      \
    mode_t mode = flags & O_CREAT ? va_arg(more, mode_t) : 0;                   \
    va_end(more);                                                               \
    if (check_open(AT_FDCWD, path, flags) != 0) return -1;                      \
    return next(path, flags, mode);                                             \
  }

OPENS(open)
OPENS(open64)

#define OPENS_AT(name)                                                               \
  int name(int folder, const char *path, int flags, ...) {                           \
    static int (*next)(int, const char *, int, ...);                                 \
    if (!next) next = (int (*)(int, const char *, int, ...))dlsym(RTLD_NEXT, #name); \
    va_list more;                                                                    \
    va_start(more, flags);                                                           \
    mode_t mode = flags & O_CREAT ? va_arg(more, mode_t) : 0;                        \
    va_end(more);                                                                    \
    if (check_open(folder, path, flags) != 0) return -1;                             \
    return next(folder, path, flags, mode);                                          \
  }

OPENS_AT(openat)
OPENS_AT(openat64)

// CALL(name, parameters, arguments, whether it concerns the store, a path for the log)
#define CALL(name, parameters, arguments, concerns, path)         \
  int name parameters {                                           \
    static int(*next) parameters;                                 \
    if (!next) next = (int(*) parameters)dlsym(RTLD_NEXT, #name); \
    if (concerns) return refuse(#name, path);                     \
    return next arguments;                                        \
  }

CALL(rename, (const char *from, const char *to), (from, to),
     is_stored(AT_FDCWD, from) || is_stored(AT_FDCWD, to), to)
CALL(renameat, (int a, const char *from, int b, const char *to), (a, from, b, to),
     is_stored(a, from) || is_stored(b, to), to)
CALL(renameat2, (int a, const char *from, int b, const char *to, unsigned flags), (a, from, b, to, flags),
     is_stored(a, from) || is_stored(b, to), to)
CALL(link, (const char *from, const char *to), (from, to),
     is_stored(AT_FDCWD, from) || is_stored(AT_FDCWD, to), to)
CALL(symlink, (const char *from, const char *to), (from, to), is_stored(AT_FDCWD, to), to)
CALL(unlink, (const char *path), (path), is_stored(AT_FDCWD, path), path)
CALL(unlinkat, (int folder, const char *path, int flags), (folder, path, flags), is_stored(folder, path),
     path)
CALL(rmdir, (const char *path), (path), is_stored(AT_FDCWD, path), path)
CALL(remove, (const char *path), (path), is_stored(AT_FDCWD, path), path)
CALL(truncate, (const char *path, off_t length), (path, length), is_stored(AT_FDCWD, path), path)
CALL(truncate64, (const char *path, off64_t length), (path, length), is_stored(AT_FDCWD, path), path)

// The file of a descriptor.
static int holds_stored(int fd) {
  char link[64], path[PATH_MAX];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t count = readlink(link, path, sizeof path - 1);
  if (count < 0) return 0;
  path[count] = 0;
  return is_stored(AT_FDCWD, path);
}

CALL(ftruncate, (int fd, off_t length), (fd, length), holds_stored(fd), "an open file")
CALL(ftruncate64, (int fd, off64_t length), (fd, length), holds_stored(fd), "an open file")
CALL(fchmod, (int fd, mode_t mode), (fd, mode), holds_stored(fd), "an open file")
