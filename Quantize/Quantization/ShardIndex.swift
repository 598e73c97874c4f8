// A model in several safetensors files, seen as one checkpoint through its index.

import System

/// Reads `model.safetensors.index.json`: which tensor lies in which file beside it.
///
/// - Memory: the index and the headers of all parts.
/// - Errors: `unknownFormat` for JSON that is no index; `malformed` for names of parts that lead elsewhere;
///   `noSuchTensor` with the part that lacks it; `unsupported` parts of PyTorch's format.
/// - Source: huggingface/transformers, `save_pretrained`.
enum ShardIndex {
  static let byteLimit = 64 << 20
  static let partLimit = 512

  static func read(_ file: InputFile) throws(QuantizationError) -> TensorListing {
    if file.byteCount > byteLimit {
      throw file.error(.limitExceeded(what: "bytes of an index", limit: byteLimit, found: file.byteCount))
    }
    let root = try file.json(try file.bytes(at: 0, count: file.byteCount), at: 0, isTable: true)
    guard case .object(let map)? = root.member("weight_map") else {
      throw file.error(.unknownFormat(hint: "this is a JSON file and not the index of a model in parts"))
    }
    var wanted: [String: [String]] = [:]
    for (tensor, value) in map {
      guard case .string(let part) = value else {
        throw file.error(.malformed("the name of a part is no text"), name: tensor)
      }
      wanted[part, default: []].append(tensor)
    }
    if wanted.count > partLimit {
      throw file.error(.limitExceeded(what: "parts", limit: partLimit, found: wanted.count))
    }
    var listing = TensorListing(format: .safetensors)
    for part in wanted.keys.sorted() { try add(part, wanted[part] ?? [], of: file, to: &listing) }
    return listing
  }

  /// - Errors: a part that is not there, with the index that asks for it; what a download left in its place.
  private static func open(_ part: String, of index: InputFile) throws(QuantizationError) -> InputFile {
    let path = folder(of: index.path) + part
    guard fileExists(path) else {
      throw QuantizationError(
        .unsupported("no such file, and \(fileName(of: index.path)) asks for it; download all parts"),
        path: path)
    }
    let file = try InputFile.open(path: path)
    if let what = CheckpointKind.leftover(try file.bytes(at: 0, count: min(file.byteCount, 512))) {
      throw file.error(.unknownFormat(hint: what + "a .safetensors file is expected"), at: 0)
    }
    return file
  }

  private static func add(
    _ part: String, _ tensors: [String], of index: InputFile, to listing: inout TensorListing
  ) throws(QuantizationError) {
    guard !part.utf8.contains(0x2F), !part.utf8.contains(0), part.hasSuffix(".safetensors") else {
      let what =
        part.hasSuffix(".bin")
        ? "parts in PyTorch's format are not read; " + TensorDirectory.oneFile
        : "parts are .safetensors files beside their index"
      throw index.error(.unsupported(what), name: part)
    }
    let file = try open(part, of: index)
    let found = try SafetensorsReader.read(file)
    let names = Dictionary(
      found.tensors.enumerated().map { ($0.element.name, $0.offset) }, uniquingKeysWith: { first, _ in first }
    )
    let first = listing.storages.count
    for name in tensors {
      if let type = found.unreadable[name] {
        listing.unreadable[name] = type
        continue
      }
      guard let place = names[name] else { throw file.error(.noSuchTensor, name: name) }
      var tensor = found.tensors[place]
      tensor.storage += first
      listing.tensors.append(tensor)
    }
    listing.storages += found.storages
    listing.parts.append(file)
  }
}
