// One model, ready to segment photo after photo: plans, fits the plan to a limit, runs it.
import Compute
import Container
import Raster

/// What one photo took and gave.
package struct RunReport: Sendable {
  package var plan: MemoryPlan
  package var stages: [StageEntry] = []
  package var samples: [MemorySample] = []
  package var refinement = RefinementReport()
  package var seconds = 0.0
  package var width = 0
  package var height = 0
  package var gridRows = 0
  package var gridColumns = 0
  package var windows = 0
}

/// Receives results of a run.
package struct RunSinks {
  /// Label rows, top to bottom; false ends the run.
  package var labels: LabelConsumer
  /// Class scores on the grid, class by class and row by row: [classes, gridRows, gridColumns]. Nil: not wanted.
  package var scores: ((_ classes: Int, _ rows: Int, _ columns: Int) throws -> ScoreRowConsumer)?
  /// Stage names with the share of the whole run that is done.
  package var progress: ((_ stage: String, _ fraction: Double) -> Void)?
  package var taps: Taps?
  /// A small copy of the photo, at most this long, is handed over before the first label row.
  package var previewSide: Int?
  package var preview: ((Preview) throws -> Void)?

  package init(labels: @escaping LabelConsumer) { self.labels = labels }
}

/// A small upright copy of the photo.
///
/// - Shapes: `pixels` [height, width, 3]; valid until the run ends.
package struct Preview {
  package let pixels: UnsafePointer<UInt8>
  package let width: Int
  package let height: Int
}

package typealias ScoreRowConsumer = (_ row: UnsafePointer<Float>, _ count: Int) throws -> Void

/// A model with its threads.
///
/// - Memory: the mapping; everything else belongs to a run and is given back.
package final class Session {
  package let reader: ModelReader
  package let runtime: RuntimeOptions
  package let path: CPUPath
  let modelPath: String
  private var engine: Engine?
  private var speeds: [(key: SpeedKey, speed: MachineSpeed)] = []
  /// Size of the arena while a run has one.
  var residentArena = 0

  /// Opens the model, checks its header and configuration.
  package convenience init(modelPath: String, runtime: RuntimeOptions) throws {
    do {
      let model = try MappedModel(path: modelPath)
      if runtime.verifiesWeights { try model.verify { _, _ in } }
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
    reader = try ModelReader(model)
  }

  package var modelIdentity: String { (try? reader.model.string("trident.model_id")) ?? "" }

  // MARK: Plan

  /// The fastest way to run this photo within the limit.
  ///
  /// - Errors: `.memory` with the smallest limit that would do, and the stage in the way; `.usage` for options that cannot work.
  package func plan(
    _ photo: PhotoPixels, _ wording: Wording, _ options: SegmentOptions, previewSide: Int? = nil,
    within limit: MemoryLimit = .ofRuntime
  ) throws -> MemoryPlan {
    try options.check(against: reader.config)
    var fixed = fixedByteCount()
    if case .vectors(let stored) = wording.source, stored.isEmpty {
      fixed += wording.phraseClass.count * reader.config.embedWidth * 4
    }
    return try fit(limit) { threads, tiling in
      try count(photo, wording, options, threads, tiling, fixed: fixed, previewSide: previewSide)
    }
  }

  /// Private memory that this process holds outside a run's arena, and what a run adds to it.
  func fixedByteCount() -> Int {
    max(ProcessMemory.now().anonymous - residentArena, 0) + Self.outputByteCount
  }

  /// Compression buffers, thread stacks, and what the heap grows by in a run.
  private static let outputByteCount = 1 << 20

  private func count(
    _ photo: PhotoPixels, _ wording: Wording, _ options: SegmentOptions, _ threads: Int, _ tiling: Tiling, fixed: Int,
    previewSide: Int?
  ) throws -> MemoryPlan {
    let arena = Arena()
    let engine = try makeEngine(threads: threads, precision: options.precision)
    let log = StageLog(arena: arena, measures: false)
    var sinks = RunSinks { _, _ in true }
    sinks.previewSide = previewSide
    _ = try execute(photo, wording, options, engine: engine, arena: arena, tiling: tiling, log: log, sinks)
    var stages = log.entries
    WorkEstimate(
      config: reader.config, options: options, photoWidth: photo.width, photoHeight: photo.height,
      phraseCount: wording.phraseClass.count
    ).fill(&stages)
    return MemoryPlan(tiling: tiling, threads: threads, stages: stages, fixedByteCount: fixed)
  }

  func makeEngine(threads: Int, precision: PrecisionChoice) throws -> Engine {
    let wanted: Precision = precision == .float32 ? .float32 : .int8
    if let engine, engine.pool.threadCount == threads, engine.precision == wanted { return engine }
    let fresh = try Engine(path: path, threadCount: threads, precision: wanted)
    engine = fresh
    return fresh
  }

  /// Speed of this machine on this model, for estimates; measured once for each number of threads and precision.
  ///
  /// - Memory: see `MachineSpeed.measure`; given back.
  package func speed(threads: Int, _ precision: PrecisionChoice, seconds: Double) throws -> MachineSpeed {
    let key = SpeedKey(threads: threads, precision: precision)
    if let known = speeds.first(where: { $0.key == key }) { return known.speed }
    let speed = try MachineSpeed.measure(
      try makeEngine(threads: threads, precision: precision), reader, seconds: seconds)
    speeds.append((key, speed))
    return speed
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
    let engine = try makeEngine(threads: plan.threads, precision: options.precision)
    var clock: ProgressClock?
    if sinks.progress != nil {
      // Two turns of one block: a hundredth of a photo.
      clock = ProgressClock(plan, try speed(threads: plan.threads, options.precision, seconds: 0))
    }
    let arena = try Arena(capacity: plan.arenaByteCount, failingReservation: failingReservation)
    residentArena = plan.arenaByteCount
    defer { residentArena = 0 }
    let log = StageLog(arena: arena, measures: measures) { [clock] stage, index, fraction in
      if let clock { sinks.progress?(stage, clock.fraction(index, fraction)) }
    }
    var report = try execute(
      photo, wording, options, engine: engine, arena: arena, tiling: plan.tiling, log: log, sinks)
    report.plan = plan
    report.stages = log.entries
    report.samples = log.samples
    report.seconds = monotonicSeconds() - log.start
    return report
  }

  private func execute(
    _ photo: PhotoPixels, _ wording: Wording, _ options: SegmentOptions, engine: Engine, arena: Arena,
    tiling: Tiling, log: StageLog, _ sinks: RunSinks
  ) throws -> RunReport {
    let phases = ScorePhases(
      engine: engine, arena: arena, reader: reader, options: options, tiling: tiling,
      keepsWeights: runtime.keepsWeights, log: log, taps: sinks.taps)
    let scored = try phases.run(photo, wording)
    if let open = sinks.scores { try log.run("scores") { try write(scored.map, engine, arena, grid: scored.grid, open) } }
    if let side = sinks.previewSide { try preview(photo, side: side, arena, sinks, log) }
    let result = try label(photo, scored, options, engine, arena, log, sinks)
    if !runtime.keepsWeights && !arena.isCounting {
      reader.model.advise(reader.range(of: "sam.").lowerBound..<reader.range(of: "sam.").upperBound, .dontNeed)
    }
    var report = RunReport(
      plan: MemoryPlan(tiling: tiling, threads: engine.pool.threadCount, stages: [], fixedByteCount: 0))
    report.refinement = result
    report.width = photo.width
    report.height = photo.height
    report.gridRows = scored.grid.rows
    report.gridColumns = scored.grid.columns
    return report
  }

  /// Label rows from scores, refined as the options say.
  private func label(
    _ photo: PhotoPixels, _ scored: Scored, _ options: SegmentOptions, _ engine: Engine, _ arena: Arena, _ log: StageLog,
    _ sinks: RunSinks
  ) throws -> RefinementReport {
    let settings = LabelSettings(
      logitScale: options.logitScale, probabilityThreshold: options.probabilityThreshold)
    let height = photo.height
    let consume: LabelConsumer = { row, labels in
      if row % 64 == 63 { log.step(0.5 + 0.5 * Double(row) / Double(height)) }
      return sinks.labels(row, labels)
    }
    switch options.refinement {
    case .pamr, .crf:
      let size = GuidedRefinement.guideSize(height: photo.height, width: photo.width)
      let pixels = try copy(photo, height: size.height, width: size.width, arena, log)
      return try log.run("refine") {
        try GuidedRefinement(engine: engine, height: photo.height, width: photo.width, settings: settings).run(
          arena, scores: scored.map, guide: ColourGuide(pixels: pixels, height: size.height, width: size.width),
          options.refinement, consume)
      }
    case .none, .sam:
      let refinement = Refinement(
        engine: engine, geometry: scored.geometry, labelSettings: settings,
        settings: RefinementSettings(
          coarseThreshold: options.coarseThreshold, minimalArea: options.minimalArea,
          iouThreshold: options.iouThreshold, maskAlpha: options.maskAlpha),
        taps: sinks.taps)
      return try log.run(options.refinement == .sam ? "refine" : "labels") {
        var model: RefinementModel?
        if let embedding = scored.embedding {
          let sam = reader.config.sam
          model = RefinementModel(
            shape: DecoderShape(sam, prompts: options.prompts), weights: try DecoderWeights(reader, sam),
            embedding: UnsafePointer(embedding))
        }
        return try refinement.run(arena, scores: scored.map, model: model, consume)
      }
    }
  }

  private func preview(_ photo: PhotoPixels, side: Int, _ arena: Arena, _ sinks: RunSinks, _ log: StageLog) throws {
    let size = PhotoGeometry.shrunk(photo.height, photo.width, longSide: side)
    let pixels = try copy(photo, height: size.height, width: size.width, arena, log)
    if arena.isCounting { return }
    try sinks.preview?(Preview(pixels: pixels, width: size.width, height: size.height))
  }

  /// A small copy of the photo, reserved and filled.
  private func copy(
    _ photo: PhotoPixels, height: Int, width: Int, _ arena: Arena, _ log: StageLog
  ) throws -> UnsafePointer<UInt8> {
    let pixels = try arena.reserve(UInt8.self, width * height * 3)
    try log.run("photo") {
      let copy = CopyRequest(kind: .preview, width: width, height: height, pixels: pixels)
      log.image(photo.workingByteCount([copy]))
      if !arena.isCounting { try photo.load([copy]) }
    }
    return UnsafePointer(pixels)
  }

  /// Class scores on SAM's valid grid in C order, class by class.
  private func write(
    _ map: ScoreMap, _ engine: Engine, _ arena: Arena, grid: (rows: Int, columns: Int),
    _ open: (Int, Int, Int) throws -> ScoreRowConsumer
  ) throws {
    let mark = arena.mark()
    defer { arena.release(to: mark) }
    let consume = try open(map.classCount, grid.rows, grid.columns)
    // Scores of windows lie on the windows' grid; all others are where they belong, and the taps copy them.
    let down = ResampleTaps(.bilinear, source: map.rows, target: grid.rows)
    let across = GridTaps(bilinearFrom: (1, map.columns), to: (1, grid.columns))
    let stride = map.lanes * 8
    var scratch = [Float](repeating: 0, count: max(1, map.scratchCount))
    var line = [Float](repeating: 0, count: map.columns * stride)
    var blended = line
    var resampled = [Float](repeating: 0, count: grid.columns * stride)
    var row = [Float](repeating: 0, count: grid.columns)
    for label in 0..<map.classCount {
      for y in 0..<grid.rows {
        for index in blended.indices { blended[index] = 0 }
        for tap in 2 * y..<2 * y + 2 where down.weights[tap] != 0 {
          map.gridRow(engine, Int(down.indices[tap]), scratch: &scratch, into: &line)
          for index in line.indices { blended[index] += down.weights[tap] * line[index] }
        }
        across.resample(blended, channels: stride, into: &resampled)
        map.classScores(label, line: resampled, columns: grid.columns, into: &row)
        try consume(row, grid.columns)
      }
    }
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

extension Session {
  /// The tokenizer whose merges travel in the model file.
  package func makeTokenizer() throws -> BytePairTokenizer {
    let model = reader.model
    let count = reader.config.vocabularySize - BytePairTokenizer.byteSymbolCount - 2
    var failure: ContainerError?
    let tokenizer = try BytePairTokenizer(mergeCount: count, contextLength: reader.config.text.grid) { body in
      do throws(ContainerError) {
        try model.strings("tokenizer.ggml.merges") { index, line in body(index, line) }
      } catch {
        failure = error
      }
    }
    if let failure { throw SegmentationError(.model(failure.description)) }
    return tokenizer
  }
}
