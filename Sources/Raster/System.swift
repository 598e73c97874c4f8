// The few calls to the C library that the Swift side of this target makes.

import CRaster

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// The system's words for an errno value.
func systemMessage(_ code: Int32) -> String {
  guard let text = strerror(code) else { return "error \(code)" }
  return String(cString: text)
}

/// The kind of thing that a file mode describes, or nil for a regular file.
func kindOfFile(mode: UInt32) -> String? {
  switch mode & UInt32(S_IFMT) {
  case UInt32(S_IFREG): return nil
  case UInt32(S_IFDIR): return "directory"
  case UInt32(S_IFIFO): return "pipe"
  case UInt32(S_IFSOCK): return "socket"
  case UInt32(S_IFCHR), UInt32(S_IFBLK): return "device"
  default: return "special file"
  }
}

/// An open descriptor, closed when the owner goes away.
final class InputFile {
  let path: String
  let descriptor: Int32
  let byteCount: Int

  /// Opens a regular, non-empty file; `-` is standard input, which may be a pipe.
  ///
  /// - Errors: missing, unreadable, not a regular file, empty.
  init(path: String) throws(RasterError) {
    let isStandard = path == "-"
    let path = isStandard ? "standard input" : path
    var mode: UInt32 = 0
    var size: Int64 = 0
    let descriptor = cr_open_for_reading(isStandard ? StandardInput.path : path, &mode, &size)
    guard descriptor >= 0 else {
      throw RasterError(.system(action: "open", code: -descriptor), path: path)
    }
    let kind = kindOfFile(mode: mode)
    if kind != nil || size <= 0 {
      close(descriptor)
      throw RasterError(kind.map { .notAFile(kind: $0) } ?? .empty, path: path)
    }
    self.path = path
    self.descriptor = descriptor
    self.byteCount = Int(size)
  }

  deinit { close(descriptor) }

  /// Reads up to `count` bytes at `offset`; fewer only at the end of the file.
  ///
  /// - Errors: the storage fails.
  func bytes(at offset: Int, count: Int) throws(RasterError) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: count)
    let got = cr_read_at(descriptor, &bytes, count, Int64(offset))
    guard got >= 0 else { throw RasterError(.system(action: "read", code: Int32(-got)), path: path, offset: offset) }
    bytes.removeLast(count - Int(got))
    return bytes
  }
}

/// Standard input as a file that can be opened again and again.
private enum StandardInput {
  /// A pipe is read to its end, once, into a file in memory.
  static let path: String = {
    var status = stat()
    if fstat(STDIN_FILENO, &status) == 0, status.st_mode & S_IFMT == S_IFREG { return "/proc/self/fd/0" }
    let copy = cr_create_in_memory()
    guard copy >= 0 else { return "/proc/self/fd/0" }
    var bytes = [UInt8](repeating: 0, count: 1 << 16)
    while true {
      let count = read(STDIN_FILENO, &bytes, bytes.count)
      if count < 0 && errno == EINTR { continue }
      if count <= 0 || cr_write_all(copy, bytes, count) != 0 { break }
    }
    return "/proc/self/fd/\(copy)"
  }()
}

extension RasterError {
  /// Translates what a call into CRaster left behind.
  init(_ failure: cr_failure, path: String, row: Int? = nil) {
    let words = withUnsafeBytes(of: failure.message) { raw in
      String(decoding: raw.prefix { $0 != 0 }, as: UTF8.self).lowercased()
    }
    let reason: Reason
    switch Int(failure.code) {
    case CR_TRUNCATED: reason = .truncated(words)
    case CR_UNSUPPORTED: reason = .unsupported(words)
    case CR_NO_MEMORY: reason = .outOfMemory(words)
    case CR_IO: reason = .system(action: "read or write", code: failure.system_error)
    default: reason = .corrupt(words)
    }
    self.init(reason, path: path, offset: Int(failure.offset), row: row)
  }
}
