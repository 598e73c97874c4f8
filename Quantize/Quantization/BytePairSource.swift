// The byte-pair merges of CLIP's tokenizer, from any of the files they are published in.

import Glibc
import Segmentation
import System

/// The merges of a byte-pair vocabulary, in rank order.
///
/// A list of merges says nothing of the ids behind it: CLIP's own file has five times as many as CLIP takes.
/// So a vocabulary that is not CLIP's is read only with as many merges as it has room for, or with a
/// `tokenizer.json` whose ids show where each merge and both marks stand.
///
/// - Shapes: `merges` has vocabularySize - 514 entries, or as many as the tokenizer names; each two parts
///   with one space between, in CLIP's byte-to-unicode alphabet, `</w>` closing a word.
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

  /// Entries of CLIP's own vocabulary.
  package static let publishedSize = 49_408

  static let byteLimit = 32 << 20

  package let path: String
  package let byteCount: Int
  package let sha256Hex: String
  package let merges: [String]
  package let marks: TextMarks

  /// The first of `fileNames` in the checkpoint's folder, or nil.
  package static func find(besideCheckpoint path: String) -> String? {
    var folder = ""
    if let slash = path.lastIndex(of: "/") { folder = String(path[...slash]) }
    return fileNames.map { folder + $0 }.first { access($0, R_OK) == 0 }
  }

  /// Reads the merges; the kind of file is told from its contents.
  ///
  /// - Errors: `tooFewMerges`; `unsupportedModel` where nothing shows which merges the tower has; `malformed`
  ///   with the line; `limitExceeded`; what opening a file throws.
  package static func read(
    path: String, vocabularySize: Int
  ) throws(QuantizationError) -> BytePairSource {
    let file = try InputFile.open(path: path)
    let needed = vocabularySize - reservedCount
    if needed < 0 {
      throw file.error(.unsupportedModel("a vocabulary of \(vocabularySize) has no room for single bytes"))
    }
    let bytes = try unpack(file)
    var marks = TextMarks(begin: vocabularySize - 2, end: vocabularySize - 1)
    let merges: [String]
    if bytes.first(where: { $0 != 0x20 && $0 != 0x0a && $0 != 0x0d && $0 != 0x09 }) == 0x7b {
      let found = try readTokenizer(bytes, file: file)
      if let proof = try TokenizerProof(found, file: file, vocabularySize: vocabularySize) {
        (merges, marks) = (found.merges, proof.marks)
      } else {
        merges = try fitting(found.merges, vocabularySize, file: file)
      }
    } else {
      let found = try readLines(bytes, needed: needed + 1, file: file)
      merges = try fitting(found, vocabularySize, file: file)
    }
    try check(merges, file: file)
    return BytePairSource(
      path: path, byteCount: file.byteCount, sha256Hex: try file.sha256Hex(), merges: merges, marks: marks)
  }

  /// The merges of a vocabulary of this size.
  private static func fitting(
    _ found: [String], _ vocabularySize: Int, file: InputFile
  ) throws(QuantizationError) -> [String] {
    let needed = vocabularySize - reservedCount
    if found.count > needed && vocabularySize != publishedSize {
      let what =
        "the text tower has \(vocabularySize) tokens, CLIP \(publishedSize), and which of this file's merges "
        + "are its own cannot be told; name its own tokenizer.json with --vocab"
      throw file.error(.unsupportedModel(what))
    }
    if found.count < needed { throw file.error(.tooFewMerges(needed: needed, found: found.count)) }
    return Array(found.prefix(needed))
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
      guard let text = String(validating: trimmed, as: UTF8.self) else {
        throw file.error(.malformed("a line is not valid UTF-8"), name: "merge \(merges.count)")
      }
      merges.append(text)
    }
    return merges
  }

  /// `model.merges` of a Hugging Face tokenizer: texts "a b" or pairs ["a", "b"].
  private static func readTokenizer(
    _ bytes: [UInt8], file: InputFile
  ) throws(QuantizationError) -> (merges: [String], root: JSON) {
    let root = try file.json(bytes, at: 0, isTable: true)
    guard case .array(let items)? = root.member("model")?.member("merges") else {
      throw file.error(
        .malformed("no model.merges in this JSON file; " + whereToGet), name: "model.merges")
    }
    var merges: [String] = []
    merges.reserveCapacity(items.count)
    for item in items {
      if case .string(let text) = item {
        merges.append(text)
      } else if case .array(let pair) = item, pair.count == 2, case .string(let first) = pair[0],
        case .string(let second) = pair[1]
      {
        merges.append(first + " " + second)
      } else {
        throw file.error(.malformed("a merge is neither a text nor a pair"), name: "merge \(merges.count)")
      }
    }
    return (merges, root)
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

/// What a `tokenizer.json` shows of its ids.
///
/// - Source: huggingface/tokenizers; transformers `CLIPTokenizer`, `special_tokens_map.json`.
private struct TokenizerProof {
  let marks: TextMarks

  /// Nil for a file without ids: a bare list of merges.
  ///
  /// - Errors: `unsupportedModel` for ids that are not CLIP's order: 256 bytes, 256 bytes that end a word,
  ///   the merges; and for marks that are not there or outside the text tower.
  init?(
    _ found: (merges: [String], root: JSON), file: InputFile, vocabularySize: Int
  ) throws(QuantizationError) {
    guard case .object(let members)? = found.root.member("model")?.member("vocab"), !members.isEmpty else {
      return nil
    }
    var ids: [String: Int] = [:]
    for (text, id) in members { ids[text] = id.count }
    if case .array(let added)? = found.root.member("added_tokens") {
      for token in added {
        guard let text = token.member("content")?.stringValue else { continue }
        ids[text] = token.member("id")?.count
      }
    }
    for (rank, merge) in found.merges.enumerated() {
      let text = merge.split(separator: " ").joined()
      guard ids[text] == 512 + rank else {
        throw file.error(
          .unsupportedModel(
            "merge \(rank) makes id \(ids[text].map { "\($0)" } ?? "none"), CLIP's \(512 + rank)"),
          name: merge)
      }
    }
    let names = try Self.names(beside: file.path)
    guard let begin = ids[names.begin], let end = ids[names.end] else {
      throw file.error(.unsupportedModel("no ids for the marks '\(names.begin)' and '\(names.end)'"))
    }
    let free = (512 + found.merges.count)..<max(vocabularySize, 512 + found.merges.count)
    guard free.contains(begin), free.contains(end), begin != end else {
      throw file.error(
        .unsupportedModel(
          "the marks have ids \(begin) and \(end), the text tower room for them in \(free): this tokenizer "
            + "belongs to another"))
    }
    marks = TextMarks(begin: begin, end: end)
  }

  /// How the marks are spelled: as `special_tokens_map.json` says, or as CLIP does.
  private static func names(beside path: String) throws(QuantizationError) -> (begin: String, end: String) {
    let json = try SidecarFiles.json("special_tokens_map.json", beside: path)?.json
    func name(_ key: String, _ usual: String) -> String {
      let entry = json?.member(key)
      return entry?.stringValue ?? entry?.member("content")?.stringValue ?? usual
    }
    return (name("bos_token", "<|startoftext|>"), name("eos_token", "<|endoftext|>"))
  }
}
