// Protocol buffers, as far as a file of nested messages needs them.

import System

/// Walks the fields of one message, in place.
///
/// Fields are handed out as they lie; what a number means is the caller's matter. Groups, which no current
/// format uses, are refused.
///
/// - Memory: borrows the bytes of the file.
/// - Errors: `malformed` with the byte offset for whatever leaves the message.
/// - Source: protobuf.dev `programming-guides/encoding`.
struct ProtocolBufferReader {
  enum Value {
    case varint(UInt64)
    case fixed64(UInt64)
    case fixed32(UInt32)
    /// Where text, bytes or a message lie.
    case bytes(Range<Int>)
  }

  struct Field {
    let number: Int
    let value: Value
    let offset: Int
  }

  private let bytes: [UInt8]
  private let file: InputFile
  private let end: Int
  private var index: Int

  init(_ bytes: [UInt8], file: InputFile) { self.init(bytes, file: file, range: 0..<bytes.count) }

  private init(_ bytes: [UInt8], file: InputFile, range: Range<Int>) {
    self.bytes = bytes
    self.file = file
    index = range.lowerBound
    end = range.upperBound
  }

  /// The next field, or nil at the end of the message.
  mutating func next() throws(QuantizationError) -> Field? {
    guard index < end else { return nil }
    let offset = index
    let tag = try varint()
    let number = tag >> 3
    guard number > 0, number < 1 << 29 else { throw fault("a field number is out of range", at: offset) }
    let value: Value
    switch tag & 7 {
    case 0: value = .varint(try varint())
    case 1: value = .fixed64(try fixed(8))
    case 2:
      let count = try varint()
      guard count <= UInt64(end - index) else {
        throw fault("a field is longer than its message", at: offset)
      }
      value = .bytes(index..<index + Int(count))
      index += Int(count)
    case 5: value = .fixed32(UInt32(truncatingIfNeeded: try fixed(4)))
    default: throw fault("a field of unknown kind", at: offset)
    }
    return Field(number: Int(number), value: value, offset: offset)
  }

  /// A reader of a field that is a message itself.
  func message(_ field: Field) throws(QuantizationError) -> ProtocolBufferReader {
    ProtocolBufferReader(bytes, file: file, range: try range(field))
  }

  /// A field's text.
  func text(_ field: Field) throws(QuantizationError) -> String {
    guard let text = String(validating: bytes[try range(field)], as: UTF8.self) else {
      throw fault("a text is not valid UTF-8", at: field.offset)
    }
    return text
  }

  /// Bytes of a field.
  func range(_ field: Field) throws(QuantizationError) -> Range<Int> {
    guard case .bytes(let range) = field.value else { throw mismatch(field) }
    return range
  }

  func unsigned(_ field: Field) throws(QuantizationError) -> UInt64 {
    guard case .varint(let value) = field.value else { throw mismatch(field) }
    return value
  }

  func float(_ field: Field) throws(QuantizationError) -> Float {
    guard case .fixed32(let bits) = field.value else { throw mismatch(field) }
    return Float(bitPattern: bits)
  }

  private func mismatch(_ field: Field) -> QuantizationError {
    fault("field \(field.number) is of another kind than expected", at: field.offset)
  }

  private func fault(_ what: String, at offset: Int) -> QuantizationError {
    file.error(.malformed(what), at: offset)
  }

  private mutating func varint() throws(QuantizationError) -> UInt64 {
    let start = index
    var value: UInt64 = 0
    for shift in stride(from: UInt64(0), to: 70, by: 7) {
      guard index < end else { throw fault("a number has no end", at: start) }
      let byte = bytes[index]
      index += 1
      // The tenth byte has room for one bit.
      guard shift < 63 || byte <= 1 else { break }
      value |= UInt64(byte & 0x7F) << shift
      if byte < 0x80 { return value }
    }
    throw fault("a number is too long", at: start)
  }

  private mutating func fixed(_ count: Int) throws(QuantizationError) -> UInt64 {
    guard count <= end - index else { throw fault("a number has no end", at: index) }
    var value: UInt64 = 0
    for place in 0..<count { value |= UInt64(bytes[index + place]) << UInt64(8 * place) }
    index += count
    return value
  }
}
