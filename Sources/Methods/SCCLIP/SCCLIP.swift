// SC-CLIP (arXiv 2411.15869), in the order of its sections: CLIP alone, its last block calibrated by its own
// earlier ones.
import Compute
import Raster

/// The method, with the one network it needs.
///
/// - Source: SC-CLIP, and what its public code does where both differ (docs/parity-scclip.md).
package struct SCCLIPMethod: SegmentationMethod {
  package static let networks: [NetworkRole] = [.clip]

  let options: SegmentOptions
  let clip: CLIPConfig
  let schema: CLIPSchema
  let levels: BlockLevels

  package init(_ model: Model, _ options: SegmentOptions) throws(SegmentationError) {
    self.options = options
    (clip, schema) = (
      try Self.require(model.config.clip, .clip, of: model), try Self.require(model.clip, .clip, of: model)
    )
    levels = try BlockLevels(options, depth: clip.vision.depth)
    try options.check(patches: [("clip", clip.patch)])
  }

  /// CLIP's image tower with the pixels' statistics as the published configuration rounds them, unless the
  /// network has its own.
  private var vision: VisionConfig {
    var vision = clip.vision
    if vision.pixels == .clip { vision.pixels = .roundedCLIP }
    return vision
  }

  /// Windows of the copy, whose sides are not rounded to the patch but have at least one.
  private func windows(of photo: any PhotoPixels) -> WindowPlan {
    let size = WindowPlan.copySize(
      photo.width, photo.height, shortSide: options.shortSide, longSide: WindowPlan.longSideLimit)
    let copy = (width: max(size.width, clip.patch), height: max(size.height, clip.patch))
    return WindowPlan(
      copy: copy, image: copy, window: options.window, stride: options.stride, patch: clip.patch)
  }

  package func score(
    _ photo: any PhotoPixels, text: Rows, words: Wording, in run: RunContext
  ) throws -> Scored {
    // 1. Photo and windows.
    let plan = windows(of: photo)
    let scores = try WindowScores(run.arena, plan, phraseClass: words.phraseClass)
    let purity = ClassPurity(options, words)
    try run.scope {
      let image = try photo.windowCopy(plan, alongside: nil, run)
      try run.stage(.clip) {
        let tower = WindowTransformer(run, vision, schema.vision, streaming: schema, image: image, plan: plan)
        let x = try run.arena.rows(tower.group * tower.tokens, clip.width)
        let kept = try KeptBlocks(run, tower, levels)
        let seen = purity == nil ? nil : try AttentionSum(run, tower)
        try tower.forEachGroup { windows in
          // 2. Blocks.
          try tower.encode(windows, through: 0..<clip.vision.depth - 1, into: x, watch: seen) { block in
            kept.keep(x, after: block, windows: windows.count)
          }
          try run.scope { try finish(windows, tower, x, kept, text, into: scores) }
          if let seen { try purity?.test(windows, tower, seen, scores.phrases(ofWindow:)) }
        }
      }
    }
    return Scored(
      scores: scores, grid: (scores.grid.rows, scores.grid.columns), embedding: nil,
      geometry: PhotoGeometry(
        height: photo.height, width: photo.width, patch: clip.patch, grid: 1, imageSide: clip.patch),
      purity: purity)
  }

  /// Sections 3 to 6 for a group of windows.
  private func finish(
    _ windows: Range<Int>, _ tower: WindowTransformer, _ x: Rows, _ kept: KeptBlocks, _ text: Rows,
    into scores: WindowScores
  ) throws {
    let run = tower.run
    let room = try CalibrationRoom(run, clip, cells: tower.cells)
    let finder = try OutlierFinder(run, cells: tower.cells, strips: room.workers.map(\.strip))
    let head = ScoreHead(run, schema)
    run.note(tower.plan.origins.count * work(cells: tower.cells, phrases: text.count))
    if run.isPlanning { return }
    try tower.withLastBlock { weights in
      for index in 0..<windows.count {
        let window = CalibratedWindow(
          run: run, config: clip.vision.blocks, weights: weights, room: room,
          number: windows.lowerBound + index)
        let (tokens, sum) = (tower.window(index, of: x), tower.window(index, of: kept.sum))
        let patches = tower.patches(index, of: x)
        kept.load(run.engine, kept.mid, index, into: room.unit)
        // 3. Outliers. 4. Replacement and similarity.
        let outliers = finder.find(patches, name: window.number)
        outliers.repair(patches, columns: tower.grid.columns)
        outliers.repair(room.unit, columns: tower.grid.columns)
        window.mixTokens(patches)
        // 5. The last block, twice.
        window.attend(tower.patches(index, of: kept.sum))
        kept.load(run.engine, kept.low, index, into: room.unit)
        window.combine(classToken: tokens.prefix(1), sum.prefix(1), weight: levels.classWeight) {
          cells, rows, worker in
          // 6. Scores.
          let features = head.project(rows, room.workers[worker].head)
          run.record("scclip.features.\(window.number)", features, at: cells.lowerBound)
          scores.store(run.engine, features, text, window: window.number, at: cells.lowerBound)
        }
        run.record("scores.\(window.number)", scores.phrases(ofWindow: window.number))
      }
    }
  }
}
