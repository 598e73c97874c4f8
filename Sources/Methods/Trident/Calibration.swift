// Runs the image networks on a photo and reports how large the channels behind their norms become.
import Compute

extension SegmentOptions {
  /// The published sizes, where the model's patches allow them; less for small patches.
  ///
  /// SAM refines because that is what asks for the whole of SAM's last block.
  package init(calibrating clip: CLIPConfig, _ dino: VisionConfig) {
    self.init()
    let step = leastCommonMultiple(clip.patch, dino.patch)
    let limit = min(window, 24 * clip.patch)
    window = max(step, limit / step * step)
    stride = max(step, 2 * window / 3 / step * step)
    shortSide = max(16, 4 * window / 3)
    refinement = .sam
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
    guard let clip = model.config.clip, let dino = model.config.dino else {
      throw SegmentationError(.model("\(modelPath): calibration takes a photo through CLIP, DINO and SAM"))
    }
    let options = SegmentOptions(calibrating: clip, dino)
    let method = try TridentMethod(model, options)
    // Scores are not looked at: any text vector does.
    var vector = [Float](repeating: 0, count: embedWidth)
    vector[0] = 1
    let wording = Wording(source: .vectors(vector), phraseClass: [0])
    func score(in run: RunContext) throws {
      let text = try wording.vectors(in: run, width: embedWidth)
      _ = try method.score(photo, text: text, words: wording, in: run)
    }
    // The decoder and its labels are not run, so they are not planned either.
    let plan = try planned(.ofRuntime, options.precision, fixed: fixedByteCount(), score)
    let engine = try makeEngine(threads: plan.threads, precision: options.precision)
    engine.observer = observer
    defer { engine.observer = nil }
    try withoutActuallyEscaping(progress) { progress in
      try run(
        plan, options.precision, measures: false, taps: nil,
        observer: { stage, _, fraction in
          let share = ["dino": (0.0, 0.15), "clip": (0.15, 0.15), "sam": (0.3, 0.7)][stage]
          if let (from, part) = share { progress(from + part * fraction) }
        }, score)
    }
  }

  /// What the observer saw behind `norm1` and `norm2` of every block, by the norm's name in the model file.
  /// Norms that the method never uses are absent (CLIP's last block ends before its MLP).
  package func maxima(_ observer: NormObserver) -> [String: [Float]] {
    var maxima: [String: [Float]] = [:]
    for schema in model.schemas {
      for norm in schema.blocks.flatMap({ [$0.norm1] + [$0.mlp?.norm].compactMap { $0 } }) {
        if let seen = observer.maxima(model[norm].weight) { maxima[norm.name] = seen }
      }
    }
    return maxima
  }
}
