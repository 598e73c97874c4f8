// One opened checkpoint, whatever its format: names, shapes, and float rows on request.

import System

/// What a checkpoint stores for one number.
package enum ElementType: String, Sendable, CaseIterable {
  case float32, float16, bfloat16, float64, int64, int32, int16, int8, uint8, bool

  package var byteCount: Int {
    switch self {
    case .float64, .int64: return 8
    case .float32, .int32: return 4
    case .float16, .bfloat16, .int16: return 2
    case .int8, .uint8, .bool: return 1
    }
  }

  package var isFloatingPoint: Bool {
    switch self {
    case .float32, .float16, .bfloat16, .float64: return true
    default: return false
    }
  }
}

/// One tensor: a view of a storage that stays on disk.
///
/// - Shapes: `shape` outermost first, empty for a single number; `strides` one each, in elements, zero or
///   more.
package struct TensorRecord: Sendable {
  package let name: String
  package let shape: [Int]
  package let strides: [Int]
  package let elementType: ElementType
  /// Which storage of the checkpoint; tensors that share memory share this number.
  package let storage: Int
  /// First element within the storage, in elements.
  package let storageOffset: Int
  /// Whether the numbers meant are those stored with the other sign.
  let isNegated: Bool
  /// Product of `shape`; checked to fit when the checkpoint is opened.
  package let elementCount: Int
}

/// One opened checkpoint.
///
/// Opening reads the directory of tensors only and checks that each lies inside its storage. Values are read
/// when asked for. Nothing in the file is executed.
///
/// - Memory: the directory; a read holds at most `TensorDirectory.scratchByteLimit` besides the caller's
///   buffer.
/// - Errors: everything in `QuantizationError.Reason` up to `noSuchTensor`.
package final class TensorDirectory {
  package enum Format: String, Sendable {
    case torchZip = "PyTorch zip"
    case torchScript = "TorchScript"
    case torchLegacy = "PyTorch legacy"
    case safetensors = "safetensors"
  }

  static let tensorLimit = 200_000
  static let axisLimit = 16
  static let scratchByteLimit = 32 << 20

  package let path: String
  /// Of the file, or of all parts of a model in several.
  package let byteCount: Int
  package let format: Format
  package let metadata: [String: String]
  /// What the training run was told, where the file says so under `args`.
  let arguments: CheckpointValue?
  /// Names in file order.
  package let names: [String]

  let file: InputFile
  /// The files beside an index; a model in one file has none.
  private let parts: [InputFile]
  private let recordOfName: [String: TensorRecord]
  private let archive: ZipDirectory?
  private var storages: [StoredBytes]
  /// What was decided about this file and should be known.
  var notes: [String] = []
  /// What of that was taken for granted, for the model file.
  private(set) var assumptions: [String] = []
  /// What stands in front of the names of the network that was taken from it; nil before that is known.
  var networkPrefix: String?
  /// The last scattered tensor's bytes; see `TensorDirectory+Read.swift`.
  var spanCache: SpanCache?
  /// Rows of the last tensor whose elements lie too far apart for that.
  var rowCache: RowCache?

  /// Notes what nothing tells, for people now and for the model file.
  func assume(_ what: String, because: String, otherwise flags: String? = nil) {
    assumptions.append(what)
    let remedy = flags.map { ", and \($0) would say otherwise" } ?? ""
    notes.append("\(path): assumed: \(what); \(because)" + remedy)
  }

  func assumeHeads(_ heads: String, _ width: Int, flag: String) {
    assume("\(heads) of \(width) channels", because: "no configuration beside it tells", otherwise: flag)
  }

  /// Opens a checkpoint; the format is told from the contents, not from the file's name.
  package static func open(path: String) throws(QuantizationError) -> TensorDirectory {
    let file = try InputFile.open(path: path)
    let listing: TensorListing
    switch try CheckpointKind.detect(file) {
    case .zip: listing = try TorchArchiveReader.read(file)
    case .legacy: listing = try LegacyTorchReader.read(file)
    case .safetensors: listing = try SafetensorsReader.read(file)
    case .index: listing = try ShardIndex.read(file)
    }
    return try TensorDirectory(file: file, listing: listing)
  }

  init(file: InputFile, listing: TensorListing) throws(QuantizationError) {
    self.file = file
    path = file.path
    parts = listing.parts
    byteCount = parts.isEmpty ? file.byteCount : parts.reduce(0) { $0 + $1.byteCount }
    format = listing.format
    metadata = listing.metadata
    arguments = listing.arguments
    archive = listing.archive
    storages = listing.storages
    unreadable = Dictionary(
      listing.unreadable.map { (Self.unwrapped($0.key), $0.value) }, uniquingKeysWith: { first, _ in first })
    var records: [String: TensorRecord] = [:]
    var names: [String] = []
    if listing.tensors.isEmpty { throw listing.emptiness(of: file) }
    if listing.tensors.count > Self.tensorLimit {
      throw file.error(
        .limitExceeded(what: "tensors", limit: Self.tensorLimit, found: listing.tensors.count))
    }
    let byteLimit = ZipDirectory.unpackedByteLimit(byteCount)
    var total = 0
    for var tensor in listing.tensors {
      tensor.name = Self.unwrapped(tensor.name)
      let record = try Self.check(tensor, storages: listing.storages, file: file, byteCount: byteCount)
      total += record.elementCount * record.elementType.byteCount
      if total > byteLimit {
        throw file.error(
          .limitExceeded(what: "bytes of tensors", limit: byteLimit, found: total), name: record.name)
      }
      if records.updateValue(record, forKey: record.name) != nil {
        throw file.error(.duplicateName, name: record.name)
      }
      names.append(record.name)
    }
    self.names = names
    recordOfName = records
  }

  package func record(_ name: String) -> TensorRecord? { recordOfName[name] }

  /// Names of tensors whose element type is not read, with that type.
  let unreadable: [String: String]

  /// A name without what PyTorch's compiler, checkpointing and sharding put between modules.
  private static func unwrapped(_ name: String) -> String {
    let wrappers: Set<Substring> = ["_orig_mod", "_checkpoint_wrapped_module", "_fsdp_wrapped_module"]
    let parts = name.split(separator: ".", omittingEmptySubsequences: false)
    guard parts.contains(where: wrappers.contains) else { return name }
    return parts.filter { !wrappers.contains($0) }.joined(separator: ".")
  }

  /// SHA-256 of the whole file in lower-case hexadecimal; of several parts, by name, SHA-256 of their digests
  /// written one behind the other.
  ///
  /// - Units: `progress` is told the bytes done so far, now and then.
  package func sha256Hex(progress: ((Int) -> Void)? = nil) throws(QuantizationError) -> String {
    if parts.isEmpty { return try file.sha256Hex(progress: progress) }
    var (digest, before) = (SHA256Digest(), 0)
    for part in parts {
      let text = try part.sha256Hex { [before] done in progress?(before + done) }
      Array(text.utf8).withUnsafeBytes { digest.update($0) }
      before += part.byteCount
    }
    return digest.finishHex()
  }

  /// Lets go of cached bytes and tells the system that what was read is not needed again.
  package func releasePages() {
    (spanCache, rowCache) = (nil, nil)
    for file in [file] + parts { file.releasePages() }
  }

  /// Compares every storage of a zip archive with its checksum; other formats carry none.
  ///
  /// - Memory: 64 KiB. Time: one pass over the file.
  package func verifyChecksums() throws(QuantizationError) {
    guard let archive else { return }
    for entry in archive.entries { _ = try archive.extent(of: entry, checkingStored: true) }
  }

  /// Where a storage's bytes lie; the first time, an archive's entry is compared with its checksum, and a
  /// deflated one unpacked.
  func extent(of storage: Int) throws(QuantizationError) -> ByteExtent {
    switch storages[storage].place {
    case .extent(let extent): return extent
    case .entry(let entry):
      guard let archive else { throw file.error(.malformed("no archive"), name: entry.name) }
      let extent = try archive.extent(of: entry, checkingStored: true)
      storages[storage].place = .extent(extent)
      return extent
    }
  }

  // MARK: Checks

  /// A tensor must lie inside its storage, and its element count must be in proportion to the file: a stride
  /// of zero lets four bytes pose as petabytes. So must all tensors together: many may share one storage.
  private static func check(
    _ tensor: ListedTensor, storages: [StoredBytes], file: InputFile, byteCount: Int
  ) throws(QuantizationError) -> TensorRecord {
    if tensor.shape.count > axisLimit {
      throw file.error(
        .limitExceeded(what: "axes", limit: axisLimit, found: tensor.shape.count), name: tensor.name)
    }
    if tensor.shape.count != tensor.strides.count {
      throw file.error(
        .malformed("\(tensor.shape.count) sizes and \(tensor.strides.count) strides"), name: tensor.name)
    }
    if let stride = tensor.strides.first(where: { $0 < 0 }) {
      throw file.error(.negativeStride(stride), name: tensor.name)
    }
    let limit = (1 << 20) + min(byteCount, Int.max / 64) * 32
    guard let count = checkedProduct(tensor.shape), count <= limit else {
      throw file.error(.malformed("shape \(tensor.shape) is impossible in this file"), name: tensor.name)
    }
    let storageElements = storages[tensor.storage].byteCount / tensor.elementType.byteCount
    if tensor.storageOffset < 0 || tensor.storageOffset > storageElements {
      throw file.error(
        .tensorOutsideStorage(lastElement: tensor.storageOffset, storageElements: storageElements),
        name: tensor.name)
    }
    var last = tensor.storageOffset
    if count > 0 {
      for (extent, stride) in zip(tensor.shape, tensor.strides) {
        let reach = (extent - 1).multipliedReportingOverflow(by: stride)
        let sum = last.addingReportingOverflow(reach.partialValue)
        if reach.overflow || sum.overflow || sum.partialValue >= storageElements {
          throw file.error(
            .tensorOutsideStorage(
              lastElement: reach.overflow || sum.overflow ? Int.max : sum.partialValue,
              storageElements: storageElements), name: tensor.name)
        }
        last = sum.partialValue
      }
      if last >= storageElements {
        throw file.error(
          .tensorOutsideStorage(lastElement: last, storageElements: storageElements), name: tensor.name)
      }
    }
    return TensorRecord(
      name: tensor.name, shape: tensor.shape, strides: tensor.strides, elementType: tensor.elementType,
      storage: tensor.storage, storageOffset: tensor.storageOffset, isNegated: tensor.isNegated,
      elementCount: count)
  }
}

// MARK: What the format readers hand over

/// A storage: bytes already located, or an archive entry.
struct StoredBytes {
  enum Place {
    case extent(ByteExtent)
    case entry(ZipEntry)
  }
  var place: Place
  let byteCount: Int
}

/// A tensor as its file declares it, not yet checked against its storage.
struct ListedTensor {
  var name: String
  var shape: [Int]
  var strides: [Int]
  var elementType: ElementType
  var storage: Int
  var storageOffset: Int
  var isNegated = false
}

/// A checkpoint's directory, from one of the format readers.
struct TensorListing {
  var format: TensorDirectory.Format
  var tensors: [ListedTensor] = []
  var storages: [StoredBytes] = []
  /// The files beside an index.
  var parts: [InputFile] = []
  var metadata: [String: String] = [:]
  var arguments: CheckpointValue?
  var archive: ZipDirectory?
  /// Names of tensors whose element type is not read, with that type: they are not there, and known to be.
  var unreadable: [String: String] = [:]

  /// Why there is no tensor.
  func emptiness(of file: InputFile) -> QuantizationError {
    guard let (name, type) = unreadable.min(by: { $0.key < $1.key }) else { return file.error(.noTensors) }
    return file.error(
      .unsupported("element type \(type) is not supported; save it as float16 or float32"), name: name)
  }
}
