// SentencePiece vocabularies from `tokenizer.json`: pieces with merges instead of scores.

import Segmentation
import System

/// Pieces and merges of a `tokenizer.json`, turned back into scores where that changes nothing.
///
/// The file's author made the merges from the scores: every cut of a piece into two pieces, better pieces
/// first. Where the file shows just that, a piece's score is minus the place of its merges, and the tokens
/// are those of the `.model` file. (Two overlapping pairs that make the same piece, such as `aa a` and
/// `a aa`, are then joined from the left, as SentencePiece does; the tokenizers library goes by the order of
/// the merges.)
enum MergedPieces {
  static let mergeLimit = 1 << 22

  static func read(
    _ bytes: [UInt8], file: InputFile
  ) throws(QuantizationError) -> ([SentencePieceSource.Piece], [String]) {
    let json = try TokenizerJSON(bytes, file: file)
    let model = try json.model(type: "BPE")
    try checkRules(json, model)
    let entries = try json.entries(model, limit: PieceIndex.countLimit)
    let unknown = model.member("unk_token")?.stringValue
    var pieces = entries.map { entry in
      SentencePieceSource.Piece(text: entry.text, score: 0, kind: kind(of: entry, unknown: unknown))
    }
    let merges = try readMerges(model, json)
    let kept = try order(merges, &pieces, json)
    return (pieces, kept)
  }

  private static func kind(
    of entry: TokenizerJSON.Entry, unknown: String?
  ) -> SentencePieceTokenizer.Kind {
    let text = entry.text.utf8
    if let unknown, text.elementsEqual(unknown.utf8) { return .unknown }
    if let isSpecial = entry.isSpecial { return isSpecial ? .control : .userDefined }
    let isByte = text.count == 6 && text.starts(with: "<0x".utf8) && text.last == 0x3E
    return isByte ? .byte : .normal
  }

  private static func checkRules(_ json: TokenizerJSON, _ model: JSON) throws(QuantizationError) {
    guard model.member("byte_fallback")?.boolValue == true else {
      throw json.unsupported("a tokenizer without byte fallback", "model.byte_fallback")
    }
    for name in ["continuing_subword_prefix", "end_of_word_suffix", "dropout"] {
      if let value = model.member(name), value.isSet {
        throw json.unsupported("a byte-pair tokenizer with '\(name)'", "model." + name)
      }
    }
    if model.member("ignore_merges")?.boolValue == true {
      throw json.unsupported("a byte-pair tokenizer with 'ignore_merges'", "model.ignore_merges")
    }
    var escapesSpaces = false
    try checkNormalizer(json.root.member("normalizer") ?? .null, json, &escapesSpaces)
    try checkSplitting(json.root.member("pre_tokenizer") ?? .null, json, &escapesSpaces)
    if !escapesSpaces {
      throw json.unsupported("a tokenizer that does not turn spaces into U+2581", "normalizer")
    }
  }

  /// Accepts the rule that spaces become U+2581, and what the cleaning of prompts has done before.
  private static func checkNormalizer(
    _ rule: JSON, _ json: TokenizerJSON, _ escapesSpaces: inout Bool
  ) throws(QuantizationError) {
    if case .null = rule { return }
    switch rule.member("type")?.stringValue {
    case "Sequence":
      // One level: a sequence inside a sequence has no type that is accepted below.
      guard case .array(let items)? = rule.member("normalizers"),
        !items.contains(where: { $0.member("type")?.stringValue == "Sequence" })
      else { throw json.malformed("a sequence without rules", "normalizer") }
      for item in items { try checkNormalizer(item, json, &escapesSpaces) }
    case "Lowercase", "Strip": break
    case "Replace":
      let content = rule.member("content")?.stringValue
      if rule.member("pattern")?.member("String")?.stringValue == " ", content == "\u{2581}" {
        escapesSpaces = true
      } else if content != "", content != " " {
        throw json.unsupported("a rule that replaces characters", "normalizer")
      }
    case let type: throw json.unsupported("a rule of type '\(type ?? "none")'", "normalizer")
    }
  }

  /// Accepts what leaves a text without spaces as it is.
  private static func checkSplitting(
    _ rule: JSON, _ json: TokenizerJSON, _ escapesSpaces: inout Bool
  ) throws(QuantizationError) {
    if case .null = rule { return }
    switch rule.member("type")?.stringValue {
    case "Split" where rule.member("pattern")?.member("String")?.stringValue == " " && escapesSpaces: break
    case "Metaspace"
    where rule.member("replacement")?.stringValue == "\u{2581}"
      && rule.member("prepend_scheme")?.stringValue == "never"
      && rule.member("split")?.boolValue == false:
      escapesSpaces = true
    case let type: throw json.unsupported("splitting of type '\(type ?? "none")'", "pre_tokenizer")
    }
  }

  /// `model.merges`: texts "a b" or pairs ["a", "b"].
  private static func readMerges(_ model: JSON, _ json: TokenizerJSON) throws(QuantizationError)
    -> [String]
  {
    guard case .array(let items)? = model.member("merges") else {
      throw json.malformed("no merges in this JSON file", "model.merges")
    }
    if items.count > mergeLimit {
      throw json.file.error(.limitExceeded(what: "merges", limit: mergeLimit, found: items.count))
    }
    var merges: [String] = []
    merges.reserveCapacity(items.count)
    for item in items {
      if case .string(let text) = item {
        merges.append(text)
      } else if case .array(let pair) = item, pair.count == 2, let first = pair[0].stringValue,
        let second = pair[1].stringValue
      {
        merges.append(first + " " + second)
      } else {
        throw json.malformed("a merge is neither a text nor a pair", "merge \(merges.count)")
      }
    }
    return merges
  }

  // MARK: Merges to scores

  private struct Merge {
    var left: Int
    var right: Int
    var joint: Int
  }

  /// Gives scores to the pieces and returns no merges; or the merges of normal pieces, if scores say less.
  private static func order(
    _ merges: [String], _ pieces: inout [SentencePieceSource.Piece], _ json: TokenizerJSON
  ) throws(QuantizationError) -> [String] {
    let texts = LentTexts(pieces.map(\.text))
    let index: PieceIndex
    do throws(SegmentationError) {
      index = try PieceIndex(
        count: pieces.count, owner: texts, isFound: { _ in true }, lending: texts.forEach)
    } catch {
      throw json.malformed(error.description, "model.vocab")
    }
    let isNormal = pieces.map { $0.kind == .normal }
    var found: [Merge] = []
    var kept: [String] = []
    for (rank, line) in merges.enumerated() {
      guard let merge = parse(line, index) else {
        throw json.malformed("not two pieces that make a third", "merge \(rank)")
      }
      // Pieces of other kinds never meet: they are taken whole before.
      guard isNormal[merge.left], isNormal[merge.right], isNormal[merge.joint] else { continue }
      found.append(merge)
      kept.append(line)
    }
    guard let scores = scores(found, index, isNormal) else { return kept }
    for (piece, score) in scores.enumerated() where isNormal[piece] { pieces[piece].score = score }
    return []
  }

  private static func parse(_ line: String, _ index: PieceIndex) -> Merge? {
    var bytes = Array(line.utf8)
    guard let space = bytes.firstIndex(of: 0x20), space > 0, space + 1 < bytes.count else { return nil }
    bytes.remove(at: space)
    return bytes.withUnsafeBufferPointer { bytes in
      guard let left = index.number(of: UnsafeBufferPointer(rebasing: bytes[..<space])),
        let right = index.number(of: UnsafeBufferPointer(rebasing: bytes[space...])),
        let joint = index.number(of: bytes)
      else { return nil }
      return Merge(left: left, right: right, joint: joint)
    }
  }

  /// Minus the place of each piece among the pieces that merges make; nil if the merges say more than that.
  private static func scores(_ merges: [Merge], _ index: PieceIndex, _ isNormal: [Bool]) -> [Float]? {
    var scores = [Float](repeating: 0, count: index.count)
    var isMade = [Bool](repeating: false, count: index.count)
    var pairs = Set<UInt64>(minimumCapacity: merges.count)
    var current = -1
    var place = 0
    for merge in merges {
      guard pairs.insert(UInt64(merge.left) << 32 | UInt64(merge.right)).inserted else { return nil }
      if merge.joint == current { continue }
      if isMade[merge.joint] { return nil }
      current = merge.joint
      isMade[current] = true
      place += 1
      scores[current] = -Float(place)
    }
    for piece in 0..<index.count where isNormal[piece] {
      guard isComplete(index.bytes(of: piece), index, isNormal, pairs) else { return nil }
    }
    return scores
  }

  /// Whether every cut of a piece into two that could stand side by side is a merge.
  private static func isComplete(
    _ text: UnsafeBufferPointer<UInt8>, _ index: PieceIndex, _ isNormal: [Bool], _ pairs: Set<UInt64>
  ) -> Bool {
    // Continuation bytes: a cut lies before none of them.
    let cuts = text.indices.dropFirst().filter { text[$0] & 0xC0 != 0x80 }
    for cut in cuts {
      let left = index.number(of: UnsafeBufferPointer(rebasing: text[..<cut]))
      let right = index.number(of: UnsafeBufferPointer(rebasing: text[cut...]))
      // A character that is no piece could still be joined by its text.
      guard left.map({ isNormal[$0] }) ?? (cut == cuts.first),
        right.map({ isNormal[$0] }) ?? (cut == cuts.last)
      else { continue }
      guard let left, let right, pairs.contains(UInt64(left) << 32 | UInt64(right)) else { return false }
    }
    return true
  }
}
