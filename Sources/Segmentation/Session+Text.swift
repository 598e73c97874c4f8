// The text stage on its own: phrases in, unit vectors out, planned and limited like a photo.
import Compute
import Container
import System

/// Text vectors made by one run, and what it took.
package struct TextReport: Sendable {
  /// Shapes: [phrases, embedWidth], unit rows.
  package var vectors: [Float]
  package var phraseCount: Int
  package var plan: MemoryPlan
  package var stages: [StageEntry]
  package var samples: [MemorySample]
  package var seconds: Double
}

extension TextReport {
  /// Puts a later run's stages behind this one's.
  package mutating func add(_ later: TextReport) {
    samples += later.samples.map {
      MemorySample(seconds: $0.seconds + seconds, anonymous: $0.anonymous, file: $0.file)
    }
    stages += later.stages
    let first = plan
    plan = later.plan
    plan.precede(with: first)
    (phraseCount, seconds) = (phraseCount + later.phraseCount, seconds + later.seconds)
  }
}

extension Session {
  /// The fastest way to encode these phrases within the limit.
  ///
  /// - Errors: `.memory` with the smallest limit that would do.
  package func planText(
    _ source: PromptSource, _ precision: PrecisionChoice, within limit: MemoryLimit = .ofRuntime
  ) throws -> MemoryPlan {
    let fixed = fixedByteCount() + source.phrases.count * embedWidth * 4
    return try planned(limit, precision, fixed: fixed) { run in
      try run.encode(source, into: try run.arena.rows(source.phrases.count, embedWidth))
    }
  }

  /// Encodes phrases as planned. `isCancelled`: asked before every block, true ends it with
  /// `CancellationError`.
  ///
  /// - Memory: the arena of the plan, given back on return, and the vectors.
  package func encodeText(
    _ source: PromptSource, _ precision: PrecisionChoice, plan: MemoryPlan, measures: Bool,
    failingReservation: Int? = nil, taps: Taps? = nil,
    progress: ((_ stage: String, _ fraction: Double) -> Void)? = nil, isCancelled: (() -> Bool)? = nil
  ) throws -> TextReport {
    let observer = { (stage: String, _: Int, fraction: Double) -> Void in
      progress?(stage, fraction)
    }
    return try run(
      plan, precision, measures: measures, failingReservation: failingReservation, taps: taps,
      observer: observer
    ) { run in
      var run = run
      run.isCancelled = isCancelled
      let vectors = try run.arena.rows(source.phrases.count, embedWidth)
      try run.encode(source, into: vectors)
      let towers: [(any NetworkSchema)?] = [model.text, model.siglip, model.bert]
      for tower in towers where !runtime.keepsWeights { tower.map { model.release($0) } }
      guard vectors.isFinite else { throw notNumbers("text vectors") }
      return TextReport(
        vectors: Array(UnsafeBufferPointer(start: vectors.base, count: vectors.count * vectors.width)),
        phraseCount: vectors.count, plan: plan, stages: run.log.entries, samples: run.log.samples,
        seconds: monotonicSeconds() - run.log.start)
    }
  }
}

extension Session {
  /// The tokenizer whose tables travel in the model file.
  ///
  /// - Errors: `.model` for a file without a text tower, and for one whose table is not its tower's.
  package func makeTokenizer() throws(SegmentationError) -> PromptTokenizer {
    if let tokenizer = try model.makeTokenizer() { return tokenizer }
    var made = "'trident text'"
    if let name = model.textTower {
      made += " with the \(MappedModel.isIdentity(name) ? "model file of id" : "text tower") \(name)"
    }
    throw SegmentationError(
      .model("\(modelPath) holds no text tower; give words as --vocabulary, made by \(made)"))
  }
}

extension RunReport {
  /// Puts the text stage that ran before in front of this photo's stages.
  package mutating func add(_ text: TextReport) {
    samples =
      text.samples
      + samples.map {
        MemorySample(seconds: $0.seconds + text.seconds, anonymous: $0.anonymous, file: $0.file)
      }
    stages = text.stages + stages
    plan.precede(with: text.plan)
    seconds += text.seconds
  }
}
