// Edits a model file: any key, any tensor; then everything that vouches for it is put right again.
import Container
import Segmentation
import System
import TestSupport

/// A model file taken apart.
///
/// What is written has correct checksums and layout, as from an adversary who knows the format: only what
/// the edits say is wrong with it.
struct ModelEditor {
  var values: [(key: String, value: GGUFValue)]
  var tensors: [(declaration: TensorDeclaration, bytes: [UInt8])]

  init(_ path: String) throws {
    let file = try MappedModel(path: path)
    values = try file.keys.filter { $0 != "general.alignment" && !Self.isComputed($0) }.map {
      (key: $0, value: try file.value($0))
    }
    tensors = file.tensors.map { record in
      let declaration = TensorDeclaration(
        name: record.name, type: record.type, dimensions: record.dimensions)
      return (declaration, Array(file.fileBytes[record.range]))
    }
  }

  init(values: [(key: String, value: GGUFValue)], tensors: [(declaration: TensorDeclaration, bytes: [UInt8])])
  {
    (self.values, self.tensors) = (values, tensors)
  }

  private static func isComputed(_ key: String) -> Bool {
    key == "trident.model_id" || key.hasPrefix("trident.") && key.hasSuffix("_crc32")
  }

  mutating func set(_ key: String, _ value: GGUFValue) {
    if let index = values.firstIndex(where: { $0.key == key }) { values[index].value = value }
  }

  func index(of tensor: String) -> Int? { tensors.firstIndex { $0.declaration.name == tensor } }

  /// Overwrites all elements of a tensor, or one.
  mutating func fill(_ index: Int, with element: [UInt8], at place: Int? = nil) {
    let count = tensors[index].bytes.count / element.count
    for position in place.map({ $0..<$0 + 1 }) ?? 0..<count where position < count {
      tensors[index].bytes.replaceSubrange(
        position * element.count..<(position + 1) * element.count, with: element)
    }
  }

  /// The bytes of the file. `identity`: the claim; nil: the truth.
  func encoded(identity: String?) throws -> [UInt8] {
    let own: [(key: String, value: GGUFValue)] = [
      ("trident.model_id", .string(identity ?? String(repeating: "0", count: 64))),
      ("trident.tensor_crc32", .uint32s([UInt32](repeating: 0, count: tensors.count))),
      ("trident.header_crc32", .uint32(0)),
    ]
    let first: [(key: String, value: GGUFValue)] = [("general.alignment", .uint32(64))]
    var header = try GGUFHeader.encode(values: first + values + own, tensors: tensors.map(\.declaration))
    for (index, tensor) in tensors.enumerated() {
      header.bytes.store(
        little: CRC32.of(tensor.bytes[...]), at: header.valueOffsets["trident.tensor_crc32"]! + 4 * index)
    }
    header.bytes.store(little: CRC32.of(header.bytes[...]), at: header.valueOffsets["trident.header_crc32"]!)
    var bytes = header.bytes
    for tensor in tensors {
      bytes += tensor.bytes
      bytes += [UInt8](repeating: 0, count: (64 - bytes.count % 64) % 64)
    }
    return bytes
  }

  /// Writes the file. `identity`: the claim; nil: the truth.
  func write(to path: String, identity: String? = nil) throws {
    try unlinkAndWrite(encoded(identity: identity), path)
    guard identity == nil else { return }
    let truth = try MappedModel(path: path).computedIdentity()
    try unlinkAndWrite(encoded(identity: truth), path)
  }

  /// A new file, so that what is mapped of the old one stays.
  private func unlinkAndWrite(_ bytes: [UInt8], _ path: String) throws {
    _ = remove(path)
    writeBytes(bytes, to: path)
  }
}

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif
