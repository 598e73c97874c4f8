// Little-endian fields, out of untrusted bytes with a check before every step, and into new ones.

/// A position in a buffer of untrusted bytes; throws the errors of the library that reads.
///
/// Inlined: as generic functions the checks cost three times as much.
///
/// - Memory: borrows or shares the bytes.
/// - Errors: `.truncated` past the end, `.tooLarge`, `.notUTF8`, with the offset of the field and its name,
///   if it has one.
package struct ByteCursor<Bytes: RandomAccessCollection, Failure: SystemFailure>
where Bytes.Element == UInt8, Bytes.Index == Int {
  @usableFromInline package let buffer: Bytes
  @usableFromInline package var offset: Int
  @usableFromInline package let end: Int

  @inlinable package init(_ buffer: Bytes, range: Range<Int>) {
    self.buffer = buffer
    offset = range.lowerBound
    end = range.upperBound
  }

  @inlinable package init(_ buffer: Bytes, offset: Int = 0) {
    self.init(buffer, range: offset..<buffer.count)
  }

  @inlinable package var remaining: Int { end - offset }

  /// The range of the next `count` bytes, which are skipped.
  @inlinable @inline(__always) package mutating func take(_ count: Int, _ name: String? = nil) throws(Failure)
    -> Range<Int>
  {
    guard count >= 0, count <= remaining else {
      throw Failure(
        SystemError(.truncated(needed: max(count, 0), available: remaining), offset: offset, name: name))
    }
    offset += count
    return offset - count..<offset
  }

  @inlinable @inline(__always) package mutating func integer<T: FixedWidthInteger>(
    _ type: T.Type, _ name: String? = nil
  )
    throws(Failure) -> T
  {
    var value: T = 0
    var shift = 0
    for index in try take(MemoryLayout<T>.size, name) {
      value |= T(truncatingIfNeeded: buffer[index]) &<< T(truncatingIfNeeded: shift)
      shift += 8
    }
    return value
  }

  @inlinable @inline(__always) package mutating func uint16(_ name: String? = nil) throws(Failure) -> UInt16 {
    try integer(UInt16.self, name)
  }
  @inlinable @inline(__always) package mutating func uint32(_ name: String? = nil) throws(Failure) -> UInt32 {
    try integer(UInt32.self, name)
  }
  @inlinable @inline(__always) package mutating func uint64(_ name: String? = nil) throws(Failure) -> UInt64 {
    try integer(UInt64.self, name)
  }

  /// A 64-bit count no larger than `limit`.
  @inlinable @inline(__always) package mutating func count(what: String, limit: Int) throws(Failure) -> Int {
    let start = offset
    let value = try uint64()
    guard value <= UInt64(limit) else {
      throw Failure(SystemError(.tooLarge(what: what, found: value, limit: limit), offset: start))
    }
    return Int(value)
  }

  /// A text behind its length.
  @inlinable package mutating func string(what: String, limit: Int) throws(Failure) -> String {
    try string(count(what: what, limit: limit))
  }

  /// A text of `count` bytes.
  @inlinable package mutating func string(_ count: Int, _ name: String? = nil) throws(Failure) -> String {
    let start = offset
    guard let text = String(validating: buffer[try take(count, name)], as: UTF8.self) else {
      throw Failure(SystemError(.notUTF8, offset: start, name: name))
    }
    return text
  }

  /// An array of float32 values. Memory: 4 B a value.
  @inlinable package mutating func floats(_ count: Int, _ name: String? = nil) throws(Failure) -> [Float] {
    let (size, overflow) = count.multipliedReportingOverflow(by: 4)
    guard !overflow, size <= remaining else {
      throw Failure(
        SystemError(
          .truncated(needed: overflow ? .max : size, available: remaining), offset: offset, name: name))
    }
    var values: [Float] = []
    values.reserveCapacity(count)
    for _ in 0..<count { values.append(Float(bitPattern: try uint32(name))) }
    return values
  }
}

extension ByteCursor where Bytes == UnsafeRawBufferPointer {
  /// The next `count` bytes, borrowed.
  @inlinable @inline(__always) package mutating func bytes(_ count: Int) throws(Failure)
    -> UnsafeRawBufferPointer
  {
    UnsafeRawBufferPointer(rebasing: buffer[try take(count)])
  }

  /// Steps over texts behind their 64-bit lengths, up to the first that is not whole or ends behind `limit`.
  ///
  /// - Returns: how many.
  @inlinable package mutating func skipTexts(_ count: Int, limit: Int) -> Int {
    let end = min(self.end, limit)
    for index in 0..<count {
      guard end - offset >= 8 else { return index }
      let length = UInt64(littleEndian: buffer.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
      guard length <= UInt64(end - offset - 8) else { return index }
      offset += 8 + Int(length)
    }
    return count
  }
}

extension [UInt8] {
  /// A little-endian unsigned number at a place that is known to hold one; what does not fit in Int comes
  /// back as Int.max.
  package func number(at index: Int, width: Int) -> Int {
    var value: UInt64 = 0
    for byte in 0..<width { value |= UInt64(self[index + byte]) << UInt64(8 * byte) }
    return Int(clamping: value)
  }

  /// Appends an integer in little-endian order.
  package mutating func append<T: FixedWidthInteger>(little value: T) {
    Swift.withUnsafeBytes(of: value.littleEndian) { append(contentsOf: $0) }
  }

  /// Appends float32 values in little-endian order.
  package mutating func append(floats: some Sequence<Float>) {
    for value in floats { append(little: value.bitPattern) }
  }

  /// Overwrites four bytes.
  package mutating func store(little value: UInt32, at offset: Int) {
    for place in 0..<4 { self[offset + place] = UInt8(truncatingIfNeeded: value >> UInt32(8 * place)) }
  }
}

/// Lower-case hexadecimal digits, two a byte.
package func hexadecimal(_ bytes: some Sequence<UInt8>) -> String {
  let digits = Array("0123456789abcdef".utf8)
  return String(decoding: bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
}
