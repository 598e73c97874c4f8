// Forward reading of a file through a small window.

/// A position in a file, up to `end`.
///
/// - Memory: one window of at most `windowByteCount`.
/// - Errors: `.truncated` past `end`, where nothing else is said; `.tooLarge`; what reading throws.
package final class FileCursor<Failure: SystemFailure> {
  package let file: InputFile<Failure>
  package let end: Int
  package private(set) var position: Int
  private let window: ScratchBytes
  private var windowStart = 0
  private var windowCount = 0

  package init(file: InputFile<Failure>, range: Range<Int>, windowByteCount: Int = 65_536) {
    self.file = file
    position = range.lowerBound
    end = range.upperBound
    window = ScratchBytes(count: min(windowByteCount, range.count))
  }

  package var remaining: Int { end - position }

  /// Bytes at hand: from `position` on, none only at the end.
  private func held() throws(Failure) -> UnsafeRawBufferPointer {
    if position - windowStart >= windowCount || position < windowStart {
      windowStart = position
      windowCount = try file.readSome(at: position, count: min(window.count, remaining), into: window.base)
    }
    let used = position - windowStart
    return UnsafeRawBufferPointer(start: window.base + used, count: windowCount - used)
  }

  /// The next byte, nil at the end.
  package func next() throws(Failure) -> UInt8? {
    guard let byte = try held().first else { return nil }
    position += 1
    return byte
  }

  package func byte() throws(Failure) -> UInt8 {
    guard let byte = try next() else { throw file.failure(.truncated(needed: 1, available: 0), at: position) }
    return byte
  }

  /// Copies `count` bytes; false if the file ends before.
  package func copy(_ count: Int, into target: UnsafeMutableRawPointer) throws(Failure) -> Bool {
    var done = 0
    while done < count {
      let run = UnsafeRawBufferPointer(rebasing: try held().prefix(count - done))
      guard let start = run.baseAddress, run.count > 0 else { return false }
      (target + done).copyMemory(from: start, byteCount: run.count)
      position += run.count
      done += run.count
    }
    return true
  }

  /// A little-endian unsigned number of `width` bytes, at most 8.
  package func unsigned(_ width: Int) throws(Failure) -> UInt64 {
    var value: UInt64 = 0
    for index in 0..<width { value |= UInt64(try byte()) << UInt64(8 * index) }
    return value
  }

  /// A count of `width` bytes that must fit in what remains.
  package func count(_ width: Int, limit: Int, what: String) throws(Failure) -> Int {
    let start = position
    let value = Int(clamping: try unsigned(width))
    if value > remaining { throw file.failure(.truncated(needed: value, available: remaining), at: start) }
    if value > limit {
      throw file.failure(.tooLarge(what: what, found: UInt64(value), limit: limit), at: start)
    }
    return value
  }

  package func bytes(_ count: Int) throws(Failure) -> [UInt8] {
    let start = position
    guard count <= min(remaining, window.count) else {
      try skip(count)
      return try file.bytes(at: start, count: count)
    }
    var block = [UInt8](repeating: 0, count: count)
    guard try copy(count, into: &block) else {
      throw file.failure(.truncated(needed: count, available: position - start), at: start)
    }
    return block
  }

  package func skip(_ count: Int) throws(Failure) {
    if count > remaining { throw file.failure(.truncated(needed: count, available: remaining), at: position) }
    position += count
  }
}
