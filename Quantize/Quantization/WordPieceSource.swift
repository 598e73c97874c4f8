// The word list of BERT's tokenizer, from any of the files it is published in.

import Container
import Segmentation
import System

/// The pieces of a BERT word list (bert-base-uncased, BLIP), in order of their numbers.
///
/// - Memory: the file and its texts, while it is read.
/// - Source: huggingface/transformers `models/bert/tokenization_bert.py`; salesforce/BLIP `models/blip.py`
///   (the two marks behind the list).
package struct WordPieceSource: Sendable {
  /// Names looked for beside a checkpoint, in this order.
  package static let fileNames = ["vocab.txt", "tokenizer.json"]
  /// Marks that BLIP adds behind BERT's list.
  package static let blipMarks = ["[DEC]", "[ENC]"]

  package let path: String
  package let byteCount: Int
  package let sha256Hex: String
  package let pieces: [String]

  /// Reads a list that has `vocabularySize` pieces (nil: any number) once `marks` stand behind it; those it
  /// has are not added again.
  ///
  /// - Errors: `malformed` with the line or the field; `unsupported` for a tokenizer that works otherwise;
  ///   `limitExceeded`; what opening a file throws.
  package static func read(
    path: String, vocabularySize: Int?, marks: [String] = blipMarks
  ) throws(QuantizationError) -> WordPieceSource {
    let (file, bytes) = try TokenizerJSON.readFile(path: path)
    let isJSON = TokenizerJSON.isLikely(bytes)
    var pieces = try isJSON ? readTokenizer(bytes, file: file) : readLines(bytes, file: file)
    for mark in marks where !pieces.contains(mark) { pieces.append(mark) }
    let source = WordPieceSource(
      path: path, byteCount: file.byteCount, sha256Hex: try file.sha256Hex(), pieces: pieces)
    if let vocabularySize, pieces.count != vocabularySize {
      throw file.error(
        .unsupportedModel("\(pieces.count) pieces, where the text tower has rows for \(vocabularySize)"))
    }
    // Whatever the program that reads the model file would refuse is refused here.
    do throws(SegmentationError) {
      _ = try source.makeTokenizer(contextLength: 512, start: .classification)
    } catch {
      throw file.error(.malformed(error.description))
    }
    return source
  }

  /// One piece a line.
  private static func readLines(_ bytes: [UInt8], file: InputFile) throws(QuantizationError) -> [String] {
    var pieces: [String] = []
    var rest = bytes[...]
    while !rest.isEmpty {
      let line = rest.prefix { $0 != 0x0a }
      rest = rest[line.endIndex...].dropFirst()
      let trimmed = line.last == 0x0d ? line.dropLast() : line
      let name = "line \(pieces.count + 1)"
      if trimmed.isEmpty { throw file.error(.malformed("an empty line"), name: name) }
      if pieces.count == PieceIndex.countLimit {
        throw file.error(
          .limitExceeded(what: "vocabulary entries", limit: PieceIndex.countLimit, found: pieces.count + 1))
      }
      guard let text = String(validating: trimmed, as: UTF8.self) else {
        throw file.error(.malformed("a line is not valid UTF-8"), name: name)
      }
      pieces.append(text)
    }
    return pieces
  }

  private static func readTokenizer(_ bytes: [UInt8], file: InputFile) throws(QuantizationError) -> [String] {
    let json = try TokenizerJSON(bytes, file: file)
    let model = try json.model(type: "WordPiece")
    if let prefix = model.member("continuing_subword_prefix")?.stringValue, prefix != "##" {
      throw json.unsupported("pieces continued with '\(prefix)'", "model.continuing_subword_prefix")
    }
    if let mark = model.member("unk_token")?.stringValue, mark != "[UNK]" {
      throw json.unsupported("unknown words as '\(mark)'", "model.unk_token")
    }
    if let limit = model.member("max_input_chars_per_word")?.intValue, limit != WordPieceTokenizer.wordLimit {
      throw json.unsupported("words of up to \(limit) characters", "model.max_input_chars_per_word")
    }
    try checkRules(json)
    return try json.entries(model, limit: PieceIndex.countLimit).map(\.text)
  }

  /// Accepts BERT's uncased rules alone.
  private static func checkRules(_ json: TokenizerJSON) throws(QuantizationError) {
    guard let rule = json.root.member("normalizer"), rule.member("type")?.stringValue == "BertNormalizer"
    else {
      throw json.unsupported("a tokenizer without BERT's rules", "normalizer")
    }
    for name in ["lowercase", "clean_text", "handle_chinese_chars"] where rule.member(name)?.boolValue != true
    {
      throw json.unsupported("a tokenizer without '\(name)'", "normalizer")
    }
    if rule.member("strip_accents")?.boolValue == false {
      throw json.unsupported("a tokenizer that keeps accents", "normalizer")
    }
    guard json.root.member("pre_tokenizer")?.member("type")?.stringValue == "BertPreTokenizer" else {
      throw json.unsupported("a tokenizer that splits words otherwise", "pre_tokenizer")
    }
  }

  // MARK: What becomes of it

  /// Keys of the model file that hold the tokenizer.
  package var values: [(key: String, value: GGUFValue)] {
    [(TokenizerKeys.model, .string("bert")), (TokenizerKeys.tokens, .strings(pieces))]
  }

  /// The tokenizer that a model file with `values` gives.
  package func makeTokenizer(
    contextLength: Int, start: WordPieceTokenizer.Start
  ) throws(SegmentationError) -> WordPieceTokenizer {
    let texts = LentTexts(pieces)
    return try WordPieceTokenizer(
      count: pieces.count, owner: texts, contextLength: contextLength, start: start, pieces: texts.forEach)
  }
}
