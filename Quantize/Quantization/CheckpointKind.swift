// Telling a checkpoint's format from its first bytes.

import System

/// The three families of files we read, and the index of several of one.
enum CheckpointKind {
  case zip, legacy, safetensors, index

  /// - Errors: `unknownFormat`, with advice for the files that people most often pass by mistake.
  static func detect(_ file: InputFile) throws(QuantizationError) -> CheckpointKind {
    let head = try file.bytes(at: 0, count: min(file.byteCount, 512))
    if head.starts(with: [0x50, 0x4b, 3, 4]) || head.starts(with: [0x50, 0x4b, 5, 6]) { return .zip }
    // A header length in front of a brace; a pickle would read as an astronomic length.
    if head.count > 8, head[8] == 0x7b, head.number(at: 0, width: 8) <= file.byteCount - 8 {
      return .safetensors
    }
    if head.count > 2, head[0] == 0x80, (1...5).contains(head[1]) { return .legacy }
    if head.starts(with: Array("L1195470371460388".utf8)) { return .legacy }
    if head.first(where: { $0 > 0x20 }) == 0x7b { return .index }
    throw file.error(.unknownFormat(hint: hint(head)), at: 0)
  }

  /// What a download that went wrong leaves in a file's place; nil for anything else.
  static func leftover(_ head: [UInt8]) -> String? {
    // A header length may look like anything.
    if head.count > 8, head[8] == 0x7b { return nil }
    if head.starts(with: Array("version https://git-lfs".utf8)) {
      return "this is a Git LFS pointer; fetch the file it stands for: "
    }
    if let first = head.first(where: { $0 > 0x20 }), first == 0x3c {
      return "this is a web page; the download went wrong: "
    }
    return nil
  }

  private static func hint(_ head: [UInt8]) -> String {
    let wanted = "a PyTorch checkpoint (.pt, .pth, .bin) or a .safetensors file is expected"
    if head.starts(with: [0x1f, 0x8b]) { return "this is a gzip file; unpack it first: " + wanted }
    if head.starts(with: Array("GGUF".utf8)) { return "this is a GGUF file, already converted; " + wanted }
    if let what = leftover(head) { return what + wanted }
    if head.count > 262, head[257..<262].elementsEqual("ustar".utf8) {
      return "this is a tar file, as PyTorch wrote before 0.1.10; save it again: " + wanted
    }
    return "unknown kind of file; " + wanted
  }
}

extension TensorDirectory {
  /// Said where a network is not found.
  var gapHint: String {
    guard let (name, type) = unreadable.min(by: { $0.key < $1.key }) else { return shardHint }
    let others = unreadable.count == 1 ? "" : " and \(unreadable.count - 1) more"
    return shardHint + "; '\(name)'\(others) of element type \(type) cannot be read: save float16 or float32"
  }

  static let oneFile = "save the model as one file (save_pretrained with max_shard_size=\"100GB\")"

  /// Said where something is missing: empty unless the file is one part of several, by its name.
  var shardHint: String {
    let parts = baseName(path).split(separator: "-").suffix(3)
    guard parts.count == 3, parts[parts.startIndex + 1] == "of",
      parts.first?.allSatisfy(\.isNumber) == true, parts.last?.allSatisfy(\.isNumber) == true
    else { return "" }
    return "; by its name this file is one part of several: name their .safetensors.index.json, or "
      + Self.oneFile
  }
}
