// What the text path asks of a tokenizer, whichever network it belongs to.

/// Turns a text into the token numbers that a text tower embeds.
///
/// | tokenizer | sequence | pad |
/// |---|---|---|
/// | `BytePairTokenizer` (CLIP) | start, symbols, end | none: sequences end with the end mark |
/// | `SentencePieceTokenizer` (SigLIP 2) | pieces, end, pads up to the context | 0, embedded and attended |
/// | `WordPieceTokenizer` (BERT, BLIP) | `[CLS]` or `[ENC]`, pieces, `[SEP]` | none: attention skips pads |
///
/// Whether sequences may share their beginnings is a matter of the tower's attention, not of the tokenizer.
package protocol Tokenizer: Sendable {
  /// Positions of the text tower, marks included.
  var contextLength: Int { get }
  /// Rows of the token embedding.
  var vocabularySize: Int { get }
  /// Closes every sequence; a text that is too long is cut in front of it.
  var endToken: Int32 { get }
  /// Fills every sequence up to `contextLength` where the tower embeds padding, else nil.
  var padToken: Int32? { get }

  /// The sequence of a text, marks included.
  ///
  /// - Shapes: `contextLength` tokens with a pad token, else 1...`contextLength`; all below `vocabularySize`.
  func tokens(_ text: String) -> [Int32]
}

extension Tokenizer {
  /// Whether every sequence has `contextLength` tokens.
  package var isPadded: Bool { padToken != nil }

  /// Closes a sequence: cuts what is too long, adds the end mark, fills up with pads.
  func closed(_ tokens: [Int32]) -> [Int32] {
    var out = tokens
    if out.count >= contextLength { out.removeSubrange((contextLength - 1)...) }
    out.append(endToken)
    if let padToken { out.append(contentsOf: repeatElement(padToken, count: contextLength - out.count)) }
    return out
  }
}
