// The header of a GGUF v3 file: keys with their values, then tensor records. Decoding here, encoding in
// `GGUFHeader+Encode.swift`, value access in `GGUFHeader+Values.swift`. Source: ggml `docs/gguf.md`.

import System

/// A decoded header: where everything is, with strings and arrays left in the file.
///
/// - Memory: one entry a key and one record a tensor; array contents are never copied.
package struct GGUFHeader: Sendable {
  /// What a file may hold. Everything read is compared with these before it is used.
  package enum Limits {
    package static let keys = 4096
    package static let tensors = 65_536
    package static let keyBytes = 65_535
    package static let nameBytes = 63
    package static let dimensions = 4
    package static let arrayDepth = 4
    package static let alignment = 65_536
    /// Compared before anything behind it is walked; published models have below 8 MiB.
    package static let headerBytes = 64 << 20
    /// Of all keys together, which are copied.
    package static let allKeyBytes = 1 << 20
    /// A text that is copied.
    package static let textBytes = 1 << 20
  }

  /// One key and where its value lies. For arrays, `elementType` and `count` describe the outermost level and
  /// `offset` is that of the first element; otherwise `count` is 1 and `elementType` equals `type`.
  package struct Entry: Equatable, Sendable {
    package let key: String
    package let type: GGUFValueType
    package let elementType: GGUFValueType
    package let count: Int
    package let offset: Int
    /// Bytes of the value's contents (strings include their length fields).
    package let byteCount: Int

    /// Where the whole entry lies: length and text of the key, type, for arrays type and count of elements,
    /// contents.
    package var range: Range<Int> {
      offset - (type == .array ? 16 : 4) - key.utf8.count - 8..<offset + byteCount
    }
  }

  static let magic: UInt32 = 0x4655_4747  // "GGUF" read as little endian
  static let version: UInt32 = 3
  static let defaultAlignment = 32

  package let entries: [Entry]
  package let tensors: [TensorRecord]
  package let alignment: Int
  /// File offset of the first tensor's bytes.
  package let dataStart: Int

  private let entryIndex: [String: Int]
  private let tensorIndex: [String: Int]

  package func entry(_ key: String) -> Entry? { entryIndex[key].map { entries[$0] } }
  package func tensor(_ name: String) -> TensorRecord? { tensorIndex[name].map { tensors[$0] } }

  /// Decodes and checks the header of a whole file.
  ///
  /// The tensors must tile the data section: each starts at the end of the one before, rounded up to the
  /// alignment, and the file ends with the last (padded or not).
  /// - Errors: every disagreement, with its byte offset and the key or tensor concerned.
  package init(decoding file: UnsafeRawBufferPointer) throws(ContainerError) {
    var cursor = ByteCursor(file)
    let magic = try cursor.uint32()
    guard magic == Self.magic else { throw ContainerError(.badMagic(found: magic), offset: 0) }
    let version = try cursor.uint32()
    guard version == Self.version else {
      throw ContainerError(.unsupportedVersion(found: version, supported: Self.version), offset: 4)
    }
    let tensorCount = try cursor.count(what: "tensor count", limit: Limits.tensors)
    let keyCount = try cursor.count(what: "key count", limit: Limits.keys)

    var entries: [Entry] = []
    var entryIndex: [String: Int] = [:]
    var keyBytes = 0
    for index in 0..<keyCount {
      let start = cursor.offset
      let entry = try Self.decodeEntry(&cursor)
      keyBytes += entry.key.utf8.count
      guard keyBytes <= Limits.allKeyBytes else {
        throw ContainerError(
          .tooLarge(what: "length of all keys", found: UInt64(keyBytes), limit: UInt64(Limits.allKeyBytes)),
          offset: start)
      }
      guard entryIndex.updateValue(index, forKey: entry.key) == nil else {
        throw ContainerError(.duplicateKey, offset: start, name: entry.key)
      }
      entries.append(entry)
    }
    let alignment = try Self.alignment(entries, entryIndex, file)

    var pending: [PendingTensor] = []
    var tensorIndex: [String: Int] = [:]
    for index in 0..<tensorCount {
      let start = cursor.offset
      let tensor = try Self.decodeTensor(&cursor)
      guard tensorIndex.updateValue(index, forKey: tensor.declaration.name) == nil else {
        throw ContainerError(.duplicateTensor, offset: start, name: tensor.declaration.name)
      }
      pending.append(tensor)
    }
    try Self.checkLength(cursor)
    dataStart = try Self.alignUp(cursor.offset, alignment)
    tensors = try Self.place(pending, dataStart: dataStart, alignment: alignment, fileByteCount: file.count)
    self.entries = entries
    self.alignment = alignment
    self.entryIndex = entryIndex
    self.tensorIndex = tensorIndex
  }

  // MARK: - Keys

  private static func decodeEntry(_ cursor: inout ByteCursor) throws(ContainerError) -> Entry {
    let key = try cursor.string(what: "key length", limit: Limits.keyBytes)
    let type = try valueType(&cursor, key)
    do throws(ContainerError) {
      guard type == .array else {
        let start = cursor.offset
        try skip(type, count: 1, depth: 0, &cursor)
        let byteCount = cursor.offset - start
        return Entry(key: key, type: type, elementType: type, count: 1, offset: start, byteCount: byteCount)
      }
      let elementType = try valueType(&cursor, key)
      let count = try cursor.count(what: "array length", limit: Int.max)
      let start = cursor.offset
      try skip(elementType, count: count, depth: 1, &cursor)
      return Entry(
        key: key, type: .array, elementType: elementType, count: count, offset: start,
        byteCount: cursor.offset - start)
    } catch {
      throw ContainerError(error.reason, offset: error.offset, name: key)
    }
  }

  private static func valueType(_ cursor: inout ByteCursor, _ key: String) throws(ContainerError)
    -> GGUFValueType
  {
    let offset = cursor.offset
    let raw = try cursor.uint32()
    guard let type = GGUFValueType(rawValue: raw) else {
      throw ContainerError(.unknownValueType(raw), offset: offset, name: key)
    }
    return type
  }

  /// Ends a header that is too long where it becomes so.
  private static func checkLength(_ cursor: ByteCursor) throws(ContainerError) {
    guard cursor.offset <= Limits.headerBytes else {
      throw ContainerError(
        .tooLarge(what: "header", found: UInt64(cursor.offset), limit: UInt64(Limits.headerBytes)))
    }
  }

  /// Steps over `count` values. Every value takes at least one byte, so a false count ends with the file.
  private static func skip(
    _ type: GGUFValueType, count: Int, depth: Int, _ cursor: inout ByteCursor
  ) throws(ContainerError) {
    guard depth <= Limits.arrayDepth else {
      let limit = UInt64(Limits.arrayDepth)
      throw ContainerError(
        .tooLarge(what: "array depth", found: UInt64(depth), limit: limit), offset: cursor.offset)
    }
    switch type {
    case .string:
      // A vocabulary has 100,000 of them; the one that ends this is read again, for its error.
      for _ in cursor.skipTexts(count, limit: Limits.headerBytes)..<count {
        _ = try cursor.bytes(cursor.count(what: "string length", limit: Int.max))
        try checkLength(cursor)
      }
    case .array:
      for _ in 0..<count {
        let inner = try valueType(&cursor, "")
        let innerCount = try cursor.count(what: "array length", limit: Int.max)
        try skip(inner, count: innerCount, depth: depth + 1, &cursor)
        try checkLength(cursor)
      }
    case .bool:
      let start = cursor.offset
      let values = try cursor.bytes(count)
      try checkLength(cursor)
      for index in 0..<count where values[index] > 1 {
        throw ContainerError(.invalidBool(values[index]), offset: start + index)
      }
    default:
      let (byteCount, overflow) = count.multipliedReportingOverflow(by: type.byteCount ?? 1)
      guard !overflow else { throw ContainerError(.overflow(what: "array size"), offset: cursor.offset) }
      _ = try cursor.bytes(byteCount)
      try checkLength(cursor)
    }
  }

  private static func alignment(
    _ entries: [Entry], _ index: [String: Int], _ file: UnsafeRawBufferPointer
  ) throws(ContainerError) -> Int {
    let key = "general.alignment"
    guard let position = index[key] else { return defaultAlignment }
    let entry = entries[position]
    guard entry.type == .uint32 else {
      throw ContainerError(
        .wrongValueType(expected: "uint32", found: "\(entry.type)"), offset: entry.offset, name: key)
    }
    let value = UInt32(littleEndian: file.loadUnaligned(fromByteOffset: entry.offset, as: UInt32.self))
    // A power of two from 8 on: tensors hold values of up to 8 bytes.
    guard value >= 8, value <= UInt32(Limits.alignment), value & (value - 1) == 0 else {
      throw ContainerError(.invalidAlignment(found: UInt64(value)), offset: entry.offset, name: key)
    }
    return Int(value)
  }

  // MARK: - Tensors

  private struct PendingTensor {
    let declaration: TensorDeclaration
    let byteCount: Int
    let dataOffset: UInt64
    let recordOffset: Int
  }

  private static func decodeTensor(_ cursor: inout ByteCursor) throws(ContainerError) -> PendingTensor {
    let start = cursor.offset
    let name = try cursor.string(what: "tensor name length", limit: Limits.nameBytes)
    do throws(ContainerError) {
      let dimensionCount = Int(try cursor.uint32())
      guard dimensionCount <= Limits.dimensions else {
        let limit = UInt64(Limits.dimensions)
        throw ContainerError(
          .tooLarge(what: "dimension count", found: UInt64(dimensionCount), limit: limit),
          offset: cursor.offset - 4)
      }
      var dimensions: [Int] = []
      for _ in 0..<dimensionCount {
        let offset = cursor.offset
        let value = try cursor.uint64()
        guard value > 0, let dimension = Int(exactly: value) else {
          throw ContainerError(.invalidDimension(value), offset: offset)
        }
        dimensions.append(dimension)
      }
      let typeOffset = cursor.offset
      let rawType = try cursor.uint32()
      guard let type = GGUFType(rawValue: rawType) else {
        throw ContainerError(.unknownTensorType(rawType), offset: typeOffset)
      }
      let declaration = TensorDeclaration(name: name, type: type, dimensions: dimensions)
      let byteCount = try declaration.byteCount()
      let dataOffset = try cursor.uint64()
      return PendingTensor(
        declaration: declaration, byteCount: byteCount, dataOffset: dataOffset, recordOffset: start)
    } catch {
      throw ContainerError(error.reason, offset: error.offset ?? start, name: name)
    }
  }

  private static func place(
    _ pending: [PendingTensor], dataStart: Int, alignment: Int, fileByteCount: Int
  ) throws(ContainerError) -> [TensorRecord] {
    var records: [TensorRecord] = []
    records.reserveCapacity(pending.count)
    var next = 0
    var end = dataStart
    guard dataStart <= fileByteCount else {
      throw ContainerError(
        .truncated(needed: UInt64(dataStart), available: UInt64(fileByteCount)), offset: fileByteCount)
    }
    for tensor in pending {
      let name = tensor.declaration.name
      guard tensor.dataOffset == UInt64(next) else {
        throw ContainerError(
          .misplacedTensor(found: tensor.dataOffset, expected: UInt64(next)), offset: tensor.recordOffset,
          name: name)
      }
      let (start, overflowStart) = dataStart.addingReportingOverflow(next)
      let (stop, overflowStop) = start.addingReportingOverflow(tensor.byteCount)
      guard !overflowStart, !overflowStop else {
        throw ContainerError(.overflow(what: "tensor end"), offset: tensor.recordOffset, name: name)
      }
      guard stop <= fileByteCount else {
        let available = UInt64(max(0, fileByteCount - start))
        throw ContainerError(
          .truncated(needed: UInt64(tensor.byteCount), available: available), offset: start, name: name)
      }
      records.append(
        TensorRecord(
          name: name, type: tensor.declaration.type, dimensions: tensor.declaration.dimensions, offset: start,
          byteCount: tensor.byteCount))
      end = stop
      next = try alignUp(next + tensor.byteCount, alignment)
    }
    if fileByteCount != end, fileByteCount - dataStart != next {
      throw ContainerError(.trailingBytes(count: UInt64(fileByteCount - end)), offset: end)
    }
    return records
  }

  /// The smallest multiple of `alignment` (a power of two) not below `value`.
  static func alignUp(_ value: Int, _ alignment: Int) throws(ContainerError) -> Int {
    let (sum, overflow) = value.addingReportingOverflow(alignment - 1)
    guard !overflow else { throw ContainerError(.overflow(what: "aligned offset")) }
    return sum & ~(alignment - 1)
  }
}
