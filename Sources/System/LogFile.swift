// Text files that grow by whole lines, and reading their lines.

import CSystem

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// A file that is added to and belongs to one process at a time.
///
/// - Errors: `.notAFile`; `.system` with EWOULDBLOCK in `action` "lock" where another process holds it, else
///   the system's.
package final class LogFile {
  private let path: String
  private let descriptor: Int32

  /// Opens or creates the file, and locks it.
  package init(path: String) throws(SystemError) {
    self.path = path
    descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0o666)
    guard descriptor >= 0 else { throw .errno("open", path) }
    var status = stat()
    guard fstat(descriptor, &status) == 0 else { throw .errno("read the size of", path) }
    if let kind = kindOfFile(mode: UInt32(status.st_mode)) {
      throw SystemError(.notAFile(kind: kind), path: path)
    }
    guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else { throw .errno("lock", path) }
  }

  deinit { if descriptor >= 0 { close(descriptor) } }

  /// Drops everything behind the first `byteCount` bytes; writing goes on there.
  package func cut(to byteCount: Int) throws(SystemError) {
    guard ftruncate(descriptor, off_t(byteCount)) == 0, lseek(descriptor, 0, SEEK_END) >= 0 else {
      throw .errno("cut", path)
    }
  }

  /// Adds a text; it is on disk when this returns.
  package func append(_ text: String) throws(SystemError) {
    let bytes = Array(text.utf8)
    let code = cs_write_all(descriptor, bytes, bytes.count)
    guard code == 0 else { throw SystemError(.system(action: "write", code: code), path: path) }
    guard fdatasync(descriptor) == 0 else { throw .errno("sync", path) }
  }
}

/// Lines of a text file that have an end.
///
/// - Memory: `chunk` bytes and the longest line, at most 16 MiB.
/// - Errors: `.tooLarge` for a longer line; what opening and reading throw.
package final class LineReader {
  private static let lineLimit = 16 << 20
  private let file: InputFile<SystemError>
  private let chunk: Int
  private var buffer: [UInt8] = []
  private var start = 0
  private var offset = 0
  /// Of the line read last, from 1.
  package private(set) var number = 0
  /// Bytes of all lines read so far.
  package private(set) var wholeByteCount = 0

  package init(path: String, chunk: Int = 1 << 16) throws(SystemError) {
    self.chunk = chunk
    let (descriptor, byteCount) = try openRegularFile(path)
    file = InputFile(descriptor: descriptor, byteCount: byteCount, path: path)
  }

  package func next() throws(SystemError) -> String? {
    var searched = start
    while true {
      if let end = buffer[searched...].firstIndex(of: 0x0A) {
        let line = String(decoding: buffer[start..<end], as: UTF8.self)
        wholeByteCount += end + 1 - start
        start = end + 1
        number += 1
        return line
      }
      buffer.removeFirst(start)
      start = 0
      searched = buffer.count
      guard searched < Self.lineLimit else {
        throw file.failure(.tooLarge(what: "bytes in a line", found: UInt64(searched), limit: Self.lineLimit))
      }
      let bytes = try file.bytes(at: offset, upTo: chunk)
      if bytes.isEmpty { return nil }
      offset += bytes.count
      buffer.append(contentsOf: bytes)
    }
  }
}
