// BERT's uncased tokenizer: words, then the longest pieces of a list, from left to right.

/// Turns a text into the pieces of a BERT word list (bert-base-uncased, BLIP).
///
/// Control characters are dropped, ideographs stand alone, letters become small and lose their accents, every
/// punctuation character is a word of its own. A word is cut from the left into the longest pieces listed,
/// all but the first with `##` in front; a word of more than 100 characters, or with a rest that no piece
/// begins, is one `[UNK]`. Marks written in a text are text: brackets are punctuation.
///
/// - Memory: 6 B a piece and 4 B a slot: 0.4 MiB for 30,524 pieces; a few arrays of the text's length.
/// - Source: huggingface/transformers 4 `models/bert/tokenization_bert.py`, `tokenization_utils.py`
///   (`BertTokenizer`).
package struct WordPieceTokenizer: Tokenizer {
  /// What stands in front of a text.
  package enum Start: String, Sendable {
    /// `[CLS]`: a text on its own.
    case classification = "[CLS]"
    /// `[ENC]`: BLIP's text beside an image.
    case encode = "[ENC]"
  }

  /// Characters that a word may have.
  package static let wordLimit = 100

  package let contextLength: Int
  package let vocabularySize: Int
  package let unknownToken: Int32
  package let endToken: Int32
  /// Nil: attention leaves pads out, so that none are made.
  package var padToken: Int32? { nil }
  /// What `tokens` puts in front.
  package let startToken: Int32
  private let index: PieceIndex

  /// Reads the list once; of its text only the places are kept.
  ///
  /// - Parameter owner: keeps the bytes lent in place.
  /// - Errors: `.model` if the list lacks a mark or names a piece twice; `.limit`.
  package init(
    count: Int, owner: AnyObject?, contextLength: Int, start: Start, pieces: PieceIndex.Lender
  ) throws(SegmentationError) {
    precondition(contextLength >= 2, "a context holds at least the two marks")
    self.contextLength = contextLength
    vocabularySize = count
    index = try PieceIndex(count: count, owner: owner, isFound: { _ in true }, lending: pieces)
    unknownToken = try Self.mark("[UNK]", index)
    endToken = try Self.mark("[SEP]", index)
    startToken = try Self.mark(start.rawValue, index)
  }

  private init(_ other: WordPieceTokenizer, start: Start) throws(SegmentationError) {
    (contextLength, vocabularySize) = (other.contextLength, other.vocabularySize)
    (unknownToken, endToken, index) = (other.unknownToken, other.endToken, other.index)
    startToken = try Self.mark(start.rawValue, index)
  }

  /// The same list, with another mark in front of texts.
  package func starting(with start: Start) throws(SegmentationError) -> WordPieceTokenizer {
    try WordPieceTokenizer(self, start: start)
  }

  private static func mark(_ text: String, _ index: PieceIndex) throws(SegmentationError) -> Int32 {
    let number = Array(text.utf8).withUnsafeBufferPointer { index.number(of: $0) }
    guard let number else {
      throw SegmentationError(.model("no piece '\(text)'"), field: "tokenizer.ggml.tokens")
    }
    return Int32(number)
  }

  package func tokens(_ text: String) -> [Int32] { closed([startToken] + encode(text)) }

  /// The pieces of a text, without marks and without a limit.
  package func encode(_ text: String) -> [Int32] {
    var out: [Int32] = []
    for word in BERTWords.words(text) { cut(word, into: &out) }
    return out
  }

  /// Cuts a word into pieces.
  private func cut(_ word: ArraySlice<Unicode.Scalar>, into out: inout [Int32]) {
    guard word.count <= Self.wordLimit else { return out.append(unknownToken) }
    // The word with room for `##` in front of any character.
    var bytes: [UInt8] = [0x23, 0x23]
    var ends: [Int] = []
    for scalar in word {
      bytes.append(contentsOf: UTF8.encode(scalar)!)
      ends.append(bytes.count)
    }
    let first = out.count
    var place = 0
    while place < ends.count {
      guard let piece = longest(&bytes, ends, from: place) else {
        out.removeSubrange(first...)
        return out.append(unknownToken)
      }
      out.append(Int32(piece.number))
      place = piece.end
    }
  }

  /// The longest piece that begins with a character, and the character behind it.
  private func longest(_ bytes: inout [UInt8], _ ends: [Int], from place: Int) -> (number: Int, end: Int)? {
    var start = place == 0 ? 2 : ends[place - 1]
    var hash = PieceIndex.emptyHash
    if place > 0 {
      start -= 2
      bytes[start] = 0x23
      bytes[start + 1] = 0x23
      hash = PieceIndex.extended(PieceIndex.extended(hash, 0x23), 0x23)
    }
    var hashed = place == 0 ? 2 : start + 2
    return bytes.withUnsafeBufferPointer { bytes in
      var found: (number: Int, end: Int)?
      for character in place..<ends.count {
        let end = ends[character]
        guard end - start <= index.longest else { break }
        while hashed < end {
          hash = PieceIndex.extended(hash, bytes[hashed])
          hashed += 1
        }
        let piece = UnsafeBufferPointer(rebasing: bytes[start..<end])
        if let number = index.number(of: piece, hash: hash) { found = (number, character + 1) }
      }
      return found
    }
  }
}

/// The words that BERT's uncased tokenizer sees.
///
/// - Source: as `WordPieceTokenizer` (`BasicTokenizer`).
enum BERTWords {
  static func words(_ text: String) -> [ArraySlice<Unicode.Scalar>] {
    var words: [ArraySlice<Unicode.Scalar>] = []
    let scalars = UnicodeNormalization.composed(spaced(text))
    for run in scalars.split(whereSeparator: TextCleaning.isSpace) {
      let plain = unaccented(run)
      var start = 0
      for place in 0...plain.count {
        let isEnd = place == plain.count || TextCleaning.isSpace(plain[place])
        guard isEnd || isPunctuation(plain[place]) else { continue }
        if start < place { words.append(plain[start..<place]) }
        if !isEnd { words.append(plain[place...place]) }
        start = place + 1
      }
    }
    return words
  }

  /// Drops control characters, makes spaces of white space and puts spaces around ideographs.
  private static func spaced(_ text: String) -> [Unicode.Scalar] {
    var out: [Unicode.Scalar] = []
    out.reserveCapacity(text.utf8.count)
    for scalar in text.unicodeScalars {
      if isIdeograph(scalar) {
        out.append(contentsOf: [" ", scalar, " "])
      } else if let kept = cleaned(scalar) {
        out.append(kept)
      }
    }
    return out
  }

  private static func cleaned(_ scalar: Unicode.Scalar) -> Unicode.Scalar? {
    switch scalar.value {
    case 0x09, 0x0A, 0x0D, 0x20: return " "
    case 0x21...0x7E: return scalar
    case 0xFFFD: return nil
    default:
      switch scalar.properties.generalCategory {
      case .control, .format, .surrogate, .privateUse, .unassigned: return nil
      case .spaceSeparator: return " "
      default: return scalar
      }
    }
  }

  private static func isIdeograph(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.value {
    case 0x4E00...0x9FFF, 0x3400...0x4DBF, 0x20000...0x2A6DF, 0x2A700...0x2B73F, 0x2B740...0x2B81F,
      0x2B820...0x2CEAF, 0xF900...0xFAFF, 0x2F800...0x2FA1F:
      true
    default: false
    }
  }

  private static func isPunctuation(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.value {
    case 33...47, 58...64, 91...96, 123...126: return true
    case 0..<0x80: return false
    default:
      switch scalar.properties.generalCategory {
      case .connectorPunctuation, .dashPunctuation, .openPunctuation, .closePunctuation, .initialPunctuation,
        .finalPunctuation, .otherPunctuation:
        return true
      default: return false
      }
    }
  }

  /// Small letters, taken apart (NFD), without the marks that take no room.
  ///
  /// Letters are made small one by one, so that no sigma is a final one.
  private static func unaccented(_ text: ArraySlice<Unicode.Scalar>) -> [Unicode.Scalar] {
    var small: [Unicode.Scalar] = []
    small.reserveCapacity(text.count)
    for scalar in text {
      if scalar.isASCII {
        let isCapital = (0x41...0x5A).contains(scalar.value)
        small.append(isCapital ? Unicode.Scalar(UInt8(scalar.value) + 32) : scalar)
      } else {
        small.append(contentsOf: scalar.properties.lowercaseMapping.unicodeScalars)
      }
    }
    if small.allSatisfy(\.isASCII) { return small }
    return UnicodeNormalization.decomposed(small).filter { $0.properties.generalCategory != .nonspacingMark }
  }
}
