// The socket that a server listens on.
import CServe
import System

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// A bound socket, which whoever serves takes over.
package struct Listener: Sendable {
  package let descriptor: Int32
  /// `127.0.0.1:8080`, `[::1]:8080`.
  package let address: String
  package let port: Int
  /// Only programs of this machine reach it.
  package let isLoopback: Bool

  /// Binds to a numeric address, or `localhost`. Port 0: one that is free.
  ///
  /// - Errors: `.malformed` for an address that is none; the system's, such as a port that is taken.
  package init(address: String, port: Int) throws(SystemError) {
    let text = address == "localhost" ? "127.0.0.1" : address
    let name = text.contains(":") ? "[\(text)]" : text
    var bound: UInt16 = 0
    let found = cserve_listen(text, UInt16(clamping: port), &bound)
    if found == -EDESTADDRREQ {
      throw SystemError(
        .malformed("is no address; give one such as 127.0.0.1, 0.0.0.0, ::1, or localhost"), path: address)
    }
    guard found >= 0 else {
      throw SystemError(.system(action: "listen", code: -found), path: "\(name):\(port)")
    }
    descriptor = found
    self.port = Int(bound)
    self.address = "\(name):\(bound)"
    isLoopback = text.hasPrefix("127.") || text == "::1"
  }
}
