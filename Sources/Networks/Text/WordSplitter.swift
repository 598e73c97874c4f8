// Splits a cleaned text into the pieces that CLIP encodes one by one.

/// CLIP's splitting expression: marks, contractions, runs of letters, single digits, runs of anything else.
///
/// - Memory: allocates nothing.
/// - Source: openai/CLIP `simple_tokenizer.py`, `pat`; the marks are open_clip's, which the published code
///   uses.
enum WordSplitter {
  enum Kind { case start, end, word }

  struct Piece {
    var kind: Kind
    var range: Range<Int>
  }

  private static let startMark: StaticString = "<start_of_text>"
  private static let endMark: StaticString = "<end_of_text>"
  /// In the order in which they are tried.
  private static let contractions: [StaticString] = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d"]

  /// The first piece at or after `start`, or nil at the end of the text.
  static func next(_ text: [Unicode.Scalar], from start: Int) -> Piece? {
    var index = start
    while index < text.count, isSkipped(text[index]) { index += 1 }
    guard index < text.count else { return nil }
    if text[index] == "<" {
      if let end = match(startMark, text, index) { return Piece(kind: .start, range: index..<end) }
      if let end = match(endMark, text, index) { return Piece(kind: .end, range: index..<end) }
    }
    if text[index] == "'" {
      for contraction in contractions {
        if let end = match(contraction, text, index) { return Piece(kind: .word, range: index..<end) }
      }
    }
    var end = index + 1
    switch category(text[index]) {
    case .number: break
    case let kind:
      while end < text.count, !isSkipped(text[end]), category(text[end]) == kind { end += 1 }
    }
    return Piece(kind: .word, range: index..<end)
  }

  /// End of a literal at `start`; the long s counts as s, as it does when letter case is ignored.
  private static func match(_ literal: StaticString, _ text: [Unicode.Scalar], _ start: Int) -> Int? {
    var reader = LiteralScalars(literal)
    var index = start
    while let expected = reader.next() {
      guard index < text.count else { return nil }
      guard text[index] == expected || expected == "s" && text[index].value == 0x17F else { return nil }
      index += 1
    }
    return index
  }

  /// White space, and the Greek iota below, which the original expression matches with none of its parts.
  private static func isSkipped(_ scalar: Unicode.Scalar) -> Bool {
    scalar.value == 0x345 || TextCleaning.isSpace(scalar)
  }

  private enum Category { case letter, number, other }

  private static func category(_ scalar: Unicode.Scalar) -> Category {
    if scalar.value < 0x80 {
      switch scalar.value {
      case 0x30...0x39: return .number
      case 0x61...0x7A, 0x41...0x5A: return .letter
      default: return .other
      }
    }
    switch scalar.properties.generalCategory {
    case .uppercaseLetter, .lowercaseLetter, .titlecaseLetter, .modifierLetter, .otherLetter: return .letter
    case .decimalNumber, .letterNumber, .otherNumber: return .number
    default: return .other
    }
  }
}
