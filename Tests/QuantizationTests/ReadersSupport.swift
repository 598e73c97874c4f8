// Files for the reader tests: the committed ones, and builders for those no honest program would write.

import Foundation
import Quantization
import Testing

/// Where the committed checkpoints are.
let checkpointFolder = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
  .deletingLastPathComponent().appendingPathComponent("Fixtures/checkpoints").path

func checkpoint(_ name: String) -> String { checkpointFolder + "/" + name }

func contents(_ name: String) throws -> [UInt8] {
  [UInt8](try Data(contentsOf: URL(fileURLWithPath: checkpoint(name))))
}

/// A file that lives as long as the value.
final class ScratchFile {
  let path: String

  init(_ bytes: [UInt8] = [], suffix: String = ".bin") throws {
    path = NSTemporaryDirectory() + "readers-" + UUID().uuidString + suffix
    try replace(bytes)
  }

  func replace(_ bytes: [UInt8]) throws { try Data(bytes).write(to: URL(fileURLWithPath: path)) }

  deinit { unlink(path) }
}

/// What opening and reading everything in `path` comes to.
func outcome(_ path: String) -> Result<Int, QuantizationError> {
  do throws(QuantizationError) {
    let directory = try TensorDirectory.open(path: path)
    var count = 0
    for name in directory.names { count += try directory.readFloat(name).count }
    return .success(count)
  } catch {
    return .failure(error)
  }
}

func reason(_ path: String) -> QuantizationError.Reason? {
  if case .failure(let error) = outcome(path) { return error.reason }
  return nil
}

func reason(_ bytes: [UInt8]) throws -> QuantizationError.Reason? {
  let file = try ScratchFile(bytes)
  return reason(file.path)
}

func little(_ value: Int, _ width: Int) -> [UInt8] {
  (0..<width).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }
}

/// One after another; long sums of arrays are too much for the type checker of Swift 6.0.
func joined(_ parts: [UInt8]...) -> [UInt8] { Array(parts.joined()) }

// MARK: Pickles

/// A pickle assembled opcode by opcode.
struct PickleBytes {
  var bytes: [UInt8] = [0x80, 2]

  mutating func op(_ codes: UInt8...) { bytes += codes }
  mutating func global(_ module: String, _ name: String) {
    bytes += joined([0x63], Array(module.utf8), [0x0a], Array(name.utf8), [0x0a])
  }
  mutating func text(_ text: String) { bytes += [0x58] + little(text.utf8.count, 4) + Array(text.utf8) }
  mutating func integer(_ value: Int) { bytes += [0x4a] + little(value, 4) }
  mutating func integers(_ values: [Int]) {
    op(0x28)
    for value in values { integer(value) }
    op(0x74)
  }

  /// Pushes a tensor over a float storage.
  mutating func tensor(
    key: String = "0", elements: Int = 4, offset: Int = 0, shape: [Int], strides: [Int],
    type: String = "FloatStorage", isNegated: Bool = false
  ) {
    global("torch._utils", "_rebuild_tensor_v2")
    op(0x28, 0x28)
    text("storage")
    global("torch", type)
    text(key)
    text("cpu")
    integer(elements)
    op(0x74, 0x51)
    integer(offset)
    integers(shape)
    integers(strides)
    op(0x89, 0x4e)
    if isNegated {
      op(0x7d)
      text("neg")
      op(0x88, 0x73)
    }
    op(0x74, 0x52)
  }

  /// A tensor whose element type is told beside it, on a storage of bare bytes.
  mutating func typedTensor(key: String, bytes count: Int, shape: [Int], strides: [Int], type: String) {
    global("torch._utils", "_rebuild_tensor_v3")
    op(0x28, 0x28)
    text("storage")
    global("torch.storage", "UntypedStorage")
    text(key)
    text("cpu")
    integer(count)
    op(0x74, 0x51)
    integer(0)
    integers(shape)
    integers(strides)
    op(0x89, 0x4e)
    global("torch", type)
    op(0x74, 0x52)
  }

  /// A dictionary of one tensor.
  static func single(
    elements: Int = 4, offset: Int = 0, shape: [Int], strides: [Int], type: String = "FloatStorage"
  ) -> [UInt8] {
    var pickle = PickleBytes()
    pickle.op(0x7d)
    pickle.text("a")
    pickle.tensor(elements: elements, offset: offset, shape: shape, strides: strides, type: type)
    pickle.op(0x73, 0x2e)
    return pickle.bytes
  }
}

/// A legacy file around a pickle; four floats for storage "0" follow.
func legacyFile(_ pickle: [UInt8], littleEndian: Bool = true) -> [UInt8] {
  let floats = [Float](arrayLiteral: 1, 2, 3, 4).flatMap { little(Int($0.bitPattern), 4) }
  return legacyFile(pickle, storages: [(count: 4, bytes: floats)], littleEndian: littleEndian)
}

/// A legacy file around a pickle; the storages "0", "1" and so on follow.
func legacyFile(
  _ pickle: [UInt8], storages: [(count: Int, bytes: [UInt8])], littleEndian: Bool = true
) -> [UInt8] {
  var system = PickleBytes()
  system.op(0x7d)
  system.text("little_endian")
  system.op(littleEndian ? 0x88 : 0x89, 0x73, 0x2e)
  var keys = PickleBytes()
  keys.op(0x5d)
  for index in storages.indices {
    keys.text("\(index)")
    keys.op(0x61)
  }
  keys.op(0x2e)
  let magic: [UInt8] = [0x80, 2, 0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, 0x2e]
  let version: [UInt8] = [0x80, 2, 0x4d, 0xe9, 0x03, 0x2e]
  let tail = storages.flatMap { little($0.count, 8) + $0.bytes }
  return joined(magic, version, system.bytes, pickle, keys.bytes, tail)
}

// MARK: Archives

/// One entry of a zip assembled by hand; nil fields take the honest value.
struct ZipPart {
  var name: String
  var body: [UInt8]
  var checksum: UInt32?
  var flags = 0
  var method = 0
  var byteCount: Int?
  var headerOffset: Int?
  var localName: String?
}

func zipFile(_ parts: [ZipPart], disk: Int = 0, entryCount: Int? = nil) -> [UInt8] {
  var bytes: [UInt8] = []
  var directory: [UInt8] = []
  for part in parts {
    let offset = part.headerOffset ?? bytes.count
    let name = Array(part.name.utf8)
    let checksum = little(Int(part.checksum ?? crc32(part.body)), 4)
    let sizes = little(part.body.count, 4) + little(part.byteCount ?? part.body.count, 4)
    let localName = Array((part.localName ?? part.name).utf8)
    let common = joined(
      little(20, 2), little(part.flags, 2), little(part.method, 2), little(0, 4), checksum, sizes)
    bytes += joined(
      [0x50, 0x4b, 3, 4], common, little(localName.count, 2), little(0, 2), localName, part.body)
    directory += joined([0x50, 0x4b, 1, 2], little(20, 2), common, little(name.count, 2))
    directory += joined(little(0, 12), little(offset, 4), name)
  }
  let start = bytes.count
  bytes += directory
  let count = little(entryCount ?? parts.count, 2)
  bytes += joined([0x50, 0x4b, 5, 6], little(disk, 2), little(disk, 2), count, count)
  return joined(bytes, little(directory.count, 4), little(start, 4), little(0, 2))
}

/// CRC-32 a bit at a time: slow, and independent of the one under test.
func crc32(_ bytes: [UInt8]) -> UInt32 {
  var remainder: UInt32 = ~0
  for byte in bytes {
    remainder ^= UInt32(byte)
    for _ in 0..<8 { remainder = remainder & 1 == 1 ? remainder >> 1 ^ 0xedb8_8320 : remainder >> 1 }
  }
  return ~remainder
}

/// The parts of an archive with one pickle and storage "0" of four floats.
func archiveParts(_ pickle: [UInt8]) -> [ZipPart] {
  let floats = [Float](arrayLiteral: 1, 2, 3, 4).flatMap { little(Int($0.bitPattern), 4) }
  return [ZipPart(name: "m/data.pkl", body: pickle), ZipPart(name: "m/data/0", body: floats)]
}

func safetensorsFile(_ header: String, bodyCount: Int) -> [UInt8] {
  little(header.utf8.count, 8) + Array(header.utf8) + [UInt8](repeating: 0, count: bodyCount)
}

/// SplitMix64; the seed is printed by the test that uses it.
struct MutationSource: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var mixed = state
    mixed = (mixed ^ mixed >> 30) &* 0xbf58_476d_1ce4_e5b9
    mixed = (mixed ^ mixed >> 27) &* 0x94d0_49bb_1331_11eb
    return mixed ^ mixed >> 31
  }
}
