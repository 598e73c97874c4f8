// Class lists from arguments and files.
import Segmentation
import TestSupport
import Testing

@Suite struct TextClassListTests {
  private func list(_ text: String) throws -> ClassList {
    try ClassList(bytes: Array(text.utf8), background: true)
  }

  private func problem(_ bytes: [UInt8]) -> SegmentationError? {
    do {
      _ = try ClassList(bytes: bytes, background: false)
      return nil
    } catch {
      return error
    }
  }

  @Test func readsSynonyms() throws {
    let list = try list("\u{FEFF}sky; wall;tree \r\n cat\r\nsofa ; couch\n\n")
    #expect(list.names == ["sky", "cat", "sofa"])
    #expect(list.phrases == ["sky", "wall", "tree", "cat", "sofa", "couch"])
    #expect(list.classIndex == [0, 0, 0, 1, 2, 2])
    #expect(Array(list.phrases(ofClass: 0)) == ["sky", "wall", "tree"])
    #expect(Array(list.phrases(ofClass: 2)) == ["sofa", "couch"])
    #expect(list.background)
    #expect(try ClassList(arguments: ["sky; wall; tree", "cat", "sofa;couch"], background: true) == list)
  }

  @Test func classesMayShareASynonym() throws {
    #expect(try list("sky; bed\nbed").count == 2)
  }

  @Test(
    arguments: [
      ("", nil, "no class"), ("\n \n", nil, "no class"), ("a\n\nb", 2, "empty line"),
      ("a\nb;", 2, "empty synonym"),
      ("a; ;b", 1, "empty synonym"), ("a\nb; b", 2, "twice"), ("a\nb\na; c", 3, "named before, as number 1"),
      ("a\nb\u{1}", 2, "control character"),
    ] as [(String, Int?, String)])
  func refuses(text: String, line: Int?, part: String) throws {
    let error = try #require(problem(Array(text.utf8)))
    #expect(error.line == line && error.exitCode == 2)
    #expect(error.description.contains(part), "\(error)")
  }

  @Test func refusesOtherEncodings() throws {
    let error = try #require(problem([0x61, 0x0A, 0x63, 0x61, 0x66, 0xE9]))
    #expect(error.line == 2)
    #expect(error.description == "line 2: not UTF-8; save the list as UTF-8")
  }

  @Test func limits() throws {
    let long = String(repeating: "x", count: 1001)
    #expect(problem(Array(long.utf8))?.reason == .limit(what: "bytes in a phrase", value: 1001, limit: 1000))
    #expect(try list(String(long.dropFirst())).count == 1)
    let synonyms = (0...1000).map { "p\($0)" }.joined(separator: "; ")
    #expect(
      problem(Array(synonyms.utf8))?.reason == .limit(what: "synonyms in a class", value: 1001, limit: 1000))
    #expect(ClassList.classLimit < Int(LabelRows.noClass))
    let classes = (0..<65_535).map { "c\($0)\n" }.joined()
    let error = problem(Array(classes.utf8))
    #expect(error?.reason == .limit(what: "classes", value: 65_535, limit: 65_534))
    #expect(error?.line == 65_535 && error?.exitCode == 2)
  }

  @Test func namesTheFile() throws {
    let folder = TextSupport.temporaryFolder()
    defer { TextSupport.remove(folder) }
    TextSupport.write(folder + "/classes.txt", Array("a\n;".utf8))
    let error = thrownError(SegmentationError.self) {
      try ClassList(path: folder + "/classes.txt", background: false)
    }
    #expect(error?.description == "\(folder)/classes.txt: line 2: empty synonym; remove the extra ';'")
    let missing = thrownError(SegmentationError.self) {
      try ClassList(path: folder + "/no", background: false)
    }
    #expect(missing?.exitCode == 2 && missing?.description.contains("cannot open") == true)
    #expect(throws: SegmentationError.self) { try ClassList(path: folder, background: false) }
  }
}
