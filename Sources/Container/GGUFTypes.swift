// The value and tensor types of GGUF v3, with their numbers in the file.
// Source: ggml `docs/gguf.md`.

/// The type of a key's value.
package enum GGUFValueType: UInt32, Sendable {
  case uint8 = 0
  case int8, uint16, int16, uint32, int32, float32, bool, string, array, uint64, int64, float64

  /// Bytes of one value; nil for strings and arrays, whose size varies.
  package var byteCount: Int? {
    switch self {
    case .uint8, .int8, .bool: return 1
    case .uint16, .int16: return 2
    case .uint32, .int32, .float32: return 4
    case .uint64, .int64, .float64: return 8
    case .string, .array: return nil
    }
  }
}

/// The element type of a tensor. GGUF's block-quantized types are not used by this package and are refused.
package enum GGUFType: UInt32, Sendable, CustomStringConvertible {
  case f32 = 0
  case f16 = 1
  case i8 = 24
  case i16 = 25
  case i32 = 26
  case i64 = 27
  case f64 = 28
  case bf16 = 30

  /// Bytes of one element.
  package var byteCount: Int {
    switch self {
    case .i8: return 1
    case .f16, .bf16, .i16: return 2
    case .f32, .i32: return 4
    case .i64, .f64: return 8
    }
  }

  package var description: String {
    switch self {
    case .f32: return "F32"
    case .f16: return "F16"
    case .i8: return "I8"
    case .i16: return "I16"
    case .i32: return "I32"
    case .i64: return "I64"
    case .f64: return "F64"
    case .bf16: return "BF16"
    }
  }
}

/// A key's value, materialised. Used for writing and for listing; readers of long arrays iterate in place.
package enum GGUFValue: Equatable, Sendable {
  case uint8(UInt8)
  case int8(Int8)
  case uint16(UInt16)
  case int16(Int16)
  case uint32(UInt32)
  case int32(Int32)
  case float32(Float)
  case bool(Bool)
  case string(String)
  /// All elements have the type `of`; nested arrays are allowed.
  case array(of: GGUFValueType, [GGUFValue])
  case uint64(UInt64)
  case int64(Int64)
  case float64(Double)

  package var type: GGUFValueType {
    switch self {
    case .uint8: return .uint8
    case .int8: return .int8
    case .uint16: return .uint16
    case .int16: return .int16
    case .uint32: return .uint32
    case .int32: return .int32
    case .float32: return .float32
    case .bool: return .bool
    case .string: return .string
    case .array: return .array
    case .uint64: return .uint64
    case .int64: return .int64
    case .float64: return .float64
    }
  }

  /// Array of text; the usual form of a merge table.
  package static func strings(_ values: [String]) -> GGUFValue {
    .array(of: .string, values.map { .string($0) })
  }

  /// Array of 32-bit counts.
  package static func uint32s(_ values: [UInt32]) -> GGUFValue {
    .array(of: .uint32, values.map { .uint32($0) })
  }
}
