// Jobs as library calls: what they give, what they leave behind, what they refuse.
import Application
import Raster
import Segmentation
import System
import TestSupport
import Testing

/// The demo model, its words and a scene; fast options.
enum Demo {
  static let model = repository + "/models/demo/demo.gguf"
  static let farm = repository + "/models/demo/scenes/images/farm.jpg"
  static let words = repository + "/models/demo/scenes/classes.txt"

  static func session(limit: Int? = nil) throws -> Session {
    var runtime = RuntimeOptions()
    runtime.memoryLimit = limit
    return try Session(modelPath: model, runtime: runtime)
  }

  static var source: ClassSource {
    var source = ClassSource()
    source.usesCache = false
    source.file = words
    return source
  }

  static var fast: SegmentOptions {
    var options = SegmentOptions()
    options.limit(to: .fast)
    return options
  }

  static func job(
    _ source: ClassSource = source, _ options: SegmentOptions = fast,
    listener: any JobListener = SilentListener()
  ) throws -> PhotoJob {
    let session = try session()
    return PhotoJob(session, try Words(source, session), options, listener: listener)
  }
}

/// Keeps what it hears.
final class Notebook: JobListener {
  var lines: [String] = []
  var stages: [String] = []
  var showsProgress: Bool { true }
  func progressDisplay() -> (any ProgressDisplay)? { Display(self) }
  func note(_ text: String) { lines.append(text) }
  func warn(_ text: String) { lines.append("! " + text) }
  func fail(_ error: SegmentationError) { lines.append("failed: " + error.description) }

  final class Display: ProgressDisplay {
    private let owner: Notebook
    init(_ owner: Notebook) { self.owner = owner }
    func show(_ stage: String, _ fraction: Double, detail: String) { owner.stages.append(stage) }
    func finish() {}
  }
}

// Each test uses all cores.
@Suite(.serialized) struct JobTests {
  private let temporaryFiles = TemporaryFiles()

  private func targets(_ named: [String: String]) -> [OutputTarget] {
    ResultFormat.all.compactMap { format in named[format.name].map { OutputTarget(format, $0) } }
  }

  @Test func segmentsAFolderOnce() throws {
    let folder = Folder()
    let photos = [try folder.copy(Demo.farm, "photos/b.jpg"), try folder.write("photos/a.jpg", "no photo")]
    let out = folder.path + "/out"
    func run(_ source: ClassSource = Demo.source, overwrites: Bool = false) throws -> (
      Notebook, [SegmentReport]
    ) {
      let notebook = Notebook()
      let paths = try OutputPaths(
        photos: [folder.path + "/photos"], others: [],
        targets: targets(["output": out, "overlay": out + "/over"]))
      var reports: [SegmentReport] = []
      let job = SegmentJob(try Demo.job(source, listener: notebook), paths, overwrites: overwrites)
      do { try job.run { reports.append($0) } } catch let error as SegmentationError { notebook.fail(error) }
      return (notebook, reports)
    }
    let (heard, reports) = try run()
    #expect(reports.map(\.photo) == [photos[0]])
    #expect(heard.lines.count == 2 && heard.lines[0].hasPrefix("failed: \(photos[1])"))
    #expect(
      heard.lines[1] == "failed: 1 of 2 photos could not be segmented; the last: "
        + heard.lines[0].dropFirst(8))
    #expect(heard.stages.contains("text") && heard.stages.contains("photo 2 of 2, clip"))
    #expect(names(out) == ["b.json", "b.png", "over"] && names(out + "/over") == ["b.png"])
    let legend = try readText(out + "/b.json")
    #expect(legend == reports[0].legend)
    try folder.copy(Demo.farm, "photos/a.jpg")
    let (again, rest) = try run()
    #expect(again.lines == ["1 of 2 photos are done already; --overwrite does them again"])
    #expect(rest.map(\.photo) == [photos[1]])
    #expect(try readText(out + "/a.png") == readText(out + "/b.png"))
    var others = ClassSource()
    others.phrases = ["dog", "grass"]
    let (refused, none) = try run(others)
    #expect(
      none.isEmpty && refused.lines[0].contains("'\(out)/a.png' and 1 more were made with another photo"))
    #expect(try readText(out + "/b.json") == legend)
  }

  @Test func oneClassIsNoted() throws {
    let (notebook, folder) = (Notebook(), Folder())
    var source = ClassSource()
    (source.phrases, source.usesCache) = (["horse"], false)
    let paths = try OutputPaths(
      photos: [Demo.farm], others: [], targets: targets(["output": folder.path + "/a.png"]))
    var summary = ""
    try SegmentJob(Demo.job(source, listener: notebook), paths).run {
      summary = $0.summary(paths.files(of: $0.photo))
    }
    #expect(notebook.lines.count == 1 && notebook.lines[0].hasPrefix("warning: with one class every pixel"))
    #expect(
      summary.hasPrefix("\(Demo.farm): 640 x 480, ")
        && summary.contains("\n  100.0 %  horse\n  -> \(folder.path)/a.png, \(folder.path)/a.json"))
  }

  @Test func reportInJSON() throws {
    let report = try Demo.job().run(PhotoFile(path: Demo.farm), name: "farm", measures: true, into: [])
    guard case .object(let members) = report.json else {
      Issue.record("no object")
      return
    }
    #expect(
      members.map(\.0) == [
        "photo", "width", "height", "grid", "classes", "regions", "seconds", "stages", "memory", "machine",
        "options",
      ])
    let text = report.json.text(indent: -1)
    #expect(text.hasPrefix(#"{"photo":"farm","width":640,"height":480,"grid":["#))
    #expect(text.contains(#""options":{"short_side":448,"window":336,"#) && !text.contains("\n"))
    guard case .array(let classes) = members[4].1, case .object(let first) = classes[0] else {
      Issue.record("no classes")
      return
    }
    #expect(first.map(\.0) == ["id", "name", "phrases", "colour", "pixels", "share", "present"])
    #expect(report.run.refinement.pixels.reduce(0, +) == 640 * 480)
  }

  @Test func textThenVocabulary() throws {
    let (folder, session) = (Folder(), try Demo.session())
    for output in ["words.tvoc", "words.npz"] {
      let path = folder.path + "/" + output
      let report = try TextJob(Demo.source, output: path).run(session)
      #expect(report.encodedCount > 0 && report.summary.hasPrefix("\(path): "))
      var source = ClassSource()
      source.vocabulary = path
      let (stored, words) = (try Words(source, session), try Words(Demo.source, session))
      #expect(stored.classes == words.classes)
      let photo = try PhotoFile(path: Demo.farm)
      func row(_ words: Words) throws -> [UInt16] {
        let sink = RowSink()
        _ = try PhotoJob(session, words, Demo.fast).run(photo, name: "farm", into: [sink])
        return sink.labels
      }
      #expect(try row(stored) == row(words))
    }
    #expect(throws: SegmentationError.self) { try TextJob(Demo.source, output: "words.txt") }
    var source = ClassSource()
    source.vocabulary = "words.tvoc"
    #expect(throws: SegmentationError.self) { try TextJob(source, output: "words.tvoc") }
  }

  @Test func plans() throws {
    let session = try Demo.session()
    let photo = try PlanJob.photo(nil, size: "640X480")
    let words = try Words(planning: ClassSource(), session)
    #expect(words.count == 21)
    let job = PlanJob(session, words, SegmentOptions())
    let report = try job.run(photo)
    let smallest = try job.run(photo, smallest: true)
    // Without what the process holds when it plans: other tests run beside.
    func planned(_ plan: MemoryPlan) -> Int {
      plan.stages.map { $0.arenaByteCount + $0.imageByteCount }.max() ?? 0
    }
    #expect(planned(smallest.plan) < planned(report.plan))
    #expect(try planned(job.run(photo, formats: [.overlay]).plan) >= planned(report.plan))
    #expect(
      report.table.hasPrefix("640 x 480, 21 classes, ") && smallest.smallest.hasPrefix("smallest limit: "))
    let stage = report.plan.peakStageName
    #expect(report.table.contains("MiB private, set by \(stage)\n"))
    #expect(smallest.smallest.contains(", set by \(smallest.plan.peakStageName), with "))
    #expect(report.json.text(indent: -1).hasPrefix(#"{"width":640,"height":480,"classes":21,"#))
    var source = ClassSource()
    source.file = "12"
    #expect(try Words(planning: source, session).count == 12)
    source.file = "0"
    #expect(throws: SegmentationError.self) { try Words(planning: source, session) }
    let blip = try Session(modelPath: repository + "/models/demo/blip.gguf", runtime: RuntimeOptions())
    source.file = "5"
    let options = try PresetFile(path: repository + "/models/demo/blip.json").options(.pnpOVSS, depth: 0)
    let alone = try PlanJob(blip, Words(planning: source, blip), options).run(photo).plan
    source.presenceModel = Demo.model
    let told = try PlanJob(blip, Words(planning: source, blip), options).run(photo).plan
    #expect(told.stages.contains { $0.name == "clip" } && !alone.stages.contains { $0.name == "clip" })
    (source.presenceModel, source.file) = (nil, "0")
    for size in ["640", "0x3", "axb"] {
      #expect(throws: SegmentationError.self) { try PlanJob.photo(nil, size: size) }
    }
    #expect(throws: SegmentationError.self) { try PlanJob.photo(Demo.farm, size: "3x3") }
    let tight = try Demo.session(limit: 1 << 20)
    let error = thrownError(SegmentationError.self) { try PlanJob(tight, words, SegmentOptions()).run(photo) }
    #expect(error?.exitCode == 5)
  }

  @Test func measures() throws {
    let (folder, notebook) = (Folder(), Notebook())
    let paths = try OutputPaths(photos: [Demo.farm], others: [], targets: [])
    var measured: [Measurement] = []
    try MeasureJob(repeats: 2, isCold: true).run(Demo.job(listener: notebook), paths) { measured.append($0) }
    #expect(measured.count == 1 && names(folder.path) == [])
    #expect(measured[0].text.contains("median of 2, grew by"))
    #expect(measured[0].json.text(indent: -1).contains(#""growth_bytes":"#))
    let chart = MemoryChart(report: measured[0].report, limit: 64 << 20).svg
    #expect(chart.hasPrefix("<svg") && chart.contains("limit 64.0 MiB"))
    #expect(throws: SegmentationError.self) { try MeasureJob(repeats: 0, isCold: false) }
  }

  @Test func evaluatesInPartsAndGoesOn() throws {
    let (folder, session) = (Folder(), try Demo.session())
    var data = EvaluationData()
    data.images = folder.path + "/images"
    data.labels = folder.path + "/labels"
    for scene in ["farm", "winter"] {
      try folder.copy(Demo.farm.replacing(scene), "images/\(scene).jpg")
      try folder.copy(repository + "/models/demo/scenes/labels/\(scene).png", "labels/\(scene).png")
    }
    func run(_ data: EvaluationData, _ results: String?) throws -> EvaluationText {
      try EvaluateJob(session, Demo.source, Demo.fast, data).run(
        results: results.map { folder.path + "/" + $0 })
    }
    let whole = try run(data, "whole.txt")
    for part in 0..<2 {
      var half = data
      half.shard = try #require(Shard("\(part + 1)/2"))
      _ = try run(half, "part\(part).txt")
    }
    let merged = try EvaluateJob.merge(
      (0..<2).map { "\(folder.path)/part\($0).txt" }, results: folder.path + "/merged.txt")
    #expect(merged.summary.areas == whole.summary.areas && merged.photos == "all 2 photos")
    #expect(try run(data, "merged.txt").summary.areas == whole.summary.areas)
    let job = try EvaluateJob(session, Demo.source, Demo.fast, data)
    let page = try job.page(job.run(results: folder.path + "/whole.txt"))
    #expect(page.split(separator: "url(data:image/png;base64").count == 3)
    data.root = folder.path
    #expect(throws: SegmentationError.self) { try run(data, nil) }
    #expect(throws: SegmentationError.self) { try run(EvaluationData(), nil) }
  }

  @Test func listsAModel() throws {
    let listing = try ModelListing(Demo.model)
    #expect(listing.text(lists: true).split(separator: "\n").count > listing.tensorCount)
    #expect(listing.json.text(indent: -1).hasPrefix(#"{"file":"\#(Demo.model)","bytes":"#))
    try listing.verify(nil)
    let error = thrownError(SegmentationError.self) { try ModelListing(Demo.words) }
    #expect(error?.exitCode == 4)
  }
}

/// Keeps all labels.
final class RowSink: ResultSink {
  private var width = 0
  private(set) var labels: [UInt16] = []
  func begin(_ photo: PhotoFacts) { width = photo.width }
  func row(_ y: Int, _ labels: UnsafePointer<UInt16>) {
    self.labels.append(contentsOf: UnsafeBufferPointer(start: labels, count: width))
  }
}

extension String {
  /// The path of another scene.
  fileprivate func replacing(_ scene: String) -> String {
    split(separator: "/").dropLast().reduce("") { $0 + "/" + $1 } + "/\(scene).jpg"
  }
}
