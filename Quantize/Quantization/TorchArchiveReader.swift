// PyTorch's zip archives: torch.save since 1.6, and TorchScript.

import System

/// Reads `data.pkl` of an archive and finds the storages it names.
///
/// - Memory: the zip directory and the pickle's values.
/// - Errors: `malformed` when a storage is missing or too short; `unsupported` for big-endian files; what
///   `ZipDirectory` and `RestrictedPickle` throw.
/// - Source: PyTorch torch/serialization.py `_save`; torch/csrc/jit/serialization/export_module.cpp.
enum TorchArchiveReader {
  static func read(_ file: InputFile) throws(QuantizationError) -> TensorListing {
    let archive = try ZipDirectory(file: file)
    let prefix = try findPrefix(archive)
    try checkByteOrder(archive, prefix: prefix)
    // TorchScript carries its program; we never look at it.
    let isScript = archive.entries.contains {
      $0.name == prefix + "constants.pkl" || $0.name.hasPrefix(prefix + "code/")
    }
    let pickleName = prefix + "data.pkl"
    guard let entry = archive.entry(named: pickleName) else {
      throw file.error(.malformed("the archive has no data.pkl"), name: pickleName)
    }
    if entry.byteCount > RestrictedPickle.byteLimit {
      throw file.error(
        .limitExceeded(what: "pickle bytes", limit: RestrictedPickle.byteLimit, found: entry.byteCount),
        name: pickleName)
    }
    let extent = try archive.extent(of: entry, checkingStored: true)
    let reader = FileCursor<QuantizationError>(
      file: extent.file, range: extent.offset..<(extent.offset + extent.byteCount))
    let pickle = RestrictedPickle(reader: reader, entryName: pickleName, allowsModules: isScript)
    let root = try pickle.run()
    let state = try StateDictionary(pickle: pickle, root: root)
    var listing = TensorListing(format: isScript ? .torchScript : .torchZip)
    listing.archive = archive
    listing.unreadable = state.unreadable
    listing.arguments = pickle.member("args", of: root).map { pickle.settings($0) }
    if isScript, let rootClass = pickle.rootClass { listing.metadata["root_class"] = rootClass }
    try locate(state, pickle: pickle, archive: archive, prefix: prefix, listing: &listing)
    return listing
  }

  /// The folder that holds `data.pkl`, with its slash; any name will do, but there must be one only.
  private static func findPrefix(_ archive: ZipDirectory) throws(QuantizationError) -> String {
    var found: String?
    for entry in archive.entries {
      let isTop = entry.name == "data.pkl"
      guard isTop || entry.name.hasSuffix("/data.pkl") else { continue }
      let prefix = String(entry.name.dropLast("data.pkl".count))
      // A nested one would belong to something packed inside.
      if prefix.utf8.filter({ $0 == 0x2f }).count > 1 { continue }
      if found != nil {
        throw archive.file.error(.malformed("the archive has two data.pkl"), name: entry.name)
      }
      found = prefix
    }
    guard let found else {
      throw archive.file.error(
        .unknownFormat(hint: "a zip archive, but not one that PyTorch wrote: there is no data.pkl inside"))
    }
    return found
  }

  private static func checkByteOrder(_ archive: ZipDirectory, prefix: String) throws(QuantizationError) {
    guard let entry = archive.entry(named: prefix + "byteorder") else { return }
    guard entry.byteCount <= 16 else {
      throw archive.file.error(.malformed("byte order must be little or big"), name: entry.name)
    }
    let extent = try archive.extent(of: entry, checkingStored: true)
    let bytes = try extent.file.bytes(at: extent.offset, count: extent.byteCount)
    if bytes.elementsEqual("little".utf8) { return }
    throw archive.file.error(
      .unsupported("the byte order is not little-endian; save the file again on a little-endian machine"),
      name: entry.name)
  }

  private static func locate(
    _ state: StateDictionary, pickle: RestrictedPickle, archive: ZipDirectory, prefix: String,
    listing: inout TensorListing
  ) throws(QuantizationError) {
    var storageOfKey: [String: Int] = [:]
    for (name, tensor) in state.tensors {
      let storage = pickle.storages[tensor.storage]
      let index: Int
      if let known = storageOfKey[storage.key] {
        index = known
      } else {
        guard
          let entry = archive.entry(named: prefix + "data/" + storage.key)
            ?? archive.entry(named: prefix + "constants/" + storage.key)
        else {
          throw archive.file.error(.malformed("the archive lacks storage '\(storage.key)'"), name: name)
        }
        index = listing.storages.count
        listing.storages.append(StoredBytes(place: .entry(entry), byteCount: entry.byteCount))
        storageOfKey[storage.key] = index
      }
      let size = storage.elementType?.byteCount ?? 1
      let available = listing.storages[index].byteCount
      guard let needed = checkedProduct([storage.elementCount, size]), needed <= available else {
        throw archive.file.error(
          .malformed("storage '\(storage.key)' holds \(available) bytes, fewer than it declares"), name: name)
      }
      listing.tensors.append(try tensor.listed(name, storage: storage, index: index, file: archive.file))
    }
  }
}

extension PickleTensor {
  /// The tensor with its storage's place in the listing; a storage view moves its offset.
  func listed(
    _ name: String, storage: PickleStorage, index: Int, file: InputFile
  ) throws(QuantizationError) -> ListedTensor {
    // A view's offset counts elements of the storage's type, the tensor's of its own.
    let size = storage.elementType?.byteCount ?? 1
    guard let viewBytes = checkedProduct([storage.viewOffset, size]), viewBytes % elementType.byteCount == 0,
      let start = checkedSum(viewBytes / elementType.byteCount, offset)
    else { throw file.error(.malformed("impossible offset into a storage"), name: name) }
    return ListedTensor(
      name: name, shape: shape, strides: strides, elementType: elementType, storage: index,
      storageOffset: start, isNegated: isNegated)
  }
}
