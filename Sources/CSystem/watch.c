// Signals that are remembered, and inotify.
#define _GNU_SOURCE
#include "csystem_watch.h"

#include "csystem.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

static atomic_int ending;
static int wake[2] = {-1, -1};

void cs_die_of(int number) {
  (void)cs_temporary_unlink_all();
  signal(number, SIG_DFL);
  sigset_t held;
  sigemptyset(&held);
  sigaddset(&held, number);
  pthread_sigmask(SIG_UNBLOCK, &held, NULL);
  raise(number);
  _exit(128 + number);
}

static void remember(int number) {
  int saved = errno;
  int none = 0;
  if (!atomic_compare_exchange_strong(&ending, &none, number)) cs_die_of(number);
  ssize_t written = write(wake[1], "", 1);
  (void)written;
  errno = saved;
}

int cs_end_gently(int number) {
  if (wake[0] < 0 && pipe2(wake, O_CLOEXEC | O_NONBLOCK) != 0) return errno;
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_handler = remember;
  action.sa_flags = SA_RESTART;
  return sigaction(number, &action, NULL) == 0 ? 0 : errno;
}

int cs_ending(void) { return atomic_load(&ending); }

int cs_ending_descriptor(void) { return wake[0]; }

int cs_folder_watch(const char *path) {
  int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
  if (fd < 0) return -errno;
  uint32_t mask = IN_CLOSE_WRITE | IN_MOVED_TO | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR;
  if (inotify_add_watch(fd, path, mask) >= 0) return fd;
  int code = errno;
  close(fd);
  return -code;
}

int cs_folder_next(int descriptor, char bytes[4096], size_t held[2], char name[256]) {
  for (;;) {
    if (held[0] >= held[1]) {
      ssize_t got = read(descriptor, bytes, 4096);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return errno == EAGAIN ? 0 : -errno;
      if (got == 0) return 0;
      held[0] = 0;
      held[1] = (size_t)got;
    }
    struct inotify_event event;
    memcpy(&event, bytes + held[0], sizeof event);
    const char *text = bytes + held[0] + sizeof event;
    held[0] += sizeof event + event.len;
    if (event.mask & IN_Q_OVERFLOW) return CS_FOLDER_LOST;
    if (event.mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_UNMOUNT | IN_IGNORED)) return CS_FOLDER_GONE;
    if (event.mask & IN_ISDIR || event.len == 0) continue;
    size_t length = strnlen(text, event.len);
    if (length == 0 || length > 255) continue;
    memcpy(name, text, length);
    name[length] = 0;
    return CS_FOLDER_FILE;
  }
}
