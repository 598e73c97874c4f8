// Writes a model file: the layout is declared first, then the bytes arrive in order, then checksums are
// filled in.

import System

/// Streams one model file to `path` by way of an `AtomicFile`.
///
/// Adds `general.alignment` in front of the keys given, and behind them `trident.model_id`,
/// `trident.tensor_crc32` and, as the last one, `trident.header_crc32`. Same values and bytes in, same file
/// out.
/// - Memory: the header (a megabyte or two with a merge table); tensor bytes pass straight through.
/// - Errors: a failed system call, a wrong number of bytes, a target that is no file. Without `finish`
///   nothing appears at
///   `path`, and the temporary file is removed when the object goes.
package final class ModelWriter {
  package static let alignment = 64

  package let path: String
  private let file: AtomicFile
  /// Where each declared tensor goes.
  package let tensors: [TensorRecord]
  package private(set) var byteCount: Int

  private var header: GGUFHeader.Encoded
  private var current = 0
  private var currentCount = 0
  private var crc = CRC32()
  private var checksums: [UInt32] = []
  private var identity = ModelIdentity()
  private var isOpen = true
  private var isSealed = false

  /// - Parameter overwrite: whether an existing file at `path` may be replaced.
  package init(
    path: String, values: [(key: String, value: GGUFValue)], tensors: [TensorDeclaration], overwrite: Bool
  ) throws(ContainerError) {
    let placeholders: [(key: String, value: GGUFValue)] = [
      (MappedModel.identityKey, .string(String(repeating: "0", count: 64))),
      (MappedModel.tensorChecksumsKey, .uint32s([UInt32](repeating: 0, count: tensors.count))),
      (MappedModel.headerChecksumKey, .uint32(0)),
    ]
    let first: [(key: String, value: GGUFValue)] = [("general.alignment", .uint32(UInt32(Self.alignment)))]
    header = try GGUFHeader.encode(values: first + values + placeholders, tensors: tensors)
    self.tensors = header.tensors
    self.path = path
    byteCount = header.bytes.count
    if !overwrite, fileExists(path) { throw ContainerError(.alreadyExists, path: path) }
    do throws(SystemError) {
      // A model is never sent to standard output, which is what this name would mean.
      file = try AtomicFile(path: path == "-" ? "./-" : path)
      try file.write(header.bytes)
    } catch { throw ContainerError(error) }
    for (key, range) in header.entryRanges {
      header.bytes[range].withUnsafeBytes { identity.add(key: key, entry: $0) }
    }
    if !self.tensors.isEmpty { identity.add(self.tensors[0]) }
  }

  /// Where the file is until `finish`.
  package var temporaryPath: String { file.temporary }

  /// Removes the temporary file. Does nothing after `finish`.
  package func discard() {
    isOpen = false
    file.abort()
  }

  /// The next bytes of the tensor in turn; a tensor may arrive in pieces, a piece never spans two tensors.
  package func append(_ bytes: UnsafeRawBufferPointer) throws(ContainerError) {
    precondition(isOpen, "append after the writer was closed")
    guard current < tensors.count else {
      throw ContainerError(.wrongByteCount(expected: 0, found: bytes.count), path: path)
    }
    let record = tensors[current]
    guard bytes.count <= record.byteCount - currentCount else {
      let found = currentCount + bytes.count
      throw ContainerError(
        .wrongByteCount(expected: record.byteCount, found: found), path: path, name: record.name)
    }
    crc.update(bytes)
    identity.add(bytes)
    do throws(SystemError) { try file.write(bytes) } catch { throw ContainerError(error) }
    byteCount += bytes.count
    currentCount += bytes.count
    if currentCount == record.byteCount { try endTensor() }
  }

  /// The name of the tensor whose bytes come next; nil when all are there.
  package var nextTensorName: String? { current < tensors.count ? tensors[current].name : nil }

  private func endTensor() throws(ContainerError) {
    checksums.append(crc.value)
    crc = CRC32()
    let padded = (byteCount + Self.alignment - 1) & ~(Self.alignment - 1)
    let padding = [UInt8](repeating: 0, count: padded - byteCount)
    do throws(SystemError) { try file.write(padding) } catch { throw ContainerError(error) }
    byteCount = padded
    current += 1
    currentCount = 0
    if current < tensors.count { identity.add(tensors[current]) }
  }

  /// Fills in identity and checksums, and syncs: the file is whole, under its temporary name.
  package func seal() throws(ContainerError) {
    precondition(isOpen, "seal after the writer was closed")
    guard !isSealed else { return }
    guard current == tensors.count else {
      throw ContainerError(
        .wrongByteCount(expected: tensors[current].byteCount, found: currentCount), path: path,
        name: tensors[current].name)
    }
    let place = offset(of: MappedModel.identityKey)
    header.bytes.replaceSubrange(place..<place + 64, with: identity.finish().utf8)
    for (index, checksum) in checksums.enumerated() {
      header.bytes.store(little: checksum, at: offset(of: MappedModel.tensorChecksumsKey) + 4 * index)
    }
    header.bytes.store(little: CRC32.of(header.bytes[...]), at: offset(of: MappedModel.headerChecksumKey))
    do throws(SystemError) {
      try file.writeStart(header.bytes)
      try file.sync()
    } catch { throw ContainerError(error) }
    isSealed = true
  }

  /// Seals the file and renames it into place.
  package func finish() throws(ContainerError) {
    try seal()
    do throws(SystemError) { try file.finish() } catch { throw ContainerError(error) }
    isOpen = false
  }

  private func offset(of key: String) -> Int {
    guard let offset = header.valueOffsets[key] else { preconditionFailure("\(key) was not declared") }
    return offset
  }
}
