// The WordPiece tokenizer on a list small enough to follow by hand, and SigLIP's prompts.
import Segmentation
import TestSupport
import Testing

@Suite struct TextWordPieceTests {
  static let list = [
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "picture", "of", "cat", "##s", "##nap", "un", "##a", "[", "]",
    "sep", ".",
    "\u{8C48}", "\u{3C3}", "##\u{3C3}", "\u{3C2}", "i", "##x", "[DEC]", "[ENC]",
  ]

  static func make(
    _ pieces: [String] = list, contextLength: Int = 16, start: WordPieceTokenizer.Start = .encode
  ) throws -> WordPieceTokenizer {
    let block = TextSentencePieceTests.Block(pieces.map { Array($0.utf8) })
    return try WordPieceTokenizer(
      count: pieces.count, owner: block, contextLength: contextLength, start: start, pieces: block.forEach)
  }

  @Test func marksAndLimit() throws {
    let tokenizer = try Self.make()
    #expect(tokenizer.tokens("A picture of CATS.") == [23, 4, 5, 6, 7, 8, 15, 3])
    #expect(tokenizer.tokens("") == [23, 3])
    #expect(!tokenizer.isPadded && tokenizer.unknownToken == 1)
    #expect(try Self.make(start: .classification).tokens("cat") == [2, 7, 3])
    #expect(try Self.make(contextLength: 4).tokens("a picture of cats") == [23, 4, 5, 3])
  }

  @Test func longestPiecesFromTheLeft() throws {
    let tokenizer = try Self.make()
    #expect(tokenizer.encode("catsnip") == [1])  // `cat ##s` leaves `nip`; nothing shorter is tried
    #expect(tokenizer.encode("catnap") == [7, 9])
    #expect(tokenizer.encode("unas") == [10, 11, 8])
    #expect(tokenizer.encode("catq cat") == [1, 7])
    #expect(tokenizer.encode("s") == [1])
  }

  /// What a text spells like a mark is text.
  @Test func marksInTextAreText() throws {
    let tokenizer = try Self.make()
    #expect(tokenizer.encode("[SEP]") == [12, 14, 13])
    #expect(tokenizer.encode("cat[SEP]") == [7, 12, 14, 13])
    #expect(tokenizer.encode("[ENC]") == [12, 1, 13])
  }

  @Test func cleaning() throws {
    let tokenizer = try Self.make()
    #expect(tokenizer.encode("c\u{200B}a\u{0}t\u{FFFD}") == [7])
    #expect(tokenizer.encode("Ca\u{301}t\u{2028}cát") == [7, 7])
    #expect(tokenizer.encode("cat\u{F900}cat") == [7, 16, 7])  // a compatibility ideograph is its plain one
    #expect(tokenizer.encode("\u{3A3} \u{3A3}\u{3A3}") == [17, 17, 18])  // no sigma is final
    #expect(tokenizer.encode("\u{130}x") == [20, 21])
    #expect(tokenizer.encode("\u{4E00}") == [1])
  }

  @Test func longWords() throws {
    let tokenizer = try Self.make()
    let word = "a" + String(repeating: "s", count: 99)
    #expect(tokenizer.encode(word).count == 100)
    #expect(tokenizer.encode(word + "s") == [1])
    // Accents go before characters are counted.
    #expect(tokenizer.encode(word + "\u{301}").count == 100)
  }

  @Test func refusesBrokenLists() throws {
    for missing in ["[UNK]", "[SEP]", "[ENC]"] {
      let error = thrownError(SegmentationError.self) { try Self.make(Self.list.filter { $0 != missing }) }
      #expect(error?.description.contains("no piece '\(missing)'") == true)
      #expect(error?.exitCode == 4)
    }
    let error = thrownError(SegmentationError.self) { try Self.make(Self.list + ["cat"]) }
    #expect(error?.description.contains("the same as piece 7") == true)
  }

  /// The longest phrase there can be, of what takes longest.
  @Test(arguments: ["\u{1FA7}", "\u{2FA1D}", "a\u{315}\u{300}", "a"]) func longPhrasesTakeLittleTime(
    _ unit: String
  ) throws {
    let tokenizer = try Self.make()
    let phrase = String(repeating: unit, count: ClassList.phraseByteLimit / unit.utf8.count)
    let time = ContinuousClock().measure { for _ in 0..<20 { _ = tokenizer.encode(phrase) } }
    #expect(time < .seconds(2), "\(time)")
  }
}

@Suite struct TextSigLIPPromptTests {
  @Test func canonicalTexts() {
    #expect(
      PromptCleaning.canonical("a close-up photo of a Building_Other.")
        == "a closeup photo of a building other")
    #expect(PromptCleaning.canonical("  _x_\u{3000}\t!y?  ") == "x y")
    #expect(PromptCleaning.canonical("!?") == "")
    #expect(PromptCleaning.canonical("«É» – ΣΑΣ").unicodeScalars.elementsEqual("«é» – σας".unicodeScalars))
  }

  @Test func promptsArePaddedRows() throws {
    let tokenizer = try TextSentencePieceTests.make(pieces: [("a", 0), ("\u{2581}", 0)], contextLength: 64)
    let rows = SigLIPPrompts.tokens("a-A", tokenizer: tokenizer)
    #expect(rows.count == SigLIPPrompts.promptCount && rows.allSatisfy { $0.count == 64 })
    #expect(rows[0] == tokenizer.tokens("a bad photo of a aa"))
    #expect(rows.allSatisfy { $0.contains(1) })
  }
}
