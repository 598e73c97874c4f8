// CLIP over the windows, its last block with proxy attention, spliced into a canvas: sections 4 and 5 of the
// method. Another attention may stand for the proxy's, to compare.
import Compute
import Raster

/// CLIP with DINO's features, or its own values, as its last attention.
struct CLIPWindows {
  let run: RunContext
  let clip: CLIPConfig
  let schema: CLIPSchema
  let plan: WindowPlan
  let options: SegmentOptions
  /// Where the rule `purify` asks.
  let judge: WindowJudge?

  /// What a window's rows become before they are spliced: themselves, or unit embeddings (the baseline
  /// paradigm).
  typealias Finish = (_ rows: Rows) -> Rows

  private var blocks: TransformerConfig { clip.vision.blocks }
  private var last: Int { clip.vision.depth - 1 }

  /// How many canvas cells a patch side of CLIP's has: more than one where DINO's patches are smaller.
  ///
  /// - Source: the public implementation's rounding of the grids' ratio.
  static func canvasRatio(window: Int, clipPatch: Int, featurePatch: Int) -> Int {
    let clip = window / clipPatch
    let feature = window / featurePatch
    if feature % clip == 0 { return feature / clip }
    return max(1, Int((Double(feature) / Double(clip)).rounded(.toNearestOrEven)))
  }

  /// - Shapes: canvas [gridRows * ratio, gridColumns * ratio, width].
  /// - Memory: windows-per-pass * (1 + grid^2) * width floats, one `SequenceRoom`, then one `ProxyRoom`;
  ///   given back.
  func splice(
    _ image: UnsafePointer<UInt8>, features: WindowFeatures?, into canvas: SpliceCanvas,
    finish: @escaping Finish
  ) throws {
    let tower = WindowTransformer(
      run, clip.vision, schema.vision, streaming: schema, image: image, plan: plan)
    try run.scope {
      let x = try run.arena.rows(tower.group * tower.tokens, clip.width)
      let isProxy = options.clipAttention == .published
      let mean = try features?.mean ?? (isProxy ? meanOfValues(tower, x) : 0)
      let attention = ProxyAttention(engine: run.engine, beta: options.beta, gamma: options.gamma, mean: mean)
      let looked = try LastAttention.watched(run, tower, options)
      let seen = judge == nil ? nil : try AttentionSum(run, tower, blocks: 0..<last)
      try tower.forEachGroup { windows in
        try tower.encode(windows, through: 0..<last, into: x, watch: [looked, seen].compactMap { $0 })
        try run.scope {
          let place = SplicePlace(canvas: canvas, finish: finish)
          if isProxy {
            try mixLast(tower, windows, x, features, attention, seen, into: place)
          } else {
            try attendLast(tower, windows, x, looked, seen, into: place)
          }
        }
      }
      if !run.isPlanning { canvas.average() }
    }
  }

  /// The mean similarity of CLIP's own values over all windows, which no window can be mixed without: a pass
  /// of its own, since the values of all windows together would take memory.
  private func meanOfValues(_ tower: WindowTransformer, _ x: Rows) throws -> Float {
    var squares = 0.0
    try tower.forEachGroup { windows in
      try tower.encode(windows, through: 0..<last, into: x)
      try run.scope {
        let values = try run.arena.rows(tower.cells, blocks.inner)
        let scratch = try RowScratch(run.arena, engine: run.engine, rows: tower.cells, depth: clip.width)
        if run.isPlanning { return }
        try tower.withLastBlock { weights in
          for index in 0..<windows.count {
            self.values(tower.patches(index, of: x), weights, scratch, into: values)
            values.normalize()
            squares += values.squaredSum()
          }
        }
      }
    }
    return Float(squares / (Double(plan.origins.count) * Double(tower.cells) * Double(tower.cells)))
  }

  /// The last block's values of one window. Shapes: rows [cells, width] -> [cells, inner].
  private func values(_ rows: Rows, _ weights: BlockWeights, _ scratch: RowScratch, into out: Rows) {
    let normalized = run.engine.prepare(rows, normalizedBy: weights.norm1, scratch)
    run.engine.linear(weights.qkv, normalized, channels: 2 * blocks.inner..<3 * blocks.inner, into: out)
  }

  /// The last block: values only, mixed by proxy attention, then spliced.
  private func mixLast(
    _ tower: WindowTransformer, _ windows: Range<Int>, _ x: Rows, _ features: WindowFeatures?,
    _ attention: ProxyAttention, _ seen: AttentionSum?, into place: SplicePlace
  ) throws {
    let arena = run.arena
    let (grid, cells) = (tower.side, tower.cells)
    let featureSide = features?.side ?? grid
    let ratio = place.canvas.columns / plan.gridColumns
    let side = grid * ratio
    let values = try arena.rows(cells, blocks.inner)
    let resampled = featureSide == grid ? values : try arena.rows(featureSide * featureSide, blocks.inner)
    let placed = featureSide == side ? nil : try arena.rows(side * side, clip.width)
    let scratch = try RowScratch(arena, engine: run.engine, rows: cells, depth: clip.width)
    let room = try ProxyRoom(
      run, tokens: featureSide * featureSide, featureWidth: features?.width ?? blocks.inner, config: blocks)
    var jury: JudgeRoom?
    if let judge, let seen { jury = try JudgeRoom(self, judge, tower, seen, side: featureSide) }
    run.note(plan.origins.count * work(cells: cells))
    if run.isPlanning { return }
    try tower.withLastBlock { weights in
      for index in 0..<windows.count {
        let window = windows.lowerBound + index
        self.values(tower.patches(index, of: x), weights, scratch, into: values)
        run.record("clip.values.\(window)", values)
        if featureSide != grid { Self.resample(values, grid, into: resampled, featureSide) }
        run.engine.packValues(resampled, into: room.values)
        if let features {
          features.load(run.engine, window: window, into: room.features)
        } else {
          room.features.update(from: values)
          room.features.normalize()
        }
        attention.mix(weights.out, room)
        run.record("proxy.output.\(window)", room.output)
        jury?.judge(room.output, index: index, window: window)
        if let placed { Self.resample(room.output, featureSide, into: placed, side) }
        place.add(placed ?? room.output, side: side, window, plan)
      }
    }
  }

  /// The last block with another attention, then spliced.
  private func attendLast(
    _ tower: WindowTransformer, _ windows: Range<Int>, _ x: Rows, _ looked: AttentionSum?,
    _ seen: AttentionSum?, into place: SplicePlace
  ) throws {
    let side = tower.side * (place.canvas.columns / plan.gridColumns)
    let attention = try LastAttention(run, tower, blocks, options)
    let placed = side == tower.side ? nil : try run.arena.rows(side * side, clip.width)
    var jury: JudgeRoom?
    if let judge, let seen { jury = try JudgeRoom(self, judge, tower, seen, side: tower.side) }
    if run.isPlanning { return }
    try tower.withLastBlock { weights in
      for (index, window) in windows.enumerated() {
        let rows = attention.apply(tower.window(index, of: x), weights, seen: looked?.window(index))
        run.record("clip.attended.\(window)", rows)
        jury?.judge(rows, index: index, window: window)
        if let placed { Self.resample(rows, tower.side, into: placed, side) }
        place.add(placed ?? rows, side: side, window, plan)
      }
    }
  }

  /// The canvas, and what rows become before they lie there.
  private struct SplicePlace {
    let canvas: SpliceCanvas
    let finish: Finish

    /// Shapes: `rows` [side * side, width], of one window.
    func add(_ rows: Rows, side: Int, _ window: Int, _ plan: WindowPlan) {
      let (origin, ratio) = (plan.origins[window], canvas.columns / plan.gridColumns)
      canvas.add(
        finish(rows), width: side, row: origin.y / plan.patch * ratio,
        column: origin.x / plan.patch * ratio)
    }
  }

  private static func resample(_ rows: Rows, _ side: Int, into out: Rows, _ outSide: Int) {
    GridTaps(bilinearFrom: (side, side), to: (outSide, outSide)).resample(
      rows.base, channels: rows.width, into: out.base)
  }

  /// Of the last block of one window: values, projection, attention.
  private func work(cells: Int) -> Work {
    .linear(rows: cells, inputs: clip.width, outputs: 2 * blocks.inner)
      + blocks.attentionWork(queries: cells, keys: cells)
  }
}
