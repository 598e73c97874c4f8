// SentencePiece and WordPiece vocabularies from each of the files they are published in, at toy size.

import Foundation
import Quantization
import Segmentation
import Testing

@Suite struct ReadersPieceTests {
  // MARK: Protocol buffers

  private func varint(_ value: Int) -> [UInt8] {
    var rest = UInt64(bitPattern: Int64(value))
    var bytes: [UInt8] = []
    while rest >= 0x80 {
      bytes.append(UInt8(rest & 0x7F) | 0x80)
      rest >>= 7
    }
    return bytes + [UInt8(rest)]
  }

  private func field(_ number: Int, _ value: Int) -> [UInt8] { varint(number << 3) + varint(value) }

  private func field(_ number: Int, _ bytes: [UInt8]) -> [UInt8] {
    varint(number << 3 | 2) + varint(bytes.count) + bytes
  }

  private func piece(_ text: String, _ score: Float, _ kind: Int) -> [UInt8] {
    let bits = little(Int(score.bitPattern), 4)
    return field(1, joined(field(1, Array(text.utf8)), varint(2 << 3 | 5), bits, field(3, kind)))
  }

  private static let training = [3: 2, 35: 1]
  private static let normalization = [3: 0, 4: 0, 5: 1]

  private func model(
    _ pieces: [[UInt8]], training: [Int: Int] = training, normalization: [Int: Int] = normalization,
    more: [UInt8] = []
  ) -> [UInt8] {
    let rules = field(2, training.sorted { $0.key < $1.key }.flatMap { field($0.key, $0.value) })
    let spaces = field(3, normalization.sorted { $0.key < $1.key }.flatMap { field($0.key, $0.value) })
    return joined(Array(pieces.joined()), rules, spaces, more)
  }

  private var base: [[UInt8]] {
    [piece("<pad>", 0, 3), piece("<eos>", 0, 3), piece("<bos>", 0, 3), piece("<unk>", 0, 2)]
      + (0..<256).map { piece("<0x" + String(format: "%02X", $0) + ">", 0, 6) }
  }

  private func read(_ bytes: [UInt8], size: Int) throws -> Result<SentencePieceSource, QuantizationError> {
    let file = try ScratchFile(bytes)
    do throws(QuantizationError) {
      return .success(try SentencePieceSource.read(path: file.path, vocabularySize: size))
    } catch {
      return .failure(error)
    }
  }

  @Test func protocolBuffer() throws {
    let bytes = model(base + [piece("a", -1, 1), field(1, field(1, Array("b".utf8)))], more: field(99, 5))
    let source = try read(bytes, size: 262).get()
    #expect(source.pieces.suffix(2).map(\.text) == ["a", "b"])
    #expect(source.pieces.suffix(2).map(\.score) == [-1, 0])
    #expect(
      source.pieces[0].kind == .control && source.pieces[4].kind == .byte
        && source.pieces[261].kind == .normal)
    #expect(try source.makeTokenizer(contextLength: 4).tokens("ba") == [261, 260, 1, 0])
    #expect(source.values.map(\.key).count == 4)
  }

  /// Settings under which the tokens would be others.
  @Test(arguments: [
    ([3: 1, 35: 1], normalization, "type 1"), ([35: 1], normalization, "type 1"),
    ([3: 2], normalization, "byte fallback"), (training, [4: 0], "a space in front"),
    (training, [3: 0], "removes spaces"), (training, [3: 0, 4: 0, 5: 0], "spaces otherwise"),
    ([3: 2, 24: 1, 35: 1], normalization, "spaces otherwise"),
  ])
  func otherRules(training: [Int: Int], normalization: [Int: Int], problem: String) throws {
    let bytes = model(base, training: training, normalization: normalization)
    guard case .failure(let error) = try read(bytes, size: 260), case .unsupported = error.reason else {
      throw Unexpected()
    }
    #expect(error.description.contains(problem), "\(error)")
  }

  @Test func normalizationTablesAreRefused() throws {
    let bytes = model(base, more: field(3, field(2, [1, 2, 3])))
    guard case .failure(let error) = try read(bytes, size: 260) else { throw Unexpected() }
    #expect(error.description.contains("normalizes characters"))
  }

  @Test func brokenModels() throws {
    let good = model(base)
    func reason(_ bytes: [UInt8], size: Int = 260) throws -> QuantizationError.Reason? {
      guard case .failure(let error) = try read(bytes, size: size) else { return nil }
      return error.reason
    }
    #expect(try reason(good) == nil)
    guard case .unsupportedModel = try reason(good, size: 256_000) else { throw Unexpected() }
    // Cut anywhere but between two fields it is malformed; there, pieces or rules are missing.
    for count in stride(from: 0, to: good.count, by: 7) where count > 0 {
      #expect(try reason(Array(good[..<count])) != nil, "\(count) bytes")
    }
    let broken: [[UInt8]] = [
      field(1, field(3, 5)), piece("", 0, 1), piece("<pad>", 0, 3), piece("x", .nan, 1),
      piece("<0xZZ>", 0, 6),
      field(1, 3), field(1, field(1, 3)), field(1, field(1, [0xFF])), [0x0B], [0x00], [0x0A, 0xFF],
      [0x08] + [UInt8](repeating: 0xFF, count: 11), [0x0A] + [UInt8](repeating: 0xFF, count: 9) + [0x7F],
      [0x09, 1, 2], [0x0D, 1],
    ]
    for bytes in broken { #expect(try reason(good + bytes, size: 261) != nil, "\(bytes)") }
  }

  // MARK: JSON

  private func bytePairs(
    _ pieces: [String], merges: String, model: String = "", rules: String = Self.spaces, added: String? = nil
  ) -> [UInt8] {
    let texts =
      ["<pad>", "<eos>", "<bos>", "<unk>"] + (0..<256).map { "<0x" + String(format: "%02X", $0) + ">" }
      + pieces
    let vocabulary = texts.enumerated().map { "\"\($1)\":\($0)" }.joined(separator: ",")
    let special = ["<pad>", "<eos>", "<bos>", "<unk>"].enumerated().map {
      "{\"id\":\($0),\"content\":\"\($1)\",\"special\":true}"
    }
    let extra = added.map { [$0] } ?? []
    let text =
      "{\"added_tokens\":[\((special + extra).joined(separator: ","))],\(rules),\"model\":{\"type\":\"BPE\","
      + "\"unk_token\":\"<unk>\",\"byte_fallback\":true,\(model)"
      + "\"vocab\":{\(vocabulary)},\"merges\":[\(merges)]}}"
    return Array(text.utf8)
  }

  private static let spaces =
    "\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"\u{2581}\"}"

  /// Every cut is a merge, and those of a piece stand together: scores say the same.
  @Test func mergesBecomeScores() throws {
    let bytes = bytePairs(
      ["a", "b", "ab", "ba", "aba"], merges: "[\"b\",\"a\"],\"a b\",[\"ab\",\"a\"],[\"a\",\"ba\"]")
    let source = try read(bytes, size: 265).get()
    #expect(source.merges.isEmpty && source.pieces.suffix(5).map(\.score) == [0, 0, -2, -1, -3])
    #expect(try source.makeTokenizer(contextLength: 8).encode("abab") == [264, 261])
  }

  @Test(arguments: [
    "\"b a\",\"a b\",\"ab a\"",  // `a ba` is missing
    "\"b a\",\"ab a\",\"a b\",\"a ba\"",  // `aba` stands on both sides of `ab`
  ])
  func mergesAreKeptWhereScoresSayLess(merges: String) throws {
    let source = try read(bytePairs(["a", "b", "ab", "ba", "aba"], merges: merges), size: 265).get()
    #expect(source.merges.count == merges.split(separator: ",").count)
    #expect(source.values.map(\.key).last == "tokenizer.ggml.merges")
  }

  @Test func userDefinedTokens() throws {
    let bytes = bytePairs(["a"], merges: "", added: "{\"id\":261,\"content\":\"<b>\",\"special\":false}")
    let source = try read(bytes, size: 262).get()
    #expect(source.pieces.last?.kind == .userDefined)
    #expect(try source.makeTokenizer(contextLength: 8).encode("a<b>a") == [260, 261, 260])
  }

  @Test func otherTokenizers() throws {
    let lower = "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Lowercase\"},"
    #expect(
      try read(bytePairs([], merges: "", rules: lower + Self.spaces.dropFirst(13) + "]}"), size: 260).get()
        .pieces.count == 260)
    let files = [
      bytePairs([], merges: "", rules: "\"normalizer\":null"),
      bytePairs([], merges: "", rules: "\"normalizer\":{\"type\":\"NFKC\"}"),
      bytePairs([], merges: "", rules: lower + "{\"type\":\"Prepend\",\"prepend\":\"x\"}]}"),
      bytePairs([], merges: "", rules: Self.spaces + ",\"pre_tokenizer\":{\"type\":\"ByteLevel\"}"),
      bytePairs([], merges: "", model: "\"ignore_merges\":true,"),
      bytePairs([], merges: "", model: "\"end_of_word_suffix\":\"</w>\","),
    ]
    for (number, bytes) in files.enumerated() {
      guard case .failure(let error) = try read(bytes, size: 260), case .unsupported = error.reason else {
        Issue.record("file \(number)")
        continue
      }
    }
    let broken = [
      bytePairs(["a"], merges: "\"a a\""), bytePairs(["a"], merges: "\"a\""), bytePairs(["a"], merges: "3"),
      bytePairs(["a"], merges: "", added: "{\"id\":5,\"content\":\"x\",\"special\":false}"),
      bytePairs(["a"], merges: "", added: "{\"id\":999,\"content\":\"x\",\"special\":false}"),
      bytePairs(["a"], merges: "", added: "{\"id\":-1,\"content\":\"x\",\"special\":false}"),
      Array("{}".utf8),
    ]
    for (number, bytes) in broken.enumerated() {
      guard case .failure(let error) = try read(bytes, size: 261), case .malformed = error.reason else {
        Issue.record("file \(number)")
        continue
      }
    }
  }

  // MARK: Word lists

  private func words(_ bytes: [UInt8], size: Int) throws -> Result<[String], QuantizationError> {
    let file = try ScratchFile(bytes)
    do throws(QuantizationError) {
      return .success(try WordPieceSource.read(path: file.path, vocabularySize: size).pieces)
    } catch {
      return .failure(error)
    }
  }

  private static let list = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "##b"]

  @Test func lines() throws {
    let text = Self.list.joined(separator: "\n")
    #expect(try words(Array(text.utf8), size: 8).get() == Self.list + ["[DEC]", "[ENC]"])
    #expect(try words(Array((text + "\n").utf8), size: 8).get().count == 8)
    #expect(
      try words(Array(text.replacingOccurrences(of: "\n", with: "\r\n").utf8), size: 8).get().count == 8)
    #expect(
      try words(Array((text + "\n[DEC]\n[ENC]").utf8), size: 8).get() == Self.list + ["[DEC]", "[ENC]"])
    guard case .failure = try words(Array(text.utf8), size: 30_524) else { throw Unexpected() }
    guard case .failure = try words(Array((text + "\n\nx").utf8), size: 9) else { throw Unexpected() }
    guard case .failure = try words(Array((text + "\na").utf8), size: 9) else { throw Unexpected() }
    guard case .failure = try words([0xFF, 0x0A], size: 3) else { throw Unexpected() }
    guard case .failure(let error) = try words(Array("a\nb".utf8), size: 4) else { throw Unexpected() }
    #expect(error.description.contains("no piece '[UNK]'"))
  }

  @Test func tokenizerJSON() throws {
    let vocabulary = Self.list.enumerated().map { "\"\($1)\":\($0)" }.joined(separator: ",")
    func file(normalizer: String = "true", model: String = "", splitting: String = "BertPreTokenizer")
      -> [UInt8]
    {
      let text =
        "{\"normalizer\":{\"type\":\"BertNormalizer\",\"clean_text\":true,\"handle_chinese_chars\":true,"
        + "\"strip_accents\":null,\"lowercase\":\(normalizer)},\"pre_tokenizer\":{\"type\":\"\(splitting)\"},"
        + "\"model\":{\"type\":\"WordPiece\",\(model)\"vocab\":{\(vocabulary)}}}"
      return Array(text.utf8)
    }
    #expect(try words(file(), size: 8).get() == Self.list + ["[DEC]", "[ENC]"])
    let others = [
      file(normalizer: "false"), file(model: "\"max_input_chars_per_word\":50,"),
      file(splitting: "Whitespace"),
      file(model: "\"unk_token\":\"<unk>\","), file(model: "\"continuing_subword_prefix\":\"@@\","),
    ]
    for bytes in others {
      guard case .failure(let error) = try words(bytes, size: 8), case .unsupported = error.reason else {
        throw Unexpected()
      }
    }
  }
}
