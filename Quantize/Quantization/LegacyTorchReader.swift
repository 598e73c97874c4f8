// PyTorch's older files: five pickles in a row, then the storages.

import System

/// Reads a file of torch.save before 1.6: magic number, protocol, system, object, storage keys, storages.
///
/// - Memory: the pickles' values.
/// - Errors: `malformed` when the sequence is broken or a storage is missing; `unsupported` for big-endian
///   files; `truncated`; what `RestrictedPickle` throws.
/// - Source: PyTorch torch/serialization.py `_legacy_save`.
enum LegacyTorchReader {
  /// 0x1950a86a20f9469cfc6c, as LONG1 holds it and as text.
  private static let magic: Set<String> = ["0x6cfc9c46f9206aa85019", "119547037146038801333356"]

  static func read(_ file: InputFile) throws(QuantizationError) -> TensorListing {
    let reader = FileCursor<QuantizationError>(file: file, range: 0..<file.byteCount)
    let pickle = RestrictedPickle(reader: reader, entryName: nil, allowsModules: false)
    let magicRoot = try pickle.run()
    guard case .bigInteger(let digits) = pickle.node(magicRoot), magic.contains(digits) else {
      throw file.error(
        .unknownFormat(
          hint: "a pickle, but not one that torch.save wrote; a PyTorch checkpoint or .safetensors file is "
            + "expected"), at: 0)
    }
    if pickle.integer(try pickle.run()) != 1001 {
      throw file.error(.unsupported("the legacy protocol is not 1001"), at: reader.position)
    }
    try checkSystem(pickle, root: try pickle.run())
    let root = try pickle.run()
    let keysRoot = try pickle.run()
    guard case .list = pickle.node(keysRoot), let keys = pickle.items(keysRoot) else {
      throw file.error(.malformed("no list of storage keys"), at: reader.position)
    }
    let state = try StateDictionary(pickle: pickle, root: root)
    var listing = TensorListing(format: .torchLegacy)
    listing.unreadable = state.unreadable
    if state.tensors.isEmpty { throw listing.emptiness(of: file) }
    listing.arguments = pickle.member("args", of: root).map { pickle.settings($0) }
    let indexOfKey = try locate(keys, pickle: pickle, listing: &listing)
    for (name, tensor) in state.tensors {
      let storage = pickle.storages[tensor.storage]
      guard let index = indexOfKey[storage.key] else {
        throw file.error(.malformed("the file lacks storage '\(storage.key)'"), name: name)
      }
      listing.tensors.append(try tensor.listed(name, storage: storage, index: index, file: file))
    }
    return listing
  }

  private static func checkSystem(_ pickle: RestrictedPickle, root: Int32) throws(QuantizationError) {
    guard case .dictionary(let index) = pickle.node(root) else {
      throw pickle.malformed("no description of the system")
    }
    for (key, value) in pickle.tables[index] where pickle.text(key) == "little_endian" {
      if case .bool(true) = pickle.node(value) { return }
      throw pickle.fault(
        .unsupported("the byte order is not little-endian; save the file again on a little-endian machine"))
    }
  }

  /// Steps over the storages: each is an 8-byte element count, then its elements.
  private static func locate(
    _ keys: [Int32], pickle: RestrictedPickle, listing: inout TensorListing
  ) throws(QuantizationError) -> [String: Int] {
    let reader = pickle.reader
    let file = reader.file
    var declared: [String: PickleStorage] = [:]
    for storage in pickle.storages where declared[storage.key] == nil { declared[storage.key] = storage }
    var indexOfKey: [String: Int] = [:]
    for reference in keys {
      guard let key = pickle.text(reference) else {
        throw file.error(.malformed("a storage key that is no text"), at: reader.position)
      }
      if let bytes = pickle.unreadStorages[key] {
        guard let bytes else {
          throw file.error(
            .unsupported(
              "a storage of unknown numbers, whose end such a file does not tell; save it again with PyTorch "
                + "1.6 or later"), at: reader.position, name: key)
        }
        _ = try reader.unsigned(8)
        try reader.skip(bytes)
        continue
      }
      guard let storage = declared[key] else {
        throw file.error(.malformed("a storage key that no tensor uses"), at: reader.position)
      }
      let start = reader.position
      let count = Int(clamping: try reader.unsigned(8))
      guard count == storage.elementCount,
        let bytes = checkedProduct([count, storage.elementType?.byteCount ?? 1])
      else {
        throw file.error(
          .malformed("storage '\(key)' holds \(count) elements, \(storage.elementCount) are declared"),
          at: start)
      }
      let extent = ByteExtent(file: file, offset: reader.position, byteCount: bytes)
      try reader.skip(bytes)
      if indexOfKey.updateValue(listing.storages.count, forKey: key) != nil {
        throw file.error(.duplicateName, at: start, name: key)
      }
      listing.storages.append(StoredBytes(place: .extent(extent), byteCount: bytes))
    }
    if reader.remaining > 0 {
      throw file.error(.malformed("\(reader.remaining) bytes after the last storage"), at: reader.position)
    }
    return indexOfKey
  }
}
