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
  /// Nil where another attention stands for the calibrated one.
  let levels: BlockLevels?

  package init(_ model: Model, _ options: SegmentOptions) throws(SegmentationError) {
    self.options = options
    (clip, schema) = (
      try Self.require(model.config.clip, .clip, of: model), try Self.require(model.clip, .clip, of: model)
    )
    levels =
      options.clipAttention == .published ? try BlockLevels(options, depth: clip.vision.depth) : nil
    try options.check(patches: [("clip", clip.patch)])
    try options.check(clip)
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
      let mix = try ClassMix(options, text, in: run)
      try mix?.look(at: image, plan, clip, vision, schema, in: run)
      try run.stage(.clip) {
        let tower = WindowTransformer(run, vision, schema.vision, streaming: schema, image: image, plan: plan)
        let last = clip.vision.depth - 1
        let x = try run.arena.rows(tower.group * tower.tokens, clip.width)
        let kept = try levels.map { levels throws(ComputeError) in try KeptBlocks(run, tower, levels) }
        let looked = try LastAttention.watched(run, tower, options)
        let seen = purity == nil ? nil : try AttentionSum(run, tower, blocks: 0..<last)
        try tower.forEachGroup { windows in
          // 2. Blocks.
          try tower.encode(windows, through: 0..<last, into: x, watch: [looked, seen].compactMap { $0 }) {
            block in kept?.keep(x, after: block, windows: windows.count)
          }
          let group = WindowGroup(tower: tower, windows: windows, x: x, text: text, mix: mix, scores: scores)
          try run.scope {
            if let kept { try calibrate(group, kept) } else { try attend(group, looked) }
          }
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
  private func calibrate(_ group: WindowGroup, _ kept: KeptBlocks) throws {
    let (tower, run) = (group.tower, group.tower.run)
    let room = try CalibrationRoom(run, clip, cells: tower.cells)
    let finder = try OutlierFinder(run, cells: tower.cells, strips: room.workers.map(\.strip))
    let head = ScoreHead(run, schema)
    run.note(tower.plan.origins.count * work(cells: tower.cells, phrases: group.text.count))
    try group.forEach(clip, schema) { index, number, weights in
      let window = CalibratedWindow(
        run: run, config: clip.vision.blocks, weights: weights, room: room, number: number)
      let (tokens, sum) = (tower.window(index, of: group.x), tower.window(index, of: kept.sum))
      let patches = tower.patches(index, of: group.x)
      kept.load(run.engine, kept.mid, index, into: room.unit)
      // 3. Outliers. 4. Replacement and similarity.
      let outliers = finder.find(patches, name: number)
      outliers.repair(patches, columns: tower.grid.columns)
      outliers.repair(room.unit, columns: tower.grid.columns)
      window.mixTokens(patches)
      // 5. The last block, twice.
      window.attend(tower.patches(index, of: kept.sum))
      kept.load(run.engine, kept.low, index, into: room.unit)
      window.combine(classToken: tokens.prefix(1), sum.prefix(1), weight: kept.classWeight) {
        cells, rows, worker in
        // 6. Scores.
        group.store(head.project(rows, room.workers[worker].head), number, at: cells.lowerBound)
      }
    }
  }
}
