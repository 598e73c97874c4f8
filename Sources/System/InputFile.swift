// Files that are read: opened once, read by position, never mapped, so that one that shrinks is an error and
// not a signal.

import CSystem

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Bytes that are read by position.
package protocol ByteSource {
  associatedtype Failure: SystemFailure
  var byteCount: Int { get }
  /// Exactly `count` bytes from `offset`. Errors: `.truncated` before anything is reserved.
  func bytes(at offset: Int, count: Int) throws(Failure) -> [UInt8]
  /// Named in errors, if it has a name.
  var sourcePath: String? { get }
}

extension ByteSource {
  /// The error of this source at a place in it.
  package func failure(_ reason: SystemError.Reason, at offset: Int? = nil, name: String? = nil) -> Failure {
    Failure(SystemError(reason, path: sourcePath, offset: offset, name: name))
  }
}

/// A regular file opened for reading, which throws the errors of the library that opened it.
///
/// - Memory: none beyond the caller's buffers; the bytes stay in the system's page cache.
/// - Errors: `.system`, `.notAFile`, `.empty` on opening; `.system`, `.truncated` on reading.
package final class InputFile<Failure: SystemFailure>: ByteSource {
  /// Named in errors.
  package let path: String
  package let byteCount: Int
  package let descriptor: Int32
  package var sourcePath: String? { path }

  /// Takes over `descriptor` and closes it at the end.
  package init(descriptor: Int32, byteCount: Int, path: String) {
    self.descriptor = descriptor
    self.byteCount = byteCount
    self.path = path
  }

  deinit { close(descriptor) }

  /// Opens `path`; links are followed. A pipe, which could block for ever, is refused without waiting.
  package static func open(path: String, called name: String? = nil) throws(Failure) -> InputFile {
    let path = (file: path, name: name ?? path)
    do throws(SystemError) {
      let (descriptor, byteCount) = try openRegularFile(path.file)
      let file = InputFile(descriptor: descriptor, byteCount: byteCount, path: path.name)
      if byteCount == 0 { throw SystemError(.empty) }
      return file
    } catch {
      throw Failure(SystemError(error.reason, path: path.name))
    }
  }

  /// Opens `path`, or standard input for `-`, which may be a pipe.
  package static func openOrStandardInput(path: String) throws(Failure) -> InputFile {
    guard path == "-" else { return try open(path: path) }
    switch StandardInput.path {
    case .success(let file): return try open(path: file, called: "standard input")
    case .failure(let error): throw Failure(SystemError(error.reason, path: "standard input"))
    }
  }

  /// Fills `buffer` with `count` bytes from `offset`, or throws.
  package func read(at offset: Int, count: Int, into buffer: UnsafeMutableRawPointer) throws(Failure) {
    try check(offset, count)
    let got = try readSome(at: offset, count: count, into: buffer)
    if got < count { throw failure(.truncated(needed: count, available: got), at: offset) }
  }

  /// Reads up to `count` bytes at `offset`; fewer only at the end of the file.
  package func readSome(at offset: Int, count: Int, into buffer: UnsafeMutableRawPointer) throws(Failure)
    -> Int
  {
    let got = Int(cs_read_at(descriptor, buffer, count, Int64(offset)))
    if got < 0 { throw failure(.system(action: "read", code: Int32(-got)), at: offset) }
    return got
  }

  package func bytes(at offset: Int, count: Int) throws(Failure) -> [UInt8] {
    try check(offset, count)
    let bytes = try bytes(at: offset, upTo: count)
    if bytes.count < count { throw failure(.truncated(needed: count, available: bytes.count), at: offset) }
    return bytes
  }

  /// Up to `count` bytes from `offset`; fewer only at the end of the file.
  package func bytes(at offset: Int, upTo count: Int) throws(Failure) -> [UInt8] {
    let scratch = ScratchBytes(count: count)
    let got = try readSome(at: offset, count: count, into: scratch.base)
    return [UInt8](UnsafeRawBufferPointer(start: scratch.base, count: got))
  }

  private func check(_ offset: Int, _ count: Int) throws(Failure) {
    guard offset >= 0, count >= 0, offset <= byteCount, count <= byteCount - offset else {
      throw failure(.truncated(needed: count, available: max(0, byteCount - offset)), at: offset)
    }
  }

  /// Tells the system that what was read will not be needed again soon.
  package func releasePages() { _ = posix_fadvise(descriptor, 0, 0, Int32(POSIX_FADV_DONTNEED)) }

  /// SHA-256 of the whole file, in lower-case hexadecimal; `progress` is told the bytes done so far.
  ///
  /// - Memory: 1 MiB. Time: one pass over the file.
  package func sha256Hex(progress: ((Int) -> Void)? = nil) throws(Failure) -> String {
    let window = ScratchBytes(count: min(1 << 20, byteCount))
    var digest = SHA256Digest()
    var done = 0
    while done < byteCount {
      let count = min(window.count, byteCount - done)
      try read(at: done, count: count, into: window.base)
      digest.update(UnsafeRawBufferPointer(start: window.base, count: count))
      done += count
      progress?(done)
    }
    return digest.finishHex()
  }
}

/// Bytes in memory, read like a file's.
package struct BytesInMemory<Failure: SystemFailure>: ByteSource {
  package let held: [UInt8]

  package init(_ bytes: [UInt8]) { held = bytes }

  package var byteCount: Int { held.count }
  package var sourcePath: String? { nil }

  package func bytes(at offset: Int, count: Int) throws(Failure) -> [UInt8] {
    guard offset >= 0, count >= 0, offset <= byteCount, count <= byteCount - offset else {
      throw failure(.truncated(needed: count, available: max(0, byteCount - offset)), at: offset)
    }
    return Array(held[offset..<offset + count])
  }
}

/// A block of bytes with an address, so that typed errors need not cross a closure.
///
/// - Memory: `count` bytes, at least 1, until released.
package final class ScratchBytes {
  package let base: UnsafeMutableRawPointer
  package let count: Int

  package init(count: Int) {
    self.count = max(count, 1)
    base = UnsafeMutableRawPointer.allocate(byteCount: self.count, alignment: 64)
  }

  deinit { base.deallocate() }
}

/// Whole files as bytes.
package enum FileBytes {
  /// Reads a regular file of at most `limit` bytes. Memory: the file's size.
  package static func read(_ path: String, limit: Int) throws(SystemError) -> [UInt8] {
    let (descriptor, byteCount) = try openRegularFile(path)
    let file = InputFile<SystemError>(descriptor: descriptor, byteCount: byteCount, path: path)
    if byteCount > limit {
      throw file.failure(.tooLarge(what: "bytes", found: UInt64(byteCount), limit: limit))
    }
    return try file.bytes(at: 0, upTo: byteCount)
  }

  /// As `read`; `-` is standard input.
  package static func readOrStandardInput(_ path: String, limit: Int) throws(SystemError) -> [UInt8] {
    guard path == "-" else { return try read(path, limit: limit) }
    let file = try InputFile<SystemError>.openOrStandardInput(path: path)
    if file.byteCount > limit {
      throw file.failure(.tooLarge(what: "bytes", found: UInt64(file.byteCount), limit: limit))
    }
    return try file.bytes(at: 0, upTo: file.byteCount)
  }

  /// Replaces a file at once.
  package static func replace(_ path: String, with bytes: [UInt8]) throws(SystemError) {
    let file = try AtomicFile(path: path)
    try file.write(bytes)
    try file.finish()
  }
}

/// A descriptor of a regular file, which the caller closes, and the file's size.
func openRegularFile(_ path: String) throws(SystemError) -> (descriptor: Int32, byteCount: Int) {
  if path.utf8.contains(0) { throw SystemError(.system(action: "open", code: EINVAL), path: path) }
  var mode: UInt32 = 0
  var size: Int64 = 0
  let descriptor = cs_open_for_reading(path, &mode, &size)
  guard descriptor >= 0 else { throw SystemError(.system(action: "open", code: -descriptor), path: path) }
  if let kind = kindOfFile(mode: mode) {
    close(descriptor)
    throw SystemError(.notAFile(kind: kind), path: path)
  }
  return (descriptor, Int(size))
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

/// Standard input as a file that can be opened again and again: a pipe is read to its end, once, into a file
/// in memory.
package enum StandardInput {
  /// The longest pipe that is read, bytes. To be set before the first use, or never.
  nonisolated(unsafe) package static var byteLimit = 256 << 20

  fileprivate static let path: Result<String, SystemError> = {
    var status = stat()
    if fstat(STDIN_FILENO, &status) == 0, status.st_mode & S_IFMT == S_IFREG {
      return .success("/proc/self/fd/0")
    }
    let copy = cs_create_in_memory()
    guard copy >= 0 else {
      return .failure(SystemError(.system(action: "make a file in memory", code: -copy)))
    }
    let window = ScratchBytes(count: 1 << 16)
    var byteCount = 0
    while true {
      let count = read(STDIN_FILENO, window.base, window.count)
      if count < 0 && errno == EINTR { continue }
      if count < 0 { return .failure(SystemError(.system(action: "read", code: errno))) }
      if count == 0 { return .success("/proc/self/fd/\(copy)") }
      byteCount += count
      if byteCount > byteLimit {
        return .failure(
          SystemError(
            .malformed("is longer than \(byteLimit) bytes, the most that is taken from a pipe; name a file")))
      }
      let code = cs_write_all(copy, window.base, count)
      if code != 0 { return .failure(SystemError(.system(action: "keep what was read", code: code))) }
    }
  }()
}
