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
    let long = (0..<60).map { "w\($0)" }.joined(separator: " ")
    for (phrases, part) in [
      (["sky", "Sky", "dog"], "classes 0 ('sky') and 1 ('Sky') are one text"),
      (["red  car", "red car"], "one text"), (["cat; dog", "dog ; CAT"], "one text"),
      (["sky", long], "is longer"),
      (["cat, dog", "sky, sea"], "commas"),
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
    #expect(try words(["crane; bird", "crane; machine"], strict: true).remarks == [])
    for preset in SegmentOptions.Preset.allCases {
      let classes = Benchmark(preset).classes
      #expect(try words(classes, strict: true).remarks == [], "\(preset)")
    }
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
