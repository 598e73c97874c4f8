// The safetensors format: a JSON header and one tiling of bytes.

import System

/// Reads a safetensors header.
///
/// - Memory: the header, at most 64 MiB, and its parsed values while they are looked at.
/// - Errors: `malformed` for anything but a tiling of the file without holes and overlaps; `unsupported`
///   types.
/// - Source: safetensors, README.md, section "Format".
enum SafetensorsReader {
  static let headerLimit = 64 << 20

  static func read(_ file: InputFile) throws(QuantizationError) -> TensorListing {
    let headerCount = try file.bytes(at: 0, count: 8).number(at: 0, width: 8)
    if headerCount > headerLimit {
      throw file.error(.limitExceeded(what: "header bytes", limit: headerLimit, found: headerCount), at: 0)
    }
    let header = try file.bytes(at: 8, count: headerCount)
    let root = try file.json(header, at: 8)
    guard case .object(let members) = root else {
      throw file.error(.malformed("the header is not a JSON object"), at: 8)
    }
    let bodyOffset = 8 + headerCount
    var listing = TensorListing(format: .safetensors)
    var ranges: [Range<Int>] = []
    var names: [String] = []
    for (name, value) in members {
      if name == "__metadata__" {
        listing.metadata = try metadata(value, file: file)
        continue
      }
      let found = try entry(name, value, index: ranges.count, file: file)
      if let tensor = found.tensor { listing.tensors.append(tensor) }
      listing.unreadable[name] = found.unreadType
      ranges.append(found.range)
      names.append(name)
    }
    try checkTiling(ranges, bodyCount: file.byteCount - bodyOffset, names: names, file: file)
    for range in ranges {
      let extent = ByteExtent(file: file, offset: bodyOffset + range.lowerBound, byteCount: range.count)
      listing.storages.append(StoredBytes(place: .extent(extent), byteCount: range.count))
    }
    return listing
  }

  private static func metadata(_ value: JSON, file: InputFile) throws(QuantizationError) -> [String:
    String]
  {
    guard case .object(let members) = value else {
      throw file.error(.malformed("must be an object of strings"), at: 8, name: "__metadata__")
    }
    var metadata: [String: String] = [:]
    for (key, value) in members {
      guard case .string(let text) = value else {
        throw file.error(.malformed("must be an object of strings"), at: 8, name: "__metadata__")
      }
      metadata[key] = text
    }
    return metadata
  }

  /// A tensor's bytes, and the tensor where its numbers can be read.
  private struct Entry {
    let tensor: ListedTensor?
    let range: Range<Int>
    var unreadType: String?
  }

  private static func entry(
    _ name: String, _ value: JSON, index: Int, file: InputFile
  ) throws(QuantizationError) -> Entry {
    guard case .object(let fields) = value, fields.count == 3,
      case .string(let typeName)? = value.member("dtype"),
      let shape = integers(value.member("shape")), let offsets = integers(value.member("data_offsets"))
    else {
      throw file.error(.malformed("must have dtype, shape and data_offsets"), at: 8, name: name)
    }
    guard offsets.count == 2, offsets[0] >= 0, offsets[0] <= offsets[1] else {
      throw file.error(.malformed("data_offsets must be two rising numbers"), at: 8, name: name)
    }
    guard let type = elementTypes[typeName] else {
      return Entry(tensor: nil, range: offsets[0]..<offsets[1], unreadType: typeName)
    }
    guard shape.count <= TensorDirectory.axisLimit, let bytes = checkedProduct(shape + [type.byteCount]),
      bytes == offsets[1] - offsets[0]
    else {
      throw file.error(
        .malformed("shape \(shape.prefix(TensorDirectory.axisLimit)) and data_offsets disagree"), at: 8,
        name: name)
    }
    var strides = [Int](repeating: 1, count: shape.count)
    for axis in stride(from: shape.count - 2, through: 0, by: -1) {
      // Cannot overflow: a zero extent aside, the product of all extents fits.
      strides[axis] = strides[axis + 1].multipliedReportingOverflow(by: max(shape[axis + 1], 1)).partialValue
      if strides[axis] < 0 { strides[axis] = 0 }
    }
    let tensor = ListedTensor(
      name: name, shape: shape, strides: strides, elementType: type, storage: index, storageOffset: 0)
    return Entry(tensor: tensor, range: offsets[0]..<offsets[1])
  }

  private static func integers(_ value: JSON?) -> [Int]? {
    guard case .array(let items)? = value else { return nil }
    var numbers: [Int] = []
    for item in items {
      guard case .int(let number) = item else { return nil }
      numbers.append(number)
    }
    return numbers
  }

  private static func checkTiling(
    _ ranges: [Range<Int>], bodyCount: Int, names: [String], file: InputFile
  ) throws(QuantizationError) {
    var position = 0
    let order = ranges.indices.sorted {
      (ranges[$0].lowerBound, ranges[$0].upperBound) < (ranges[$1].lowerBound, ranges[$1].upperBound)
    }
    for index in order {
      let range = ranges[index]
      if range.lowerBound != position {
        let what = range.lowerBound < position ? "overlaps the tensor before it" : "leaves a hole before it"
        throw file.error(.malformed(what), at: 8, name: names[index])
      }
      position = range.upperBound
    }
    if position > bodyCount {
      throw file.error(.truncated(needed: position, available: bodyCount), at: file.byteCount)
    }
    if position < bodyCount {
      throw file.error(.malformed("\(bodyCount - position) bytes after the last tensor"), at: file.byteCount)
    }
  }

  private static let elementTypes: [String: ElementType] = [
    "F64": .float64, "F32": .float32, "F16": .float16, "BF16": .bfloat16, "I64": .int64, "I32": .int32,
    "I16": .int16, "I8": .int8, "U8": .uint8, "BOOL": .bool,
  ]
}
