// Segments the photos of a split one after another and counts.
import Compute
import Container
import Evaluation
import Raster
import Segmentation

/// One evaluation on one session.
///
/// - Memory: what one photo takes, the names of all photos, and 24 bytes a class: the same for the first photo and the last.
/// - Errors: the first photo or label map that cannot be used ends the run; what is done stays in the results file.
final class Evaluator {
  let header: ResultsHeader
  private(set) var summary: EvaluationSummary
  private let session: Session
  private let options: SegmentOptions
  private let words: Words
  private let set: EvaluationSet
  private let data: DataFlags
  private let flags: ResultFlags
  private var vectors: [Float]?
  private var tables: [LabelRule: [UInt16]] = [:]
  private var hasWarned = false

  init(session: Session, data: DataFlags, results: ResultFlags, classes: ClassFlags, method: MethodFlags) throws {
    self.session = session
    self.data = data
    flags = results
    options = method.options()
    let chosen = try data.set(method.preset)
    set = chosen.set
    words = try Words(classes, preset: method.preset, session: session)
    if let preset = method.preset, data.root != nil, words.names.count != Benchmark(preset).classes.count {
      throw SegmentationError(
        .usage("\(preset.rawValue) has \(Benchmark(preset).classes.count) classes, the list \(words.names.count)"))
    }
    summary = EvaluationSummary(classCount: words.names.count)
    let list = words.classes
    var settings = options.members.map { ($0.0, $0.1.text(indent: -1)) }
    if let digest = words.vocabularyDigest { settings.append(("vocabulary", digest)) }
    header = try ResultsHeader(
      model: session.modelIdentity, options: settings,
      set: chosen.name, labels: data.reduceZeroLabel ? LabelRule.zeroDropped.rawValue : LabelRule.plain.rawValue,
      photoCount: set.count, photoDigest: set.digest, background: list.background,
      classes: (0..<list.count).map { list.phrases(ofClass: $0).joined(separator: "; ") })
  }

  /// Does the photos that are not done yet.
  func run() throws {
    var done: Set<String> = []
    let file = try flags.results.map { path throws(SegmentationError) in
      try ResultsFile(path: path, header: header) { result in
        done.insert(result.name)
        summary.add(result)
      }
    }
    let last = min(data.limit ?? set.count, set.count)
    var rest = Array(stride(from: data.shard?.index ?? 0, to: last, by: data.shard?.count ?? 1))
    if !done.isEmpty { rest.removeAll { done.contains(set[$0].name) } }
    let meter = ProgressMeter(quiet: flags.quiet)
    for (position, index) in rest.enumerated() {
      let photo = set[index]
      let start = monotonicSeconds()
      var areas = LabelAreas(classCount: words.names.count)
      try segment(photo) { _, predicted, truth in
        areas.add(predicted: predicted, truth: truth.baseAddress!, count: truth.count)
      }
      warn(photo, areas.strayCount)
      let result = PhotoResult(name: photo.name, seconds: monotonicSeconds() - start, areas: areas.entries)
      try file?.append(result)
      summary.add(result)
      let mean = fixed((summary.areas.meanIoU ?? 0) * 100, 2)
      meter.show(
        "evaluate", Double(position + 1) / Double(rest.count), detail: ", photo \(position + 1) of \(rest.count), mIoU \(mean),")
    }
    meter.finish()
  }

  /// Runs one photo; hands over rows of predicted and true labels, top to bottom.
  private func segment(
    _ item: LabelledPhoto, previewSide: Int? = nil, preview: ((Preview) -> Void)? = nil,
    row: (_ y: Int, _ predicted: UnsafePointer<UInt16>, _ truth: UnsafeBufferPointer<UInt16>) -> Void
  ) throws {
    let photo = try PhotoFile(path: item.photo)
    let table = tables[item.rule] ?? item.rule.table(classCount: words.names.count)
    tables[item.rule] = table
    let truth = try TrueLabels(item, width: photo.width, height: photo.height, table: table)
    let wording = try prepareWording(photo)
    let plan = try session.plan(photo, wording, options, previewSide: previewSide)
    var failure: SegmentationError?
    try withoutActuallyEscaping(row) { row in
      var sinks = RunSinks { y, predicted in
        do throws(SegmentationError) {
          try truth.next()
          truth.row.withUnsafeBufferPointer { row(y, predicted, $0) }
          return true
        } catch {
          failure = error
          return false
        }
      }
      sinks.previewSide = previewSide
      sinks.preview = preview
      _ = try session.run(photo, wording, options, plan: plan, measures: false, sinks)
    }
    if let failure { throw failure }
  }

  /// Text vectors, made or found once for all photos, after the first photo's plan says that it can be done.
  private func prepareWording(_ photo: PhotoFile) throws -> Wording {
    if vectors == nil {
      _ = try session.plan(photo, words.planned, options)
      let meter = ProgressMeter(quiet: flags.quiet)
      vectors = try words.vectors(session, options.precision, measures: false, meter).vectors
    }
    return Wording(source: .vectors(vectors ?? []), phraseClass: words.phraseClass)
  }

  private func warn(_ photo: LabelledPhoto, _ strayCount: Int) {
    guard strayCount > 0, !hasWarned else { return }
    hasWarned = true
    standardError(
      "trident: warning: \(printable(photo.labels, limit: 400)): \(strayCount) pixels have a number past the last of \(words.names.count) classes; "
        + "they count against what is predicted there, as in mmsegmentation\n")
  }

  /// Segments the worst photos once more and hands over their pictures.
  func draw(_ each: (WorstPhoto) throws -> Void) throws {
    let meter = ProgressMeter(quiet: flags.quiet)
    let wanted = Dictionary(uniqueKeysWithValues: summary.worst.enumerated().map { ($1.name, $0) })
    let items = (0..<set.count).map { set[$0] }.filter { wanted[$0.name] != nil }
      .sorted { wanted[$0.name]! < wanted[$1.name]! }
    for (position, item) in items.enumerated() {
      let photo = try PhotoFile(path: item.photo)
      var picture = WorstPhoto(
        result: summary.worst[wanted[item.name]!], photoWidth: photo.width, photoHeight: photo.height)
      var failure: RasterError?
      try segment(item, previewSide: WorstPhoto.side) { preview in
        do throws(RasterError) { try picture.take(preview) } catch { failure = error }
      } row: { y, predicted, truth in
        picture.take(y, predicted, truth)
      }
      if let failure { throw SegmentationError(.output(failure.description)) }
      try each(picture)
      meter.show("report", Double(position + 1) / Double(items.count))
    }
    meter.finish()
  }
}
