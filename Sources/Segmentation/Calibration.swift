// Runs the image networks on a photo and reports how large the channels behind their norms become.
import Compute

extension SegmentOptions {
  /// The published sizes, where the model's patches allow them; less for small patches.
  ///
  /// SAM refines because that is what asks for the whole of SAM's last block.
  package init(calibrating config: ModelConfig) {
    self.init()
    let step = Self.leastCommonMultiple(config.clip.patch, config.dino.patch)
    let limit = min(window, 24 * config.clip.patch)
    window = max(step, limit / step * step)
    stride = max(step, 2 * window / 3 / step * step)
    shortSide = max(16, 4 * window / 3)
    refinement = .sam
  }

  private static func leastCommonMultiple(_ a: Int, _ b: Int) -> Int {
    var (x, y) = (a, b)
    while y != 0 { (x, y) = (y, x % y) }
    return a / x * b
  }
}

extension Session {
  /// Takes one photo through DINO, CLIP and SAM while `observer` looks.
  ///
  /// - Memory: what `segment` needs for the photo, within the session's limit; given back on return.
  /// - Errors: `.photo`; `.memory`; `.usage` for a model whose patches fit no window.
  package func observe(
    _ photo: PhotoPixels, _ observer: NormObserver, progress: (_ fraction: Double) -> Void
  ) throws {
    let options = SegmentOptions(calibrating: reader.config)
    // Scores are not looked at: any text vector does.
    var vector = [Float](repeating: 0, count: reader.config.embedWidth)
    vector[0] = 1
    let wording = Wording(source: .vectors(vector), phraseClass: [0])
    try options.check(against: reader.config)
    let fixed = fixedByteCount()
    // The decoder and its labels are not run, so they are not planned either.
    let plan = try fit(.ofRuntime) { threads, tiling in
      let arena = Arena()
      let engine = try makeEngine(threads: threads, precision: options.precision)
      let log = StageLog(arena: arena, measures: false)
      _ = try phases(engine, arena, options, tiling, log).run(photo, wording)
      return MemoryPlan(tiling: tiling, threads: threads, stages: log.entries, fixedByteCount: fixed)
    }
    let engine = try makeEngine(threads: plan.threads, precision: options.precision)
    engine.observer = observer
    defer { engine.observer = nil }
    let arena = try Arena(capacity: plan.arenaByteCount)
    residentArena = plan.arenaByteCount
    defer { residentArena = 0 }
    try withoutActuallyEscaping(progress) { progress in
      let log = StageLog(arena: arena, measures: false) { stage, _, fraction in
        let share = ["dino": (0.0, 0.15), "clip": (0.15, 0.15), "sam": (0.3, 0.7)][stage]
        if let (from, part) = share { progress(from + part * fraction) }
      }
      _ = try phases(engine, arena, options, plan.tiling, log).run(photo, wording)
    }
  }

  private func phases(
    _ engine: Engine, _ arena: Arena, _ options: SegmentOptions, _ tiling: Tiling, _ log: StageLog
  ) -> ScorePhases {
    ScorePhases(
      engine: engine, arena: arena, reader: reader, options: options, tiling: tiling,
      keepsWeights: runtime.keepsWeights, log: log, taps: nil)
  }

  /// What the observer saw behind `norm1` and `norm2` of every block, by the norm's name in the model file.
  /// Norms that the method never uses are absent (CLIP's last block ends before its MLP).
  package func maxima(_ observer: NormObserver) throws(SegmentationError) -> [String: [Float]] {
    var maxima: [String: [Float]] = [:]
    for encoder in [reader.config.dino, reader.config.clip, reader.config.sam.encoder] {
      for block in 0..<encoder.depth {
        for part in ["norm1", "norm2"] {
          let name = "\(encoder.name).blocks.\(block).\(part)"
          let norm = try reader.norm(name, width: encoder.width, epsilon: encoder.normEpsilon)
          if let seen = observer.maxima(norm.weight) { maxima[name] = seen }
        }
      }
    }
    return maxima
  }
}
