// A storage card in a bad mood, for tests: preloaded into a program, it makes every read short
// (BAD_CARD_SHORT=1), or reads of one file (BAD_CARD_FAILS=end of its path) fail with EIO after so many
// (BAD_CARD_AFTER), or the power goes at the n-th renaming (BAD_CARD_ENDS=n). Build: cc -shared -fPIC.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// Bytes to ask for instead of `count`, or -1 for a failure.
static ssize_t mood(int fd, size_t count) {
  static int reads;
  const char *fails = getenv("BAD_CARD_FAILS"), *after = getenv("BAD_CARD_AFTER");
  if (fails) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    size_t end = strlen(fails);
    if (length >= (ssize_t)end && memcmp(path + length - end, fails, end) == 0 &&
        ++reads > (after ? atoi(after) : 0)) {
      errno = EIO;
      return -1;
    }
  }
  return getenv("BAD_CARD_SHORT") && count > 3 ? (ssize_t)(count / 3) : (ssize_t)count;
}

#define READ(name, parameters, ...)                                   \
  ssize_t name parameters {                                           \
    static ssize_t(*next) parameters;                                 \
    if (!next) next = (ssize_t(*) parameters)dlsym(RTLD_NEXT, #name); \
    ssize_t allowed = mood(fd, count);                                \
    if (allowed < 0) return -1;                                       \
    count = (size_t)allowed;                                          \
    return next(__VA_ARGS__);                                         \
  }

READ(read, (int fd, void *bytes, size_t count), fd, bytes, count)
READ(pread, (int fd, void *bytes, size_t count, off_t offset), fd, bytes, count, offset)
READ(pread64, (int fd, void *bytes, size_t count, off64_t offset), fd, bytes, count, offset)

int rename(const char *from, const char *to) {
  static int renames;
  const char *ends = getenv("BAD_CARD_ENDS");
  if (ends && ++renames == atoi(ends)) raise(SIGKILL);
  int (*next)(const char *, const char *) = (int (*)(const char *, const char *))dlsym(RTLD_NEXT, "rename");
  return next(from, to);
}
