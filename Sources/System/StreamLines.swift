// Lines of a text that only flows forward: a file, a pipe, standard input.

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Reads lines one after another; the last needs no line break, and a carriage return in front of one goes.
///
/// - Memory: 64 KiB, or twice the longest line, at most 2 MiB; the same for the first line and the last.
/// - Errors: `.tooLarge` for a line above 1 MiB; what opening and reading throw.
package final class StreamLines {
  package static let lineLimit = 1 << 20
  private let file: ForwardFile
  private var buffer: [UInt8] = Array(repeating: 0, count: 1 << 16)
  private var start = 0
  private var end = 0

  /// Opens `path`, a pipe too; `-` is standard input, which is read once.
  package init(path: String) throws(SystemError) { file = try ForwardFile(path: path) }

  /// SHA-256 of all bytes, once the last line was read.
  package var sha256Hex: String { file.sha256Hex }

  /// Hands the next line to `take`, without its end; nil behind the last.
  package func next<Value>(_ take: (UnsafeRawBufferPointer) -> Value) throws(SystemError) -> Value? {
    var searched = start
    while true {
      let found = buffer.withUnsafeBytes { bytes -> Int? in
        guard end > searched, let base = bytes.baseAddress,
          let place = memchr(base + searched, 0x0A, end - searched)
        else { return nil }
        return UnsafeRawPointer(place) - base
      }
      if found == nil, !file.isAtEnd {
        searched = try fill()
        continue
      }
      let line = start..<(found ?? end)
      if found == nil, line.isEmpty { return nil }
      start = found.map { $0 + 1 } ?? end
      return buffer.withUnsafeBytes { bytes in
        let text = UnsafeRawBufferPointer(rebasing: bytes[line])
        return take(text.last == 0x0D ? UnsafeRawBufferPointer(rebasing: text.dropLast()) : text)
      }
    }
  }

  /// Reads on behind what is held; returns where the new bytes begin.
  private func fill() throws(SystemError) -> Int {
    let held = end - start
    guard held <= Self.lineLimit else {
      throw SystemError(
        .tooLarge(what: "bytes in a line", found: UInt64(held), limit: Self.lineLimit), path: file.path)
    }
    if start > 0 {
      buffer.withUnsafeMutableBytes { _ = memmove($0.baseAddress!, $0.baseAddress! + start, held) }
      (start, end) = (0, held)
    }
    if end == buffer.count { buffer.append(contentsOf: [UInt8](repeating: 0, count: buffer.count)) }
    let room = buffer.count - end
    // The array's own function knows no typed errors.
    let found: Result<Int, SystemError> = buffer.withUnsafeMutableBytes { bytes in
      do throws(SystemError) { return .success(try file.read(into: bytes.baseAddress! + end, room)) } catch {
        return .failure(error)
      }
    }
    end += try found.get()
    return held
  }
}
