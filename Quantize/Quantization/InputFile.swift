// A checkpoint as positioned reads: nothing is mapped, so a file that shrinks under us is an error and not a
// signal.

import Glibc

/// A regular file opened for reading.
///
/// - Memory: none beyond the caller's buffers; the bytes stay in the system's page cache.
/// - Errors: `cannotOpen`, `notARegularFile`, `emptyFile` on opening; `cannotRead`, `truncated` on reading.
package final class InputFile {
  /// Named in errors; for an unpacked entry it is the archive's path.
  package let path: String
  package let byteCount: Int
  private let descriptor: Int32

  /// Takes over `descriptor` and closes it at the end.
  init(descriptor: Int32, byteCount: Int, path: String) {
    self.descriptor = descriptor
    self.byteCount = byteCount
    self.path = path
  }

  deinit { _ = close(descriptor) }

  /// Opens `path`; symbolic links are followed. A FIFO, which could block for ever, is refused without
  /// waiting.
  package static func open(path: String) throws(QuantizationError) -> InputFile {
    if path.utf8.contains(0) { throw QuantizationError(.cannotOpen(errno: EINVAL), path: path) }
    let descriptor = Glibc.open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC)
    if descriptor < 0 { throw QuantizationError(.cannotOpen(errno: errno), path: path) }
    var status = stat()
    if fstat(descriptor, &status) != 0 {
      let code = errno
      _ = close(descriptor)
      throw QuantizationError(.cannotOpen(errno: code), path: path)
    }
    let kind = status.st_mode & S_IFMT
    if kind != S_IFREG {
      _ = close(descriptor)
      throw QuantizationError(.notARegularFile(kind: describe(kind)), path: path)
    }
    let file = InputFile(descriptor: descriptor, byteCount: Int(status.st_size), path: path)
    if file.byteCount == 0 { throw QuantizationError(.emptyFile, path: path) }
    return file
  }

  private static func describe(_ kind: mode_t) -> String {
    switch kind {
    case S_IFDIR: return "a directory"
    case S_IFIFO: return "a pipe"
    case S_IFSOCK: return "a socket"
    case S_IFCHR, S_IFBLK: return "a device"
    default: return "not a file of bytes"
    }
  }

  /// Fills `buffer` with `count` bytes from `offset`, or throws.
  package func read(
    at offset: Int, count: Int, into buffer: UnsafeMutableRawPointer
  ) throws(QuantizationError) {
    if offset < 0 || count < 0 || offset > byteCount || count > byteCount - offset {
      throw error(.truncated(needed: count, available: max(0, byteCount - offset)), at: offset)
    }
    var done = 0
    while done < count {
      let got = pread(descriptor, buffer + done, count - done, off_t(offset + done))
      if got < 0 && errno == EINTR { continue }
      if got < 0 { throw error(.cannotRead(errno: errno), at: offset + done) }
      if got == 0 { throw error(.truncated(needed: count, available: done), at: offset) }
      done += got
    }
  }

  /// `count` bytes from `offset` as an array; the range is checked before anything is reserved.
  package func bytes(at offset: Int, count: Int) throws(QuantizationError) -> [UInt8] {
    if offset < 0 || count < 0 || offset > byteCount || count > byteCount - offset {
      throw error(.truncated(needed: count, available: max(0, byteCount - offset)), at: offset)
    }
    let scratch = ScratchBytes(count: count)
    try read(at: offset, count: count, into: scratch.base)
    return [UInt8](UnsafeRawBufferPointer(start: scratch.base, count: count))
  }

  /// Tells the system that what was read will not be needed again soon.
  package func releasePages() { _ = posix_fadvise(descriptor, 0, 0, POSIX_FADV_DONTNEED) }

  func error(_ reason: QuantizationError.Reason, at offset: Int? = nil, name: String? = nil)
    -> QuantizationError
  {
    QuantizationError(reason, path: path, offset: offset, name: name)
  }
}

/// A block of bytes with an address, so that typed errors need not cross a closure.
///
/// - Memory: `count` bytes, at least 1, until released.
final class ScratchBytes {
  let base: UnsafeMutableRawPointer
  let count: Int

  init(count: Int) {
    self.count = count
    base = UnsafeMutableRawPointer.allocate(byteCount: max(count, 1), alignment: 64)
  }

  deinit { base.deallocate() }
}

/// Forward reads through a small window of a file.
///
/// - Memory: one window, 64 KiB.
/// - Errors: `truncated` past `end`.
final class ByteReader {
  let file: InputFile
  let end: Int
  private(set) var position: Int
  private let window: ScratchBytes
  private var windowStart = 0
  private var windowCount = 0

  init(file: InputFile, range: Range<Int>) {
    self.file = file
    position = range.lowerBound
    end = range.upperBound
    window = ScratchBytes(count: min(65_536, max(range.count, 1)))
  }

  var remaining: Int { end - position }

  func byte() throws(QuantizationError) -> UInt8 {
    if position - windowStart >= windowCount || position < windowStart {
      if position >= end { throw file.error(.truncated(needed: 1, available: 0), at: position) }
      let count = min(window.count, end - position)
      try file.read(at: position, count: count, into: window.base)
      windowStart = position
      windowCount = count
    }
    let value = window.base.load(fromByteOffset: position - windowStart, as: UInt8.self)
    position += 1
    return value
  }

  /// A little-endian unsigned number of `width` bytes, at most 8.
  func unsigned(_ width: Int) throws(QuantizationError) -> UInt64 {
    var value: UInt64 = 0
    for index in 0..<width { value |= UInt64(try byte()) << UInt64(8 * index) }
    return value
  }

  /// A count of `width` bytes that must fit in what remains.
  func count(_ width: Int, limit: Int, what: String) throws(QuantizationError) -> Int {
    let start = position
    let value = Int(clamping: try unsigned(width))
    if value > remaining { throw file.error(.truncated(needed: value, available: remaining), at: start) }
    if value > limit { throw file.error(.limitExceeded(what: what, limit: limit, found: value), at: start) }
    return value
  }

  func bytes(_ count: Int) throws(QuantizationError) -> [UInt8] {
    if count > remaining {
      throw file.error(.truncated(needed: count, available: remaining), at: position)
    }
    if count > 4096 {
      let block = try file.bytes(at: position, count: count)
      position += count
      return block
    }
    var block: [UInt8] = []
    block.reserveCapacity(count)
    for _ in 0..<count { block.append(try byte()) }
    return block
  }

  func skip(_ count: Int) throws(QuantizationError) {
    if count > remaining {
      throw file.error(.truncated(needed: count, available: remaining), at: position)
    }
    position += count
  }
}
