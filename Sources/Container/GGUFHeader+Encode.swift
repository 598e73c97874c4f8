// Writing a header: the mirror image of the decoder.

import System

extension GGUFHeader {
  /// Header bytes ready to be written, with the places a writer comes back to.
  package struct Encoded: Sendable {
    /// The whole header, padded to the data section.
    package var bytes: [UInt8]
    /// File offset of each key's value contents (arrays: first element; strings: first byte of text).
    package let valueOffsets: [String: Int]
    /// Where each key's whole entry lies, in file order.
    package let entryRanges: [(key: String, range: Range<Int>)]
    package let tensors: [TensorRecord]
  }

  /// Encodes keys and tensor records in the order given; tensors follow each other, aligned.
  ///
  /// - Errors: what the decoder would refuse: duplicates, long names, unusable dimensions or alignment.
  package static func encode(
    values: [(key: String, value: GGUFValue)], tensors: [TensorDeclaration]
  ) throws(ContainerError) -> Encoded {
    var alignment = defaultAlignment
    var bytes: [UInt8] = []
    append(magic, to: &bytes)
    append(version, to: &bytes)
    append(UInt64(tensors.count), to: &bytes)
    append(UInt64(values.count), to: &bytes)
    try check("key count", values.count, Limits.keys)
    try check("tensor count", tensors.count, Limits.tensors)
    var offsets: [String: Int] = [:]
    var ranges: [(key: String, range: Range<Int>)] = []
    for (key, value) in values {
      let start = bytes.count
      try check("key length", key.utf8.count, Limits.keyBytes, name: key)
      append(string: key, to: &bytes)
      append(value.type.rawValue, to: &bytes)
      // Contents start behind the fields that precede them: a length (string) or a type and a length (array).
      let lead = value.type == .array ? 12 : value.type == .string ? 8 : 0
      guard offsets.updateValue(bytes.count + lead, forKey: key) == nil else {
        throw ContainerError(.duplicateKey, name: key)
      }
      try append(value, depth: 0, to: &bytes, key)
      ranges.append((key, start..<bytes.count))
      if key == "general.alignment" {
        guard case .uint32(let number) = value, number >= 8, number <= UInt32(Limits.alignment),
          number & (number - 1) == 0
        else { throw ContainerError(.invalidAlignment(found: UInt64(value.count ?? 0)), name: key) }
        alignment = Int(number)
      }
    }
    let layout = try appendRecords(tensors, alignment: alignment, to: &bytes)
    let dataStart = try alignUp(bytes.count, alignment)
    bytes.append(contentsOf: repeatElement(0, count: dataStart - bytes.count))
    let records = layout.map { place in
      TensorRecord(
        name: place.declaration.name, type: place.declaration.type, dimensions: place.declaration.dimensions,
        offset: dataStart + place.offset, byteCount: place.byteCount)
    }
    return Encoded(bytes: bytes, valueOffsets: offsets, entryRanges: ranges, tensors: records)
  }

  private static func appendRecords(
    _ tensors: [TensorDeclaration], alignment: Int, to bytes: inout [UInt8]
  ) throws(ContainerError) -> [(declaration: TensorDeclaration, offset: Int, byteCount: Int)] {
    var layout: [(declaration: TensorDeclaration, offset: Int, byteCount: Int)] = []
    var names: Set<String> = []
    var offset = 0
    for tensor in tensors {
      try check("tensor name length", tensor.name.utf8.count, Limits.nameBytes, name: tensor.name)
      guard names.insert(tensor.name).inserted else {
        throw ContainerError(.duplicateTensor, name: tensor.name)
      }
      let byteCount = try tensor.byteCount()
      append(string: tensor.name, to: &bytes)
      append(UInt32(tensor.dimensions.count), to: &bytes)
      for dimension in tensor.dimensions { append(UInt64(dimension), to: &bytes) }
      append(tensor.type.rawValue, to: &bytes)
      append(UInt64(offset), to: &bytes)
      layout.append((tensor, offset, byteCount))
      let (end, overflow) = offset.addingReportingOverflow(byteCount)
      guard !overflow else { throw ContainerError(.overflow(what: "file size"), name: tensor.name) }
      offset = try alignUp(end, alignment)
    }
    return layout
  }

  private static func append(
    _ value: GGUFValue, depth: Int, to bytes: inout [UInt8], _ key: String
  ) throws(ContainerError) {
    switch value {
    case .uint8(let number): append(number, to: &bytes)
    case .int8(let number): append(number, to: &bytes)
    case .uint16(let number): append(number, to: &bytes)
    case .int16(let number): append(number, to: &bytes)
    case .uint32(let number): append(number, to: &bytes)
    case .int32(let number): append(number, to: &bytes)
    case .float32(let number): append(number.bitPattern, to: &bytes)
    case .bool(let flag): append(UInt8(flag ? 1 : 0), to: &bytes)
    case .string(let text): append(string: text, to: &bytes)
    case .uint64(let number): append(number, to: &bytes)
    case .int64(let number): append(number, to: &bytes)
    case .float64(let number): append(number.bitPattern, to: &bytes)
    case .array(let type, let elements):
      try check("array depth", depth + 1, Limits.arrayDepth, name: key)
      append(type.rawValue, to: &bytes)
      append(UInt64(elements.count), to: &bytes)
      for element in elements {
        guard element.type == type else {
          throw ContainerError(.wrongValueType(expected: "\(type)", found: "\(element.type)"), name: key)
        }
        try append(element, depth: depth + 1, to: &bytes, key)
      }
    }
  }

  private static func check(
    _ what: String, _ found: Int, _ limit: Int, name: String? = nil
  ) throws(ContainerError) {
    guard found <= limit else {
      throw ContainerError(.tooLarge(what: what, found: UInt64(found), limit: UInt64(limit)), name: name)
    }
  }

  private static func append<T: FixedWidthInteger>(_ value: T, to bytes: inout [UInt8]) {
    bytes.append(little: value)
  }

  private static func append(string: String, to bytes: inout [UInt8]) {
    append(UInt64(string.utf8.count), to: &bytes)
    bytes.append(contentsOf: string.utf8)
  }
}
