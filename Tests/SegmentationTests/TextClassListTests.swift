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
      ("a; ;b", 1, "empty synonym"), ("a\nb; b", 2, "twice"),
      ("a; c\nb\na; c", 3, "named before, as number 1"), ("0\tcat", 1, "tab"),
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

  @Test func namesMayBeShared() throws {
    let cranes = try list("sky\ncrane; bird\ncrane; machine\ncrane\n \n")
    #expect(cranes.names == ["sky", "crane", "crane", "crane"])
    #expect(cranes.titles == ["background", "crane; bird", "crane; machine", "crane"])
    #expect(problem([0xFF, 0xFE, 0x61, 0])?.description.hasPrefix("UTF-16") == true)
  }

  @Test func backgroundsEatNoWord() throws {
    func names(_ classes: [String], _ named: String? = nil) throws -> (names: [String], isNew: Bool) {
      let (list, isNew) = try ClassList(arguments: classes, background: false).withBackground(named)
      #expect(
        list.background && list.titles[0] == "background" && list.classIndex.last == Int32(list.count - 1))
      return (list.names, isNew)
    }
    #expect(try names(["cat", "dog; puppy"]) == (["background", "cat", "dog"], true))
    #expect(try names(["Background", "cat"]) == (["Background", "cat"], false))
    #expect(try names(["wall; background; sky", "cat"]) == (["wall", "cat"], false))
    #expect(try names(["wall; sky", "cat"], "Sky") == (["wall", "cat"], false))
    #expect(throws: SegmentationError.self) { try names(["cat", "background"]) }
    #expect(throws: SegmentationError.self) { try names(["cat", "sky"], "sky") }
    #expect(throws: SegmentationError.self) { try names(["cat", "sky"], "dog") }
  }

  /// Lists in other programs' forms, by kind; each has exactly one thing to say.
  @Test(
    arguments: [
      ("cat, dog\nsky, cloud\nwall", "commas"), ("cat,dog,sky", "commas"),
      ("id,name\n0,cat\n1,dog", "numbers"),
      ("# mine\ncat\ndog", "remark"), ("cat\n// dog\nsky", "remark"), ("0: cat\n1: dog", "numbers"),
      ("1. cat\n2. dog\n3. sky", "numbers"), ("0 cat\n1 dog", "numbers"), ("0; cat\n1; dog", "numbers"),
      ("cat: 0\ndog: 1", "numbers"), ("id: 1\nid: 2", "numbers"), ("[\"cat\", \"dog\"]", "JSON"),
      ("{\n\"a\"\n}", "JSON"), ("names:\n- cat\n- dog", "YAML"), ("---\ncat\ndog", "YAML"),
      ("names: [cat]\nnc", "YAML"), ("\"cat\"\n\"dog\"", "quotes"), ("'cat',\n'dog',", "quotes"),
      ("__ignore__\n_background_\ncat", "mark"), ("cat\n_background_", "mark"), ("<a>\n<b/>", "XML"),
    ])
  func otherFormsAreDoubted(_ text: String, _ part: String) throws {
    let doubts = try list(text).doubts
    #expect(doubts.contains { $0.contains(part) }, "\(text): \(doubts)")
  }

  @Test func ownFormIsNotDoubted() throws {
    for text in [
      "cat", "sky; wall\ncat", "7 up\ncola\nwater", "a cat, sitting\ndog\nsky", "t.v.\n4x4 car\nroad",
      "door-stuff\nbuilding-other", "it's\nrock'n'roll",
    ] {
      #expect(try list(text).doubts == [], "\(text)")
    }
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
