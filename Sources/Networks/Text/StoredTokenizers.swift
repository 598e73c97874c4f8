// Tokenizers from the tables of a model file, whose text stays mapped.
import Container

/// Keys of a model file that hold a tokenizer.
///
/// | key | type | holds |
/// |---|---|---|
/// | `tokenizer.ggml.model` | string | `llama` (SentencePiece), `bert` (WordPiece); no key: byte pairs |
/// | `tokenizer.ggml.tokens` | array string | pieces in order of their numbers |
/// | `tokenizer.ggml.scores` | array float32 | SentencePiece: score of each piece, higher is joined first |
/// | `tokenizer.ggml.token_type` | array int32 | SentencePiece: `SentencePieceTokenizer.Kind` of each piece |
/// | `tokenizer.ggml.merges` | array string | `a b` in order; SentencePiece: where scores say less |
package enum TokenizerKeys {
  package static let model = "tokenizer.ggml.model"
  package static let tokens = "tokenizer.ggml.tokens"
  package static let scores = "tokenizer.ggml.scores"
  package static let kinds = "tokenizer.ggml.token_type"
  package static let merges = "tokenizer.ggml.merges"
}

extension SentencePieceTokenizer {
  /// The tokenizer whose pieces travel in a model file.
  ///
  /// - Memory: see the type; the model stays mapped as long as the tokenizer lives.
  package init(_ model: MappedModel, contextLength: Int) throws(SegmentationError) {
    let count = try StoredTable.count(model, TokenizerKeys.tokens, .string)
    let scores = try StoredTable.numbers(model, TokenizerKeys.scores, .float32, count: count)
    let kinds = try StoredTable.numbers(model, TokenizerKeys.kinds, .int32, count: count)
    var merges: SentencePieceStore.Merges?
    if model.hasKey(TokenizerKeys.merges) {
      merges = SentencePieceStore.Merges(count: try StoredTable.count(model, TokenizerKeys.merges, .string)) {
        body in
        StoredTable.strings(model, TokenizerKeys.merges, body)
      }
    }
    let store = SentencePieceStore(
      count: count, owner: model, pieces: { StoredTable.strings(model, TokenizerKeys.tokens, $0) },
      score: { Float(bitPattern: scores($0)) }, kind: { Int32(bitPattern: kinds($0)) }, merges: merges)
    try self.init(store, contextLength: contextLength)
  }
}

extension WordPieceTokenizer {
  /// The tokenizer whose pieces travel in a model file.
  ///
  /// - Memory: see the type; the model stays mapped as long as the tokenizer lives.
  package init(_ model: MappedModel, contextLength: Int, start: Start) throws(SegmentationError) {
    let count = try StoredTable.count(model, TokenizerKeys.tokens, .string)
    try self.init(count: count, owner: model, contextLength: contextLength, start: start) {
      StoredTable.strings(model, TokenizerKeys.tokens, $0)
    }
  }
}

/// Arrays of a model file's header, read in place.
private enum StoredTable {
  /// Elements of an array of the type named.
  static func count(_ model: MappedModel, _ key: String, _ type: GGUFValueType) throws(SegmentationError)
    -> Int
  {
    guard let entry = model.header.entry(key) else {
      throw SegmentationError(.model("the model file has no such key"), path: model.path, field: key)
    }
    guard entry.type == .array, entry.elementType == type else {
      throw SegmentationError(.model("not an array of \(type)"), path: model.path, field: key)
    }
    return entry.count
  }

  /// The bits of four-byte numbers by index.
  static func numbers(
    _ model: MappedModel, _ key: String, _ type: GGUFValueType, count: Int
  ) throws(SegmentationError) -> (Int) -> UInt32 {
    let found = try self.count(model, key, type)
    guard found == count, let entry = model.header.entry(key) else {
      throw SegmentationError(
        .model("\(found) numbers for \(count) pieces; the file is damaged"), path: model.path, field: key)
    }
    return { index in
      UInt32(
        littleEndian: model.fileBytes.loadUnaligned(fromByteOffset: entry.offset + 4 * index, as: UInt32.self)
      )
    }
  }

  /// Every string of an array whose type `count` has checked; the header was walked when the file was opened.
  static func strings(
    _ model: MappedModel, _ key: String, _ body: (Int, UnsafeBufferPointer<UInt8>) -> Void
  ) {
    // What this could throw ends the walk early, and too few strings are refused.
    try? model.strings(key, body)
  }
}
