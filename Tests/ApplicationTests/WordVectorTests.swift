// Templates, descriptions and vocabularies that grow, through the jobs that make and use them.
import Application
import Segmentation
import System
import TestSupport
import Testing

@Suite("Text vectors of words", .serialized) struct WordVectorTests {
  private let temporaryFiles = TemporaryFiles()

  private func source(_ phrases: [String], _ templates: String? = nil) -> ClassSource {
    var source = ClassSource()
    (source.phrases, source.templates, source.usesCache) = (phrases, templates, false)
    return source
  }

  private func refusal(_ body: () throws -> Void) -> String {
    do { try body() } catch let error as SegmentationError {
      return "\(error.exitCode) \(error)"
    } catch { return "\(error)" }
    return ""
  }

  private func made(
    _ source: ClassSource, _ path: String, extending old: String? = nil, _ precision: PrecisionChoice = .int8
  ) throws -> (bytes: [UInt8], report: VocabularyReport) {
    let report = try TextJob(source, output: path, model: Demo.model, extending: old)
      .run(Demo.session(), precision)
    return (try FileBytes.read(path, limit: 1 << 24), report)
  }

  @Test func templatesAreChosen() throws {
    let folder = Folder()
    let words = ["horse", "green grass"]
    let usual = try made(source(words), folder.path + "/usual.tvoc")
    #expect(try made(source(words, "all"), folder.path + "/all.tvoc").bytes == usual.bytes)
    #expect(!usual.report.summary.contains("templates"))
    let seven = try made(source(words, "seven"), folder.path + "/seven.tvoc")
    #expect(seven.report.summary.contains(", templates seven, "))
    let found = try VocabularyFile.read(path: folder.path + "/seven.tvoc")
    #expect(found.templates == "seven" && seven.bytes != usual.bytes)
    // A list from a file is what it holds.
    let file = try folder.write("t.txt", TemplateList.seven.texts.joined(separator: "\n"))
    #expect(try made(source(words, file), folder.path + "/file.tvoc").bytes == seven.bytes)
    let single = try TemplateList.seven.texts.map { template in
      let one = try folder.write("one.txt", template)
      _ = try made(source(words, one), folder.path + "/one.tvoc")
      return try VocabularyFile.read(path: folder.path + "/one.tvoc").vectors
    }
    for row in 0..<2 {
      let range = row * found.width..<(row + 1) * found.width
      var mean = range.map { index in single.reduce(Float(0)) { $0 + $1[index] } }
      let length = mean.reduce(0) { $0 + $1 * $1 }.squareRoot()
      mean = mean.map { $0 / length }
      let worst = zip(mean, found.vectors[range]).map { abs($0 - $1) }.max() ?? 1
      #expect(worst < 1e-4, "\(worst)")
    }
  }

  @Test func templatesAreInEveryIdentity() throws {
    let (folder, session) = (Folder(), try Demo.session())
    func job(_ source: ClassSource) throws -> PhotoJob {
      PhotoJob(session, try Words(source, session), Demo.fast)
    }
    let words = ["horse", "grass", "sky"]
    let kinds = [
      source(words), source(words, "seven"), source(words, "one"),
      source(words, try folder.write("t.txt", "a {}")),
      source(["horse := a tall animal", "grass", "sky"]),
      source(["horse :=0.2 a tall animal", "grass", "sky"]),
      source(["horse", "grass := a tall animal", "sky"]),
    ]
    #expect(Set(try kinds.map { try job($0).settings }).count == kinds.count)
    #expect(try job(source(words, "all")).settings == job(source(words)).settings)
    let report = try job(source(["horse := a tall animal", "grass", "sky"], "one"))
      .run(PhotoFile(path: Demo.farm), name: "farm", into: [])
    for text in [report.json.text(indent: -1), report.legend] {
      let text = text.split(separator: " ").joined().split(separator: "\n").joined()
      #expect(text.contains(#""templates":"one""#), "\(text)")
      #expect(text.contains(#""name":"horse""#) && text.contains(#""description":["atallanimal"]"#))
    }
  }

  @Test func resultsOfOtherTemplatesAreNotMixed() throws {
    let folder = Folder()
    var data = EvaluationData()
    data.images = repository + "/models/demo/scenes/images"
    data.labels = repository + "/models/demo/scenes/labels"
    data.limit = 1
    func run(_ templates: String?, _ lines: String? = nil) throws {
      var source = Demo.source
      source.templates = templates
      if let lines { source.file = lines }
      _ = try EvaluateJob(Demo.session(), source, Demo.fast, data).run(results: folder.path + "/r.txt")
    }
    try run(nil)
    try run("all")
    #expect(refusal { try run("one") } != "")
    let list = try readText(Demo.words)
    let described = list.split(separator: "\n").map { $0 + " := a thing" }.joined(separator: "\n")
    let file = try folder.write("words.txt", described)
    #expect(refusal { try run(nil, file) } != "")
  }

  @Test func refusals() throws {
    let (folder, session) = (Folder(), try Demo.session())
    func text(_ source: ClassSource) -> String { refusal { _ = try Words(source, session) } }
    var stored = source([], "one")
    stored.vocabulary = folder.path + "/none.tvoc"
    #expect(text(stored).hasPrefix("2 a vocabulary was encoded with templates of its own"))
    #expect(text(source(["cat"], "/nowhere")).hasPrefix("2 /nowhere: "))
    let bad = try folder.write("bad.txt", "a {}\nb\n")
    #expect(text(source(["cat"], bad)).hasPrefix("2 \(bad): line 2: no '{}'"))
    #expect(
      refusal { _ = try TemplateJob(source(["cat"], "one"), photos: Demo.farm, output: "/tmp/x.tvoc") }
        .contains("leave out --templates"))
    let job = try TemplateJob(source(["cat := a pet"]), photos: Demo.farm, output: folder.path + "/x.tvoc")
    #expect(refusal { _ = try job.run(session, Demo.fast) }.contains("'cat' has a description"))
    var long = source(["cat := " + (0..<90).map { "w\($0)" }.joined(separator: " "), "dog", "sky"])
    #expect(try Words(long, session).remarks.contains { $0.contains("the description 'w0 w1") })
    long.isStrict = true
    #expect(text(long).hasPrefix("2 the description"))
    // A file of templates is read, and never replaced.
    #expect(
      refusal { _ = try TextJob(source(["cat"], "t.tvoc"), output: "t.tvoc") }.contains("would replace"))
  }

  @Test func descriptionsAreMixedIn() throws {
    let folder = Folder()
    let words = ["cat; kitten :=0.3 a small pet | it purrs", "sky", "tree"]
    _ = try made(source(words), folder.path + "/d.tvoc")
    let plain = try folder.write("plain.txt", "{}")
    _ = try made(source(["cat", "kitten", "sky", "tree"]), folder.path + "/names.tvoc")
    _ = try made(source(["a small pet", "it purrs"], plain), folder.path + "/texts.tvoc")
    let mixed = try VocabularyFile.read(path: folder.path + "/d.tvoc")
    var names = try VocabularyFile.read(path: folder.path + "/names.tvoc").vectors
    let texts = try VocabularyFile.read(path: folder.path + "/texts.tvoc").vectors
    #expect(mixed.classes.names == ["cat", "sky", "tree"] && mixed.classes.descriptions[0]?.texts.count == 2)
    let named = try NamedPhrases(mixed.classes, negatives: [])
    #expect(mixed.vectors != names)
    named.mix(&names, with: texts, of: [0], width: mixed.width)
    #expect(mixed.vectors == names)
    // The vocabulary gives the labels of the list.
    let session = try Demo.session()
    var stored = ClassSource()
    stored.vocabulary = folder.path + "/d.tvoc"
    func labels(_ source: ClassSource) throws -> [Int] {
      let job = PhotoJob(session, try Words(source, session), Demo.fast)
      return try job.run(PhotoFile(path: Demo.farm), name: "farm", into: []).run.refinement.pixels
    }
    #expect(try labels(stored) == labels(source(words)))
    let plan = try Words(source(words), session)
    #expect(plan.named.described == [0])
    let trident = try Trident(model: Demo.model)
    let own = try trident.segment(file: Demo.farm, classes: words, options: Demo.fast)
    #expect(try own.pixelCounts.prefix(3) == labels(stored).prefix(3))
  }

  /// What the library makes of words is what the commands make of them.
  @Test func theLibraryReadsWordsAlike() throws {
    let (folder, session) = (Folder(), try Demo.session())
    let trident = try Trident(model: Demo.model)
    let file = try folder.write("t.txt", "a drawing of a {}.\nnothing but {}\n")
    let plain = ["horse; pony", "grass", "sky", "tree"]
    let described = ["horse; pony :=0.9 a thing made of metal | a wheel"] + plain.dropFirst()
    var seen: Set<[UInt16]> = []
    for words in [plain, described] {
      for templates in [nil, "all", "seven", "one", file, nil] {
        let job = PhotoJob(session, try Words(source(words, templates), session), Demo.fast)
        let rows = RowSink()
        _ = try job.run(PhotoFile(path: Demo.farm), name: "farm", into: [rows])
        let own = try trident.segment(
          file: Demo.farm, classes: words, templates: templates, options: Demo.fast)
        #expect(own.labels == rows.labels, "\(templates ?? "-")")
        seen.insert(own.labels)
      }
    }
    #expect(seen.count == 8)
    let request = Trident.Request(.file(Demo.farm), .classes(described, templates: file), Demo.fast)
    #expect(try trident.plannedByteCount(request) > 1 << 20)
    for bad in ["eight", try folder.write("bad.txt", "no hole")] {
      let text = refusal {
        _ = try trident.segment(file: Demo.farm, classes: plain, templates: bad, options: Demo.fast)
      }
      #expect(text.hasPrefix("2 \(bad): "), "\(text)")
    }
  }

  @Test func vocabulariesAreListed() throws {
    let folder = Folder()
    let path = folder.path + "/v.tvoc"
    _ = try made(source(["sky; air", "cat := a pet"], "one"), path)
    let listing = try VocabularyListing(path)
    #expect(listing.text.contains(": 2 classes, 3 phrases of "))
    #expect(listing.text.hasSuffix("int8x2, templates one\n0: sky; air\n1: cat :=0.1 a pet"))
    let json = listing.json.text(indent: -1)
    #expect(json.contains(#""templates":"one""#) && json.contains(#""description":["a pet"]"#))
    #expect(VocabularyListing.isVocabulary(path) && !VocabularyListing.isVocabulary(Demo.model))
  }

  @Test(arguments: [".tvoc", ".npz"]) func vocabulariesGrow(suffix: String) throws {
    let folder = Folder()
    let old = folder.path + "/old" + suffix
    _ = try made(source(["horse", "cat; kitten", "dog := barks", "sky", "hay :=0.2 dry"]), old)
    let words = ["sky", "horse; foal", "kitten", "dog := barks", "hay :=0.3 dry", "cat := a pet", "barn"]
    let whole = try made(source(words), folder.path + "/whole" + suffix)
    let grown = try made(source(words), folder.path + "/grown" + suffix, extending: old)
    #expect(grown.bytes == whole.bytes)
    // Sky, horse, kitten and dog are as they were.
    #expect(grown.report.takenCount == 4 && grown.report.droppedCount == 0)
    // Foal, hay, cat, barn; dry, a pet.
    #expect(grown.report.encodedCount == 6, "\(grown.report.summary)")
    let fewer = try made(source(["sky", "horse"]), folder.path + "/few" + suffix, extending: old)
    #expect(fewer.report.encodedCount == 0 && fewer.report.droppedCount == 4)
    #expect(fewer.report.summary.contains("(2 taken from \(old), 0 encoded, 0 from the cache, 4 dropped)"))
    let few = try made(source(["sky", "horse"]), folder.path + "/all" + suffix).bytes
    #expect(fewer.bytes == few)
  }

  @Test func onlyTheSameKindGrows() throws {
    let folder = Folder()
    let old = folder.path + "/old.tvoc"
    _ = try made(source(["sky"], "seven"), old)
    #expect(
      refusal { _ = try made(source(["sky"]), folder.path + "/n.tvoc", extending: old) }
        .hasPrefix("2 \(old): was made with templates seven, this run has all"))
    _ = try made(source(["sky", "sea"], "seven"), folder.path + "/n.tvoc", extending: old)
    #expect(
      refusal { _ = try made(source(["sky"], "seven"), folder.path + "/n.tvoc", extending: old, .float32) }
        .contains("was encoded as int8x2, this run does it as float32"))
    #expect(
      refusal { _ = try made(source(["sky"], "seven"), old, extending: old) }.contains("would replace"))
    let found = try VocabularyFile.read(path: old)
    let other = Vocabulary(
      classes: found.classes, width: found.width, vectors: found.vectors,
      modelID: String(repeating: "f", count: 64), encoding: .fine, templates: "seven")
    try VocabularyFile.write(other, path: folder.path + "/other.tvoc")
    let text = refusal {
      _ = try made(source(["sky"], "seven"), folder.path + "/n.tvoc", extending: folder.path + "/other.tvoc")
    }
    #expect(text.hasPrefix("4 \(folder.path)/other.tvoc: ") && text.contains("ffffffff"), "\(text)")
  }
}
