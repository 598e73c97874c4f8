// Compares our declarations of libmosquitto's functions with its header's. Compiling is the test.
#include <mosquitto.h>

#include "csystem_mosquitto.h"

#define SAME(ours, theirs)                                                                             \
  _Static_assert(                                                                                      \
      __builtin_types_compatible_p(__typeof__(((struct cs_mosquitto *)0)->ours), __typeof__(&theirs)), \
      #theirs " is declared otherwise in mosquitto.h")

SAME(lib_init, mosquitto_lib_init);
SAME(create, mosquitto_new);
SAME(destroy, mosquitto_destroy);
SAME(will_set, mosquitto_will_set);
SAME(username_pw_set, mosquitto_username_pw_set);
SAME(tls_set, mosquitto_tls_set);
SAME(connect_callback_set, mosquitto_connect_callback_set);
SAME(connect, mosquitto_connect);
SAME(disconnect, mosquitto_disconnect);
SAME(publish, mosquitto_publish);
SAME(loop_read, mosquitto_loop_read);
SAME(loop_write, mosquitto_loop_write);
SAME(loop_misc, mosquitto_loop_misc);
SAME(socket, mosquitto_socket);
SAME(want_write, mosquitto_want_write);
SAME(describe_error, mosquitto_strerror);
SAME(describe_connack, mosquitto_connack_string);
// Codes that are known by number.
_Static_assert(MOSQ_ERR_NO_CONN == 4 && MOSQ_ERR_ERRNO == 14, "error codes have other numbers");
