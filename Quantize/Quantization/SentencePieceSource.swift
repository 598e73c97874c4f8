// The vocabulary of a SentencePiece tokenizer, from any of the files it is published in.

import Container
import Segmentation
import System

/// The pieces of a SentencePiece model of type BPE with byte fallback (Gemma's, SigLIP 2's).
///
/// From `tokenizer.json`, which has merges instead of scores, scores are made where the merges say no more
/// than scores would: where every way to cut a piece in two pieces is a merge, and the merges of one piece
/// stand together. Then both files give the same tokens (`MergedPieces`). Elsewhere the merges are kept and
/// decide.
///
/// - Memory: the unpacked file and its texts, while it is read.
/// - Source: google/sentencepiece `src/sentencepiece_model.proto`.
package struct SentencePieceSource: Sendable {
  package struct Piece: Sendable, Equatable {
    package var text: String
    package var score: Float
    package var kind: SentencePieceTokenizer.Kind
  }

  /// Names looked for beside a checkpoint, in this order.
  package static let fileNames = ["tokenizer.model", "tokenizer.json"]

  package let path: String
  package let byteCount: Int
  package let sha256Hex: String
  package let pieces: [Piece]
  /// `a b` in order where merges decide; else empty.
  package let merges: [String]

  /// Reads a vocabulary of `vocabularySize` pieces (nil: of any size); its contents tell the kind of file.
  ///
  /// - Errors: `malformed` with the byte or the field; `unsupported` for a tokenizer that works otherwise;
  ///   `limitExceeded`; what opening a file throws.
  package static func read(
    path: String, vocabularySize: Int?
  ) throws(QuantizationError) -> SentencePieceSource {
    let (file, bytes) = try TokenizerJSON.readFile(path: path)
    let isJSON = TokenizerJSON.isLikely(bytes)
    let table = try isJSON ? MergedPieces.read(bytes, file: file) : (try readModel(bytes, file: file), [])
    let source = SentencePieceSource(
      path: path, byteCount: file.byteCount, sha256Hex: try file.sha256Hex(), pieces: table.0, merges: table.1
    )
    if let vocabularySize, source.pieces.count != vocabularySize {
      throw file.error(
        .unsupportedModel(
          "\(source.pieces.count) pieces, where the text tower has rows for \(vocabularySize)"))
    }
    // Whatever the program that reads the model file would refuse is refused here.
    do throws(SegmentationError) { _ = try source.makeTokenizer(contextLength: 64) } catch {
      throw file.error(.malformed(error.description))
    }
    return source
  }

  // MARK: The protocol buffer

  private static func readModel(_ bytes: [UInt8], file: InputFile) throws(QuantizationError) -> [Piece] {
    var reader = ProtocolBufferReader(bytes, file: file)
    var pieces: [Piece] = []
    var rules = Rules()
    while let field = try reader.next() {
      switch field.number {
      case 1:
        if pieces.count == PieceIndex.countLimit {
          throw file.error(
            .limitExceeded(what: "pieces", limit: PieceIndex.countLimit, found: pieces.count + 1),
            at: field.offset)
        }
        pieces.append(try piece(reader.message(field), number: pieces.count, file: file))
      case 2: try rules.readTraining(reader.message(field))
      case 3: try rules.readNormalization(reader.message(field))
      default: break
      }
    }
    if let problem = rules.problem { throw file.error(.unsupported(problem)) }
    return pieces
  }

  private static func piece(
    _ message: ProtocolBufferReader, number: Int, file: InputFile
  ) throws(QuantizationError) -> Piece {
    var reader = message
    var piece = Piece(text: "", score: 0, kind: .normal)
    while let field = try reader.next() {
      switch field.number {
      case 1: piece.text = try reader.text(field)
      case 2: piece.score = try reader.float(field)
      case 3:
        let kind = Int32(truncatingIfNeeded: try reader.unsigned(field))
        guard let known = SentencePieceTokenizer.Kind(rawValue: kind), known != .unused else {
          throw file.error(.unsupported("a piece of kind \(kind)"), at: field.offset, name: "piece \(number)")
        }
        piece.kind = known
      default: break
      }
    }
    return piece
  }

  /// What a model says about itself, with the format's defaults, as far as tokens depend on it.
  private struct Rules {
    private var type: UInt64 = 1
    private var fallsBackToBytes = false
    private var spaceIsSuffix = false
    private var mapByteCount = 0
    private var addsSpace = true
    private var removesSpaces = true
    private var escapesSpaces = true

    mutating func readTraining(_ message: ProtocolBufferReader) throws(QuantizationError) {
      var reader = message
      while let field = try reader.next() {
        switch field.number {
        case 3: type = try reader.unsigned(field)
        case 24: spaceIsSuffix = try reader.unsigned(field) != 0
        case 35: fallsBackToBytes = try reader.unsigned(field) != 0
        default: break
        }
      }
    }

    mutating func readNormalization(_ message: ProtocolBufferReader) throws(QuantizationError) {
      var reader = message
      while let field = try reader.next() {
        switch field.number {
        case 2: mapByteCount = try reader.range(field).count
        case 3: addsSpace = try reader.unsigned(field) != 0
        case 4: removesSpaces = try reader.unsigned(field) != 0
        case 5: escapesSpaces = try reader.unsigned(field) != 0
        default: break
        }
      }
    }

    /// What this program does otherwise, or nil.
    var problem: String? {
      if type != 2 { return "a SentencePiece model of type \(type), where BPE (2) is needed" }
      if !fallsBackToBytes { return "a SentencePiece model without byte fallback" }
      if mapByteCount > 0 { return "a SentencePiece model that normalizes characters" }
      if addsSpace { return "a SentencePiece model that puts a space in front" }
      if removesSpaces { return "a SentencePiece model that removes spaces" }
      if spaceIsSuffix || !escapesSpaces { return "a SentencePiece model that treats spaces otherwise" }
      return nil
    }
  }

  // MARK: What becomes of it

  /// Keys of the model file that hold the tokenizer.
  package var values: [(key: String, value: GGUFValue)] {
    var values: [(key: String, value: GGUFValue)] = [
      (TokenizerKeys.model, .string("llama")),
      (TokenizerKeys.tokens, .strings(pieces.map(\.text))),
      (TokenizerKeys.scores, .array(of: .float32, pieces.map { .float32($0.score) })),
      (TokenizerKeys.kinds, .array(of: .int32, pieces.map { .int32($0.kind.rawValue) })),
    ]
    if !merges.isEmpty { values.append((TokenizerKeys.merges, .strings(merges))) }
    return values
  }

  /// The tokenizer that a model file with `values` gives.
  package func makeTokenizer(contextLength: Int) throws(SegmentationError) -> SentencePieceTokenizer {
    let texts = LentTexts(pieces.map(\.text))
    let pieces = pieces
    let merges = merges
    var store = SentencePieceStore(
      count: pieces.count, owner: texts, pieces: texts.forEach, score: { pieces[$0].score },
      kind: { pieces[$0].kind.rawValue })
    if !merges.isEmpty {
      store.merges = SentencePieceStore.Merges(count: merges.count, lines: LentTexts(merges).forEach)
    }
    return try SentencePieceTokenizer(store, contextLength: contextLength)
  }
}

/// Texts in one block of memory, as they lie in a mapped file.
final class LentTexts {
  private let block: ScratchBytes
  private let ends: [Int]

  init(_ texts: [String]) {
    block = ScratchBytes(count: texts.reduce(0) { $0 + $1.utf8.count })
    var ends: [Int] = []
    ends.reserveCapacity(texts.count)
    var place = 0
    for text in texts {
      for byte in text.utf8 {
        block.base.storeBytes(of: byte, toByteOffset: place, as: UInt8.self)
        place += 1
      }
      ends.append(place)
    }
    self.ends = ends
  }

  /// Lends every text; in place as long as the object lives.
  func forEach(_ body: (_ number: Int, _ bytes: UnsafeBufferPointer<UInt8>) -> Void) {
    var start = 0
    for (number, end) in ends.enumerated() {
      let address = block.base.assumingMemoryBound(to: UInt8.self) + start
      body(number, UnsafeBufferPointer(start: address, count: end - start))
      start = end
    }
  }
}
