// Merges from each of the files they are published in, at toy size.

import Foundation
import Quantization
import Segmentation
import System
import Testing

@Suite struct ReadersBytePairTests {
  private let merges = ["i n", "t h", "a n", "in g</w>", "\u{123} b"]

  private func read(_ text: String, size: Int = 519) throws -> Result<[String], QuantizationError> {
    try read(Array(text.utf8), size: size)
  }

  private func read(_ bytes: [UInt8], size: Int = 519) throws -> Result<[String], QuantizationError> {
    let file = try ScratchFile(bytes)
    do throws(QuantizationError) {
      return .success(try BytePairSource.read(path: file.path, vocabularySize: size).merges)
    } catch {
      return .failure(error)
    }
  }

  @Test func lines() throws {
    let body = merges.joined(separator: "\n")
    #expect(try read("\"bpe_simple_vocab_16e6.txt#version: 0.2\n" + body).get() == merges)
    #expect(try read("#version: 0.2\n" + body + "\n").get() == merges)
    #expect(try read(body.replacingOccurrences(of: "\n", with: "\r\n") + "\r\n").get() == merges)
    // More merges than the tower has room for: which are its own?
    for (text, size) in [(body + "\na b", 519), (body, 516)] {
      guard case .failure(let error) = try read(text, size: size), case .unsupportedModel = error.reason
      else {
        throw Unexpected()
      }
      #expect(error.description.contains("tokenizer.json"))
    }
  }

  /// The bytes' tokens, merges and marks as `tokenizer.json` numbers them.
  private func tokenizer(marks: [(String, Int)], shift: Int = 0) -> String {
    var vocabulary = merges.enumerated().map { rank, merge in
      "\"\(merge.split(separator: " ").joined())\":\(512 + rank + shift)"
    }
    vocabulary += marks.map { "\"\($0.0)\":\($0.1)" }
    let texts = merges.map { "\"\($0)\"" }.joined(separator: ",")
    return "{\"model\":{\"vocab\":{\(vocabulary.joined(separator: ","))},\"merges\":[\(texts)]}}"
  }

  @Test func tokenizersProveTheirIds() throws {
    func source(_ text: String, _ size: Int, map: String? = nil) throws -> BytePairSource {
      let folder = try ToyFolder()
      try folder.write("tokenizer.json", text)
      if let map { try folder.write("special_tokens_map.json", map) }
      return try BytePairSource.read(path: folder.path + "/tokenizer.json", vocabularySize: size)
    }
    let usual = [("<|startoftext|>", 517), ("<|endoftext|>", 518)]
    let plain = try source(tokenizer(marks: usual), 519)
    #expect(plain.merges == merges && plain.marks == TextMarks(begin: 517, end: 518))
    // Tokens that a vocabulary was given besides.
    let more = try source(tokenizer(marks: [("<|endoftext|>", 520), ("<|startoftext|>", 518)]), 530)
    #expect(more.merges == merges && more.marks == TextMarks(begin: 518, end: 520))
    let map = #"{"bos_token": {"content": "<s>"}, "eos_token": "</s>"}"#
    let spelled = try source(tokenizer(marks: [("<s>", 518), ("</s>", 517)]), 519, map: map)
    #expect(spelled.marks == TextMarks(begin: 518, end: 517))
    for (text, size) in [
      (tokenizer(marks: usual, shift: 1), 520), (tokenizer(marks: []), 519), (tokenizer(marks: usual), 518),
      (tokenizer(marks: [("<|startoftext|>", 3), ("<|endoftext|>", 518)]), 519),
    ] {
      #expect(throws: QuantizationError.self) { try source(text, size) }
    }
  }

  @Test func tokenizerJSON() throws {
    let texts = merges.map { "\"\($0)\"" }.joined(separator: ",")
    #expect(try read(" {\"model\":{\"vocab\":{},\"merges\":[\(texts)]}}").get() == merges)
    let pairs = merges.map { $0.split(separator: " ").map { "\"\($0)\"" }.joined(separator: ",") }
    let joined = pairs.map { "[" + $0 + "]" }.joined(separator: ",")
    #expect(try read("{\"model\":{\"merges\":[\(joined)]}}").get() == merges)
    guard case .failure(let error) = try read("{\"model\":{}}"), case .malformed = error.reason else {
      throw Unexpected()
    }
  }

  /// A gzip frame around one stored block.
  private func gzip(_ body: [UInt8]) -> [UInt8] {
    joined(
      [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 1], little(body.count, 2), little(~body.count, 2), body,
      little(Int(crc32(body)), 4), little(body.count, 4))
  }

  @Test func compressed() throws {
    let packed = gzip(Array(("\"version\n" + merges.joined(separator: "\n") + "\n").utf8))
    #expect(try read(packed).get() == merges)
    for count in 2..<packed.count {
      guard case .failure = try read(Array(packed[0..<count])) else { throw Unexpected() }
    }
    var damaged = packed
    damaged[packed.count - 6] ^= 1
    guard case .failure = try read(damaged) else { throw Unexpected() }
  }

  /// 31 KB of file, gzipped; a list of the lines would take 32 bytes each.
  @Test func emptyLinesTakeNoMemory() throws {
    let before = ProcessMemory.now().peakResident
    let lines = [UInt8](repeating: 0x0a, count: 31 << 20)
    guard case .failure(let error) = try read(lines), error.reason == .tooFewMerges(needed: 5, found: 0)
    else {
      throw Unexpected()
    }
    #expect(ProcessMemory.now().peakResident - before < 600 << 20)
  }

  @Test func refusals() throws {
    guard case .failure(let few) = try read("a b\n"), few.reason == .tooFewMerges(needed: 5, found: 1) else {
      throw Unexpected()
    }
    #expect(few.description.contains("https://github.com/openai/CLIP"))
    for text in ["a b c\n", "ab\n", "a  b\n", " a b\n", "a \u{4e00}\n"] {
      guard case .failure(let error) = try read(text, size: 515), case .malformed = error.reason else {
        throw Unexpected()
      }
    }
    guard case .failure(let twice) = try read("a b\na b\n", size: 516), twice.reason == .duplicateName else {
      throw Unexpected()
    }
    guard case .failure = try read([0x61, 0x20, 0xff, 0x0a], size: 515) else { throw Unexpected() }
    guard case .failure = try read("a b\n", size: 10) else { throw Unexpected() }
  }

  @Test func foundBesideTheCheckpoint() throws {
    let folder = NSTemporaryDirectory() + "readers-" + UUID().uuidString
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    #expect(BytePairSource.find(besideCheckpoint: folder + "/clip.pt") == nil)
    for name in BytePairSource.fileNames.reversed() {
      #expect(FileManager.default.createFile(atPath: folder + "/" + name, contents: Data()))
      #expect(BytePairSource.find(besideCheckpoint: folder + "/clip.pt") == folder + "/" + name)
    }
  }

  /// The published file, when someone put it into `models/`.
  @Test(.enabled(if: FileManager.default.fileExists(atPath: publishedVocabulary)))
  func published() throws {
    let source = try BytePairSource.read(path: publishedVocabulary, vocabularySize: 49_408)
    #expect(source.merges.count == 48_894)
    #expect(source.merges.first == "i n" && source.merges.last == "jeky ll</w>")
    #expect(source.sha256Hex == "924691ac288e54409236115652ad4aa250f48203de50a9e4722a6ecd48d6804a")
  }
}

private let publishedVocabulary =
  URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
  .deletingLastPathComponent().appendingPathComponent("models/download/bpe_simple_vocab_16e6.txt.gz").path
