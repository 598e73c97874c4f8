// The SentencePiece tokenizer on vocabularies small enough to follow by hand, and on one of full size.
import Container
import Segmentation
import TestSupport
import Testing

@Suite struct TextSentencePieceTests {
  private typealias Kind = SentencePieceTokenizer.Kind

  /// Strings in one block, as in a mapped file.
  final class Block {
    let bytes: UnsafeMutableBufferPointer<UInt8>
    let ends: [Int]

    init(_ texts: [[UInt8]]) {
      bytes = .allocate(capacity: max(1, texts.reduce(0) { $0 + $1.count }))
      _ = bytes.initialize(from: texts.joined())
      ends = texts.reduce(into: []) { $0.append(($0.last ?? 0) + $1.count) }
    }

    deinit { bytes.deallocate() }

    func forEach(_ body: (Int, UnsafeBufferPointer<UInt8>) -> Void) {
      for (number, end) in ends.enumerated() {
        let start = number == 0 ? 0 : ends[number - 1]
        body(number, UnsafeBufferPointer(rebasing: bytes[start..<end]))
      }
    }
  }

  /// Four marks, 256 bytes from number 4 on, then the pieces from number 260 on.
  static let base: [(String, Float, Int32)] =
    [("<pad>", 0, 3), ("<eos>", 0, 3), ("<bos>", 0, 3), ("<unk>", 0, 2)]
    + (0..<256).map { byte in
      let digits = String(byte, radix: 16, uppercase: true)
      return ("<0x" + (byte < 16 ? "0" : "") + digits + ">", 0, 6)
    }

  /// Token of a byte in `base`.
  private static func byte(_ value: Int32) -> Int32 { value + 4 }

  static func make(
    _ rows: [(String, Float, Int32)], merges: [String]? = nil, contextLength: Int = 8, count: Int? = nil
  ) throws -> SentencePieceTokenizer {
    let texts = Block(rows.map { Array($0.0.utf8) })
    // A count may be a false one.
    func row(_ number: Int) -> (String, Float, Int32) { number < rows.count ? rows[number] : ("", 0, 1) }
    var store = SentencePieceStore(
      count: count ?? rows.count, owner: texts, pieces: texts.forEach, score: { row($0).1 },
      kind: { row($0).2 })
    if let merges {
      let lines = Block(merges.map { Array($0.utf8) })
      store.merges = SentencePieceStore.Merges(count: merges.count, lines: lines.forEach)
    }
    return try SentencePieceTokenizer(store, contextLength: contextLength)
  }

  static func make(pieces: [(String, Float)], contextLength: Int = 8) throws -> SentencePieceTokenizer {
    try make(base + pieces.map { ($0.0, $0.1, 1) }, contextLength: contextLength)
  }

  @Test func bestScoreFirstThenLeftmost() throws {
    let pieces: [(String, Float)] = [("a", 0), ("b", 0), ("ab", -2), ("ba", -1), ("aa", -1)]
    let tokenizer = try Self.make(pieces: pieces)
    #expect(tokenizer.encode("aba") == [260, 263])  // `ba` beats `ab`
    #expect(tokenizer.encode("ababa") == [260, 263, 263])
    #expect(tokenizer.encode("aaa") == [264, 260])  // equal pairs from the left
    #expect(tokenizer.encode("") == [])
  }

  @Test func charactersWithoutPieceBecomeBytes() throws {
    let tokenizer = try Self.make(pieces: [("a", 0), ("\u{2581}", 0), ("\u{2581}a", -1)])
    #expect(tokenizer.encode("é") == [Self.byte(0xC3), Self.byte(0xA9)])
    #expect(tokenizer.encode(" a") == [262])
    #expect(tokenizer.encode("a \n") == [260, 261, Self.byte(10)])
    #expect(tokenizer.encode("<eos>").count == 5)
    #expect(tokenizer.encode("<0x41>").count == 6)
  }

  @Test func sequencesAreClosedAndPadded() throws {
    let tokenizer = try Self.make(pieces: [("a", 0)], contextLength: 4)
    #expect(tokenizer.isPadded && tokenizer.padToken == 0 && tokenizer.endToken == 1)
    #expect(tokenizer.tokens("") == [1, 0, 0, 0])
    #expect(tokenizer.tokens("a") == [260, 1, 0, 0])
    #expect(tokenizer.tokens("aaa") == [260, 260, 260, 1])
    #expect(tokenizer.tokens("aaaa") == [260, 260, 260, 1])
  }

  @Test func userDefinedPiecesAreTakenWhole() throws {
    let rows: [(String, Float, Int32)] = [
      ("a", 0, 1), ("b", 0, 1), ("ab", -1, 1), ("<b>", 0, 4), ("\u{2581}\u{2581}", 0, 4), ("<b>a", 0, 4),
    ]
    let tokenizer = try Self.make(Self.base + rows)
    #expect(tokenizer.encode("ab<b>b") == [262, 263, 261])
    #expect(tokenizer.encode("b<b>ab") == [261, 265, 261])
    #expect(tokenizer.encode("a   b") == [260, 264, Self.byte(0xE2), Self.byte(0x96), Self.byte(0x81), 261])
  }

  /// A merge that is missing is not made, and order decides.
  @Test func mergesDecide() throws {
    let rows: [(String, Float, Int32)] = [
      ("a", 0, 1), ("b", 0, 1), ("ab", 0, 1), ("ba", 0, 1), ("aba", 0, 1),
    ]
    let tokenizer = try Self.make(Self.base + rows, merges: ["b a", "a ba"])
    #expect(tokenizer.encode("aba") == [264])
    #expect(tokenizer.encode("ab") == [260, 261])
    let other = try Self.make(Self.base + rows, merges: ["a b", "b a", "a ba"])
    #expect(other.encode("aba") == [262, 260])
  }

  @Test func refusesBrokenTables() throws {
    typealias Row = (String, Float, Int32)
    let good = Self.base + [("a", 0, 1)]
    func problem(
      _ rows: [Row], merges: [String]? = nil, count: Int? = nil, _ text: String,
      _ location: SourceLocation = #_sourceLocation
    ) {
      let error = thrownError(SegmentationError.self) { try Self.make(rows, merges: merges, count: count) }
      #expect(error?.exitCode == 4, sourceLocation: location)
      #expect(
        error?.description.contains(text) == true, "\(String(describing: error))", sourceLocation: location)
    }
    problem(good + [("a", 0, 1)], "piece 261: the same as piece 260")
    problem(good + [("", 0, 1)], "piece 261: no text")
    problem(good + [("b", .nan, 1)], "a score is no number")
    problem(good + [("b", 0, 5)], "piece 261 is of kind 5")
    problem(good + [("b", 0, 9)], "piece 261 is of kind 9")
    problem(good + [("<0x4>", 0, 6)], "piece 261 is no new byte")
    problem(good + [("<0x41>", 0, 6)], "piece 261 is no new byte")
    problem(good + [("<pad>", 0, 3)], "piece 261 is no new mark")
    problem(Array(good.dropFirst()), "no '<eos>' or no '<pad>'")
    problem(Array(good[..<100]), "not every byte has a piece")
    problem([], "no pieces")
    problem(good, count: 300, "261 pieces where 300 are expected")
    problem(good, count: PieceIndex.countLimit + 1, "pieces")
    problem(good + [(String(repeating: "x", count: 2000), 0, 1)], "bytes of a piece")
    problem(good, merges: ["a a"], "merge 0 is not two pieces")
    problem(good, merges: ["aa"], "merge 0 is not two pieces")
    problem(good + [("aa", 0, 1)], merges: ["a a", "a a"], "merge 1 occurs twice")
  }

  /// A text of 100,000 characters that all join takes as long per character as a short one.
  @Test func longTextsTakeLittleTime() throws {
    var pieces: [(String, Float)] = []
    for power in 0..<10 { pieces.append((String(repeating: "a", count: 1 << power), -Float(power))) }
    let tokenizer = try Self.make(pieces: pieces)
    let clock = ContinuousClock()
    var count = 0
    let time = clock.measure { count = tokenizer.encode(String(repeating: "a", count: 100_000)).count }
    #expect(count == 197)  // 195 * 512 + 128 + 32
    #expect(time < .seconds(2), "\(time)")
  }

  /// As large as Gemma's, with the text left in the file.
  @Test func fullSize() throws {
    var random = TextRandom(state: 7)
    var texts = Self.base.map { Array($0.0.utf8) }
    var seen = Set(texts)
    for byte in UInt8(0x61)...0x7A { texts.append([byte]) }
    texts.append(Array("\u{2581}".utf8))
    seen.formUnion(texts)
    while texts.count < 256_000 {
      let length = Int.random(in: 2...12, using: &random)
      let text = (0..<length).map { _ in UInt8.random(in: 0x61...0x7A, using: &random) }
      if seen.insert(text).inserted { texts.append(text) }
    }
    let folder = TextSupport.temporaryFolder()
    defer { TextSupport.remove(folder) }
    let base = Self.base
    let model = try PieceFiles.mapped(
      [
        (TokenizerKeys.tokens, .strings(texts.map { String(decoding: $0, as: UTF8.self) })),
        (TokenizerKeys.scores, .array(of: .float32, texts.indices.map { .float32(-Float($0)) })),
        (
          TokenizerKeys.kinds,
          .array(of: .int32, texts.indices.map { .int32($0 < base.count ? base[$0].2 : 1) })
        ),
      ], folder: folder)
    seen = []
    texts = []
    let clock = ContinuousClock()
    var tokenizer: SentencePieceTokenizer!
    let opening = try clock.measure { tokenizer = try SentencePieceTokenizer(model, contextLength: 64) }
    var sequences: [[Int32]] = []
    let encoding = clock.measure { sequences = SigLIPPrompts.tokens("traffic light", tokenizer: tokenizer) }
    print("256,000 pieces: \(opening); 80 prompts: \(encoding)")
    #expect(sequences.count == 80 && sequences.allSatisfy { $0.count == 64 })
    #expect(opening < .seconds(5))
  }
}
