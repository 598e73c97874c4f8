// Trident (arXiv 2411.09219), in the order of its sections: CLIP gives meaning, DINO makes it cohere within
// windows, SAM draws the whole photo together. Section 9, refinement, is shared: Segmentation/Refinement.
import Compute
import Raster

/// The method, with the networks it needs.
package struct TridentMethod: SegmentationMethod {
  package static let networks: [NetworkRole] = [.dino, .clip, .sam]

  let options: SegmentOptions
  let clip: CLIPConfig
  let dino: VisionConfig
  let sam: SAMConfig
  let clipSchema: CLIPSchema
  private let dinoSchema: VisionSchema
  private let samSchema: SAMSchema

  package init(_ model: Model, _ options: SegmentOptions) throws(SegmentationError) {
    self.options = options
    (clip, clipSchema) = (
      try Self.require(model.config.clip, .clip, of: model), try Self.require(model.clip, .clip, of: model)
    )
    (dino, dinoSchema) = (
      try Self.require(model.config.dino, .dino, of: model), try Self.require(model.dino, .dino, of: model)
    )
    (sam, samSchema) = (
      try Self.require(model.config.sam, .sam, of: model), try Self.require(model.sam, .sam, of: model)
    )
    guard sam.hasEncoder else {
      throw SegmentationError(.model("\(model.file.path) holds SAM without its encoder, which Trident needs"))
    }
    try options.check(patches: [("clip", clip.patch), ("dino", dino.patch)])
    try options.check(clip)
  }

  package func score(
    _ photo: any PhotoPixels, text: Rows, words: Wording, in run: RunContext
  ) throws -> Scored {
    // 1. Two copies of one photo. 2. Windows.
    let layout = TridentLayout(photo, self)
    let mix = try ClassMix(options, text, in: run)
    let judge = WindowJudge(options, words, text, mix)
    let made = try run.keeping({ () throws -> Made in
      // 5. What windows are spliced into; 8. and where unit features go: SAM's strips fill them as they come.
      let canvas = try canvas(layout, run)
      let early = usesSAM ? try features(layout, run) : nil
      let shared = usesSAM && layout.passes.count == 1 ? try layout.samCopy(layout.passes[0], in: run) : nil
      try windows(photo, layout, judge, mix, into: canvas, alongside: shared, run)
      let features = try early ?? features(layout, run)
      if options.paradigm == .window || !usesSAM {
        try run.stage(.scores) { try finish(canvas, into: features, layout, run) }
      }
      // 6. SAM encoder. 7. Affinity and aggregation.
      if let shared {
        let embedding = try encode(layout.passes[0], shared, layout, canvas, into: features, run)
        return Made(features: features, embedding: embedding)
      }
      var embedding: Rows?
      for pass in usesSAM ? layout.passes : [] {
        embedding = try run.keeping({
          let copy = try photo.copy(layout.samCopy(pass, in: run), run)
          return try encode(pass, copy, layout, canvas, into: features, run)
        })
      }
      return Made(features: features, embedding: embedding)
    })
    // 8. Scores.
    let rows = options.paradigm == .window ? layout.canvas.rows : layout.grid.rows
    let field = try FeatureScores(
      run.arena, made.features, rows: rows, text: text, phraseClass: words.phraseClass)
    return Scored(
      scores: mix?.mixed(field) ?? field, grid: layout.grid, embedding: made.embedding,
      geometry: layout.geometry, purity: judge?.purity)
  }

  /// Sections 3 to 5.
  private func windows(
    _ photo: any PhotoPixels, _ layout: TridentLayout, _ judge: WindowJudge?, _ mix: ClassMix?,
    into canvas: SpliceCanvas, alongside copy: CopyRequest?, _ run: RunContext
  ) throws {
    try run.scope {
      let image = try photo.windowCopy(layout.plan, alongside: copy, run)
      try mix?.look(at: image, layout.plan, clip, clip.vision, clipSchema, in: run)
      let features =
        try options.readsDINO ? WindowFeatures(run, dino, dinoSchema, image: image, plan: layout.plan) : nil
      try run.stage(.clip) {
        let windows = CLIPWindows(
          run: run, clip: clip, schema: clipSchema, plan: layout.plan, options: options, judge: judge)
        try windows.splice(
          image, features: features, into: canvas, finish: try windowHead(canvas, layout, run))
      }
      run.record("splice.canvas", canvas.rows)
    }
  }

  /// Sections 6 and 7 for one pass; the embedding lies above what the pass gives back.
  private func encode(
    _ pass: SAMPass, _ copy: CopyRequest, _ layout: TridentLayout, _ canvas: SpliceCanvas,
    into features: StoredRows, _ run: RunContext
  ) throws -> Rows? {
    try run.stage(.sam) {
      let encoder = SAMEncoder(run, sam, samSchema)
      let high = try run.arena.rows(sam.tokenCount, sam.blocks.width)
      try encoder.embed(copy.pixels, width: copy.width, height: copy.height, into: high)
      // The photo's bytes are spent: the tokens move down over them.
      let x = try run.arena.slide(high, over: copy.pixels)
      try encoder.encode(x, leavesLast: pass.aggregates)
      if pass.aggregates {
        try aggregate(
          pass, encoder, x, layout.target(of: pass, canvas, patch: sam.vision.patch), into: features, layout)
      }
      guard pass.embeds else { return nil }
      let embedding = try run.arena.rows(sam.tokenCount, sam.neckWidth)
      try Neck(run: run, config: sam, schema: samSchema.neck).embed(x, into: embedding)
      run.record("sam.neck", embedding)
      return embedding
    }
  }
}
