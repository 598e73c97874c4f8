// Writes a model file: the layout is declared first, then the bytes arrive in order, then checksums are
// filled in.

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Streams one model file to `path` by way of `path.partial`, which is renamed when everything is on disk. A `path`
/// that is a link is followed, so the link stays.
///
/// Adds `general.alignment` in front of the keys given, and behind them `trident.model_id`,
/// `trident.tensor_crc32` and, as the last one, `trident.header_crc32`. Same values and bytes in, same file
/// out.
/// - Memory: the header (a megabyte or two with a merge table); tensor bytes pass straight through.
/// - Errors: a failed system call, a wrong number of bytes, a target that is no file, a second writer. Without `finish` nothing appears at `path`, and
///   the temporary file is removed when the object goes.
package final class ModelWriter {
  package static let alignment = 64

  package let path: String
  private let target: String
  package let temporaryPath: String
  /// Where each declared tensor goes.
  package let tensors: [TensorRecord]
  package private(set) var byteCount: Int

  private let descriptor: Int32
  private var header: GGUFHeader.Encoded
  private var current = 0
  private var currentCount = 0
  private var crc = CRC32()
  private var checksums: [UInt32] = []
  private var digest = SHA256Digest()
  private var isOpen = true
  private var isSealed = false

  /// - Parameter overwrite: whether an existing file at `path` may be replaced.
  package init(
    path: String, values: [(key: String, value: GGUFValue)], tensors: [TensorDeclaration], overwrite: Bool
  ) throws(ContainerError) {
    let placeholders: [(key: String, value: GGUFValue)] = [
      ("trident.model_id", .string(String(repeating: "0", count: 64))),
      (MappedModel.tensorChecksumsKey, .uint32s([UInt32](repeating: 0, count: tensors.count))),
      (MappedModel.headerChecksumKey, .uint32(0)),
    ]
    let first: [(key: String, value: GGUFValue)] = [("general.alignment", .uint32(UInt32(Self.alignment)))]
    header = try GGUFHeader.encode(values: first + values + placeholders, tensors: tensors)
    self.tensors = header.tensors
    self.path = path
    target = try Self.followingLinks(path)
    // A stale file of a killed run is replaced; the name is fixed so that litter never piles up.
    temporaryPath = target + ".partial"
    byteCount = header.bytes.count
    var status = stat()
    if stat(target, &status) == 0 {
      guard overwrite else { throw ContainerError(.alreadyExists, path: path) }
      guard status.st_mode & S_IFMT == S_IFREG else { throw ContainerError(.notRegularFile, path: path) }
    }
    descriptor = try Self.create(temporaryPath)
    do throws(ContainerError) {
      try header.bytes.withUnsafeBytesTyped { bytes throws(ContainerError) in try write(bytes) }
    } catch {
      discard()
      throw error
    }
    digestConfiguration()
    if !self.tensors.isEmpty { digestRecord(self.tensors[0]) }
  }

  deinit { discard() }

  private static func followingLinks(_ path: String) throws(ContainerError) -> String {
    var status = stat()
    guard lstat(path, &status) == 0, status.st_mode & S_IFMT == S_IFLNK else { return path }
    guard let resolved = realpath(path, nil) else {
      throw ContainerError(.io(operation: "follow the link", code: errno), path: path)
    }
    defer { free(resolved) }
    return String(cString: resolved)
  }

  /// An empty, locked file of that name.
  private static func create(_ path: String) throws(ContainerError) -> Int32 {
    while true {
      let file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0o644)
      guard file >= 0 else { throw ContainerError(.io(operation: "create", code: errno), path: path) }
      // A file system without locks only means that a second writer is not noticed.
      if flock(file, LOCK_EX | LOCK_NB) != 0, errno == EWOULDBLOCK {
        close(file)
        throw ContainerError(.beingWritten, path: path)
      }
      var (mine, named) = (stat(), stat())
      let isNamed = fstat(file, &mine) == 0 && lstat(path, &named) == 0
      if isNamed, mine.st_ino == named.st_ino, mine.st_dev == named.st_dev {
        if ftruncate(file, 0) == 0 { return file }
        let code = errno
        close(file)
        throw ContainerError(.io(operation: "create", code: code), path: path)
      }
      // Its writer ended between the two calls, and the file has its final name or is gone.
      close(file)
    }
  }

  /// Removes the temporary file. Does nothing after `finish`.
  package func discard() {
    guard isOpen else { return }
    isOpen = false
    // Removed before it is closed: an open file is locked.
    unlink(temporaryPath)
    close(descriptor)
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
    digest.update(bytes)
    try write(bytes)
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
    try padding.withUnsafeBytesTyped { bytes throws(ContainerError) in try write(bytes) }
    byteCount = padded
    current += 1
    currentCount = 0
    if current < tensors.count { digestRecord(tensors[current]) }
  }

  /// A model's identity covers everything that decides its results: sizes, activation and merges too, but not
  /// where the weights came from. Each key is hashed as GGUF spells it.
  private func digestConfiguration() {
    for (key, range) in header.entryRanges {
      let isMeaningful = key.hasPrefix("trident.") || key.hasPrefix("tokenizer.")
      let isPlaceholder = key == "trident.model_id" || key.hasSuffix("_crc32")
      guard isMeaningful, !isPlaceholder, !key.hasPrefix("trident.source.") else { continue }
      header.bytes[range].withUnsafeBytes { digest.update($0) }
    }
  }

  /// ... and names, shapes and types of tensors, as GGUF spells them but without their offsets.
  private func digestRecord(_ record: TensorRecord) {
    var name = record.name
    name.withUTF8 { text in
      withUnsafeBytes(of: UInt64(text.count).littleEndian) { digest.update($0) }
      digest.update(UnsafeRawBufferPointer(text))
    }
    withUnsafeBytes(of: UInt32(record.dimensions.count).littleEndian) { digest.update($0) }
    for dimension in record.dimensions {
      withUnsafeBytes(of: UInt64(dimension).littleEndian) { digest.update($0) }
    }
    withUnsafeBytes(of: record.type.rawValue.littleEndian) { digest.update($0) }
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
    patch("trident.model_id", Array(digest.finishHex().utf8))
    patch(MappedModel.tensorChecksumsKey, checksums.flatMap { littleEndian($0) })
    let headerCRC = header.bytes.withUnsafeBytes { CRC32.of($0) }
    patch(MappedModel.headerChecksumKey, littleEndian(headerCRC))
    guard lseek(descriptor, 0, SEEK_SET) == 0 else { throw ioError("rewind") }
    try header.bytes.withUnsafeBytesTyped { bytes throws(ContainerError) in try write(bytes) }
    guard fsync(descriptor) == 0 else { throw ioError("sync") }
    isSealed = true
  }

  /// Seals the file and renames it into place.
  package func finish() throws(ContainerError) {
    try seal()
    guard rename(temporaryPath, target) == 0 else { throw ioError("rename") }
    isOpen = false
    close(descriptor)
    syncFolder()
  }

  private func patch(_ key: String, _ bytes: [UInt8]) {
    guard let offset = header.valueOffsets[key] else { preconditionFailure("\(key) was not declared") }
    header.bytes.replaceSubrange(offset..<(offset + bytes.count), with: bytes)
  }

  private func littleEndian(_ value: UInt32) -> [UInt8] {
    withUnsafeBytes(of: value.littleEndian) { Array($0) }
  }

  /// Makes the new name durable; systems that cannot sync a folder lose nothing but that.
  private func syncFolder() {
    let folder: String
    if let slash = target.lastIndex(of: "/") {
      folder = slash == target.startIndex ? "/" : String(target[..<slash])
    } else {
      folder = "."
    }
    let handle = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard handle >= 0 else { return }
    _ = fsync(handle)
    close(handle)
  }

  private func write(_ bytes: UnsafeRawBufferPointer) throws(ContainerError) {
    var done = 0
    while done < bytes.count {
      // Pieces of at most 1 GiB: one call never takes more than 2 GiB.
      let step = min(bytes.count - done, 1 << 30)
      #if canImport(Glibc)
        let count = Glibc.write(descriptor, bytes.baseAddress! + done, step)
      #else
        let count = Musl.write(descriptor, bytes.baseAddress! + done, step)
      #endif
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { throw ioError("write") }
      done += count
    }
  }

  private func ioError(_ operation: String) -> ContainerError {
    ContainerError(.io(operation: operation, code: errno), path: temporaryPath)
  }
}

extension [UInt8] {
  /// `withUnsafeBytes` for a body with this target's error type: the standard one erases it on older
  /// compilers.
  func withUnsafeBytesTyped(
    _ body: (UnsafeRawBufferPointer) throws(ContainerError) -> Void
  ) throws(ContainerError) {
    let failure: ContainerError? = withUnsafeBytes { bytes in
      do throws(ContainerError) { try body(bytes) } catch { return error }
      return nil
    }
    if let failure { throw failure }
  }
}
