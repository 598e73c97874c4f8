import Container
// Small model files for the tests of this target.
import Foundation
import Testing

/// A folder that goes away with the test that made it.
final class TemporaryFolder {
  let path: String

  init() {
    path = NSTemporaryDirectory() + "trident-container-\(UUID().uuidString)"
    try! FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }

  func file(_ name: String) -> String { path + "/" + name }

  func write(_ bytes: [UInt8], _ name: String) -> String {
    _ = FileManager.default.createFile(atPath: file(name), contents: Data(bytes))
    return file(name)
  }

  func read(_ name: String) -> [UInt8] { [UInt8](FileManager.default.contents(atPath: file(name))!) }

  var names: [String] { try! FileManager.default.contentsOfDirectory(atPath: path).sorted() }
}

enum Sample {
  static let values: [(key: String, value: GGUFValue)] = [
    ("general.architecture", .string("trident")),
    ("general.name", .string("sample, with ümlauts")),
    ("trident.format_version", .uint32(1)),
    ("trident.packing", .string("panel16x4")),
    ("sample.u8", .uint8(200)), ("sample.i8", .int8(-3)), ("sample.u16", .uint16(60_000)),
    ("sample.i16", .int16(-7)), ("sample.i32", .int32(-70_000)), ("sample.f32", .float32(1.5)),
    ("sample.flag", .bool(true)), ("sample.u64", .uint64(1 << 40)), ("sample.i64", .int64(-1)),
    ("sample.f64", .float64(0.25)),
    ("sample.counts", .uint32s([2, 5, 8])),
    ("sample.merges", .strings(["a b", "", "c d"])),
    ("sample.nested", .array(of: .array, [.uint32s([1]), .strings(["x"]), .array(of: .bool, [])])),
  ]

  static let tensors = [
    TensorDeclaration(name: "first", type: .f32, dimensions: [3]),
    TensorDeclaration(name: "second.weight", type: .i8, dimensions: [64, 16]),
    TensorDeclaration(name: "third", type: .f16, dimensions: [5, 2, 3]),
  ]

  /// The bytes of tensor `index`: a fixed pattern.
  static func bytes(_ index: Int) -> [UInt8] {
    let count = try! tensors[index].byteCount()
    return (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ index &* 31 &+ 1) }
  }

  static func write(to path: String, overwrite: Bool = false, pieces: Int = 17) throws {
    let writer = try ModelWriter(path: path, values: values, tensors: tensors, overwrite: overwrite)
    for index in tensors.indices {
      let bytes = bytes(index)
      var start = 0
      while start < bytes.count {
        let end = min(bytes.count, start + pieces)
        try bytes[start..<end].withUnsafeBytes { try writer.append($0) }
        start = end
      }
    }
    try writer.finish()
  }

  /// A whole sample file in memory.
  static func file() -> [UInt8] {
    let folder = TemporaryFolder()
    try! write(to: folder.file("m.gguf"))
    return folder.read("m.gguf")
  }
}

/// Builds headers byte by byte, including ones no writer would make.
struct RawFile {
  var bytes: [UInt8] = []

  init(tensors: UInt64 = 0, keys: UInt64 = 0, magic: UInt32 = 0x4655_4747, version: UInt32 = 3) {
    add(magic)
    add(version)
    add(tensors)
    add(keys)
  }

  mutating func add<T: FixedWidthInteger>(_ value: T) {
    withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
  }

  mutating func add(text: String) {
    add(UInt64(text.utf8.count))
    bytes.append(contentsOf: text.utf8)
  }

  mutating func key(_ name: String, _ value: UInt32) {
    add(text: name)
    add(UInt32(4))
    add(value)
  }

  mutating func tensor(_ name: String, _ dimensions: [UInt64], type: UInt32 = 0, offset: UInt64 = 0) {
    add(text: name)
    add(UInt32(dimensions.count))
    for dimension in dimensions { add(dimension) }
    add(type)
    add(offset)
  }

  mutating func pad(to alignment: Int = 32, plus count: Int = 0) {
    while bytes.count % alignment != 0 { bytes.append(0) }
    bytes += [UInt8](repeating: 0, count: count)
  }

  func decode() throws(ContainerError) -> GGUFHeader {
    let bytes = bytes
    let result: Result<GGUFHeader, ContainerError> = bytes.withUnsafeBytes { buffer in
      do throws(ContainerError) { return .success(try GGUFHeader(decoding: buffer)) } catch {
        return .failure(error)
      }
    }
    return try result.get()
  }
}
