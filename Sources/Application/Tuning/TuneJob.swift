// Photos, and which classes each shows, in; the setting that CLIP likes best out: what `trident tune` does.
// Settings are drawn before the first photo, so a photo is seen once, whatever their number: its networks run
// once for all settings that they do not tell apart, and each different mask is judged once.
import Segmentation
import System

/// What a search is asked.
package struct TuneRequest: Sendable {
  /// Folder of photos.
  package var photos: String
  /// Which classes each shows: as `--present`.
  package var present: String
  /// The preset file to write; the journal lies beside it.
  package var output: String
  /// Settings, the one that the search starts from among them.
  package var trials = 34
  package var seed: UInt64 = 0
  package var reward = RewardRule.repaired
  /// Options to vary; nil: all that can change something.
  package var keys: [String]?
  /// Only the first photos, by name.
  package var limit: Int?
  package var overwrites = false
  /// What is read beside the photos and `present`, such as the models: no output may replace it.
  package var inputs: [String] = []

  package init(photos: String, present: String, output: String) {
    (self.photos, self.present, self.output) = (photos, present, output)
  }

  var journal: String { output + ".journal" }
}

/// One search on one session.
///
/// - Memory: what one photo takes, planned before it, the names of all photos, 24 bytes a setting.
/// - Errors: the first photo that cannot be used ends the search; what is done stays in the journal.
package final class TuneJob {
  private let session: Session
  private let judge: Session
  private let words: Words
  /// Of `ClassSource`.
  private let templates: String?
  private let start: SegmentOptions
  private let base: SegmentOptions.Preset?
  private let request: TuneRequest
  private let space: SearchSpace
  private let trials: [SegmentOptions]
  private let photos: [String]
  private let leftOut: LeftOut
  private let present: PresentClasses
  private let listener: any JobListener
  private let side: Int

  /// - Parameters:
  ///   - judge: a session whose model file has CLIP; nil: the tuned one's.
  ///   - base: the published configuration that `options` come from.
  /// - Errors: `.usage`, before any work: no CLIP to judge with, options or counts that cannot be; `.photo`
  ///   for a folder without photos; `.classes` for a photo that `present` does not list.
  package init(
    _ session: Session, judge: Session?, _ source: ClassSource, _ options: SegmentOptions,
    base: SegmentOptions.Preset?, _ request: TuneRequest, listener: any JobListener = SilentListener()
  ) throws(SegmentationError) {
    (self.session, self.judge, self.request) = (session, judge ?? session, request)
    (start, self.base, self.listener) = (options, base, listener)
    try Self.check(request, options, source)
    guard let side = self.judge.judgeSide else {
      throw SegmentationError(
        .usage(
          "there is no CLIP with a text tower and all of its last block in "
            + "'\(self.judge.modelPath)' to judge masks with; --clip MODEL names a model file "
            + "that has one (of CLIP alone: made with --keep-last-mlp)"))
    }
    self.side = side
    words = try Words(source, session)
    guard words.named.negatives.isEmpty else {
      throw SegmentationError(
        .usage(
          "negative phrases in the vocabulary or of --negative: the judge knows none that are of no class"))
    }
    templates = source.templates
    present = try PresentClasses(request.present, words.classes)
    (photos, leftOut) = try Self.photos(request, present)
    var shape = SearchSpace.Shape()
    if let found = session.captionShape { (shape.layers, shape.heads) = found }
    shape.depth = session.clipDepth
    shape.hasBackground = words.classes.background
    shape.looksAtBlur = request.reward.maskBlur == nil
    space = try SearchSpace(options, shape, keys: request.keys)
    trials = try space.trials(options, limit: request.trials, seed: request.seed)
  }

  private static func check(
    _ request: TuneRequest, _ options: SegmentOptions, _ source: ClassSource
  ) throws(SegmentationError) {
    func refuse(_ text: String) -> SegmentationError { SegmentationError(.usage(text)) }
    guard (2...10_000).contains(request.trials) else {
      throw refuse("--trials \(request.trials) is outside 2...10000")
    }
    if let limit = request.limit, limit < 1 { throw refuse("--limit \(limit) is below 1") }
    guard source.negatives.isEmpty && options.absent.phrases.isEmpty else {
      throw refuse("--negative, --absent relevancy: the judge knows no phrases that are of no class")
    }
    guard isFolder(request.photos) else {
      throw SegmentationError(.photo("is no folder; --photos takes one"), path: request.photos)
    }
    var files = JobFiles(reading: request.inputs + [request.present])
    try files.write(request.journal)
    let isPreset = PresetFile.isOne(request.output)
    try files.write(request.output, overwrites: isPreset)
  }

  private static func photos(
    _ request: TuneRequest, _ present: PresentClasses
  ) throws(SegmentationError) -> ([String], LeftOut) {
    let list = PhotoList([request.photos])
    let photos = Array(list.photos.prefix(request.limit ?? list.photos.count))
    guard !photos.isEmpty else {
      throw SegmentationError(.photo("holds no photo"), path: request.photos)
    }
    var names: Set<String> = []
    for photo in photos {
      _ = try present.labels(of: photo)
      guard names.insert(fileName(of: photo)).inserted else {
        throw SegmentationError(.photo("another photo has this name"), path: photo)
      }
    }
    return (photos, list.leftOut)
  }

  // MARK: Run

  /// Does the photos that are not done yet, and writes the preset.
  package func run() throws -> TuneReport {
    words.tell(listener)
    if !leftOut.text.isEmpty { listener.note("left out: \(leftOut.text)") }
    // What cannot work is told before anything is made.
    let first = try present.labels(of: photos[0])
    _ = try session.plan(try question(photos[0], first, start.method == .pnpOVSS ? .unused : .vectors([])))
    try session.proveIdentity()
    if judge !== session { try judge.proveIdentity() }
    let sums = SHA256Digest.hex(
      of: try photos.map { fileName(of: $0) + " " + (try photoDigest($0)) + "\n" }.joined())
    let header = self.header(photos: sums)
    let settings = SHA256Digest.hex(of: header.joined(separator: "\n"))
    try checkOutput(settings)
    var (done, classes) = (0, 0)
    var rewards = [Reward](repeating: Reward(), count: trials.count)
    let journal = try TuningJournal(
      path: request.journal, header: header, names: photos.map { fileName(of: $0) },
      trialCount: trials.count, overwrites: request.overwrites
    ) { count, found in
      (done, classes) = (done + 1, classes + count)
      rewards = zip(rewards, found).map { $0 + $1 }
    }
    if done > 0 { listener.note("\(done) of \(photos.count) photos are done already") }
    if done < photos.count {
      let texts = try self.texts()
      let display = listener.progressDisplay()
      for index in done..<photos.count {
        let shown = try present.labels(of: photos[index])
        let found = try earned(on: photos[index], shown, texts) { [photos] fraction in
          display?.show(
            "tune", (Double(index) + fraction) / Double(photos.count),
            detail: ", photo \(index + 1) of \(photos.count),")
        }
        try journal.add(fileName(of: photos[index]), classes: shown.count, found)
        classes += shown.count
        rewards = zip(rewards, found).map { $0 + $1 }
      }
      display?.finish()
    }
    let report = TuneReport(
      rule: request.reward, space: space, trials: trials, rewards: rewards, classCount: classes,
      photoCount: photos.count, gridCount: space.count, output: request.output)
    let file = PresetFile(
      of: trials[report.best], over: base, depth: session.clipDepth,
      provenance: provenance(report, photos: sums, settings: settings))
    try writeText(file.text, to: request.output)
    return report
  }

  /// Text vectors of the tuned method, and of the judge.
  private struct Texts {
    let own: TextSource
    let scale: RewardScale
  }

  private func texts() throws -> Texts {
    var own: [Float]?
    if start.method != .pnpOVSS {
      own = try words.vectors(start.precision, measures: false, listener).vectors
    }
    guard judge !== session else {
      return Texts(
        own: .vectors(own ?? []),
        scale: RewardScale(request.reward, text: own ?? [], phraseClass: words.phraseClass))
    }
    var source = ClassSource()
    source.phrases = (0..<words.count).map { words.classes.line(ofClass: $0) }
    source.templates = templates
    let others = try Words(source, judge)
    precondition(others.phraseClass == words.phraseClass, "the same phrases")
    let vectors = try others.vectors(start.precision, measures: false, listener).vectors
    return Texts(
      own: own.map { .vectors($0) } ?? .unused,
      scale: RewardScale(request.reward, text: vectors, phraseClass: others.phraseClass))
  }

  /// What every setting earns on one photo.
  private func earned(
    on path: String, _ shown: [Int], _ texts: Texts, _ progress: (Double) -> Void
  ) throws -> [Reward] {
    let question = try self.question(path, shown, texts.own)
    let plan = try session.plan(question)
    try session.checkTime(plan, start.precision)
    let masks = PhotoMasks(
      try session.masks(question, plan: plan) { progress(0.5 * $0) }, of: shown, side: side)
    var other = JudgeRequest(question.photo, masks.all)
    other.precision = start.precision
    let second = try judge.plan(other)
    try judge.checkTime(second, start.precision)
    let vectors = try judge.judge(other, plan: second) { progress(0.5 + 0.5 * $0) }
    return masks.rewards(vectors, texts.scale)
  }

  /// All settings on one photo.
  private func question(_ path: String, _ shown: [Int], _ source: TextSource) throws -> TrialRequest {
    let photo = try PhotoFile(path: path, ceilings: session.runtime.photoCeilings)
    let wording = words.named.wording(source, present: start.method == .pnpOVSS ? shown : nil)
    var question = TrialRequest(photo, wording, trials, labels: shown, side: side)
    question.maskBlur = request.reward.maskBlur
    return question
  }

  // MARK: What it was

  /// Lines of everything that decides the rewards.
  private func header(photos sums: String) -> [String] {
    let list = words.classes
    let classes = (0..<list.count).map { list.line(ofClass: $0) }
    let lines = [
      "model \(session.modelIdentity)", "judge \(judge.modelIdentity)", "reward \(request.reward.rawValue)",
      "photos \(photos.count) \(sums)", "present \(present.digest)", "seed \(request.seed)",
      "classes \(list.count) \(SHA256Digest.hex(of: classes.joined(separator: "\n")))",
      "vocabulary \(words.vocabularyDigest ?? "-")",
    ]
    let marks = words.ownTemplates.map { ["templates \($0)"] } ?? []
    return lines + marks + trials.map { "trial \($0.json.text(indent: -1))" }
  }

  /// - Errors: `.usage` for a preset that another search left.
  private func checkOutput(_ settings: String) throws(SegmentationError) {
    guard !request.overwrites, fileExists(request.output), (fileSize(request.output) ?? 0) > 0 else { return }
    let earlier = try? PresetFile(path: request.output)
    if case .string(settings)? = earlier?.provenance?.member("settings") { return }
    throw SegmentationError(
      .usage(
        "'\(request.output)' is a preset of something else; --overwrite replaces it, another --output "
          + "keeps it"))
  }

  private func provenance(_ report: TuneReport, photos sums: String, settings: String) -> JSON {
    .object([
      ("tool", .string("trident tune")), ("version", .string(Trident.version)),
      ("photos", .int(photos.count)), ("classes_shown", .int(report.classCount)),
      ("reward", .string(request.reward.rawValue)), ("trials", .int(trials.count)),
      ("seed", .string(String(request.seed))), ("best", report.json(of: report.best)),
      ("start", report.json(of: 0)), ("photos_sha256", .string(sums)),
      ("model_id", .string(session.modelIdentity)), ("judge_model_id", .string(judge.modelIdentity)),
      ("settings", .string(settings)),
    ])
  }
}
