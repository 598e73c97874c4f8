// Members of a tar archive, one after another, from a file or a pipe.

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Reads a tar archive forward, once.
///
/// Understood are POSIX headers with the extended ones for long names and sizes, and GNU's long names and
/// large sizes. Where a header is damaged the blocks behind it are searched for the next one that is whole,
/// so that one bad spot does not cost the rest.
///
/// - Memory: 64 KiB; the same for the first member and the last, whatever their sizes.
/// - Errors: `.unsupported` for a compressed archive; `.truncated` inside a member; what reading throws.
/// - Source: POSIX.1-2017, pax, "ustar interchange format"; GNU tar manual, "Basic Tar Format".
package final class TarReader {
  package enum Event: Equatable {
    /// A regular file.
    case member(name: String, byteCount: Int)
    /// Bytes that are no header where one belongs, from `offset` on.
    case damage(offset: Int, byteCount: Int)
  }

  static let blockSize = 512
  /// Of an extended header or a long name.
  private static let nameLimit = 1 << 20

  private let file: ForwardFile
  private let window = ScratchBytes(count: 1 << 16)
  private var windowStart = 0
  private var windowEnd = 0
  /// Bytes of the archive that were handed on.
  private var offset = 0
  /// Of the member at hand: bytes not read yet, and what fills its last block.
  private var rest = 0
  private var padding = 0

  /// Opens `path`, a pipe too; `-` is standard input.
  package init(path: String) throws(SystemError) { file = try ForwardFile(path: path) }

  /// As errors call it.
  package var path: String { file.path }
  /// SHA-256 and size of all that was read; of the archive behind the last event.
  package var sha256Hex: String { file.sha256Hex }
  package var byteCount: Int { file.byteCount }

  /// The next member, or a damaged spot; nil at the end. What was left of the member before is skipped.
  package func next() throws(SystemError) -> Event? {
    try skip(rest + padding)
    (rest, padding) = (0, 0)
    var longName: String?
    var longSize: Int?
    while true {
      let start = offset
      guard let block = try block() else {
        let left = windowEnd - windowStart
        consume(left)
        return left > 0 ? .damage(offset: start, byteCount: left) : nil
      }
      if start == 0, block.starts(with: [0x1F, 0x8B]) || block.starts(with: [0x28, 0xB5, 0x2F, 0xFD]) {
        throw SystemError(
          .unsupported("is compressed; pipe it through its decompressor: zcat FILE | ... -"), path: path)
      }
      if block.allSatisfy({ $0 == 0 }) {
        try drain()
        return nil
      }
      guard let header = Header(block) else { return try damage(from: start) }
      switch header.kind {
      case 0x4C, 0x78:  // GNU's long name; an extended header
        let bytes = try small(header)
        if header.kind == 0x4C {
          longName = String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
        } else {
          let found = Self.records(bytes)
          longName = found.path ?? longName
          longSize = found.size ?? longSize
        }
      case 0, 0x30, 0x37:
        rest = longSize ?? header.byteCount
        padding = (Self.blockSize - rest % Self.blockSize) % Self.blockSize
        return .member(name: longName ?? header.name, byteCount: rest)
      default:
        // Folders, links, devices, remarks: nothing that holds a photo.
        try skip(header.byteCount + (Self.blockSize - header.byteCount % Self.blockSize) % Self.blockSize)
        if header.kind != 0x67 { (longName, longSize) = (nil, nil) }
      }
    }
  }

  /// Hands the bytes of the member at hand to `take`, piece by piece.
  ///
  /// - Errors: `.truncated` where the archive ends before it does; what `take` throws.
  package func read(_ take: (UnsafeRawBufferPointer) throws(SystemError) -> Void) throws(SystemError) {
    while rest > 0 {
      guard let piece = try piece(rest) else {
        let needed = rest
        (rest, padding) = (0, 0)
        throw SystemError(.truncated(needed: needed, available: 0), path: path)
      }
      rest -= piece.count
      try take(piece)
    }
  }

  /// The blocks up to the next whole header, which stays to be read.
  private func damage(from start: Int) throws(SystemError) -> Event {
    while try fill(), windowEnd - windowStart >= Self.blockSize {
      let held = UnsafeRawBufferPointer(start: window.base + windowStart, count: Self.blockSize)
      if Header(Array(held)) != nil { break }
      consume(Self.blockSize)
    }
    if windowEnd - windowStart < Self.blockSize { try drain() }
    return .damage(offset: start, byteCount: offset - start)
  }

  private func small(_ header: Header) throws(SystemError) -> [UInt8] {
    guard header.byteCount <= Self.nameLimit else {
      throw SystemError(
        .tooLarge(what: "bytes in a name", found: UInt64(header.byteCount), limit: Self.nameLimit), path: path
      )
    }
    var bytes: [UInt8] = []
    while bytes.count < header.byteCount, let piece = try piece(header.byteCount - bytes.count) {
      bytes.append(contentsOf: piece)
    }
    try skip((Self.blockSize - header.byteCount % Self.blockSize) % Self.blockSize)
    return bytes
  }

  /// `path` and `size` of an extended header: lines `LENGTH KEY=VALUE`.
  private static func records(_ bytes: [UInt8]) -> (path: String?, size: Int?) {
    var (path, size): (String?, Int?)
    var start = 0
    while let space = bytes[start...].firstIndex(of: 0x20),
      let length = Int(String(decoding: bytes[start..<space], as: UTF8.self)), length > space - start,
      length <= bytes.count - start
    {
      let text = bytes[(space + 1)..<(start + length)].dropLast()
      if let equals = text.firstIndex(of: 0x3D) {
        let value = String(decoding: text[(equals + 1)...], as: UTF8.self)
        switch String(decoding: text[..<equals], as: UTF8.self) {
        case "path": path = value
        case "size": size = Int(value).flatMap { $0 >= 0 && $0 < 1 << 53 ? $0 : nil }
        default: break
        }
      }
      start += length
    }
    return (path, size)
  }

  // MARK: bytes

  /// Makes sure that a block is held, unless the archive ends before; false at its end.
  private func fill() throws(SystemError) -> Bool {
    while windowEnd - windowStart < Self.blockSize && !file.isAtEnd {
      if windowStart > 0 {
        memmove(window.base, window.base + windowStart, windowEnd - windowStart)
        (windowStart, windowEnd) = (0, windowEnd - windowStart)
      }
      windowEnd += try file.read(into: window.base + windowEnd, window.count - windowEnd)
    }
    return windowEnd > windowStart
  }

  private func consume(_ count: Int) {
    windowStart += count
    offset += count
  }

  /// Up to `count` bytes at hand, none only at the end; valid until the next call.
  private func piece(_ count: Int) throws(SystemError) -> UnsafeRawBufferPointer? {
    guard count > 0, try fill() else { return nil }
    let piece = UnsafeRawBufferPointer(
      start: window.base + windowStart, count: min(count, windowEnd - windowStart))
    consume(piece.count)
    return piece
  }

  private func block() throws(SystemError) -> [UInt8]? {
    guard try fill(), windowEnd - windowStart >= Self.blockSize else { return nil }
    let block = Array(UnsafeRawBufferPointer(start: window.base + windowStart, count: Self.blockSize))
    consume(Self.blockSize)
    return block
  }

  private func skip(_ count: Int) throws(SystemError) {
    var left = count
    while left > 0, let piece = try piece(left) { left -= piece.count }
  }

  /// Reads on to the end of the file: whoever writes into a pipe shall not find it closed.
  private func drain() throws(SystemError) { while try piece(.max) != nil {} }
}

/// One block in front of a member.
private struct Header {
  let name: String
  let byteCount: Int
  let kind: UInt8

  /// - Returns: nil where the checksum is wrong or a number is none.
  init?(_ block: [UInt8]) {
    guard let stored = Self.number(block[148..<156]) else { return nil }
    var sum = 8 * 0x20
    for (index, byte) in block.enumerated() where !(148..<156).contains(index) { sum += Int(byte) }
    guard sum == stored, let size = Self.number(block[124..<136]) else { return nil }
    (kind, byteCount) = (block[156], size)
    let name = block[..<100].prefix { $0 != 0 }
    let isPOSIX = block[257..<263].elementsEqual([0x75, 0x73, 0x74, 0x61, 0x72, 0])
    let prefix = isPOSIX ? block[345..<500].prefix { $0 != 0 } : []
    self.name = String(decoding: prefix.isEmpty ? name : prefix + [0x2F] + name, as: UTF8.self)
  }

  /// Octal digits, or GNU's binary form, of at most 2^53.
  private static func number(_ field: ArraySlice<UInt8>) -> Int? {
    guard let first = field.first else { return nil }
    var value = 0
    if first & 0x80 != 0 {
      for (index, byte) in field.enumerated() {
        value = value << 8 | Int(index == 0 ? byte & 0x7F : byte)
        if value > 1 << 53 { return nil }
      }
      return value
    }
    let digits = field.drop { $0 == 0x20 }.prefix { $0 != 0x20 && $0 != 0 }
    for digit in digits {
      guard (0x30...0x37).contains(digit), value < 1 << 50 else { return nil }
      value = value << 3 | Int(digit - 0x30)
    }
    return digits.isEmpty && first != 0x20 && first != 0 ? nil : value
  }
}
