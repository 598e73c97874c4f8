// RADSeg (arXiv 2511.19704), in the order of its sections: one network, C-RADIO, whose features attend to
// themselves twice in the last block (SCRA), are spliced and drawn together over the whole photo (SCGA), and
// whose summary head leads every patch to the space of text.
import Compute

/// The method, with the network it needs.
package struct RADSegMethod: SegmentationMethod {
  package static let networks: [NetworkRole] = [.radio]

  let options: SegmentOptions
  let radio: RADIOConfig
  let schema: RADIOSchema
  private let path: String
  /// RADSeg+: what makes masks, where refinement asks for it.
  private var masks: (config: SAMConfig, schema: SAMSchema)?

  package init(_ model: Model, _ options: SegmentOptions) throws(SegmentationError) {
    self.options = options
    path = model.file.path
    radio = try Self.require(model.config.radio, .radio, of: model)
    schema = try Self.require(model.radio, .radio, of: model)
    try options.check(patches: [("radio", radio.vision.patch)])
    if options.refinement == .sam { masks = try Self.maskParts(model) }
  }

  /// - Errors: `.usage` where the file has positions for another window alone.
  private func checkPositions(_ plan: WindowPlan) throws(SegmentationError) {
    let vision = radio.vision
    let (known, side) = (vision.grid * vision.patch, max(plan.windowHeight, plan.windowWidth))
    guard vision.positions == .ofWindow, side != known else { return }
    throw SegmentationError(
      .usage(
        "\(path) has positions for windows of \(known) pixels alone, not for this photo's of \(side): use "
          + "--windows slide, --window \(known) and a --short-side of as much or more, or quantize without "
          + "--radio-window"))
  }

  /// - Errors: `.usage` for a file without SAM's decoder and the head that leads to it; `.model` where the
  ///   two do not fit.
  private static func maskParts(_ model: Model) throws(SegmentationError) -> (SAMConfig, SAMSchema) {
    guard let head = model.config.radio?.samHead, let sam = model.config.sam, let schema = model.sam else {
      throw SegmentationError(
        .usage(
          "--refine sam needs SAM's decoder in the model file: trident-quantize --radio FILE --sam FILE; "
            + "or use none, pamr, bilateral or crf"))
    }
    guard head.outputs == sam.blocks.width, sam.vision.patch == model.config.radio?.vision.patch else {
      throw SegmentationError(.model("\(model.file.path): C-RADIO's features do not fit SAM's neck"))
    }
    return (sam, schema)
  }

  package func score(
    _ photo: any PhotoPixels, text: Rows, words: Wording, in run: RunContext
  ) throws -> Scored {
    // 1. One copy of the photo, its sides rounded. 2. Windows.
    let plan = WindowPlan(radseg: photo, options, patch: radio.vision.patch)
    try checkPositions(plan)
    let grid = (rows: plan.gridRows, columns: plan.gridColumns)
    let masks = masks.map {
      MaskFeatures(
        run: run, radio: radio, schema: schema, sam: $0.config, samSchema: $0.schema,
        plan: WindowPlan(masksOf: (plan.copyWidth, plan.copyHeight), $0.config), scale: options.scraScale)
    }
    let embedding = try masks.map { try run.arena.rows($0.sam.tokenCount, $0.sam.neckWidth) }
    let features = try run.keeping({ () throws -> StoredRows in
      // 5. What windows are spliced into.
      let canvas = try SpliceCanvas(run.arena, rows: grid.rows, columns: grid.columns, width: radio.width)
      try run.scope {
        let image = try photo.windowCopy(plan, alongside: nil, run)
        // 3. The network. 4. Self-correlating recursive attention in its last block.
        try run.stage(.radio) { try splice(image, plan, into: canvas, run) }
        // 9. RADSeg+: SAM's embedding, from another pass over the same copy.
        if let masks, let embedding { try run.stage(.sam) { try masks.embed(image, into: embedding) } }
      }
      run.record("splice.canvas", canvas.rows)
      let features = try StoredRows(run.arena, run.engine, count: canvas.rows.count, width: radio.embedWidth)
      // 6. Self-correlating global aggregation, strip by strip, and on through 7. the language head.
      try run.stage(.aggregation) {
        try GlobalAggregation(run: run, scale: options.scgaScale).run(canvas.rows) { head in
          try AdaptorHead(run, radio.head, schema.headParts, inputs: radio.width, rows: head)
        } into: { first, rows, language in
          run.record("scga.features", rows, at: first)
          let embedded = language.embed(rows)
          run.record("head.features", embedded, at: first)
          embedded.normalize()
          features.store(run.engine, embedded, at: first)
        }
      }
      return features
    })
    // 8. Scores: probabilities on the grid, classes below the gate left out.
    if !run.isPlanning { text.normalize() }
    let cosines = try FeatureScores(
      run.arena, features, rows: grid.rows, text: text, phraseClass: words.phraseClass)
    let probabilities = try self.probabilities(cosines, photo, words, run)
    var geometry = PhotoGeometry(
      // Masks go from SAM's square straight to the photo: nothing is rounded up in between.
      height: photo.height, width: photo.width, patch: 1,
      grid: masks?.sam.grid ?? grid.rows, imageSide: masks?.sam.imageSide ?? 16 * grid.rows)
    if let masks { (geometry.inputHeight, geometry.inputWidth) = (masks.plan.height, masks.plan.width) }
    return Scored(
      scores: probabilities, reported: cosines, grid: grid, embedding: embedding, geometry: geometry)
  }

  private func probabilities(
    _ cosines: any ScoreField, _ photo: any PhotoPixels, _ words: Wording, _ run: RunContext
  ) throws(ComputeError) -> GridProbabilities {
    try GridProbabilities(
      run, cosines, photo, scale: options.logitScale, gate: options.classGate,
      hasNegatives: words.hasNegatives)
  }

  /// Probabilities with this scale and gate.
  package func scores(of scored: Scored, _ photo: any PhotoPixels, in run: RunContext) throws
    -> any ScoreField
  {
    try GridProbabilities(run, scored.reported, photo, scale: options.logitScale, gate: options.classGate)
  }

  /// Cosines: which classes pass the gate is a matter of the whole raster.
  package func fading(_ tile: Scored) -> FadingScores { FadingScores(tile.reported) }

  package func raster(_ blended: Scored, _ photo: any PhotoPixels, words: Wording, in run: RunContext)
    throws
    -> Scored
  {
    Scored(
      scores: try probabilities(blended.reported, photo, words, run), reported: blended.reported,
      grid: blended.grid,
      embedding: nil, geometry: blended.geometry)
  }

  /// Sections 3 to 5: windows through the blocks, the last one with SCRA, features to their places.
  private func splice(
    _ image: UnsafePointer<UInt8>, _ plan: WindowPlan, into canvas: SpliceCanvas, _ run: RunContext
  ) throws {
    let tower = WindowTransformer(
      run, radio.vision, schema.vision, streaming: schema, image: image, plan: plan)
    let last = radio.vision.depth - 1
    let columns = tower.grid.columns
    try run.scope {
      let x = try run.arena.rows(tower.group * tower.tokens, radio.width)
      try tower.forEachGroup { windows in
        try tower.encode(windows, through: 0..<last, into: x)
        try run.scope {
          let attention = try RecursiveAttention(
            run, radio, schema, tokens: tower.tokens, scale: options.scraScale)
          run.note(plan.origins.count * attention.work)
          if run.isPlanning { return }
          try tower.withLastBlock { weights in
            for index in 0..<windows.count {
              let (window, place) = (windows.lowerBound + index, plan.origins[windows.lowerBound + index])
              attention.block(tower.window(index, of: x), weights, window)
              let rows = attention.finish(tower.patches(index, of: x))
              run.record("radio.features.\(window)", rows)
              canvas.add(rows, width: columns, row: place.y / plan.patch, column: place.x / plan.patch)
            }
          }
        }
      }
      if !run.isPlanning { canvas.average() }
    }
  }
}

extension Stage {
  static let radio = Stage("radio", cut: .windows)
  static let aggregation = Stage("aggregate")
}
