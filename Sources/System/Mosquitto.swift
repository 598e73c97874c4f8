// libmosquitto, opened when a broker is asked for.

import CSystem

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// The library's functions.
package struct Mosquitto: @unchecked Sendable {
  let functions: cs_mosquitto

  /// - Errors: `.unsupported` with the package to install.
  package init() throws(SystemError) {
    let library = try OptionalLibrary.mosquitto.open()
    var table = cs_mosquitto()
    table.lib_init = try library.function("mosquitto_lib_init")
    table.create = try library.function("mosquitto_new")
    table.destroy = try library.function("mosquitto_destroy")
    table.will_set = try library.function("mosquitto_will_set")
    table.username_pw_set = try library.function("mosquitto_username_pw_set")
    table.tls_set = try library.function("mosquitto_tls_set")
    table.connect_callback_set = try library.function("mosquitto_connect_callback_set")
    table.connect = try library.function("mosquitto_connect")
    table.disconnect = try library.function("mosquitto_disconnect")
    table.publish = try library.function("mosquitto_publish")
    table.loop_read = try library.function("mosquitto_loop_read")
    table.loop_write = try library.function("mosquitto_loop_write")
    table.loop_misc = try library.function("mosquitto_loop_misc")
    table.socket = try library.function("mosquitto_socket")
    table.want_write = try library.function("mosquitto_want_write")
    table.describe_error = try library.function("mosquitto_strerror")
    table.describe_connack = try library.function("mosquitto_connack_string")
    functions = table
    guard table.lib_init() == 0 else {
      throw SystemError(.unsupported("\(library.library.name) (\(library.file)) cannot be started"))
    }
  }

  /// The library's words for a code that a call returned; `code` of the system where that is meant.
  func text(_ code: Int32, system: Int32) -> String {
    // MOSQ_ERR_ERRNO
    if code == 14, system != 0 { return systemMessage(system) }
    let text = functions.describe_error(code).map { String(cString: $0).lowercased() } ?? "error \(code)"
    return text.hasSuffix(".") ? String(text.dropLast()) : text
  }

  /// Why a broker turned a client away.
  func refusal(_ code: Int32) -> String {
    var text = functions.describe_connack(code).map { String(cString: $0).lowercased() } ?? "code \(code)"
    let beginning = "connection refused: "
    if text.hasPrefix(beginning) { text.removeFirst(beginning.count) }
    return text.hasSuffix(".") ? String(text.dropLast()) : text
  }
}
