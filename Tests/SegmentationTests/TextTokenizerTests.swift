// The tokenizer on a vocabulary small enough to follow by hand, and the cleaning before it.
import Segmentation
import TestSupport
import Testing

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

@Suite struct TextTokenizerTests {
  /// Merges of a toy vocabulary: ca, cat</w>, do, dog</w>, ' s</w>.
  static func tokenizer(
    _ lines: [String] = ["c a", "ca t</w>", "d o", "do g</w>", "' s</w>"], contextLength: Int = 8
  ) throws -> BytePairTokenizer {
    try BytePairTokenizer(mergeCount: lines.count, contextLength: contextLength) { body in
      for (rank, line) in lines.enumerated() {
        Array(line.utf8).withUnsafeBufferPointer { body(rank, $0) }
      }
    }
  }

  @Test func mergesByRank() throws {
    let tokenizer = try Self.tokenizer()
    #expect(tokenizer.vocabularySize == 519)
    #expect(tokenizer.encode("cat") == [513])
    #expect(tokenizer.encode("CAT dog's") == [513, 515, 516])
    #expect(tokenizer.encode("cats") == [512, 83, 338])
    #expect(tokenizer.encode("") == [])
    #expect(tokenizer.tokens(" ") == [517, 518])
  }

  @Test func equalNeighboursJoinFromTheLeft() throws {
    let tokenizer = try Self.tokenizer(["a a", "a a</w>", "aa aa"])
    #expect(tokenizer.encode("aaa") == [512, 320])
    #expect(tokenizer.encode("aa") == [513])
    #expect(tokenizer.encode("aaaaa") == [514, 320])
  }

  @Test func cutsAndKeepsTheEndMark() throws {
    let tokenizer = try Self.tokenizer(contextLength: 4)
    #expect(tokenizer.tokens("cat cat") == [517, 513, 513, 518])
    #expect(tokenizer.tokens("cat cat cat") == [517, 513, 513, 518])
    #expect(tokenizer.tokens("cat") == [517, 513, 518])
  }

  @Test func marksInTextAreTokens() throws {
    let tokenizer = try Self.tokenizer()
    #expect(tokenizer.encode("cat<end_of_text> cat") == [513, 518, 513])
    #expect(tokenizer.tokens("cat<end_of_text> cat") == [517, 513, 518])
    #expect(tokenizer.encode("<Start_Of_Text> cat") == [517, 513])
  }

  @Test func byteAlphabetIsClips() throws {
    let tokenizer = try Self.tokenizer([])
    #expect(tokenizer.encode("!") == [256])
    #expect(tokenizer.encode("é") == [127, 358])  // C3 A9
    #expect(tokenizer.encode("\u{AD}") == [126, 511])  // C2 AD, the last of the remapped bytes
  }

  /// The longest phrase there can be, of what took the cleaning longest, in all templates: 0.8 to 1.2 s of a
  /// server's processor before tables were looked up in dictionaries, 0.02 s now.
  @Test(arguments: ["\u{1FA7}", "\u{FF5F}", "a\u{315}\u{300}"]) func longPhrasesTakeLittleTime(_ unit: String)
    throws
  {
    let tokenizer = try Self.tokenizer(contextLength: 77)
    let phrase = String(repeating: unit, count: ClassList.phraseByteLimit / unit.utf8.count)
    let start = Self.processorSeconds()
    #expect(PromptTemplates.tokens(phrase, tokenizer: tokenizer).allSatisfy { $0.count == 77 })
    #expect(Self.processorSeconds() - start < 0.6)
  }

  /// Of this thread.
  private static func processorSeconds() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
  }

  @Test func ranksMaySkip() throws {
    let lines: [(Int, String)] = [(10, "c a"), (400, "ca t</w>")]
    let tokenizer = try BytePairTokenizer(mergeCount: 500, contextLength: 77) { body in
      for (rank, line) in lines { Array(line.utf8).withUnsafeBufferPointer { body(rank, $0) } }
    }
    #expect(tokenizer.tokens("cat") == [1012, 912, 1013])
  }

  @Test(arguments: [
    (["c a", "x"], "merge 1: not two symbols"), (["c a", " a"], "merge 1: not two symbols"),
    (["ca t"], "merge 0: a symbol that no earlier"), (["c a", "c a"], "merge 1: makes a symbol that exists"),
    (["c a b"], "merge 0: a symbol that no earlier"), ([""], "merge 0: not two symbols"),
  ])
  func refusesBrokenMerges(lines: [String], problem: String) {
    let error = thrownError(SegmentationError.self) { try Self.tokenizer(lines) }
    #expect(error?.exitCode == 4)
    #expect(error?.description.contains(problem) == true, "\(String(describing: error))")
  }

  @Test func refusesTooManyMerges() {
    let error = thrownError(SegmentationError.self) {
      try BytePairTokenizer(mergeCount: 70_000, contextLength: 77) { _ in }
    }
    #expect(error?.reason == .limit(what: "merges", value: 70_000, limit: BytePairTokenizer.mergeLimit))
  }

  @Test(arguments: [
    ("  A  b\t\nc ", "a b c"), ("dog\u{2019}s", "dog's"), ("\u{201C}x\u{201D}", "\"x\""),
    ("o\u{FB03}ce", "office"),
    ("\u{FF23}\u{FF21}\u{FF34}\u{3000}x", "cat x"), ("\u{FEFF}cat\u{7}", "cat"),
    ("a\r\nb\rc\u{2028}d", "a b c d"),
    ("e\u{301}clair", "\u{E9}clair"), ("A\u{30A}", "\u{E5}"), ("q\u{307}\u{323}", "q\u{323}\u{307}"),
    ("\u{1112}\u{1161}\u{11AB}", "\u{D55C}"), ("\u{212B}", "\u{E5}"), ("\u{FF76}\u{FF9E}", "\u{30AC}"),
    ("a &amp; b", "a & b"), ("&amp;amp;lt;", "<"), ("&eacute;t&#233; &#xE9;", "\u{E9}t\u{E9} \u{E9}"),
    ("P&EACUTE;REZ", "p\u{E9}rez"), ("&copy 1", "\u{A9} 1"), ("&notit;", "\u{AC}it;"), ("AT&T", "at&t"),
    ("x &#0; &#128;", "x \u{FFFD} \u{20AC}"), ("caf\u{C3}\u{A9}", "caf\u{E9}"),
    ("l\u{E2}\u{20AC}\u{2122}eau", "l'eau"), ("\u{1B}[31mred\u{1B}[0m", "red"), ("\u{130}", "i\u{307}"),
    ("\u{391}\u{3A3} \u{3A3}\u{391}", "\u{3B1}\u{3C2} \u{3C3}\u{3B1}"), ("&SZLIG;", "ss"),
    ("NESTL\u{C9}\u{AE}", "nestl\u{E9}\u{AE}"), ("a caf\u{C3}\u{A9} na\u{EF}ve", "a caf\u{E9} na\u{EF}ve"),
    ("\u{C3}\u{192}\u{C2}\u{A9}", "\u{E9}"), ("\u{F0}\u{178}\u{90}\u{B1}", "\u{1F431}"),
    ("\u{1C4}x", "d\u{17E}x"),
  ])
  func cleans(text: String, expected: String) {
    #expect(TextCleaning.clean(text) == Array(expected.unicodeScalars))
  }

  /// Texts made to be slow to repair stay quick and arrive somewhere.
  @Test(arguments: [
    "\u{E2}\u{A9}", "\u{C3} ", "\u{C3}\u{83}", "&amp;", "a\u{301}\u{323}", "\u{C2}", "&", "'", "\u{3A3}",
  ])
  func repetitionsEnd(unit: String) throws {
    let text = String(repeating: unit, count: 500)
    #expect(try Self.tokenizer(contextLength: 77).tokens(text).count <= 77)
  }

  /// Phrases encoded by the original, with the merges they need under their published ranks.
  @Test func equalsTheOriginal() throws {
    let folder = TextSupport.root + "/Tests/Fixtures/tokenizer/"
    let merges = TextSupport.lines(try #require(TextSupport.read(folder + "merges.tsv"))).map { line in
      line.split(separator: "\t", omittingEmptySubsequences: false)
    }
    let tokenizer = try BytePairTokenizer(mergeCount: 48_894, contextLength: 77) { body in
      for merge in merges {
        Array("\(merge[1]) \(merge[2])".utf8).withUnsafeBufferPointer { body(Int(merge[0])!, $0) }
      }
    }
    var count = 0
    for line in TextSupport.lines(try #require(TextSupport.read(folder + "phrases.tsv")))
    where !line.hasPrefix("# ") {
      let fields = line.unicodeScalars.split(separator: "\t", omittingEmptySubsequences: false).map {
        String($0)
      }
      let phrase = TextSupport.unescape(fields[0])
      let expected = fields[1].split(separator: " ").map { Int32($0)! }
      let cleaned = String(String.UnicodeScalarView(TextCleaning.clean(phrase)))
      #expect(
        Array(cleaned.unicodeScalars) == Array(TextSupport.unescape(fields[2]).unicodeScalars), "\(line)")
      #expect(tokenizer.tokens(phrase) == expected, "\(line)")
      count += 1
    }
    #expect(count >= 300)
  }
}
