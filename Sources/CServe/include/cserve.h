// Our declarations of libmicrohttpd, which is opened when a server asks for it and never linked, and the two
// of its functions that Swift cannot call: those with a variable list of arguments. With MHD_VERSION defined,
// by the real header in front of this one, the types are the real ones: Scripts/check-serve.sh compiles that.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#ifndef MHD_VERSION
struct MHD_Daemon;
struct MHD_Connection;
struct MHD_Response;
enum MHD_Result { MHD_NO = 0, MHD_YES = 1 };
enum MHD_ValueKind { MHD_HEADER_KIND = 1 };
enum MHD_RequestTerminationCode { MHD_REQUEST_TERMINATED_COMPLETED_OK = 0 };
enum MHD_ConnectionNotificationCode { MHD_CONNECTION_NOTIFY_STARTED = 0, MHD_CONNECTION_NOTIFY_CLOSED = 1 };
enum MHD_ResponseMemoryMode { MHD_RESPMEM_PERSISTENT, MHD_RESPMEM_MUST_FREE, MHD_RESPMEM_MUST_COPY };
union MHD_ConnectionInfo {
  int connect_fd;
  size_t header_size;
};
enum MHD_ConnectionInfoType { MHD_CONNECTION_INFO_CONNECTION_FD = 6 };
#endif

// Asked for every request: once with its head, then with each piece of its body, then once more. `state`
// belongs to the request.
typedef enum MHD_Result (*cserve_handler)(void *context, struct MHD_Connection *connection, const char *url,
                                          const char *method, const char *version, const char *upload,
                                          size_t *upload_count, void **state);
// A request is over, however it ended.
typedef void (*cserve_completed)(void *context, struct MHD_Connection *connection, void **state,
                                 enum MHD_RequestTerminationCode code);
// A connection began or is about to be closed.
typedef void (*cserve_notified)(void *context, struct MHD_Connection *connection, void **socket_context,
                                enum MHD_ConnectionNotificationCode code);
// A request's first line was read: `target` as it was sent. Returns the request's first state.
typedef void *(*cserve_target)(void *context, const char *target, struct MHD_Connection *connection);

typedef enum MHD_Result (*cserve_policy)(void *context, const struct sockaddr *address, socklen_t count);
typedef struct MHD_Daemon *(*cserve_start_function)(unsigned int flags, uint16_t port, cserve_policy policy,
                                                    void *policy_context, cserve_handler handler,
                                                    void *context, ...);
typedef const union MHD_ConnectionInfo *(*cserve_info_function)(struct MHD_Connection *connection,
                                                                enum MHD_ConnectionInfoType type, ...);

// The functions of the library that are used, by their names there.
typedef struct cserve_library {
  cserve_start_function start_daemon;
  int (*quiesce_daemon)(struct MHD_Daemon *daemon);
  void (*stop_daemon)(struct MHD_Daemon *daemon);
  void (*suspend_connection)(struct MHD_Connection *connection);
  void (*resume_connection)(struct MHD_Connection *connection);
  const char *(*lookup_connection_value)(struct MHD_Connection *connection, enum MHD_ValueKind kind,
                                         const char *key);
  cserve_info_function get_connection_info;
  struct MHD_Response *(*create_response_from_buffer)(size_t count, void *bytes,
                                                      enum MHD_ResponseMemoryMode mode);
  struct MHD_Response *(*create_response_from_fd64)(uint64_t count, int descriptor);
  enum MHD_Result (*add_response_header)(struct MHD_Response *response, const char *name, const char *value);
  enum MHD_Result (*queue_response)(struct MHD_Connection *connection, unsigned int status,
                                    struct MHD_Response *response);
  void (*destroy_response)(struct MHD_Response *response);
} cserve_library;

// How a server runs.
typedef struct cserve_settings {
  // Bound and listening; the server takes it over.
  int listener;
  unsigned int connection_limit;
  // Bytes of a request's head.
  size_t head_limit;
  // Seconds without a byte after which a connection is closed.
  unsigned int idle_seconds;
  void *context;
  cserve_handler handler;
  cserve_completed completed;
  cserve_notified notified;
  cserve_target target;
} cserve_settings;

// Starts a server with one thread for all connections. Errors: NULL; errno says why.
struct MHD_Daemon *cserve_start(const cserve_library *library, const cserve_settings *settings);

// A listening socket at a numeric address, of IPv4 or IPv6; port 0 takes one that is free. `bound` receives
// the port. Errors: returns a descriptor, or minus errno; minus EDESTADDRREQ for an address that is none.
int cserve_listen(const char *address, uint16_t port, uint16_t *bound);

// The client of a socket has closed it, or its half: nobody waits for an answer.
int cserve_is_gone(int socket);

// Sends `count` bytes at once, as far as they go, and ends the connection both ways. Errors: none, best
// effort.
void cserve_hang_up(int socket, const char *bytes, size_t count);

// Lets SIGINT and SIGTERM wait until they are asked for, in this thread and those that it starts.
void cserve_hold_signals(void);

// Waits for one of them; returns its number, or 0 after so many milliseconds.
int cserve_wait_for_signal(int milliseconds);

// The socket of a connection, or -1.
int cserve_socket(const cserve_library *library, struct MHD_Connection *connection);

// The page for browsers, as UTF-8 of `count` bytes that lie in the program: page.html, put into page.c by
// Scripts/embed-page.py.
const char *cserve_page(size_t *count);
