// The functions of libmosquitto that are used, as its version 1 declares them (2.0 and earlier): the library
// is opened when it is asked for, so its header need not be there. `Scripts/check-watch.sh` compares the two.
#pragma once

#include <stdbool.h>

struct mosquitto;

struct cs_mosquitto {
  int (*lib_init)(void);
  struct mosquitto *(*create)(const char *id, bool clean_session, void *object);
  void (*destroy)(struct mosquitto *client);
  int (*will_set)(struct mosquitto *client, const char *topic, int count, const void *payload, int quality,
                  bool retain);
  int (*username_pw_set)(struct mosquitto *client, const char *user, const char *password);
  int (*tls_set)(struct mosquitto *client, const char *ca_file, const char *ca_path, const char *certificate,
                 const char *key, int (*ask)(char *buffer, int size, int direction, void *object));
  void (*connect_callback_set)(struct mosquitto *client,
                               void (*connected)(struct mosquitto *client, void *object, int code));
  int (*connect)(struct mosquitto *client, const char *host, int port, int keepalive);
  int (*disconnect)(struct mosquitto *client);
  int (*publish)(struct mosquitto *client, int *number, const char *topic, int count, const void *payload,
                 int quality, bool retain);
  int (*loop_read)(struct mosquitto *client, int most);
  int (*loop_write)(struct mosquitto *client, int most);
  int (*loop_misc)(struct mosquitto *client);
  int (*socket)(struct mosquitto *client);
  bool (*want_write)(struct mosquitto *client);
  const char *(*describe_error)(int code);
  const char *(*describe_connack)(int code);
};
