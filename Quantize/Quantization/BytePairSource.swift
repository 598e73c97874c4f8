// The byte-pair merges of CLIP's tokenizer, from any of the files they are published in.

import Glibc

/// The merges of a byte-pair vocabulary, in rank order.
///
/// - Shapes: `merges` has vocabularySize - 514 entries, each two parts with one space between, in CLIP's
///   byte-to-unicode alphabet, `</w>` closing a word.
/// - Memory: the unpacked file, at most 32 MiB, while it is read.
/// - Source: CLIP clip/simple_tokenizer.py: 256 bytes, 256 bytes that end a word, the merges, two markers.
package struct BytePairSource: Sendable {
  /// Names looked for beside a checkpoint, in this order.
  package static let fileNames = [
    "bpe_simple_vocab_16e6.txt.gz", "bpe_simple_vocab_16e6.txt", "tokenizer.json", "merges.txt",
  ]
  package static let whereToGet =
    "get bpe_simple_vocab_16e6.txt.gz from https://github.com/openai/CLIP/raw/main/clip/ "
    + "and name it with --vocab"
  /// Ids that are not merges: single bytes, bytes that end a word, start and end of text.
  package static let reservedCount = 514

  static let byteLimit = 32 << 20

  package let path: String
  package let byteCount: Int
  package let sha256Hex: String
  package let merges: [String]

  /// The first of `fileNames` in the checkpoint's folder, or nil.
  package static func find(besideCheckpoint path: String) -> String? {
    var folder = ""
    if let slash = path.lastIndex(of: "/") { folder = String(path[...slash]) }
    return fileNames.map { folder + $0 }.first { access($0, R_OK) == 0 }
  }

  /// Reads the first `vocabularySize - 514` merges; the kind of file is told from its contents.
  ///
  /// - Errors: `tooFewMerges`; `malformed` with the line; `limitExceeded`; what opening a file throws.
  package static func read(
    path: String, vocabularySize: Int
  ) throws(QuantizationError) -> BytePairSource {
    let file = try InputFile.open(path: path)
    let needed = vocabularySize - reservedCount
    if needed < 0 {
      throw file.error(.unsupportedModel("a vocabulary of \(vocabularySize) has no room for single bytes"))
    }
    let bytes = try unpack(file)
    let found: [String]
    if bytes.first(where: { $0 != 0x20 && $0 != 0x0a && $0 != 0x0d && $0 != 0x09 }) == 0x7b {
      found = try readTokenizer(bytes, file: file)
    } else {
      found = try readLines(bytes, needed: needed, file: file)
    }
    if found.count < needed { throw file.error(.tooFewMerges(needed: needed, found: found.count)) }
    let merges = Array(found.prefix(needed))
    try check(merges, file: file)
    return BytePairSource(
      path: path, byteCount: file.byteCount, sha256Hex: try file.sha256Hex(), merges: merges)
  }

  private static func unpack(_ file: InputFile) throws(QuantizationError) -> [UInt8] {
    let head = try file.bytes(at: 0, count: min(file.byteCount, 2))
    if head != [0x1f, 0x8b] {
      if file.byteCount > byteLimit {
        throw file.error(.limitExceeded(what: "vocabulary bytes", limit: byteLimit, found: file.byteCount))
      }
      return try file.bytes(at: 0, count: file.byteCount)
    }
    let inflater = try Inflater(file: file, range: 0..<file.byteCount, isGzip: true)
    let window = ScratchBytes(count: 65_536)
    var bytes: [UInt8] = []
    while true {
      let count = try inflater.next(into: window)
      if count == 0 { return bytes }
      if bytes.count + count > byteLimit {
        throw file.error(
          .limitExceeded(what: "vocabulary bytes", limit: byteLimit, found: bytes.count + count))
      }
      bytes.append(contentsOf: UnsafeRawBufferPointer(start: window.base, count: count))
    }
  }

  /// One merge a line. CLIP's own file and `merges.txt` open with a version line, which is no merge.
  private static func readLines(
    _ bytes: [UInt8], needed: Int, file: InputFile
  ) throws(QuantizationError) -> [String] {
    var merges: [String] = []
    var isFirst = true
    var rest = bytes[...]
    while !rest.isEmpty, merges.count < needed {
      let line = rest.prefix { $0 != 0x0a }
      rest = rest[line.endIndex...].dropFirst()
      let trimmed = line.last == 0x0d ? line.dropLast() : line
      let isHeader = isFirst && (trimmed.first == 0x22 || trimmed.starts(with: "#version".utf8))
      isFirst = false
      if isHeader || trimmed.isEmpty { continue }
      guard let text = String(strictUTF8: trimmed) else {
        throw file.error(.malformed("a line is not valid UTF-8"), name: "merge \(merges.count)")
      }
      merges.append(text)
    }
    return merges
  }

  /// `model.merges` of a Hugging Face tokenizer: texts "a b" or pairs ["a", "b"].
  private static func readTokenizer(_ bytes: [UInt8], file: InputFile) throws(QuantizationError) -> [String] {
    let root = try JSONReader.parse(bytes, file: file, baseOffset: 0)
    guard case .array(let items)? = root.member("model")?.member("merges") else {
      throw file.error(
        .malformed("no model.merges in this JSON file; " + whereToGet), name: "model.merges")
    }
    var merges: [String] = []
    merges.reserveCapacity(items.count)
    for item in items {
      if case .text(let text) = item {
        merges.append(text)
      } else if case .array(let pair) = item, pair.count == 2, case .text(let first) = pair[0],
        case .text(let second) = pair[1]
      {
        merges.append(first + " " + second)
      } else {
        throw file.error(.malformed("a merge is neither a text nor a pair"), name: "merge \(merges.count)")
      }
    }
    return merges
  }

  // MARK: Checks

  private static func check(_ merges: [String], file: InputFile) throws(QuantizationError) {
    let alphabet = Set(byteAlphabet)
    // Ranks must be unique: a merge listed twice would leave one id without a token.
    var seen = Set<String>(minimumCapacity: merges.count)
    for (rank, merge) in merges.enumerated() {
      let parts = merge.unicodeScalars.split(separator: " ", omittingEmptySubsequences: false)
      guard parts.count == 2, isSymbol(parts[0], alphabet), isSymbol(parts[1], alphabet) else {
        throw file.error(
          .malformed("'\(merge)' is not two parts of CLIP's alphabet; " + whereToGet), name: "merge \(rank)")
      }
      if !seen.insert(merge).inserted { throw file.error(.duplicateName, name: "merge \(rank): \(merge)") }
    }
  }

  private static func isSymbol(_ part: Substring.UnicodeScalarView, _ alphabet: Set<Unicode.Scalar>) -> Bool {
    !part.isEmpty && part.allSatisfy(alphabet.contains)
  }

  /// CLIP's character for each byte: itself where printable, else the next one from U+0100.
  static let byteAlphabet: [Unicode.Scalar] = {
    var scalars: [Unicode.Scalar] = []
    var spare: UInt32 = 0x100
    for byte in UInt32(0)..<256 {
      let isPrintable = (33...126).contains(byte) || (161...172).contains(byte) || (174...255).contains(byte)
      scalars.append(Unicode.Scalar(isPrintable ? byte : spare) ?? " ")
      if !isPrintable { spare += 1 }
    }
    return scalars
  }()
}
