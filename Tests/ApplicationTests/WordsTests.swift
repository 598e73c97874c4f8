// Where classes come from, sizes and models from the environment.
import Application
import Segmentation
import System
import TestSupport
import Testing

@Suite(.serialized) struct WordsTests {
  @Test func sourcesThatContradict() throws {
    let session = try Demo.session()
    func refusal(_ change: (inout ClassSource) -> Void) -> String {
      var source = ClassSource()
      change(&source)
      do { _ = try Words(source, session) } catch { return error.description }
      return ""
    }
    #expect(refusal { _ in }.hasPrefix("no classes: give --class PHRASE"))
    #expect(refusal { ($0.phrases, $0.file) = (["a"], "b") } == "give either --class or --classes, not both")
    #expect(
      refusal { ($0.vocabulary, $0.file) = ("a", "b") }.hasPrefix("--vocabulary brings its own classes"))
    #expect(refusal { $0.phrases = ["a", "a"] }.contains("named before"))
    #expect(refusal { $0.file = "/nowhere" }.hasPrefix("/nowhere: "))
  }

  @Test func doubtsAreToldOnceOrRefuse() throws {
    let session = try Demo.session()
    func words(_ phrases: [String], strict: Bool = false) throws -> Words {
      var source = ClassSource()
      (source.phrases, source.isStrict, source.usesCache) = (phrases, strict, false)
      return try Words(source, session)
    }
    let long = (0..<60).map { "w\($0)" }.joined(separator: " ") + " dog"
    for (phrases, part) in [
      (["sky", "Sky", "dog"], "classes 0 ('sky') and 1 ('Sky') are one text"),
      (["red  car", "red car"], "one text"), (["cat; dog", "dog ; CAT"], "one text"),
      (["sky", long], "is longer"),
      (["cat, dog", "sky, boat"], "commas"),
    ] {
      let found = try words(phrases)
      let notebook = Notebook()
      found.tell(notebook)
      #expect(notebook.lines.count == 1 && notebook.lines[0].contains(part), "\(notebook.lines)")
      found.tell(notebook)
      #expect(notebook.lines.count == 1)
      let error = thrownError(SegmentationError.self) { try words(phrases, strict: true) }
      #expect(error?.exitCode == 2 && error?.description.contains(part) == true)
    }
    #expect(try words(["boat; car", "boat; cup"], strict: true).remarks == [])
    for preset in SegmentOptions.Preset.allCases {
      let list = try ClassList(arguments: Benchmark(preset).classes, background: false)
      let doubts = list.doubts + (try session.doubts(list))
      #expect(doubts == [], "\(preset)")
    }
  }

  /// The demo model says which words it was trained on.
  @Test func wordsThatNoTrainingSaw() throws {
    let session = try Demo.session()
    func words(_ phrases: [String], strict: Bool = false, _ edit: (inout ClassSource) -> Void = { _ in })
      throws
      -> Words
    {
      var source = ClassSource()
      (source.phrases, source.isStrict, source.usesCache) = (phrases, strict, false)
      edit(&source)
      return try Words(source, session)
    }
    let known = [
      "horse", "Soccer  Ball", "horses", "airship; boat", "red car", "soccer balls", "rabbits; hare",
    ]
    let remarks = try words(known, strict: true).remarks
    #expect(remarks == [])
    for strange in ["airship", "car park", "zeppelin; blimp", "horsefly", "ball"] {
      let remarks = try words(["sky", strange]).remarks
      #expect(remarks.count == 1 && remarks[0].contains("not trained on '"), "\(strange): \(remarks)")
      #expect(remarks[0].contains("84 words") && !remarks[0].contains("'sky'"))
      let error = thrownError(SegmentationError.self) { try words(["sky", strange], strict: true) }
      #expect(error?.exitCode == 2 && error?.description.contains("not trained on") == true)
    }
    let listing = try ModelListing(Demo.model)
    #expect(listing.text(lists: false).contains("trained on 84 words: sky, grass, sand, water"))
    #expect(listing.json.text().contains("\"soccer ball\""))
    let many = try words((0..<12).map { "gizmo\($0)" }).remarks
    #expect(many.count == 1 && many[0].contains("'gizmo7' and 4 more"))
    // Class 0 that --background adds is no word of anybody's; a preset's classes are.
    let added = try words(["dog"]) { $0.background = true }.remarks
    let preset = try words([]) { $0.preset = .voc21 }.remarks
    #expect(added.count == 1 && preset.count == 1)
    let refused = thrownError(SegmentationError.self) { try words([], strict: true) { $0.preset = .voc21 } }
    #expect(refused?.exitCode == 2)
  }

  @Test func backgroundIsAdded() throws {
    let session = try Demo.session()
    var source = ClassSource()
    (source.phrases, source.background) = (["cat", "dog"], true)
    let words = try Words(source, session)
    #expect(words.classes.names == ["background", "cat", "dog"] && words.remarks.count == 1)
    #expect(words.remarks[0].contains("--background-class 'cat'"))
    source.backgroundClass = "cat"
    #expect(try Words(source, session).classes.titles == ["background", "dog"])
    var preset = ClassSource()
    (preset.preset, preset.background) = (.voc21, true)
    #expect(try Words(preset, session).count == 21)
  }

  @Test func presetsBringClasses() throws {
    let session = try Demo.session()
    var source = ClassSource()
    source.preset = .voc21
    let words = try Words(source, session)
    #expect(
      words.count == 21 && words.classes.titles[0] == "background" && words.classes.titles[1] == "aeroplane")
    #expect(words.phraseClass.count == words.classes.phrases.count && words.phraseClass.last == 20)
    source.phrases = ["dog"]
    #expect(try Words(source, session).classes.names == ["dog"])
  }

  /// Vectors are made once, after the plan says that it can be done.
  @Test func wordingIsMadeOnce() throws {
    let notebook = Notebook()
    let job = try Demo.job(listener: notebook)
    let photo = try PhotoFile(path: Demo.farm)
    for turn in 0..<2 {
      let report = try job.run(photo, name: "farm", into: [])
      #expect(report.run.stages.contains { $0.name == "text" } == (turn == 0))
    }
    let before = notebook.stages.count
    _ = try job.run(photo, name: "farm", into: [])
    #expect(notebook.stages.count == before)
    let tight = try Demo.session(limit: 1 << 20)
    let refused = PhotoJob(tight, try Words(Demo.source, tight), Demo.fast, listener: notebook)
    #expect(throws: SegmentationError.self) { try refused.run(photo, name: "farm", into: []) }
    #expect(notebook.stages.count == before)
  }

  @Test func sizes() {
    let sizes = [
      "48M": 48 << 20, "1.5G": 3 << 29, "65536K": 64 << 20, "4096": 4096, "1MiB": 1 << 20, "2kB": 2048,
    ]
    for (text, value) in sizes { #expect(ByteCount(text)?.value == value, "\(text)") }
    for text in ["", "M", "-1M", "0", "1T", "1e99", "nan"] { #expect(ByteCount(text) == nil, "\(text)") }
    for (text, meant) in [("48", "48M?"), ("48K", "48M?"), ("1000", "1000M?")] {
      let error = thrownError(SegmentationError.self) {
        try RuntimeOptions(threads: nil, memoryLimit: ByteCount(text))
      }
      #expect(error?.exitCode == 2 && error?.description.contains(meant) == true, "\(text)")
    }
    #expect(throws: SegmentationError.self) { try RuntimeOptions(threads: 257) }
    #expect(throws: SegmentationError.self) { try modelPath("") }
    #expect(try! modelPath("a.gguf") == "a.gguf")
  }
}
