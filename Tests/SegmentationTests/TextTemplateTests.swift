// Lists of templates, descriptions in class lists, and what vocabulary files say of both.
import Segmentation
import System
import TestSupport
import Testing

@Suite struct TextTemplateTests {
  private let temporaryFiles = TemporaryFiles()

  private func read(_ text: String) throws -> TemplateList { try TemplateList(bytes: Array(text.utf8)) }

  @Test func namedLists() throws {
    #expect(try TemplateList(argument: "all") == .all && TemplateList.all.texts.count == 80)
    #expect(TemplateList.all.identifier == "imagenet80")
    let seven = try TemplateList(argument: "seven")
    #expect(seven.texts.count == 7 && seven.texts[1] == "a bad photo of the {}.")
    #expect(Set(seven.texts).isSubset(of: PromptTemplates.imageNet))
    #expect(try TemplateList(argument: "one").texts == ["a photo of a {}."])
    #expect(TemplateList.file("seven") == nil && TemplateList.file("./seven") == "./seven")
  }

  @Test func filesOfTemplates() throws {
    let list = try read("\u{FEFF}a map of {}\r\n  {} \u{E9}t\u{E9} \r\n\n")
    #expect(list.texts == ["a map of {}", "{} \u{E9}t\u{E9}"])
    #expect(list.identifier.hasPrefix("file-") && list.identifier.utf8.count == 37)
    #expect(try list.identifier != read("a map of {}").identifier)
    // A list is what it holds, whoever wrote it.
    #expect(try read(TemplateList.seven.texts.joined(separator: "\n")) == .seven)
    #expect(PromptTemplates.prompt("cat", in: "a {b} of {{}} x") == "a {b} of {cat} x")
    let folder = TextSupport.temporaryFolder()
    defer { TextSupport.remove(folder) }
    TextSupport.write(folder + "/t.txt", Array("a {}\n".utf8))
    #expect(try TemplateList(argument: folder + "/t.txt").texts == ["a {}"])
  }

  @Test func refusedFiles() throws {
    for (text, line, part) in [
      ("", nil, "no template"), (" \n", nil, "no template"), ("a {}\n\nb {}", 2, "empty template"),
      ("a {}\nb", 2, "no '{}'"), ("a {} {}", 1, "2 times"), ("a {}\nb \u{7} {}", 2, "control"),
      (String(repeating: "x", count: 999) + "{}", 1, "over 1000 bytes"),
      (String(repeating: "a {}\n", count: 1001), 1001, "more than 1000"),
    ] as [(String, Int?, String)] {
      let error = thrownError(SegmentationError.self) { try read(text) }
      #expect(error?.line == line && error?.exitCode == 2, "\(text.prefix(20)): \(error as Any)")
      #expect(error?.description.contains(part) == true, "\(error as Any)")
    }
    #expect(try read(String(repeating: "a {}\n", count: 1000)).texts.count == 1000)
    let bytes = thrownError(SegmentationError.self) { try TemplateList(bytes: [0x7B, 0x7D, 0xFF]) }
    #expect(bytes?.line == 1 && bytes?.description.contains("UTF-8") == true)
    let none = thrownError(SegmentationError.self) { try TemplateList(argument: "/nowhere/t.txt") }
    #expect(none?.path == "/nowhere/t.txt" && none?.exitCode == 2)
  }

  // MARK: Descriptions

  @Test func describedClasses() throws {
    let list = try ClassList(
      bytes: Array("sky\ncat; kitten := a small pet; it purrs | a beast\ndog :=0.25 barks\na:=b".utf8),
      background: false)
    #expect(list.names == ["sky", "cat", "dog", "a:=b"] && list.titles == list.names)
    #expect(list.phrases == ["sky", "cat", "kitten", "dog", "a:=b"])
    #expect(list.descriptions.count == 2)
    #expect(list.descriptions[1]?.texts == ["a small pet; it purrs", "a beast"])
    #expect(list.descriptions[1]?.weight == 0.1 && list.descriptions[2]?.weight == 0.25)
    #expect(list.line(ofClass: 1) == "cat; kitten :=0.1 a small pet; it purrs | a beast")
    let lines = (0..<list.count).map { list.line(ofClass: $0) }
    #expect(try ClassList(arguments: lines, background: false) == list)
    let moved = try list.withBackground(nil).list
    #expect(moved.descriptions[2] == list.descriptions[1] && moved.descriptions[1] == nil)
    #expect(try list.withBackground("sky").list.descriptions == list.descriptions)
  }

  @Test func refusedDescriptions() throws {
    for (line, part) in [
      ("cat :=", "empty description"), ("cat := a | ", "empty description"), (":= a", "no name"),
      ("cat :=x a", "no weight"), ("cat :=0 a", "outside"), ("cat :=1.5 a", "outside"),
      ("cat :=-1 a", "outside"), ("cat :=nan a", "no weight"), ("cat; := a", "empty synonym"),
      ("cat := a\tb", "tab"), ("cat := " + String(repeating: "x", count: 1001), "bytes in a phrase"),
      ("cat := " + String(repeating: "x|", count: 100) + "x", "more than 100"),
    ] {
      let error = thrownError(SegmentationError.self) {
        try ClassList(bytes: Array(("sky\n" + line).utf8), background: false)
      }
      #expect(error?.line == 2 && error?.exitCode == 2, "\(line): \(error as Any)")
      #expect(error?.description.contains(part) == true, "\(line): \(error as Any)")
    }
    #expect(try ClassList(arguments: ["cat :=1 a"], background: false).descriptions[0]?.weight == 1)
    let negative = thrownError(SegmentationError.self) {
      try NamedPhrases(ClassList(arguments: ["cat"], background: false), negatives: ["wall := a"])
    }
    #expect(negative?.exitCode == 2)
  }

  @Test func mixes() throws {
    let list = try ClassList(arguments: ["sky", "cat; pet :=0.25 a | b"], background: false)
    let named = try NamedPhrases(list, negatives: [])
    #expect(named.described == [1] && named.texts(of: [1]) == ["a", "b"])
    var vectors: [Float] = [1, 0, 1, 0, 0, 1]
    named.mix(&vectors, with: [0, 1, 0, 1], of: [1], width: 2)
    let length = Float(0.75 * 0.75 + 0.25 * 0.25).squareRoot()
    #expect(Array(vectors[0..<2]) == [1, 0] && Array(vectors[4..<6]) == [0, 1])
    #expect(abs(vectors[2] - 0.75 / length) < 1e-6 && abs(vectors[3] - 0.25 / length) < 1e-6)
    // What cancels out leaves the phrase.
    let half = try NamedPhrases(ClassList(arguments: ["cat :=0.5 a"], background: false), negatives: [])
    var one: [Float] = [1, 0]
    half.mix(&one, with: [-1, 0], of: [0], width: 2)
    #expect(one == [1, 0])
  }

  // MARK: Vocabulary files

  private func vocabulary(_ templates: String = "seven") throws -> Vocabulary {
    let classes = try ClassList(
      arguments: ["sky; wall", "caf\u{E9} :=0.3 a room | \u{1F431}", "x := y"], background: true)
    return Vocabulary(
      classes: classes, width: 2, vectors: [1, 0, 0, 1, 0.6, 0.8, 1, 0],
      modelID: TextVocabularyTests.modelID, encoding: .fine, templates: templates)
  }

  @Test(arguments: [".tvoc", ".npz"]) func roundTrip(suffix: String) throws {
    let folder = TextSupport.temporaryFolder()
    defer { TextSupport.remove(folder) }
    for vocabulary in [
      try vocabulary(), try vocabulary(TemplateList.all.identifier), try vocabulary(TemplateList.byClass),
    ] {
      try VocabularyFile.write(vocabulary, path: folder + "/v" + suffix)
      let bytes = try #require(TextSupport.read(folder + "/v" + suffix))
      #expect(try VocabularyFile.decode(bytes) == vocabulary)
      for length in Effort.sample(0..<bytes.count) {
        #expect(throws: SegmentationError.self) { try VocabularyFile.decode(Array(bytes[..<length])) }
      }
      for place in Effort.sample(bytes.indices) {
        var damaged = bytes
        damaged[place] ^= 0x55
        guard let found = try? VocabularyFile.decode(damaged) else { continue }
        #expect(suffix == ".npz" && found == vocabulary, "byte \(place)")
      }
    }
  }

  /// Without notes the file is the one that programs before them wrote.
  @Test func usualVocabulariesHaveNoNotes() throws {
    let plain = try TextVocabularyTests.vocabulary()
    let bytes = VocabularyFile.encode(plain)
    #expect(bytes[28] == 3 && bytes[72..<80].allSatisfy { $0 == 0 })
    let own = VocabularyFile.encode(try vocabulary())
    #expect(own[28] == 11 && own[72] > 0)
  }
}
