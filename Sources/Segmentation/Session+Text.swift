// The text stage on its own: phrases in, unit vectors out, planned and limited like a photo.
import Compute

/// Text vectors made by one run, and what it took.
package struct TextReport: Sendable {
  /// Shapes: [phrases, embedWidth], unit rows.
  package var vectors: [Float]
  package var plan: MemoryPlan
  package var stages: [StageEntry]
  package var samples: [MemorySample]
  package var seconds: Double
}

extension Session {
  /// The fastest way to encode these phrases within the limit.
  ///
  /// - Errors: `.memory` with the smallest limit that would do.
  package func planText(
    _ source: PromptSource, _ precision: PrecisionChoice, within limit: MemoryLimit = .ofRuntime
  ) throws -> MemoryPlan {
    let fixed = fixedByteCount() + source.phrases.count * reader.config.embedWidth * 4
    return try fit(limit) { threads, tiling in
      let arena = Arena()
      let engine = try makeEngine(threads: threads, precision: precision)
      let log = StageLog(arena: arena, measures: false)
      _ = try encode(source, engine: engine, arena: arena, tiling: tiling, log: log)
      var stages = log.entries
      let nodes = source.groups(nodeLimit: tiling.textRows).reduce(0) { $0 + $1.nodeCount }
      for index in stages.indices {
        stages[index].work = WorkEstimate.text(reader.config, nodes: nodes, phrases: source.phrases.count)
      }
      return MemoryPlan(
        tiling: tiling, threads: threads, stages: stages, fixedByteCount: fixed)
    }
  }

  /// Encodes phrases as planned.
  ///
  /// - Memory: the arena of the plan, given back on return, and the vectors.
  package func encodeText(
    _ source: PromptSource, _ precision: PrecisionChoice, plan: MemoryPlan, measures: Bool,
    failingReservation: Int? = nil, progress: ((_ stage: String, _ fraction: Double) -> Void)? = nil
  ) throws -> TextReport {
    let engine = try makeEngine(threads: plan.threads, precision: precision)
    let arena = try Arena(capacity: plan.arenaByteCount, failingReservation: failingReservation)
    residentArena = plan.arenaByteCount
    defer { residentArena = 0 }
    let log = StageLog(arena: arena, measures: measures) { stage, _, fraction in progress?(stage, fraction) }
    let vectors = try encode(source, engine: engine, arena: arena, tiling: plan.tiling, log: log)
    if !runtime.keepsWeights { reader.model.advise(reader.range(of: "text."), .dontNeed) }
    return TextReport(
      vectors: vectors, plan: plan, stages: log.entries, samples: log.samples,
      seconds: monotonicSeconds() - log.start)
  }

  private func encode(
    _ source: PromptSource, engine: Engine, arena: Arena, tiling: Tiling, log: StageLog
  ) throws -> [Float] {
    let count = source.phrases.count * reader.config.embedWidth
    let vectors = try arena.floats(count)
    try log.run("text") {
      let stream = LayerStream(reader, reader.config.text, keepsWeights: runtime.keepsWeights)
      log.weights(total: reader.range(of: "text.").count, hot: stream.hotByteCount)
      let tower = TextTower(
        engine: engine, arena: arena, reader: reader, tiling: tiling, keepsWeights: runtime.keepsWeights,
        progress: { log.step($0) }, taps: nil)
      try tower.encode(source, into: vectors)
    }
    return arena.isCounting ? [] : Array(UnsafeBufferPointer(start: vectors, count: count))
  }
}

extension RunReport {
  /// Puts the text stage that ran before in front of this photo's stages.
  package mutating func add(_ text: TextReport) {
    samples = text.samples + samples.map {
      MemorySample(seconds: $0.seconds + text.seconds, anonymous: $0.anonymous, file: $0.file)
    }
    stages = text.stages + stages
    plan.precede(with: text.plan)
    seconds += text.seconds
  }
}
