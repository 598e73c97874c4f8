// What a server sends back.
import CServe
import System

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Bytes in a file in memory, which is closed with its last owner.
package final class MemoryFile: @unchecked Sendable {
  package let descriptor: Int32
  package let byteCount: Int

  /// Keeps what `descriptor` lends.
  ///
  /// - Errors: the system's.
  package init(copying descriptor: Int32) throws(SystemError) {
    byteCount = Int(lseek(descriptor, 0, SEEK_END))
    self.descriptor = fcntl(descriptor, F_DUPFD_CLOEXEC, 0)
    guard self.descriptor >= 0 else {
      throw SystemError(.system(action: "keep a result", code: errno), path: "memory")
    }
  }

  /// Another descriptor of the same bytes, which the caller closes; -1 where there is none left.
  func duplicate() -> Int32 { fcntl(descriptor, F_DUPFD_CLOEXEC, 0) }

  deinit { close(descriptor) }

  /// All bytes.
  package func bytes() throws(SystemError) -> [UInt8] {
    let copy = fcntl(descriptor, F_DUPFD_CLOEXEC, 0)
    guard copy >= 0 else { throw SystemError(.system(action: "read a result", code: errno), path: "memory") }
    return try InputFile<SystemError>(descriptor: copy, byteCount: byteCount, path: "memory").bytes(
      at: 0, count: byteCount)
  }
}

/// Keeps finished files by name, in the place of the file system.
final class ResultShelf: FileReceiver {
  /// In front of results' names: a place where no file can be.
  static let prefix = "/dev/null/"
  private(set) var files: [String: MemoryFile] = [:]

  func take(_ name: String, descriptor: Int32, byteCount: Int) throws(SystemError) {
    files[name] = try MemoryFile(copying: descriptor)
  }

  func empty() { files = [:] }
}

/// The page for browsers, which lies in the program.
package enum ServePage {
  package static var bytes: UnsafeRawBufferPointer {
    var count = 0
    let start = cserve_page(&count)
    return UnsafeRawBufferPointer(start: start, count: count)
  }
}

/// Status, headers and body.
package struct Answer: Sendable {
  package enum Body: Sendable {
    case text(String)
    case file(MemoryFile)
    /// The page for browsers, which lies in the program.
    case page
  }

  package var status = 200
  package var contentType: String
  package var body: Body
  package var headers: [(name: String, value: String)] = []

  package init(_ contentType: String, _ body: Body) { (self.contentType, self.body) = (contentType, body) }

  package init(_ json: JSON) { self.init("application/json", .text(json.text() + "\n")) }

  package init(_ refusal: Refusal) {
    self.init(refusal.json)
    status = refusal.status
    if let seconds = refusal.retryAfter { headers.append(("Retry-After", "\(seconds)")) }
    if let allowed = refusal.allowed { headers.append(("Allow", allowed)) }
    if refusal.status == 401 { headers.append(("WWW-Authenticate", "Bearer realm=\"trident\"")) }
  }

  /// Headers that every answer has: nothing is guessed, framed, kept or told to others.
  static let common: [(name: String, value: String)] = [
    ("X-Content-Type-Options", "nosniff"), ("X-Frame-Options", "DENY"), ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"), ("Cache-Control", "no-store"),
  ]

  var byteCount: Int {
    switch body {
    case .text(let text): text.utf8.count
    case .file(let file): file.byteCount
    case .page: ServePage.bytes.count
    }
  }
}

/// A file as base64, piece by piece, appended to another.
///
/// - Memory: 112 KiB.
func appendBase64(of file: MemoryFile, to out: AtomicFile) throws(SystemError) {
  let copy = fcntl(file.descriptor, F_DUPFD_CLOEXEC, 0)
  guard copy >= 0 else { throw SystemError(.system(action: "read a result", code: errno), path: "memory") }
  let input = InputFile<SystemError>(descriptor: copy, byteCount: file.byteCount, path: "memory")
  var offset = 0
  while offset < input.byteCount {
    let bytes = try input.bytes(at: offset, upTo: 48 << 10)
    if bytes.isEmpty { return }
    try out.write(base64(bytes))
    offset += bytes.count
  }
}
