// Reading values out of a decoded header, and materialising them for listings.

import System

extension GGUFHeader {
  /// The value of `entry`, copied out of the file. Meant for listings and tests: a merge table becomes one
  /// enum case a string.
  ///
  /// - Errors: text that is not UTF-8.
  package func value(of entry: Entry, in file: UnsafeRawBufferPointer) throws(ContainerError) -> GGUFValue {
    var cursor = ByteCursor(file, offset: entry.offset)
    do throws(ContainerError) {
      if entry.type == .array {
        return try Self.array(of: entry.elementType, count: entry.count, &cursor)
      }
      return try Self.decodeValue(entry.type, &cursor)
    } catch {
      throw ContainerError(error.reason, offset: error.offset, name: entry.key)
    }
  }

  private static func array(
    of type: GGUFValueType, count: Int, _ cursor: inout ByteCursor
  ) throws(ContainerError) -> GGUFValue {
    var values: [GGUFValue] = []
    for _ in 0..<count { values.append(try decodeValue(type, &cursor)) }
    return .array(of: type, values)
  }

  /// One value at the cursor. Depth was bounded when the header was decoded.
  static func decodeValue(_ type: GGUFValueType, _ cursor: inout ByteCursor) throws(ContainerError)
    -> GGUFValue
  {
    switch type {
    case .uint8: return .uint8(try cursor.integer(UInt8.self))
    case .int8: return .int8(try cursor.integer(Int8.self))
    case .uint16: return .uint16(try cursor.integer(UInt16.self))
    case .int16: return .int16(try cursor.integer(Int16.self))
    case .uint32: return .uint32(try cursor.uint32())
    case .int32: return .int32(try cursor.integer(Int32.self))
    case .float32: return .float32(Float(bitPattern: try cursor.uint32()))
    case .bool: return .bool(try cursor.integer(UInt8.self) != 0)
    case .string: return .string(try cursor.string(what: "string length", limit: Limits.textBytes))
    case .uint64: return .uint64(try cursor.uint64())
    case .int64: return .int64(try cursor.integer(Int64.self))
    case .float64: return .float64(Double(bitPattern: try cursor.uint64()))
    case .array:
      let offset = cursor.offset
      let raw = try cursor.uint32()
      guard let inner = GGUFValueType(rawValue: raw) else {
        throw ContainerError(.unknownValueType(raw), offset: offset)
      }
      let count = try cursor.count(what: "array length", limit: Int.max)
      return try array(of: inner, count: count, &cursor)
    }
  }
}

extension GGUFValue {
  /// The value as a count, if it is a whole number from 0 on that fits.
  var count: Int? {
    switch self {
    case .uint8(let value): return Int(value)
    case .int8(let value): return value >= 0 ? Int(value) : nil
    case .uint16(let value): return Int(value)
    case .int16(let value): return value >= 0 ? Int(value) : nil
    case .uint32(let value): return Int(value)
    case .int32(let value): return value >= 0 ? Int(value) : nil
    case .uint64(let value): return Int(exactly: value)
    case .int64(let value): return value >= 0 ? Int(exactly: value) : nil
    default: return nil
    }
  }
}
