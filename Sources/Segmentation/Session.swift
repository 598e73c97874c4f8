// One model, ready to segment photo after photo: plans, fits the plan to a limit, runs it.
import Compute
import Container
import Raster
import System

/// What one photo took and gave.
package struct RunReport: Sendable {
  package var plan: MemoryPlan
  package var stages: [StageEntry] = []
  package var samples: [MemorySample] = []
  package var refinement = RefinementReport()
  /// By class, where a rule of absence or an unknown threshold asked; else empty.
  package var presence: [ClassPresence] = []
  /// By class, where the method has a gate of its own: what it took away; else empty.
  package var isGated: [Bool] = []
  /// Where confidences were wanted.
  package var confidence: ConfidenceSums?
  /// Which classes the method looked for, where it asks.
  package var found: PresenceFindings?
  package var seconds = 0.0
  package var width = 0
  package var height = 0
  package var gridRows = 0
  package var gridColumns = 0
  package var windows = 0

  /// Mean confidence of a label's pixels, 0 to 1; nil where it has none, or nobody wanted confidences.
  package func meanConfidence(of label: Int) -> Double? {
    confidence?.mean(of: label, pixels: refinement.pixels(of: label))
  }

  /// What a label has of the photo's pixels, 0 to 1.
  package func share(of label: Int) -> Double {
    Double(refinement.pixels(of: label)) / Double(max(1, width * height))
  }
}

/// Receives results of a run.
package struct RunSinks {
  /// Label rows, top to bottom; false ends the run.
  package var labels: LabelConsumer
  /// Class scores on the grid, class by class and row by row: [classes, gridRows, gridColumns]. Nil: not
  /// wanted.
  package var scores: ((_ classes: Int, _ rows: Int, _ columns: Int) throws -> ScoreRowConsumer)?
  /// How sure the scores are of the pixels of a row. Nil: not wanted.
  package var confidence: ConfidenceConsumer?
  /// Stage names with the share of the whole run that is done.
  package var progress: ((_ stage: String, _ fraction: Double) -> Void)?
  /// Asked now and then; true ends the run with `CancellationError`. Nil: it is never ended.
  package var isCancelled: (() -> Bool)?
  package var taps: Taps?
  /// A copy of the photo, at most this long, is handed over before the first label row.
  package var previewSide: Int?
  package var preview: ((Preview) throws -> Void)?

  package init(labels: @escaping LabelConsumer) { self.labels = labels }
}

/// An upright copy of the photo, of its own size or smaller.
///
/// - Shapes: `room.pixels` [height, width, 3]; valid as long as somebody holds it.
package struct Preview {
  package let room: PictureRoom
  package let width: Int
  package let height: Int
  package var pixels: UnsafePointer<UInt8> { UnsafePointer(room.pixels) }
}

/// A model with its threads.
///
/// - Memory: the mapping; everything else belongs to a run and is given back.
package final class Session {
  package let model: Model
  package let runtime: RuntimeOptions
  package let path: CPUPath
  package let modelPath: String
  private var engine: Engine?
  private var speeds: [(key: SpeedKey, speed: MachineSpeed)] = []
  /// Size of the arena while a run has one.
  var residentArena = 0
  /// Whether the identity was shown to be that of the contents.
  var isProven = false

  /// Opens the model, checks its header and configuration.
  package convenience init(modelPath: String, runtime: RuntimeOptions) throws {
    do {
      let model = try MappedModel(path: modelPath, copies: runtime.copiesModel)
      if runtime.verifiesWeights { try model.verify(provesIdentity: false) { _, _ in } }
      try self.init(model: model, runtime: runtime)
    } catch let error as ContainerError {
      throw SegmentationError(.model(error.description))
    }
  }

  /// Takes an open model, checks its configuration.
  package init(model: MappedModel, runtime: RuntimeOptions) throws {
    self.runtime = runtime
    modelPath = model.path
    path = try CPUPath.choose(forced: runtime.cpuPath)
    self.model = try Model(model)
  }

  /// Results of a model that was rewritten while it was in use are of no model.
  func checkUnchanged() throws(SegmentationError) {
    do throws(ContainerError) { try model.file.checkUnchanged() } catch {
      throw SegmentationError(.model(error.description))
    }
  }

  package var modelIdentity: String { model.identity }
  package var textIdentity: String { model.textIdentity }
  /// Width of the space that images and text share.
  package var embedWidth: Int { model.embedWidth }

  // MARK: Plan

  /// The fastest way to run this photo within the limit.
  ///
  /// - Errors: `.memory` with the smallest limit that would do, and the stage in the way; `.usage` for
  ///   options that cannot work.
  package func plan(
    _ photo: PhotoPixels, _ wording: Wording, _ options: SegmentOptions, previewSide: Int? = nil,
    scores: Bool = false, confidence: Bool = false, within limit: MemoryLimit = .ofRuntime
  ) throws -> MemoryPlan {
    let method = try makeMethod(model, options)
    var fixed = fixedByteCount()
    if case .vectors(let stored) = wording.source, stored.isEmpty {
      fixed += wording.phraseClass.count * embedWidth * 4 + Self.encodingByteCount
    }
    var sinks = RunSinks { _, _ in true }
    sinks.previewSide = previewSide
    sinks.scores = scores ? { _, _, _ in { _, _ in } } : nil
    sinks.confidence = confidence ? { _, _ in true } : nil
    return try planned(limit, options.precision, fixed: fixed) { run in
      let text = try wording.vectors(in: run, width: embedWidth)
      let scored = try method.score(photo, text: text, words: wording, in: run)
      _ = try deliver(scored, photo, wording, options, in: run, sinks)
    }
  }

  /// The fastest way to do what `body` does within the limit. `fixed`: bytes that are held beside the arena.
  func planned(
    _ limit: MemoryLimit, _ precision: PrecisionChoice, fixed: Int, _ body: (RunContext) throws -> Void
  ) throws -> MemoryPlan {
    try fit(limit) { threads, tiling in
      let engine = try makeEngine(threads: threads, precision: precision)
      let arena = Arena()
      let run = context(engine, arena, tiling, StageLog(arena: arena, measures: false))
      try body(run)
      return MemoryPlan(tiling: tiling, threads: threads, stages: run.log.entries, fixedByteCount: fixed)
    }
  }

  /// Does what `body` does in the memory that its plan says, and gives that back.
  ///
  /// - Errors: those of `body`; `.model` for a file that was rewritten meanwhile.
  func run<Value>(
    _ plan: MemoryPlan, _ precision: PrecisionChoice, measures: Bool, failingReservation: Int? = nil,
    taps: Taps?, observer: @escaping (_ stage: String, _ index: Int, _ fraction: Double) -> Void,
    _ body: (RunContext) throws -> Value
  ) throws -> Value {
    let engine = try makeEngine(threads: plan.threads, precision: precision)
    let arena = try Arena(
      capacity: plan.arenaByteCount, failingReservation: failingReservation, isGuarded: runtime.guardsArena)
    residentArena = plan.arenaByteCount
    defer { residentArena = 0 }
    let log = StageLog(arena: arena, measures: measures, observer: observer)
    let value = try body(context(engine, arena, plan.tiling, log, taps: taps))
    try checkUnchanged()
    return value
  }

  /// A run on `arena`; a plan where it only counts.
  private func context(
    _ engine: Engine, _ arena: Arena, _ tiling: Tiling, _ log: StageLog, taps: Taps? = nil
  ) -> RunContext {
    RunContext(
      model: model, engine: engine, arena: arena, tiling: tiling, keepsWeights: runtime.keepsWeights,
      log: log, taps: taps)
  }

  /// What is said of results that are NaN or infinite.
  func notNumbers(_ what: String) -> SegmentationError {
    SegmentationError(
      .model(
        "\(modelPath) gives \(what) that are no numbers; 'trident verify' tells whether the file is damaged"))
  }

  /// Private memory that this process holds outside a run's arena, and what a run adds to it.
  func fixedByteCount() -> Int {
    max(ProcessMemory.now().anonymous - residentArena, 0) + Self.outputByteCount
  }

  /// Compression buffers, thread stacks, and what the heap grows by in a run.
  private static let outputByteCount = 1 << 20
  /// What encoding words leaves on the heap beside their vectors: 15 to 40 KiB measured for 1 to 1,600
  /// phrases.
  private static let encodingByteCount = 64 << 10

  func makeEngine(threads: Int, precision: PrecisionChoice) throws -> Engine {
    let wanted: Precision = precision == .float32 ? .float32 : .int8
    if let engine, engine.pool.threadCount == threads, engine.precision == wanted { return engine }
    let fresh = try Engine(path: path, threadCount: threads, precision: wanted)
    engine = fresh
    return fresh
  }

  /// Speed of this machine on this model, for estimates; measured once for each number of threads and
  /// precision.
  ///
  /// - Memory: see `MachineSpeed.measure`; given back.
  package func speed(threads: Int, _ precision: PrecisionChoice, seconds: Double) throws -> MachineSpeed {
    let key = SpeedKey(threads: threads, precision: precision)
    if let known = speeds.first(where: { $0.key == key }) { return known.speed }
    let speed = try MachineSpeed.measure(
      try makeEngine(threads: threads, precision: precision), model, seconds: seconds)
    speeds.append((key, speed))
    return speed
  }

  /// The speed for a run's progress: measured where the work is worth it (it takes two of a network's blocks)
  /// and the memory limit has room for that, else as machines are.
  private func speedWithinLimit(
    _ engine: Engine, _ plan: MemoryPlan, _ precision: PrecisionChoice
  ) throws -> MachineSpeed {
    guard MachineSpeed.typical.seconds(plan.work) > 3 else { return .typical }
    if let limit = runtime.memoryLimit {
      let room = try MachineSpeed.arena(engine, model).highWater
      guard fixedByteCount() + room <= limit else { return .typical }
    }
    return try speed(threads: plan.threads, precision, seconds: 0)
  }

  /// Refuses what would take hours, where nobody said it may.
  ///
  /// Work below a minute on a fast core is not looked at: no machine needs hours for it. What is more is
  /// worth the time of a measurement.
  ///
  /// - Errors: `.time`.
  package func checkTime(_ plan: MemoryPlan, _ precision: PrecisionChoice) throws {
    let work = plan.work
    guard !runtime.liftsCeilings, MachineSpeed.typical.seconds(work) > 60 else { return }
    let engine = try makeEngine(threads: plan.threads, precision: precision)
    let seconds = try speedWithinLimit(engine, plan, precision).seconds(work)
    if seconds > runtime.timeLimit {
      throw SegmentationError(
        .time(needed: Int(min(seconds, 1e15)), limit: Int(max(0, min(runtime.timeLimit, 1e15)))))
    }
  }

  private struct SpeedKey: Equatable {
    let threads: Int
    let precision: PrecisionChoice
  }

  // MARK: Run

  /// Segments one photo as planned.
  package func run(
    _ photo: PhotoPixels, _ wording: Wording, _ options: SegmentOptions, plan: MemoryPlan, measures: Bool,
    _ sinks: RunSinks, failingReservation: Int? = nil
  ) throws -> RunReport {
    var clock: ProgressClock?
    if sinks.progress != nil {
      let engine = try makeEngine(threads: plan.threads, precision: options.precision)
      clock = ProgressClock(plan, try speedWithinLimit(engine, plan, options.precision))
    }
    let observer = { [clock] (stage: String, index: Int, fraction: Double) in
      if let clock { sinks.progress?(stage, clock.fraction(index, fraction)) }
    }
    return try run(
      plan, options.precision, measures: measures, failingReservation: failingReservation, taps: sinks.taps,
      observer: observer
    ) { run in
      var run = run
      run.isCancelled = sinks.isCancelled
      if let limit = runtime.memoryLimit { run.spillRoom = max(0, limit - plan.peak) }
      let text = try wording.vectors(in: run, width: embedWidth)
      let scored = try makeMethod(model, options).score(photo, text: text, words: wording, in: run)
      var report = try deliver(scored, photo, wording, options, in: run, sinks)
      report.plan = plan
      report.stages = run.log.entries
      report.samples = run.log.samples
      report.seconds = monotonicSeconds() - run.log.start
      return report
    }
  }

  /// Scores to whatever is wanted of them.
  private func deliver(
    _ scored: Scored, _ photo: PhotoPixels, _ wording: Wording, _ options: SegmentOptions, in run: RunContext,
    _ sinks: RunSinks
  ) throws -> RunReport {
    if !run.isPlanning, !scored.scores.isFinite { throw notNumbers("scores") }
    if let open = sinks.scores { try run.stage(.scores) { try scored.write(in: run, open) } }
    if let side = sinks.previewSide { try preview(photo, side: side, run, sinks) }
    let presence = try presence(scored, photo, wording, options, in: run)
    var sums: ConfidenceSums?
    let result = try run.scope {
      let settings = LabelSettings(options, wording, keeps: presence.keeps)
      if sinks.confidence != nil {
        sums = ConfidenceSums(options.confidenceKind, labels: settings.labelCount(scored.scores.grid))
      }
      let confidence =
        sinks.confidence == nil
        ? nil : try ConfidenceRows(run, scored.scores, photo, settings, options.confidenceKind)
      return try makeRefiner(scored, settings, options, passes: confidence == nil ? 1 : 2, in: run).run(
        photo, in: run
      ) { row, labels in
        if row % 64 == 63 { run.step(0.5 + 0.5 * Double(row) / Double(photo.height)) }
        if let confidence {
          let sure = confidence.row(row)
          sums?.add(labels, sure, width: photo.width)
          if sinks.confidence?(row, sure) == false { return false }
        }
        return sinks.labels(row, labels)
      }
    }
    if !runtime.keepsWeights && !run.isPlanning {
      if let sam = model.sam { model.release(sam) }
      if let bert = model.bert { model.release(bert) }
    }
    var report = RunReport(
      plan: MemoryPlan(
        tiling: run.tiling, threads: run.engine.pool.threadCount, stages: [], fixedByteCount: 0))
    report.refinement = result
    report.presence = presence.classes
    if !run.isPlanning { report.isGated = scored.scores.isGated }
    report.confidence = sums
    report.found = scored.found
    report.width = photo.width
    report.height = photo.height
    report.gridRows = scored.grid.rows
    report.gridColumns = scored.grid.columns
    return report
  }

  /// How sure the patches are of every class, and which may be labels; empty: all. A stage of its own where a
  /// rule asks.
  func presence(
    _ scored: Scored, _ photo: PhotoPixels, _ wording: Wording, _ options: SegmentOptions, in run: RunContext
  ) throws -> (classes: [ClassPresence], keeps: [Bool]) {
    let rules = ClassRules(
      absent: options.absent, redundancy: options.redundancy, areaThreshold: options.areaThreshold,
      background: wording.background, hasNegatives: wording.hasNegatives)
    if rules.isEmpty && options.unknownThreshold == 0 && !wording.hasNegatives { return ([], []) }
    return try run.stage(.presence) {
      run.note(Work.labelRows(photo, scored.scores))
      // Where probabilities are resampled, cosines lie behind them, and a class has that of its best phrase.
      let isOfClasses = scored.scores.rule == .probabilities
      var classes = try (isOfClasses ? scored.reported : scored.scores).presence(
        scale: options.logitScale, ofClasses: isOfClasses, in: run)
      for (label, ratio) in (scored.purity?.ratios ?? []).enumerated() { classes[label].purity = ratio }
      let keeps = try rules.choose(
        classes, scored.scores, photo, LabelSettings(logitScale: options.logitScale), in: run)
      for label in classes.indices { classes[label].isDropped = !keeps[label] }
      return (classes, keeps)
    }
  }

  private func preview(_ photo: PhotoPixels, side: Int, _ run: RunContext, _ sinks: RunSinks) throws {
    let size = PhotoGeometry.shrunk(photo.height, photo.width, longSide: side)
    let room =
      run.isPlanning
      ? nil : try PictureRoom(byteCount: size.width * size.height * 3, memoryRoom: run.spillRoom)
    guard let pixels = room?.pixels ?? UnsafeMutablePointer(bitPattern: 64) else { return }
    let isWhole = size == (photo.height, photo.width)
    try photo.read(
      [
        CopyRequest(
          kind: isWhole ? .whole : .preview, width: size.width, height: size.height, pixels: pixels,
          rowStored: room.map { room in { room.passRow() } })
      ], run)
    guard let room else { return }
    room.letGo()
    try sinks.preview?(Preview(room: room, width: size.width, height: size.height))
  }
}

/// Turns a stage's own progress into progress of the whole run, by the time each stage should take.
private struct ProgressClock {
  private let from: [Double]
  private let share: [Double]

  init(_ plan: MemoryPlan, _ speed: MachineSpeed) {
    let seconds = plan.stages.map { speed.seconds($0.work) }
    let total = max(seconds.reduce(0, +), 1e-9)
    share = seconds.map { $0 / total }
    var done = 0.0
    from = share.map { part in
      defer { done += part }
      return done
    }
  }

  func fraction(_ index: Int, _ inside: Double) -> Double {
    index < from.count ? from[index] + share[index] * min(max(inside, 0), 1) : 1
  }
}
