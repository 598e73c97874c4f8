// The calls of libmicrohttpd that take a variable list of arguments, and of sockets and signals whose types
// differ from one C library to the next.
#include "cserve.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

// Values of the library's binary interface; Scripts/check-serve.sh compares them with its header.
enum {
  USE_EPOLL_AND_THREAD = 512 | 8,
  ALLOW_SUSPEND_RESUME = 8192 | 1024,
  OPTION_END = 0,
  OPTION_CONNECTION_MEMORY_LIMIT = 1,
  OPTION_CONNECTION_LIMIT = 2,
  OPTION_CONNECTION_TIMEOUT = 3,
  OPTION_NOTIFY_COMPLETED = 4,
  OPTION_URI_LOG_CALLBACK = 7,
  OPTION_LISTEN_SOCKET = 12,
  OPTION_THREAD_STACK_SIZE = 19,
  OPTION_NOTIFY_CONNECTION = 27,
};

#ifdef MHD_VERSION
_Static_assert(USE_EPOLL_AND_THREAD ==
                   ((int)MHD_USE_EPOLL_INTERNAL_THREAD | (int)MHD_USE_INTERNAL_POLLING_THREAD),
               "flags");
_Static_assert(ALLOW_SUSPEND_RESUME == (int)MHD_ALLOW_SUSPEND_RESUME, "flags");
_Static_assert(OPTION_END == (int)MHD_OPTION_END, "options");
_Static_assert(OPTION_CONNECTION_MEMORY_LIMIT == (int)MHD_OPTION_CONNECTION_MEMORY_LIMIT, "options");
_Static_assert(OPTION_CONNECTION_LIMIT == (int)MHD_OPTION_CONNECTION_LIMIT, "options");
_Static_assert(OPTION_CONNECTION_TIMEOUT == (int)MHD_OPTION_CONNECTION_TIMEOUT, "options");
_Static_assert(OPTION_NOTIFY_COMPLETED == (int)MHD_OPTION_NOTIFY_COMPLETED, "options");
_Static_assert(OPTION_URI_LOG_CALLBACK == (int)MHD_OPTION_URI_LOG_CALLBACK, "options");
_Static_assert(OPTION_LISTEN_SOCKET == (int)MHD_OPTION_LISTEN_SOCKET, "options");
_Static_assert(OPTION_THREAD_STACK_SIZE == (int)MHD_OPTION_THREAD_STACK_SIZE, "options");
_Static_assert(OPTION_NOTIFY_CONNECTION == (int)MHD_OPTION_NOTIFY_CONNECTION, "options");
_Static_assert(MHD_CONNECTION_INFO_CONNECTION_FD == 6 && MHD_HEADER_KIND == 1, "kinds");
_Static_assert(MHD_CONNECTION_NOTIFY_STARTED == 0 && MHD_CONNECTION_NOTIFY_CLOSED == 1, "codes");
_Static_assert(MHD_RESPMEM_PERSISTENT == 0 && MHD_RESPMEM_MUST_COPY == 2, "modes");
_Static_assert(MHD_NO == 0 && MHD_YES == 1, "results");
// Every function has the type that it is declared with.
cserve_library cserve_declared = {MHD_start_daemon,
                                  MHD_quiesce_daemon,
                                  MHD_stop_daemon,
                                  MHD_suspend_connection,
                                  MHD_resume_connection,
                                  MHD_lookup_connection_value,
                                  MHD_get_connection_info,
                                  MHD_create_response_from_buffer,
                                  MHD_create_response_from_fd64,
                                  MHD_add_response_header,
                                  MHD_queue_response,
                                  MHD_destroy_response};
#endif

struct MHD_Daemon *cserve_start(const cserve_library *library, const cserve_settings *settings) {
  return library->start_daemon(
      USE_EPOLL_AND_THREAD | ALLOW_SUSPEND_RESUME, 0, NULL, NULL, settings->handler, settings->context,
      OPTION_LISTEN_SOCKET, settings->listener, OPTION_CONNECTION_LIMIT, settings->connection_limit,
      OPTION_CONNECTION_MEMORY_LIMIT, settings->head_limit, OPTION_CONNECTION_TIMEOUT, settings->idle_seconds,
      OPTION_THREAD_STACK_SIZE, (size_t)256 << 10, OPTION_NOTIFY_COMPLETED, settings->completed,
      settings->context, OPTION_NOTIFY_CONNECTION, settings->notified, settings->context,
      OPTION_URI_LOG_CALLBACK, settings->target, settings->context, OPTION_END);
}

int cserve_socket(const cserve_library *library, struct MHD_Connection *connection) {
  const union MHD_ConnectionInfo *info =
      library->get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
  return info ? info->connect_fd : -1;
}

int cserve_listen(const char *address, uint16_t port, uint16_t *bound) {
  struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(port)};
  struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
  int is_four = inet_pton(AF_INET, address, &four.sin_addr) == 1;
  if (!is_four && inet_pton(AF_INET6, address, &six.sin6_addr) != 1) return -EDESTADDRREQ;
  int fd = socket(is_four ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return -errno;
  int yes = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  const struct sockaddr *where = is_four ? (const struct sockaddr *)&four : (const struct sockaddr *)&six;
  socklen_t size = is_four ? sizeof four : sizeof six;
  if (bind(fd, where, size) || listen(fd, 64)) {
    int code = errno;
    close(fd);
    return -code;
  }
  struct sockaddr_storage there;
  socklen_t room = sizeof there;
  *bound = port;
  if (getsockname(fd, (struct sockaddr *)&there, &room) == 0)
    *bound = ntohs(is_four ? ((struct sockaddr_in *)&there)->sin_port
                           : ((struct sockaddr_in6 *)&there)->sin6_port);
  return fd;
}

int cserve_is_gone(int socket) {
  char byte;
  ssize_t count = recv(socket, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  return count == 0 || (count < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
}

void cserve_hang_up(int socket, const char *bytes, size_t count) {
  if (count) (void)!send(socket, bytes, count, MSG_DONTWAIT | MSG_NOSIGNAL);
  shutdown(socket, SHUT_RDWR);
}

static void stops(sigset_t *set) {
  sigemptyset(set);
  sigaddset(set, SIGINT);
  sigaddset(set, SIGTERM);
}

void cserve_hold_signals(void) {
  sigset_t set;
  stops(&set);
  pthread_sigmask(SIG_BLOCK, &set, NULL);
  // A client that goes away is no reason to end.
  signal(SIGPIPE, SIG_IGN);
}

int cserve_wait_for_signal(int milliseconds) {
  sigset_t set;
  stops(&set);
  struct timespec time = {milliseconds / 1000, milliseconds % 1000 * 1000000L};
  int number = sigtimedwait(&set, NULL, &time);
  return number < 0 ? 0 : number;
}
