// A file that is read once from front to back: on disk, through a pipe, or standard input.

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Bytes in order, with the digest and the number of all that were read.
///
/// - Errors: what opening and reading throw.
final class ForwardFile {
  /// As errors call it.
  let path: String
  private let descriptor: Int32
  private var digest = SHA256Digest()
  private(set) var byteCount = 0
  private(set) var isAtEnd = false

  /// `-` is standard input.
  init(path: String) throws(SystemError) {
    self.path = path == "-" ? "standard input" : path
    descriptor = path == "-" ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY)
    guard descriptor >= 0 else { throw .errno("open", self.path) }
  }

  deinit { if descriptor >= 0 { close(descriptor) } }

  /// SHA-256 of what was read so far.
  var sha256Hex: String {
    var copy = digest
    return copy.finishHex()
  }

  /// Reads what comes next, up to `count` bytes; 0 only at the end.
  func read(into base: UnsafeMutableRawPointer, _ count: Int) throws(SystemError) -> Int {
    while true {
      let found = readSome(descriptor, base, count)
      if found < 0, errno == EINTR { continue }
      guard found >= 0 else { throw .errno("read", path) }
      isAtEnd = found == 0
      digest.update(UnsafeRawBufferPointer(start: base, count: found))
      byteCount += found
      return found
    }
  }
}

/// The system's call; a method of this file has the same name.
private func readSome(_ descriptor: Int32, _ base: UnsafeMutableRawPointer, _ count: Int) -> Int {
  read(descriptor, base, count)
}
