// Little-endian reading with a bounds check before every step.

/// A position in a buffer of untrusted bytes.
///
/// - Errors: reading past the end throws `truncated` with the offset of the field.
struct ByteCursor {
  private let file: UnsafeRawBufferPointer
  private(set) var offset: Int

  init(_ file: UnsafeRawBufferPointer, offset: Int = 0) {
    self.file = file
    self.offset = offset
  }

  /// The next `count` bytes, borrowed.
  mutating func bytes(_ count: Int) throws(ContainerError) -> UnsafeRawBufferPointer {
    let left = file.count - offset
    guard count >= 0, count <= left else {
      throw ContainerError(
        .truncated(needed: UInt64(bitPattern: Int64(count)), available: UInt64(left)), offset: offset)
    }
    let slice = UnsafeRawBufferPointer(rebasing: file[offset..<(offset + count)])
    offset += count
    return slice
  }

  mutating func integer<T: FixedWidthInteger>(_ type: T.Type) throws(ContainerError) -> T {
    let slice = try bytes(MemoryLayout<T>.size)
    return T(littleEndian: slice.loadUnaligned(as: T.self))
  }

  mutating func uint32() throws(ContainerError) -> UInt32 { try integer(UInt32.self) }
  mutating func uint64() throws(ContainerError) -> UInt64 { try integer(UInt64.self) }

  /// A 64-bit count no larger than `limit`.
  mutating func count(what: String, limit: Int) throws(ContainerError) -> Int {
    let start = offset
    let value = try uint64()
    guard value <= UInt64(limit) else {
      throw ContainerError(.tooLarge(what: what, found: value, limit: UInt64(limit)), offset: start)
    }
    return Int(value)
  }

  /// A length-prefixed text.
  mutating func string(what: String, limit: Int) throws(ContainerError) -> String {
    let length = try count(what: what, limit: limit)
    let start = offset
    let slice = try bytes(length)
    guard let text = String(validating: slice, as: UTF8.self) else {
      throw ContainerError(.invalidUTF8, offset: start)
    }
    return text
  }
}
