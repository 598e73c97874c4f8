// Photos with known labels in, areas and mIoU out: what `trident evaluate` does.
import Container
import Raster
import Segmentation
import System

/// Which photos, and where their labels are.
package struct EvaluationData: Sendable {
  /// Folder of photos, and folder of label maps.
  package var images: String?
  package var labels: String?
  /// Label 0 is ignored and label 1 is the first class.
  package var reducesZeroLabel = false
  /// Folder of a benchmark, instead of the two above.
  package var root: String?
  /// Only the first photos, by name.
  package var limit: Int?
  /// Photos are turned as EXIF says (true) or seen as they are stored (false); nil: turned, and said.
  package var turnsPhotos: Bool?
  package var shard = Shard.whole

  package init() {}

  /// - Errors: `.usage` for what is missing or contradicts itself; those of `EvaluationSet`.
  func open(_ preset: SegmentOptions.Preset?) throws(SegmentationError) -> (name: String, set: EvaluationSet)
  {
    func refuse(_ text: String) -> SegmentationError { SegmentationError(.usage(text)) }
    if let limit, limit < 1 { throw refuse("--limit \(limit) is below 1") }
    if let root {
      guard let preset else { throw refuse("--root needs --preset: which benchmark is it?") }
      guard images == nil, labels == nil, !reducesZeroLabel else {
        throw refuse("--root stands for --images, --labels and --reduce-zero-label; leave them out")
      }
      return (preset.rawValue, try EvaluationSet(Benchmark(preset), root: root))
    }
    guard let images, let labels else { throw refuse("give --images and --labels, or --preset and --root") }
    return ("folder", try EvaluationSet(images: images, labels: labels, rule: rule))
  }

  var rule: LabelRule { reducesZeroLabel ? .zeroDropped : .plain }
}

/// One evaluation on one session.
///
/// - Memory: what one photo takes, the names of all photos, and 32 bytes a class: the same for the first
///   photo and the last.
/// - Errors: the first photo or label map that cannot be used ends the run; what is done stays in the results
///   file.
package final class EvaluateJob {
  private let job: PhotoJob
  private let data: EvaluationData
  private let set: EvaluationSet
  private let header: ResultsHeader
  private var summary: EvaluationSummary
  private var tables: [LabelRule: [UInt16]] = [:]
  private var hasWarned = false
  private var findings: EvaluationFindings
  private let numbers = LabelNumbers()

  /// - Errors: those of the data and the words; `.usage` for a list of classes that is not the benchmark's.
  package init(
    _ session: Session, _ source: ClassSource, _ options: SegmentOptions, _ data: EvaluationData,
    listener: any JobListener = SilentListener()
  ) throws(SegmentationError) {
    self.data = data
    if options.unknownThreshold > 0 {
      throw SegmentationError(
        .usage("--unknown-threshold: a benchmark has no such label; --probability-threshold gives class 0"))
    }
    let chosen = try data.open(source.preset)
    set = chosen.set
    let words = try Words(source, session)
    if !words.named.negatives.isEmpty || !options.absent.phrases.isEmpty {
      throw SegmentationError(
        .usage(
          "negative phrases (--negative, --absent relevancy, those of a vocabulary): "
            + "a benchmark has no label for pixels of no class"))
    }
    if let preset = source.preset, data.root != nil, words.count != Benchmark(preset).classes.count {
      throw SegmentationError(
        .usage("\(preset.rawValue) has \(Benchmark(preset).classes.count) classes, the list \(words.count)"))
    }
    job = PhotoJob(session, words, options, listener: listener)
    summary = EvaluationSummary(classCount: words.count)
    findings = EvaluationFindings(classCount: words.count)
    let list = words.classes
    var settings = options.jsonMembers.map { ($0.0, $0.1.text(indent: -1)) }
    settings.append(("text_encoding", words.encoding(options.precision).rawValue))
    if data.turnsPhotos == false { settings.append(("orientation", "stored")) }
    if let digest = words.vocabularyDigest { settings.append(("vocabulary", digest)) }
    settings += words.marks
    if let present = words.present { settings.append(("present", present.digest)) }
    header = try ResultsHeader(
      model: session.modelIdentity, options: settings, set: chosen.name, labels: data.rule.rawValue,
      photoCount: set.count, photoDigest: set.digest, background: list.background,
      classes: (0..<list.count).map { list.phrases(ofClass: $0).joined(separator: "; ") })
  }

  /// Does the photos that are not done yet. `results`: a file that is added to, photo by photo.
  package func run(results: String?) throws -> EvaluationText {
    if !set.leftOut.text.isEmpty { job.listener.note("left out: \(set.leftOut.text)") }
    if results != nil { try job.session.proveIdentity() }
    var done: [String: String] = [:]
    let file = try results.map { path throws(SegmentationError) in
      try ResultsFile(path: path, header: header) { result in
        done[result.name] = result.digest
        summary.add(result)
      }
    }
    let last = min(data.limit ?? set.count, set.count)
    var rest = Array(stride(from: data.shard.index, to: last, by: data.shard.count))
    if let results, !done.isEmpty {
      try rest.removeAll {
        guard let digest = done[set[$0].name] else { return false }
        try check(set[$0], digest, results)
        return true
      }
    }
    let display = job.listener.progressDisplay()
    for (position, index) in rest.enumerated() {
      let photo = set[index]
      let start = monotonicSeconds()
      var areas = LabelAreas(classCount: job.words.count)
      let isTurned = try segment(photo) { [self] _, predicted, truth in
        areas.add(predicted: predicted, truth: truth.baseAddress!, count: truth.count)
        findings.add(predicted: predicted, truth: truth.baseAddress!, count: truth.count)
      }
      findings.add(photo, turned: isTurned)
      warn(photo, areas.strayCount)
      let result = PhotoResult(
        name: photo.name, seconds: monotonicSeconds() - start, areas: areas.entries,
        digest: file == nil ? "" : try photo.digest())
      try file?.append(result)
      summary.add(result)
      let mean = fixed((summary.areas.meanIoU ?? 0) * 100, 2)
      display?.show(
        "evaluate", Double(position + 1) / Double(rest.count),
        detail: ", photo \(position + 1) of \(rest.count), mIoU \(mean),")
    }
    display?.finish()
    findings.set(numbers)
    let warnings = findings.warnings(data.rule, orientationIsSaid: data.turnsPhotos != nil)
    return EvaluationText(header: header, summary: summary, findings: findings, warnings: warnings)
  }

  /// What was measured must still be what is there.
  ///
  /// - Errors: `.usage` where a photo or its labels are others by now.
  private func check(_ photo: LabelledPhoto, _ digest: String, _ results: String) throws(SegmentationError) {
    if digest.isEmpty { return }
    let now = try photo.digest()
    if digest == now { return }
    throw SegmentationError(
      .usage("'\(photo.photo)' or its labels changed since they were measured; name another file"),
      path: results)
  }

  /// Runs one photo; hands over rows of predicted and true labels, top to bottom. Returns whether the photo
  /// was turned.
  @discardableResult
  private func segment(
    _ item: LabelledPhoto, previewSide: Int? = nil,
    preview: @escaping (Preview, any PhotoPixels) throws -> Void = { _, _ in },
    row: @escaping TruthSink.Comparison
  ) throws -> Bool {
    let photo = try PhotoFile(
      path: item.photo, ceilings: job.session.runtime.photoCeilings, isTurned: data.turnsPhotos ?? true)
    let table = tables[item.rule] ?? item.rule.table(classCount: job.words.count)
    tables[item.rule] = table
    let truth = try TrueLabels(
      item, width: photo.width, height: photo.height, table: table, numbers: numbers, isTurned: photo.isTurned
    )
    let sink = TruthSink(
      truth, SinkNeeds(previewSide: previewSide), preview: { try preview($0, photo) }, row: row)
    _ = try job.run(photo, name: item.photo, into: [sink])
    return photo.isTurned
  }

  private func warn(_ photo: LabelledPhoto, _ strayCount: Int) {
    guard strayCount > 0, !hasWarned else { return }
    hasWarned = true
    job.listener.warn(
      "warning: \(printable(photo.labels, limit: 400)): \(strayCount) pixels have a number past the last of "
        + "\(job.words.count) classes; they count against what is predicted there, as in mmsegmentation")
  }

  /// The page of what `run` gave: the worst photos are segmented once more for their pictures.
  package func page(_ text: EvaluationText) throws -> String {
    var page = EvaluationPage(text, job.colours)
    let display = job.listener.progressDisplay()
    let wanted = Dictionary(uniqueKeysWithValues: summary.worst.enumerated().map { ($1.name, $0) })
    let items = (0..<set.count).map { set[$0] }.filter { wanted[$0.name] != nil }
      .sorted { wanted[$0.name]! < wanted[$1.name]! }
    for (position, item) in items.enumerated() {
      var picture: WorstPhoto?
      try segment(item, previewSide: WorstPhoto.side) { [summary, job] preview, photo in
        picture = WorstPhoto(
          result: summary.worst[wanted[item.name]!], job.colours, photoWidth: photo.width,
          photoHeight: photo.height)
        try picture?.take(preview)
      } row: {
        picture?.take($0, $1, $2)
      }
      if let picture { try namingOutput { try page.add(picture) } }
      display?.show("report", Double(position + 1) / Double(items.count), detail: "")
    }
    display?.finish()
    return page.html
  }

  /// Before any work. Photos and label maps are no results and no pages, so they are not replaced either.
  ///
  /// - Errors: `.usage` for outputs that would replace what is read, each other, or what was not made here.
  package static func checkOutputs(
    reading inputs: [String?], results: String?, report: String?
  ) throws(SegmentationError) {
    var files = JobFiles(reading: inputs)
    if let results { try files.write(results) }
    if let report { try files.write(report) }
  }

  /// Counts the parts of one run together. `results`: a file for all their lines.
  ///
  /// - Errors: `.usage` for parts of different runs.
  package static func merge(_ parts: [String], results: String?) throws -> EvaluationText {
    try checkOutputs(reading: parts, results: results, report: nil)
    return try namingOutput {
      let output = try results.map { try AtomicFile(path: $0) }
      let merged = try ResultsMerge(paths: parts, output: output)
      try output?.finish()
      return EvaluationText(
        header: merged.header, summary: merged.summary,
        findings: EvaluationFindings(classCount: merged.header.classes.count), warnings: [])
    }
  }
}

/// Takes predicted labels beside true ones.
private final class TruthSink: ResultSink {
  typealias Comparison = (_ y: Int, _ predicted: UnsafePointer<UInt16>, _ truth: UnsafeBufferPointer<UInt16>)
    -> Void
  let needs: SinkNeeds
  private let truth: TrueLabels
  private let take: (Preview) throws -> Void
  private let compare: Comparison

  init(
    _ truth: TrueLabels, _ needs: SinkNeeds, preview: @escaping (Preview) throws -> Void,
    row: @escaping Comparison
  ) {
    (self.truth, self.needs, take, compare) = (truth, needs, preview, row)
  }

  func preview(_ preview: Preview) throws { try take(preview) }

  func row(_ y: Int, _ labels: UnsafePointer<UInt16>) throws {
    try truth.next()
    truth.row.withUnsafeBufferPointer { compare(y, labels, $0) }
  }
}
