// From scores to label rows of the photo: what mends the borders of the coarse labels is one of these.
import Compute

/// Makes label rows, top to bottom.
package protocol LabelRefiner {
  /// - Memory: everything it reserves is given back.
  /// - Errors: an arena that is too small; a photo that cannot be read.
  func run(_ photo: any PhotoPixels, in run: RunContext, _ consume: LabelConsumer) throws -> RefinementReport
}

/// Coarse labels, or SAM's masks where there is an embedding to ask.
struct MaskRefiner: LabelRefiner {
  let refinement: Refinement
  let scores: any ScoreField
  let model: RefinementModel?
  /// Passes over the pixels' scores, for the estimate.
  let passes: Double

  func run(_ photo: any PhotoPixels, in run: RunContext, _ consume: LabelConsumer) throws -> RefinementReport
  {
    try run.stage(model == nil ? .labels : .refine) {
      run.note(work(photo))
      return try refinement.run(run.arena, scores: scores, model: model, consume)
    }
  }

  /// Regions that a photo is assumed to have.
  private static let typicalRegions = 8.0

  /// With masks: half-size probabilities, regions, a second look and some masks. Factors are fitted to runs
  /// on AVX-512 and AVX2 (docs/speed.md).
  private func work(_ photo: any PhotoPixels) -> Work {
    let rows = Work.labelRows(photo, scores)
    guard let shape = model?.shape else { return passes * rows }
    let width = Double(shape.width)
    return (1 + passes) * rows
      + Work(
        float: Double(photo.width * photo.height) * 5000 + Self.typicalRegions * Double(shape.cells) * width
          * 9 * width)
  }
}

/// Scores of the classes that are there, led by the colours of a small copy of the photo.
struct GuidedRefiner: LabelRefiner {
  let settings: LabelSettings
  let scores: any ScoreField
  /// The method's grid on the photo.
  let patches: (rows: Int, columns: Int)
  let choice: RefinementChoice
  let guided: GuidedSettings
  /// Passes over the pixels' scores, for the estimate.
  let passes: Double

  func run(_ photo: any PhotoPixels, in run: RunContext, _ consume: LabelConsumer) throws -> RefinementReport
  {
    let size = GuidedRefinement.guideSize(height: photo.height, width: photo.width)
    let pixels = try photo.smallCopy(height: size.height, width: size.width, run)
    return try run.stage(.refine) {
      run.note(passes * Work.labelRows(photo, scores) + work(size))
      return try GuidedRefinement(
        engine: run.engine, height: photo.height, width: photo.width, settings: settings,
        patches: patches, guided: guided
      ).run(
        run.arena, scores: scores, guide: ColourGuide(pixels: pixels, height: size.height, width: size.width),
        choice,
        consume)
    }
  }

  /// Ten iterations over the copy's pixels for every eight of at most 16 classes; the field looks at all
  /// phrases in each. Factors are fitted to photos that show 4 to 16 of 21 classes, on AVX-512.
  private func work(_ size: (height: Int, width: Int)) -> Work {
    let phrases = scores.grid.phraseCount
    let planes = Double(ceilDivide(min(phrases, GuidedRefinement.classLimit), by: 8))
    let perPixel = choice == .crf ? planes * 60_000 + Double(phrases) * 120 : planes * 40_000
    return Work(float: Double(size.height * size.width) * perPixel)
  }
}

extension Work {
  /// Scores of the grid and a softmax a pixel.
  static func labelRows(_ photo: any PhotoPixels, _ scores: any ScoreField) -> Work {
    let pixels = Double(photo.width * photo.height)
    return Work(
      float: pixels * Double(scores.grid.phraseCount) * 12 + pixels * 200 + Double(scores.grid.rows)
        * scores.rowWork)
  }
}

extension LabelSettings {
  /// - Parameter keeps: which classes may be labels; empty: all.
  init(_ options: SegmentOptions, _ wording: Wording, keeps: [Bool]) {
    self.init(
      logitScale: options.logitScale, probabilityThreshold: options.probabilityThreshold,
      unknownThreshold: options.unknownThreshold, keeps: keeps, hasNegatives: wording.hasNegatives)
  }
}

/// The refiner that the options ask for.
///
/// - Parameter passes: over the pixels' scores, for the estimate.
func makeRefiner(
  _ scored: Scored, _ labels: LabelSettings, _ options: SegmentOptions, passes: Double, in run: RunContext
) throws -> any LabelRefiner {
  switch options.refinement {
  case .pamr, .bilateral, .crf:
    return GuidedRefiner(
      settings: labels, scores: scored.scores, patches: scored.grid, choice: options.refinement,
      guided: scored.guided, passes: passes)
  case .none, .sam:
    let settings = RefinementSettings(
      coarseThreshold: options.coarseThreshold, minimalArea: options.minimalArea,
      iouThreshold: options.iouThreshold,
      maskAlpha: options.maskAlpha, spillRoom: run.spillRoom)
    let refinement = Refinement(
      engine: run.engine, geometry: scored.geometry, labelSettings: labels, settings: settings, taps: run.taps
    )
    var model: RefinementModel?
    if let embedding = scored.embedding, let config = run.model.config.sam, let schema = run.model.sam {
      model = RefinementModel(
        shape: DecoderShape(config, prompts: options.prompts), weights: DecoderWeights(run.model, schema),
        embedding: UnsafePointer(embedding.base))
    }
    return MaskRefiner(refinement: refinement, scores: scored.scores, model: model, passes: passes)
  }
}
