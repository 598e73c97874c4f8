// Little-endian fields out of untrusted bytes, into new ones, and their checksum.

/// Reads fields one after the other and never past the end.
///
/// - Memory: borrows nothing, shares the array.
/// - Errors: `.truncated` with the field's name.
struct ByteReader {
  let bytes: [UInt8]
  private(set) var offset: Int
  let end: Int

  init(_ bytes: [UInt8], range: Range<Int>) {
    self.bytes = bytes
    offset = range.lowerBound
    end = range.upperBound
  }

  init(_ bytes: [UInt8]) { self.init(bytes, range: 0..<bytes.count) }

  var remaining: Int { end - offset }

  /// The range of the next `count` bytes, which are skipped.
  mutating func take(_ count: Int, _ field: String) throws(SegmentationError) -> Range<Int> {
    guard count >= 0, count <= remaining else {
      throw SegmentationError(.truncated(needed: max(count, 0), available: remaining), field: field)
    }
    offset += count
    return offset - count..<offset
  }

  mutating func u16(_ field: String) throws(SegmentationError) -> Int {
    Int(truncatingIfNeeded: try number(2, field))
  }

  mutating func u32(_ field: String) throws(SegmentationError) -> UInt32 {
    UInt32(truncatingIfNeeded: try number(4, field))
  }

  mutating func u64(_ field: String) throws(SegmentationError) -> UInt64 { try number(8, field) }

  /// An array of float32 values.
  ///
  /// - Memory: 4 B a value.
  mutating func floats(_ count: Int, _ field: String) throws(SegmentationError) -> [Float] {
    let (size, overflow) = count.multipliedReportingOverflow(by: 4)
    let range = try take(overflow ? .max : size, field)
    return bytes.withUnsafeBytes { buffer in
      (0..<count).map { index in
        let bits = buffer.loadUnaligned(fromByteOffset: range.lowerBound + 4 * index, as: UInt32.self)
        return Float(bitPattern: UInt32(littleEndian: bits))
      }
    }
  }

  private mutating func number(_ count: Int, _ field: String) throws(SegmentationError) -> UInt64 {
    var value: UInt64 = 0
    for byte in bytes[try take(count, field)].reversed() { value = value << 8 | UInt64(byte) }
    return value
  }
}

extension [UInt8] {
  /// Appends an integer in little-endian order.
  mutating func append<T: FixedWidthInteger>(little value: T) {
    Swift.withUnsafeBytes(of: value.littleEndian) { append(contentsOf: $0) }
  }

  /// Appends float32 values in little-endian order.
  mutating func append(floats: some Sequence<Float>) {
    for value in floats { append(little: value.bitPattern) }
  }

  /// Overwrites four bytes.
  mutating func store(little value: UInt32, at offset: Int) {
    for place in 0..<4 { self[offset + place] = UInt8(truncatingIfNeeded: value >> UInt32(8 * place)) }
  }
}

/// CRC-32 of zlib, ZIP and PNG.
///
/// - Memory: a table of 1 KiB, built once.
enum TextChecksum {
  private static let table: [UInt32] = (0..<256).map { index in
    (0..<8).reduce(UInt32(index)) { value, _ in value & 1 == 0 ? value >> 1 : 0xEDB8_8320 ^ value >> 1 }
  }

  /// The checksum of `bytes`, or of what has the checksum `before` followed by `bytes`.
  static func crc32(_ bytes: some Sequence<UInt8>, after before: UInt32 = 0) -> UInt32 {
    let table = table
    return ~bytes.reduce(~before) { $0 >> 8 ^ table[Int(($0 ^ UInt32($1)) & 0xFF)] }
  }
}
