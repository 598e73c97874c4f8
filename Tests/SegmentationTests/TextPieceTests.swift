// SentencePiece and WordPiece tokenizers against the public ones, on toy vocabularies.
import CZlib
import Container
import Quantization
import Segmentation
import System
import TestSupport
import Testing

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Files of `Tests/Reference/make_piece_tokens.py`: the committed ones, or those in `TRIDENT_PIECES`.
enum PieceFiles {
  static let folder = TextSupport.environment("TRIDENT_PIECES") ?? TextSupport.root + "/Tests/Fixtures/pieces"

  static func path(_ name: String) -> String { folder + "/" + name }

  /// Texts with what the public tokenizer answered.
  static func samples(_ name: String) throws -> [(text: String, answer: String)] {
    let file = try #require(gzopen(path(name + ".tsv.gz"), "rb"), "no \(path(name))")
    defer { gzclose(file) }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 65_536)
    while true {
      let count = gzread(file, &chunk, 65_536)
      guard count > 0 else { break }
      bytes.append(contentsOf: chunk[..<Int(count)])
    }
    return bytes.split(separator: 10, omittingEmptySubsequences: true).map { line in
      let tab = line.firstIndex(of: 9)!
      return (
        TextSupport.unescape(String(decoding: line[..<tab], as: UTF8.self)),
        String(decoding: line[(tab + 1)...], as: UTF8.self)
      )
    }
  }

  /// Compares every sample; prints the first that differ.
  static func compare(_ name: String, _ encode: (String) -> [Int32]) throws {
    let samples = try samples(name)
    #expect(samples.count >= 1500)
    var different: [String] = []
    for (text, answer) in samples {
      let expected = answer.split(separator: " ").map { Int32(String($0))! }
      let found = encode(text)
      if found != expected { different.append("\(text.debugDescription): \(found) not \(expected)") }
    }
    for text in different.prefix(20) { print(text) }
    #expect(different.isEmpty, "\(different.count) of \(samples.count) texts differ in \(name)")
  }

  static func sentencePiece(_ name: String) throws -> SentencePieceSource {
    try SentencePieceSource.read(path: path(name), vocabularySize: nil)
  }

  static func wordPiece(_ name: String) throws -> WordPieceSource {
    try WordPieceSource.read(path: path(name), vocabularySize: nil)
  }

  /// A model file with these keys and nothing else that counts, mapped.
  static func mapped(_ values: [(key: String, value: GGUFValue)], folder: String) throws -> MappedModel {
    let path = folder + "/tokenizer.gguf"
    let first: [(key: String, value: GGUFValue)] = [
      ("general.architecture", .string("trident")), ("trident.format_version", .uint32(1)),
      ("trident.packing", .string("panel16x4")),
    ]
    let tensors = [TensorDeclaration(name: "t", type: .f32, dimensions: [1])]
    let writer = try ModelWriter(path: path, values: first + values, tensors: tensors, overwrite: true)
    try [UInt8](repeating: 0, count: 4).withUnsafeBytes { try writer.append($0) }
    try writer.finish()
    return try MappedModel(path: path)
  }
}

@Suite struct TextPieceReferenceTests {
  @Test(arguments: ["trained", "ties"]) func equalsSentencePiece(_ name: String) throws {
    let source = try PieceFiles.sentencePiece(name + ".model")
    #expect(source.merges.isEmpty)
    let tokenizer = try source.makeTokenizer(contextLength: 64)
    try PieceFiles.compare(name) { tokenizer.encode($0) }
  }

  /// Merges that hold every cut say what scores say: both files give the same tokens.
  @Test func mergesBecomeScores() throws {
    let source = try PieceFiles.sentencePiece("trained.json")
    #expect(source.merges.isEmpty)
    let tokenizer = try source.makeTokenizer(contextLength: 64)
    try PieceFiles.compare("trained") { tokenizer.encode($0) }
  }

  /// Merges that lack cuts decide.
  @Test func mergesDecide() throws {
    let source = try PieceFiles.sentencePiece("pruned.json")
    #expect(!source.merges.isEmpty)
    let tokenizer = try source.makeTokenizer(contextLength: 64)
    try PieceFiles.compare("pruned") { tokenizer.encode($0) }
  }

  @Test(arguments: ["vocab.txt", "bert.json"]) func equalsBERT(_ name: String) throws {
    let tokenizer = try PieceFiles.wordPiece(name).makeTokenizer(contextLength: 512, start: .encode)
    try PieceFiles.compare("bert") { tokenizer.encode($0) }
  }

  @Test func equalsCanonicalizeText() throws {
    var different: [String] = []
    for (text, answer) in try PieceFiles.samples("canonical") {
      let found = PromptCleaning.canonical(text)
      // Scalar by scalar: equal texts may be spelled differently.
      if !found.unicodeScalars.elementsEqual(TextSupport.unescape(answer).unicodeScalars) {
        different.append("\(text.debugDescription): \(found.debugDescription)")
      }
    }
    #expect(different.isEmpty, "\(different.count) differ, such as \(different.prefix(5))")
  }

  /// RADSeg's stored prompts: cleaned, cut and padded as the reference has them, from either file.
  @Test(arguments: ["tokenizer.model", "tokenizer.json"]) func equalsStoredPrompts(_ name: String) throws {
    let folder = TextSupport.root + "/Tests/Fixtures/golden-radseg/text/"
    let source = try SentencePieceSource.read(path: folder + name, vocabularySize: nil)
    #expect(source.merges.isEmpty)
    let tokenizer = try source.makeTokenizer(contextLength: 64)
    let lines = TextSupport.lines(try #require(TextSupport.read(folder + "tokens.txt")))
    #expect(lines.count >= 80)
    for line in lines {
      let parts = line.split(separator: "\t", maxSplits: 1)
      guard case .string(let prompt) = try JSONReader.parse(Array(parts[1].utf8)) else {
        Issue.record("no prompt: \(line)")
        continue
      }
      let expected = parts[0].split(separator: " ").map { Int32(String($0))! }
      #expect(tokenizer.tokens(PromptCleaning.canonical(prompt)) == expected, "\(prompt)")
    }
  }

  /// The tables as they travel in a model file, with the text left in the mapping.
  @Test func travelInModelFiles() throws {
    let folder = TextSupport.temporaryFolder()
    defer { TextSupport.remove(folder) }
    for (name, samples) in [("trained.model", "trained"), ("pruned.json", "pruned")] {
      let model = try PieceFiles.mapped(PieceFiles.sentencePiece(name).values, folder: folder)
      let tokenizer = try SentencePieceTokenizer(model, contextLength: 64)
      try PieceFiles.compare(samples) { tokenizer.encode($0) }
    }
    let model = try PieceFiles.mapped(PieceFiles.wordPiece("vocab.txt").values, folder: folder)
    let tokenizer = try WordPieceTokenizer(model, contextLength: 512, start: .classification)
    try PieceFiles.compare("bert") { tokenizer.encode($0) }
  }
}
