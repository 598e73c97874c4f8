// One photo from pixels to files: what every job on photos does.
import Container
import Segmentation
import System

/// A model, words and options, ready for one photo after another.
///
/// - Memory: text vectors, made with the first photo; everything else is given back after each.
package final class PhotoJob {
  package let session: Session
  package let words: Words
  package let options: SegmentOptions
  package let listener: any JobListener
  /// How pictures look.
  package let style: PictureStyle
  let colours: LabelColours
  /// Once a process, with the first photo: start and options are behind it.
  private static let releasesCode: Void = ProcessMemory.releaseCode()
  /// The file that options come from; legends name it.
  package var preset: PresetFile?

  package init(
    _ session: Session, _ words: Words, _ options: SegmentOptions,
    listener: any JobListener = SilentListener()
  ) {
    (self.session, self.words, self.listener) = (session, words, listener)
    self.options = words.named.settle(options)
    style = PictureStyle()
    colours = LabelColours(words.classes, titles: words.named.titles(options))
  }

  /// With pictures as the user wants them.
  ///
  /// - Errors: those of `LabelColours`.
  package init(
    _ session: Session, _ words: Words, _ options: SegmentOptions, _ style: PictureStyle,
    listener: any JobListener
  ) throws(SegmentationError) {
    (self.session, self.words, self.listener) = (session, words, listener)
    self.options = words.named.settle(options)
    self.style = style
    colours = try LabelColours(style, words.classes, titles: words.named.titles(options))
  }

  /// What results call each label.
  private(set) lazy var titles: [String] = words.named.titles(options)

  /// SHA-256 over everything but the photo that decides labels.
  package private(set) lazy var settings: String = {
    let list = words.classes
    var parts: [(String, JSON)] = [
      ("model", .string(session.modelIdentity)), ("options", options.json),
      ("phrases", .array(words.named.all.map { .string($0) })),
      ("phrase_class", .array(words.phraseClass.map { .int($0) })), ("background", .bool(list.background)),
      ("vocabulary", .string(words.vocabularyDigest ?? "")),
      ("text_encoding", .string(words.encoding(options.precision).rawValue)),
    ]
    parts += words.marks.map { ($0, .string($1)) }
    if let present = words.present { parts.append(("present", .string(present.digest))) }
    if let model = words.presenceModel { parts.append(("presence_model", .string(model.identity))) }
    return SHA256Digest.hex(of: JSON.object(parts).text(indent: -1))
  }()

  /// Plans and runs one photo; results go to `sinks`, whose files appear together or not at all.
  ///
  /// `name`: the photo as it was named; `measures`: the report has memory and faults; `progress`: of this
  /// photo; `isCancelled`: asked now and then, true ends the work with `CancellationError`.
  ///
  /// - Errors: `.memory` before any work; those of the photo, of `Session.run` and of the sinks;
  ///   `CancellationError`.
  package func run(
    _ photo: any PhotoPixels, name: String, measures: Bool = false, into sinks: [any ResultSink],
    progress: ((_ stage: String, _ fraction: Double) -> Void)? = nil, isCancelled: (() -> Bool)? = nil
  ) throws -> SegmentReport {
    // A legend names the model.
    if sinks.contains(where: { $0.vouchesForOthers }) { try session.proveIdentity() }
    let needs = SinkNeeds(sinks, style)
    let wording = try words.wording(
      for: photo, named: name, options, needs, measures: measures, listener, isCancelled: isCancelled)
    let plan = try session.plan(
      photo, wording, options, previewSide: needs.previewSide, scores: needs.scores,
      confidence: needs.confidence)
    try session.checkTime(plan, options.precision)
    options.coarseRefinement(height: photo.height, width: photo.width).map { listener.note($0) }
    let megahertz = cpuMegahertz()
    return try namingOutput {
      let facts = PhotoFacts(
        name: name, width: photo.width, height: photo.height, classes: words.classes, titles: titles,
        colours: colours, style: style, place: photo.place)
      for sink in sinks { try sink.begin(facts) }
      var failure: (any Error)?
      func handing(_ body: (any ResultSink) throws -> Void) -> Bool {
        do {
          for sink in sinks { try body(sink) }
          return true
        } catch {
          failure = error
          return false
        }
      }
      var run = RunSinks { y, labels in handing { try $0.row(y, labels) } }
      if needs.confidence {
        run.confidence = { y, confidence in handing { try $0.confidence(y, confidence) } }
      }
      if needs.scores {
        run.scores = { classes, rows, columns in
          for sink in sinks { try sink.scores(classes: classes, rows: rows, columns: columns) }
          return { row, count in
            for sink in sinks { try sink.scores(UnsafeBufferPointer(start: row, count: count)) }
          }
        }
      }
      run.previewSide = needs.previewSide
      run.preview = { preview in for sink in sinks { try sink.preview(preview) } }
      run.taps = needs.taps ? Taps() : nil
      (run.progress, run.isCancelled) = (progress, isCancelled)
      _ = Self.releasesCode
      var report = try session.run(photo, wording, options, plan: plan, measures: measures, run)
      if let failure { throw failure }
      if let remark = photo.remark { listener.warn(printable(remark, limit: 4000)) }
      if let text = words.takeReport() { report.add(text) }
      let contents = try sinks.contains { $0.vouchesForOthers } ? photo.contents() : nil
      let result = SegmentReport(
        photo: name, job: self, run: report, taps: run.taps, contents: contents, megahertzBefore: megahertz,
        megahertzAfter: cpuMegahertz())
      try sinks.publish(result)
      return result
    }
  }
}
