// One tensor of a model file: its name, type, shape and place.

/// A tensor's entry in the header.
///
/// - Shapes: `dimensions` fastest axis first, as GGUF stores them.
/// - Units: `offset` and `byteCount` in bytes, `offset` from the start of the file.
package struct TensorRecord: Equatable, Sendable {
  package let name: String
  package let type: GGUFType
  package let dimensions: [Int]
  package let offset: Int
  package let byteCount: Int

  package init(name: String, type: GGUFType, dimensions: [Int], offset: Int, byteCount: Int) {
    self.name = name
    self.type = type
    self.dimensions = dimensions
    self.offset = offset
    self.byteCount = byteCount
  }

  /// Where the tensor's bytes lie in the file.
  package var range: Range<Int> { offset..<(offset + byteCount) }

  /// Number of elements.
  package var elementCount: Int { byteCount / type.byteCount }

  /// Type and shape as messages show them: `I8 [768, 2304]`.
  package var shapeDescription: String { Self.describe(type, dimensions) }

  static func describe(_ type: GGUFType, _ dimensions: [Int]) -> String {
    "\(type) [\(dimensions.map { String($0) }.joined(separator: ", "))]"
  }
}

/// A tensor as its writer declares it, before its place in the file is known.
package struct TensorDeclaration: Equatable, Sendable {
  package let name: String
  package let type: GGUFType
  package let dimensions: [Int]

  package init(name: String, type: GGUFType, dimensions: [Int]) {
    self.name = name
    self.type = type
    self.dimensions = dimensions
  }

  /// - Errors: a zero or negative dimension, more than four of them, or a size beyond 64 bits.
  package func byteCount() throws(ContainerError) -> Int {
    guard !dimensions.isEmpty, dimensions.count <= GGUFHeader.Limits.dimensions else {
      let limit = UInt64(GGUFHeader.Limits.dimensions)
      throw ContainerError(
        .tooLarge(what: "dimension count", found: UInt64(dimensions.count), limit: limit), name: name)
    }
    var count = type.byteCount
    for dimension in dimensions {
      guard dimension > 0 else {
        throw ContainerError(.invalidDimension(UInt64(bitPattern: Int64(dimension))), name: name)
      }
      let (product, overflow) = count.multipliedReportingOverflow(by: dimension)
      guard !overflow else { throw ContainerError(.overflow(what: "tensor size"), name: name) }
      count = product
    }
    return count
  }
}
