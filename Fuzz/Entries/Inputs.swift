// Inputs as files: anonymous ones in memory, and edits of a valid file.
import CFuzzer
import System

#if canImport(Glibc)
  import Glibc
#endif

/// Calls `body` with the path of a file in memory, for code that opens what it reads.
func withFile(_ bytes: [UInt8], _ body: (_ path: String) -> Void) { withFiles([bytes]) { body($0[0]) } }

/// The same with several files.
func withFiles(_ contents: [[UInt8]], _ body: (_ paths: [String]) -> Void) {
  let files = contents.map { MemoryFile($0) }
  withExtendedLifetime(files) { body(files.map(\.path)) }
}

private final class MemoryFile {
  private let descriptor: Int32
  var path: String { "/proc/self/fd/\(descriptor)" }

  init(_ bytes: [UInt8]) {
    descriptor = cf_memory_file()
    precondition(descriptor >= 0, "no file in memory")
    bytes.withUnsafeBytes { bytes in
      var done = 0
      while done < bytes.count {
        let count = write(descriptor, bytes.baseAddress! + done, bytes.count - done)
        precondition(count > 0, "no room for a file in memory")
        done += count
      }
    }
  }

  deinit { close(descriptor) }
}

/// Takes numbers and bytes from the front of an input; zeros once it is used up.
struct Input {
  private(set) var rest: ArraySlice<UInt8>

  init(_ bytes: UnsafeBufferPointer<UInt8>) { rest = ArraySlice(bytes) }

  mutating func byte() -> UInt8 { rest.popFirst() ?? 0 }

  mutating func bytes(_ count: Int) -> [UInt8] {
    let taken = Array(rest.prefix(count))
    rest = rest.dropFirst(count)
    return taken
  }

  mutating func number(_ byteCount: Int) -> Int {
    bytes(byteCount).reversed().reduce(0) { $0 << 8 | Int($1) }
  }

  /// Applies up to 15 edits to a valid file: where, how wide, and the bytes to put there.
  ///
  /// - Parameter focus: two edits of four land below this offset, where structure is.
  /// - Parameter places: one edit of four lands on one of these, if there are any.
  mutating func edit(_ file: inout [UInt8], focus: Int, places: [Int] = []) {
    for _ in 0..<(byte() & 15) {
      let kind = byte()
      let random = number(3)
      let place =
        switch kind >> 6 {
        case 0: random % file.count
        case 1 where !places.isEmpty: places[random % places.count]
        default: random % focus
        }
      let width = [1, 2, 4, 8][Int(kind & 3)]
      for (index, value) in bytes(width).enumerated() where place + index < file.count {
        file[place + index] = value
      }
    }
  }
}

/// Puts right the checksums of a stored zip, so that changed contents are read and not only refused.
func repairChecksums(_ bytes: inout [UInt8]) {
  func number(_ at: Int, _ count: Int) -> Int {
    (0..<count).reversed().reduce(0) { $0 << 8 | (at + $1 < bytes.count ? Int(bytes[at + $1]) : 0) }
  }
  var place = 0
  while place + 46 <= bytes.count {
    guard number(place, 4) == 0x0201_4B50 else {
      place += 1
      continue
    }
    let local = number(place + 42, 4)
    let start = local + 30 + number(local + 26, 2) + number(local + 28, 2)
    let end = start + number(place + 20, 4)
    if number(place + 10, 2) == 0, local + 30 <= bytes.count, end <= bytes.count {
      let crc = bytes[start..<end].withUnsafeBytes { CRC32.of($0) }
      for (at, shift) in [(place + 16, 0), (local + 14, 0)].flatMap({ at in
        (0..<4).map { (at.0 + $0, 8 * $0) }
      }) {
        bytes[at] = UInt8(truncatingIfNeeded: crc >> UInt32(shift))
      }
    }
    place += 46
  }
}
