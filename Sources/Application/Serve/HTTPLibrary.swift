// libmicrohttpd, opened when a server asks for it.
import CServe
import System

/// The functions of libmicrohttpd that a server uses.
///
/// Addresses of functions that never change, for any thread.
struct HTTPLibrary: @unchecked Sendable {
  let functions: cserve_library

  /// - Errors: `.unsupported`, with the package to install.
  init() throws(SystemError) {
    let library = try OptionalLibrary.microhttpd.open()
    functions = cserve_library(
      start_daemon: try library.function("MHD_start_daemon"),
      quiesce_daemon: try library.function("MHD_quiesce_daemon"),
      stop_daemon: try library.function("MHD_stop_daemon"),
      suspend_connection: try library.function("MHD_suspend_connection"),
      resume_connection: try library.function("MHD_resume_connection"),
      lookup_connection_value: try library.function("MHD_lookup_connection_value"),
      get_connection_info: try library.function("MHD_get_connection_info"),
      create_response_from_buffer: try library.function("MHD_create_response_from_buffer"),
      create_response_from_fd64: try library.function("MHD_create_response_from_fd64"),
      add_response_header: try library.function("MHD_add_response_header"),
      queue_response: try library.function("MHD_queue_response"),
      destroy_response: try library.function("MHD_destroy_response"))
  }

  /// A connection that rests; any thread may wake it.
  struct Resting: @unchecked Sendable {
    fileprivate let connection: OpaquePointer
    fileprivate let functions: cserve_library

    func wake() { functions.resume_connection(connection) }
  }

  /// Lets a connection rest until it is woken.
  func rest(_ connection: OpaquePointer) -> Resting {
    functions.suspend_connection(connection)
    return Resting(connection: connection, functions: functions)
  }

  /// A header of the request as it was sent; nil where it is missing.
  func header(_ name: String, of connection: OpaquePointer) -> String? {
    functions.lookup_connection_value(connection, MHD_HEADER_KIND, name).map { String(cString: $0) }
  }

  /// Hands an answer over to be sent.
  func send(_ answer: Answer, on connection: OpaquePointer) -> MHD_Result {
    let made: OpaquePointer?
    switch answer.body {
    case .text(let text):
      var bytes = Array(text.utf8)
      made = functions.create_response_from_buffer(bytes.count, &bytes, MHD_RESPMEM_MUST_COPY)
    case .page:
      let page = ServePage.bytes
      made = functions.create_response_from_buffer(
        page.count, UnsafeMutableRawPointer(mutating: page.baseAddress), MHD_RESPMEM_PERSISTENT)
    case .file(let file):
      // The library closes what it is given.
      let copy = file.duplicate()
      made = copy < 0 ? nil : functions.create_response_from_fd64(UInt64(file.byteCount), copy)
    }
    guard let made else { return MHD_NO }
    defer { functions.destroy_response(made) }
    let headers = [("Content-Type", answer.contentType)] + Answer.common + answer.headers
    for (name, value) in headers { _ = functions.add_response_header(made, name, value) }
    return functions.queue_response(connection, UInt32(answer.status), made)
  }
}
