// A model file mapped read-only: validated once, then used in place.

import System

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// A mapped model file.
///
/// Opening checks the whole header and its checksum; tensor bytes are checked by `verify` and `verifyTensors`
/// alone. If another process shortens the file while it is mapped, touching the lost pages raises SIGBUS: a
/// program that must survive that opens a copy.
///
/// - Memory: keys, records and an index of names are private (about 200 B a tensor); everything else stays in
///   the file. Pointers are valid as long as the object lives.
/// - Errors: `ContainerError` with the path filled in.
package final class MappedModel: @unchecked Sendable {
  /// What to check on opening. Only tests and fuzzers change it.
  package struct DecodeOptions: Sendable {
    /// Skips checksums, so that damaged headers reach the code behind them.
    package var ignoreChecksums = false
    /// Accepts any GGUF file, not only this package's models.
    package var anyArchitecture = false
    package init() {}
  }

  package enum Advice: Sendable {
    /// Will be needed soon: start reading.
    case willNeed
    /// Not needed for a while: forget the pages.
    case dontNeed
  }

  /// The newest format this code reads.
  package static let formatVersion = 6
  package static let architecture = "trident"
  package static let packing = "panel16x4"
  static let headerChecksumKey = "trident.header_crc32"
  static let tensorChecksumsKey = "trident.tensor_crc32"

  package let path: String
  package let header: GGUFHeader
  let mapping: FileMapping
  let ignoresChecksums: Bool

  package var byteCount: Int { mapping.bytes.count }
  /// The whole file, borrowed.
  package var fileBytes: UnsafeRawBufferPointer { mapping.bytes }
  package var pageByteCount: Int { mapping.pageByteCount }
  /// Which file it is, and when it was last changed.
  package var stamp: FileStamp? { mapping.stamp }
  /// All keys in file order.
  package var keys: [String] { header.entries.map(\.key) }
  /// All tensors in file order, which is the order of use.
  package var tensors: [TensorRecord] { header.tensors }

  /// `copies`: the file is read into memory and not mapped.
  package convenience init(path: String, copies: Bool = false) throws(ContainerError) {
    try self.init(path: path, options: DecodeOptions(), copies: copies)
  }

  package init(path: String, options: DecodeOptions, copies: Bool = false) throws(ContainerError) {
    self.path = path
    ignoresChecksums = options.ignoreChecksums || options.anyArchitecture
    do throws(SystemError) { mapping = try FileMapping(path: path, copies: copies) } catch {
      throw ContainerError(error)
    }
    do throws(ContainerError) {
      header = try GGUFHeader(decoding: mapping.bytes)
    } catch {
      throw error.at(path: path)
    }
    if !options.anyArchitecture { try checkFormat() }
    if !ignoresChecksums { try verifyHeader() }
    // The merge table alone is over a megabyte: let its pages go until the tokenizer asks.
    advise(0..<header.dataStart, .dontNeed)
  }

  private func checkFormat() throws(ContainerError) {
    try expect("general.architecture", Self.architecture)
    let version = try uint("trident.format_version")
    guard version >= 1, version <= Self.formatVersion else {
      throw fail(
        .unsupportedVersion(
          found: UInt32(truncatingIfNeeded: version), supported: UInt32(Self.formatVersion)),
        "trident.format_version")
    }
    try expect("trident.packing", Self.packing)
    // Kernels load whole vector registers from a tensor's first byte.
    guard header.alignment >= 64 else {
      throw fail(.invalidAlignment(found: UInt64(header.alignment)), "general.alignment")
    }
  }

  private func expect(_ key: String, _ expected: String) throws(ContainerError) {
    let found = try string(key)
    guard found == expected else {
      throw fail(.valueOutOfRange(expected: "\"\(expected)\"", found: "\"\(found.prefix(40))\""), key)
    }
  }

  // MARK: - Keys

  package func hasKey(_ key: String) -> Bool { header.entry(key) != nil }

  /// Number of elements of an array, 1 for a plain value.
  package func count(_ key: String) throws(ContainerError) -> Int { try entry(key).count }

  package func string(_ key: String) throws(ContainerError) -> String {
    let entry = try entry(key)
    let value = try value(entry)
    guard case .string(let text) = value else { throw mismatch("string", entry) }
    return text
  }

  /// A whole number from 0 on, of any integer type.
  package func uint(_ key: String) throws(ContainerError) -> Int {
    let entry = try entry(key)
    guard entry.type != .array, entry.type != .string else { throw mismatch("a whole number", entry) }
    let value = try value(entry)
    guard let count = value.count else { throw notACount(value, entry) }
    return count
  }

  /// A finite number, of type float32 or float64.
  package func float(_ key: String) throws(ContainerError) -> Float {
    let entry = try entry(key)
    let result: Float
    switch entry.type == .array ? .bool(false) : try value(entry) {
    case .float32(let number): result = number
    case .float64(let number): result = Float(number)
    default: throw mismatch("float32", entry)
    }
    guard result.isFinite else {
      throw fail(.valueOutOfRange(expected: "a finite number", found: "\(result)"), key)
    }
    return result
  }

  /// An array of whole numbers from 0 on, of any integer type, one for each of at most as many tensors as
  /// there can be.
  package func uints(_ key: String) throws(ContainerError) -> [Int] {
    let entry = try entry(key)
    guard entry.type == .array, entry.elementType != .array, entry.elementType != .string else {
      throw mismatch("array of whole numbers", entry)
    }
    // Copied into eight bytes a number, so counted first: a header of bytes would ask for gigabytes.
    let limit = GGUFHeader.Limits.tensors
    guard entry.count <= limit else {
      throw fail(.tooLarge(what: "array length", found: UInt64(entry.count), limit: UInt64(limit)), key)
    }
    var result: [Int] = []
    result.reserveCapacity(entry.count)
    var cursor = ByteCursor(mapping.bytes, offset: entry.offset)
    for _ in 0..<entry.count {
      let value = try GGUFHeader.decodeValue(entry.elementType, &cursor)
      guard let count = value.count else { throw notACount(value, entry) }
      result.append(count)
    }
    return result
  }

  /// Calls `body` with the index and the bytes of each string of an array, in place.
  ///
  /// - Memory: allocates nothing. The bytes are not checked to be UTF-8.
  package func strings(
    _ key: String, _ body: (Int, UnsafeBufferPointer<UInt8>) -> Void
  ) throws(ContainerError) {
    let entry = try entry(key)
    guard entry.type == .array, entry.elementType == .string else {
      throw mismatch("array of strings", entry)
    }
    var cursor = ByteCursor(mapping.bytes, offset: entry.offset)
    for index in 0..<entry.count {
      let length = try cursor.count(what: "string length", limit: Int.max)
      let slice = try cursor.bytes(length)
      body(index, slice.assumingMemoryBound(to: UInt8.self))
    }
  }

  /// Any value, materialised. For listings.
  package func value(_ key: String) throws(ContainerError) -> GGUFValue { try value(entry(key)) }

  func entry(_ key: String) throws(ContainerError) -> GGUFHeader.Entry {
    guard let entry = header.entry(key) else { throw fail(.missingKey, key) }
    return entry
  }

  private func value(_ entry: GGUFHeader.Entry) throws(ContainerError) -> GGUFValue {
    do throws(ContainerError) { return try header.value(of: entry, in: mapping.bytes) } catch {
      throw error.at(path: path)
    }
  }

  private func mismatch(_ expected: String, _ entry: GGUFHeader.Entry) -> ContainerError {
    let found = entry.type == .array ? "array of \(entry.elementType)" : "\(entry.type)"
    return fail(.wrongValueType(expected: expected, found: found), entry.key)
  }

  private func notACount(_ value: GGUFValue, _ entry: GGUFHeader.Entry) -> ContainerError {
    switch value {
    case .int8, .int16, .int32, .int64, .uint64:
      return fail(.valueOutOfRange(expected: "a whole number from 0 on", found: "\(value)"), entry.key)
    default: return mismatch("a whole number", entry)
    }
  }

  // MARK: - Tensors

  package func hasTensor(_ name: String) -> Bool { header.tensor(name) != nil }

  package func tensor(_ name: String) throws(ContainerError) -> TensorRecord {
    guard let record = header.tensor(name) else { throw fail(.missingTensor, name) }
    return record
  }

  /// The bytes of a tensor after its type and shape were compared with what the caller needs.
  ///
  /// - Shapes: `dimensions` fastest axis first.
  /// - Memory: borrowed from the mapping, aligned to 64 bytes.
  /// - Errors: missing tensor; another type or shape (the message names the tensor, what was expected and
  ///   found).
  package func bytes(
    _ name: String, type: GGUFType, dimensions: [Int]
  ) throws(ContainerError) -> UnsafeRawPointer {
    let record = try tensor(name)
    guard record.type == type, record.dimensions == dimensions else {
      let expected = TensorRecord.describe(type, dimensions)
      throw fail(.wrongTensor(expected: expected, found: record.shapeDescription), name)
    }
    return mapping.bytes.baseAddress! + record.offset
  }

  func fail(_ reason: ContainerError.Reason, _ name: String?, offset: Int? = nil) -> ContainerError {
    ContainerError(reason, path: path, offset: offset, name: name)
  }

  // MARK: - Pages

  /// Tells the system which part of the file comes next and which is done with.
  ///
  /// Works on whole pages of the machine's size (4, 16 or 64 KiB): `willNeed` rounds outwards, `dontNeed`
  /// inwards, so neighbours in use are never dropped.
  /// - Units: `range` in bytes from the start of the file; parts outside the file are ignored.
  package func advise(_ range: Range<Int>, _ advice: Advice) {
    switch advice {
    case .willNeed: mapping.advise(range, Int32(MADV_WILLNEED), outwards: true)
    case .dontNeed: mapping.advise(range, Int32(MADV_DONTNEED), outwards: false)
    }
  }

  /// Bytes of the file held in the page cache (not only by this process).
  package func residentByteCount() -> Int { mapping.residentByteCount() }

  /// Throws if the file's size or modification time is no longer that of the moment it was opened.
  package func checkUnchanged() throws(ContainerError) {
    guard mapping.isUnchanged else { throw fail(.changedWhileOpen, nil) }
  }
}
