// DINO and CLIP over the windows: layers outside, windows inside, a few windows at a time.
import Compute
import Raster

/// What the window stage is asked to do beyond sizes.
struct WindowOptions: Equatable, Sendable {
  var beta: Float
  var gamma: Float
  var usesDINO: Bool
}

/// Unit features of every window.
///
/// - Shapes: [windows * tokens, width].
struct WindowFeatures {
  let side: Int
  let rows: StoredRows
  var width: Int { rows.width }
  var tokens: Int { side * side }

  init(_ arena: Arena, _ engine: Engine, windows: Int, side: Int, width: Int) throws(ComputeError) {
    self.side = side
    rows = try StoredRows(arena, engine, count: windows * side * side, width: width)
  }
}

/// Runs DINO over all windows, then CLIP with DINO's features as its last attention, into the canvas.
struct WindowStage {
  let engine: Engine
  let arena: Arena
  let reader: ModelReader
  let plan: WindowPlan
  let options: WindowOptions
  let tiling: Tiling
  let keepsWeights: Bool
  let progress: (Double) -> Void
  let taps: Taps?

  static let clipMean: (Float, Float, Float) = (0.48145466, 0.4578275, 0.40821073)
  static let clipDeviation: (Float, Float, Float) = (0.26862954, 0.26130258, 0.27577711)
  static let imageNetMean: (Float, Float, Float) = (0.485, 0.456, 0.406)
  static let imageNetDeviation: (Float, Float, Float) = (0.229, 0.224, 0.225)

  /// DINO over every window.
  ///
  /// - Shapes: `image` [copyHeight, copyWidth, 3]; result [windows, side * side, width] unit features; `sum` over windows of the squared
  ///   length of the summed features comes back as the mean similarity.
  /// - Memory: windows-per-pass * (1 + side^2) * width floats, one `SequenceScratch`.
  func dino(_ image: UnsafePointer<UInt8>, into features: WindowFeatures) throws -> Float {
    let config = reader.config.dino
    let side = plan.window / config.patch
    let tokens = 1 + side * side
    let mark = arena.mark()
    defer { arena.release(to: mark) }
    let patch = try reader.packed("dino.patch", inputs: 3 * config.patch * config.patch, outputs: config.width)
    let token = try reader.floats("dino.class_embedding", [config.width])
    let finalNorm = try reader.norm("dino.norm_post", width: config.width, epsilon: config.normEpsilon)
    let positions = try PositionGrid(
      arena, engine, stored: try reader.halves("dino.position", [config.width, 1 + config.grid * config.grid]),
      config: config, side: side)
    let group = min(tiling.windows, plan.origins.count)
    let x = try arena.floats(group * tokens * config.width)
    let scratch = try SequenceScratch(
      arena, engine, config, tokens: tokens, tiling: tiling, extraDepth: 3 * config.patch * config.patch)
    let encoder = SequenceEncoder(engine: engine, config: config, tiling: tiling)
    let stream = LayerStream(reader, config, keepsWeights: keepsWeights)
    if arena.isCounting { return 0 }
    let pixels = PatchReader(
      image: image, plan: plan, mean: Self.imageNetMean, deviation: Self.imageNetDeviation)
    var squares: Double = 0
    var first = 0
    while first < plan.origins.count {
      let count = min(group, plan.origins.count - first)
      for index in 0..<count {
        encoder.embed(
          pixels, origin: plan.origins[first + index], grid: side, layer: patch, classToken: token,
          positions: positions, x: x + index * tokens * config.width, scratch)
      }
      taps?.record("dino.embed.\(first)", x, [count * tokens, config.width])
      for block in 0..<config.depth {
        try stream.enter(block)
        let weights = try BlockWeights(reader, config, block: block)
        for index in 0..<count { encoder.block(x + index * tokens * config.width, weights, scratch) }
        taps?.record("dino.block.\(block).\(first)", x, [count * tokens, config.width])
        stream.leave(block)
        progress(Double(first * config.depth + (block + 1) * count) / Double(plan.origins.count * config.depth))
      }
      for index in 0..<count {
        let rows = x + (index * tokens + 1) * config.width
        engine.normalize(rows, config.width, rows: side * side, finalNorm, out: rows, config.width)
        taps?.record("dino.features.\(first + index)", rows, [side * side, config.width])
        normalizeRows(rows, rows: side * side, width: config.width)
        squares += squaredSum(rows, rows: side * side, width: config.width)
        features.rows.store(
          engine, rows, rows: side * side, at: (first + index) * features.tokens, width: config.width)
      }
      first += count
    }
    return Float(squares / (Double(plan.origins.count) * Double(side * side) * Double(side * side)))
  }

  /// |sum over rows of x|^2.
  private func squaredSum(_ x: UnsafePointer<Float>, rows: Int, width: Int) -> Double {
    var total = 0.0
    for channel in 0..<width {
      var sum = 0.0
      for row in 0..<rows { sum += Double(x[row * width + channel]) }
      total += sum * sum
    }
    return total
  }

  /// CLIP over every window, its last block with proxy attention, spliced into `canvas`.
  ///
  /// - Shapes: canvas [gridRows * ratio, gridColumns * ratio, width].
  /// - Memory: windows-per-pass * (1 + grid^2) * width floats, one `SequenceScratch`, then one `ProxyScratch`.
  func clip(
    _ image: UnsafePointer<UInt8>, features: WindowFeatures?, mean: Float, canvas: SpliceCanvas,
    project: ((UnsafeMutablePointer<Float>, Int) -> UnsafeMutablePointer<Float>)?
  ) throws {
    let config = reader.config.clip
    let grid = plan.windowGrid
    let tokens = 1 + grid * grid
    let mark = arena.mark()
    defer { arena.release(to: mark) }
    let group = min(tiling.windows, plan.origins.count)
    let x = try arena.floats(group * tokens * config.width)
    let room = arena.mark()
    let mean = features == nil ? try clipMean(image, group: group, x: x) : mean
    var first = 0
    while first < plan.origins.count {
      let count = min(group, plan.origins.count - first)
      try clipBlocks(image, first: first, count: count, x: x)
      arena.release(to: room)
      try clipLast(
        first: first, count: count, x: x, features: features, mean: mean, canvas: canvas, project: project)
      arena.release(to: room)
      if arena.isCounting { return }
      first += count
    }
    canvas.average()
  }

  /// The mean similarity of CLIP's own values over all windows, which no window can be mixed without: a pass of
  /// its own, since the values of all windows together would take memory.
  private func clipMean(_ image: UnsafePointer<UInt8>, group: Int, x: UnsafeMutablePointer<Float>) throws -> Float {
    let config = reader.config.clip
    let cells = plan.windowGrid * plan.windowGrid
    let mark = arena.mark()
    defer { arena.release(to: mark) }
    var squares = 0.0
    var first = 0
    while first < plan.origins.count {
      let count = min(group, plan.origins.count - first)
      try clipBlocks(image, first: first, count: count, x: x)
      arena.release(to: mark)
      let weights = try BlockWeights(reader, config, block: config.depth - 1)
      let values = try arena.floats(cells * config.inner)
      let worker = try RowScratch(arena, engine: engine, rows: cells, depth: config.width)
      if arena.isCounting { return 0 }
      for index in 0..<count {
        self.values(x + (index * (1 + cells) + 1) * config.width, weights, worker, out: values)
        normalizeRows(values, rows: cells, width: config.inner)
        squares += squaredSum(values, rows: cells, width: config.inner)
      }
      arena.release(to: mark)
      first += count
    }
    return Float(squares / (Double(plan.origins.count) * Double(cells) * Double(cells)))
  }

  /// The last block's values of one window. Shapes: rows [cells, width] -> [cells, inner].
  private func values(
    _ rows: UnsafeMutablePointer<Float>, _ weights: BlockWeights, _ worker: RowScratch,
    out: UnsafeMutablePointer<Float>
  ) {
    let config = reader.config.clip
    let cells = plan.windowGrid * plan.windowGrid
    engine.prepareNormalized(rows, config.width, rows: cells, weights.norm1, worker)
    engine.linear(
      weights.qkv, engine.prepared(rows: cells, columns: config.width, worker),
      channels: 2 * config.inner..<3 * config.inner, out: out, config.inner)
  }

  /// Patch embedding and all blocks but the last, for one group of windows.
  private func clipBlocks(_ image: UnsafePointer<UInt8>, first: Int, count: Int, x: UnsafeMutablePointer<Float>)
    throws
  {
    let config = reader.config.clip
    let grid = plan.windowGrid
    let tokens = 1 + grid * grid
    let patch = try reader.packed(
      "clip.patch", inputs: 3 * config.patch * config.patch, outputs: config.width, bias: false)
    let token = try reader.floats("clip.class_embedding", [config.width])
    let preNorm = try reader.norm("clip.norm_pre", width: config.width, epsilon: config.normEpsilon)
    let positions = try PositionGrid(
      arena, engine, stored: try reader.halves("clip.position", [config.width, 1 + config.grid * config.grid]),
      config: config, side: grid)
    let scratch = try SequenceScratch(
      arena, engine, config, tokens: tokens, tiling: tiling, extraDepth: 3 * config.patch * config.patch)
    if arena.isCounting { return }
    let encoder = SequenceEncoder(engine: engine, config: config, tiling: tiling)
    let pixels = PatchReader(image: image, plan: plan, mean: Self.clipMean, deviation: Self.clipDeviation)
    let stream = LayerStream(reader, config, keepsWeights: keepsWeights)
    for index in 0..<count {
      let rows = x + index * tokens * config.width
      encoder.embed(
        pixels, origin: plan.origins[first + index], grid: grid, layer: patch, classToken: token,
        positions: positions, x: rows, scratch)
      taps?.record("clip.embed.\(first + index)", rows, [tokens, config.width])
      engine.normalize(rows, config.width, rows: tokens, preNorm, out: rows, config.width)
    }
    for block in 0..<config.depth - 1 {
      try stream.enter(block)
      let weights = try BlockWeights(reader, config, block: block)
      for index in 0..<count { encoder.block(x + index * tokens * config.width, weights, scratch) }
      taps?.record("clip.block.\(block).\(first)", x, [count * tokens, config.width])
      stream.leave(block)
      progress(Double(first * config.depth + (block + 1) * count) / Double(plan.origins.count * config.depth))
    }
    // The caller goes on with the last one.
    try stream.enter(config.depth - 1)
  }

  /// The last block: values only, mixed by proxy attention, then spliced.
  private func clipLast(
    first: Int, count: Int, x: UnsafeMutablePointer<Float>, features: WindowFeatures?, mean: Float,
    canvas: SpliceCanvas, project: ((UnsafeMutablePointer<Float>, Int) -> UnsafeMutablePointer<Float>)?
  ) throws {
    let config = reader.config.clip
    let grid = plan.windowGrid
    let inner = config.inner
    let featureSide = features?.side ?? grid
    let featureWidth = features?.width ?? inner
    let ratio = canvas.columns / plan.gridColumns
    let side = grid * ratio
    let weights = try BlockWeights(reader, config, block: config.depth - 1)
    let values = try arena.floats(grid * grid * inner)
    let resampled = featureSide == grid ? values : try arena.floats(featureSide * featureSide * inner)
    let placed = featureSide == side ? nil : try arena.floats(side * side * config.width)
    let worker = try RowScratch(arena, engine: engine, rows: grid * grid, depth: config.width)
    let proxy = try ProxyScratch(
      arena, engine, tokens: featureSide * featureSide, featureWidth: featureWidth, config: config, tiling: tiling)
    if arena.isCounting { return }
    for index in 0..<count {
      let window = first + index
      let rows = x + (index * (1 + grid * grid) + 1) * config.width
      self.values(rows, weights, worker, out: values)
      taps?.record("clip.values.\(window)", values, [grid * grid, inner])
      if featureSide != grid {
        GridTaps(bilinearFrom: (grid, grid), to: (featureSide, featureSide))
          .resample(values, channels: inner, into: resampled)
      }
      engine.packValues(resampled, inner, into: proxy.values)
      if let features {
        let first = window * features.tokens
        features.rows.load(engine, rows: first..<first + features.tokens, into: proxy.features)
      } else {
        proxy.features.update(from: values, count: grid * grid * inner)
        normalizeRows(proxy.features, rows: grid * grid, width: inner)
      }
      let attention = ProxyAttention(
        engine: engine, config: config, featureWidth: featureWidth, beta: options.beta, gamma: options.gamma,
        mean: mean)
      attention.mix(weights.out, proxy)
      taps?.record("clip.proxy.\(window)", proxy.output, [featureSide * featureSide, config.width])
      var output = proxy.output
      if let placed {
        GridTaps(bilinearFrom: (featureSide, featureSide), to: (side, side))
          .resample(proxy.output, channels: config.width, into: placed)
        output = placed
      }
      if let project { output = project(output, side * side) }
      let origin = plan.origins[window]
      canvas.add(
        output, side: side, row: origin.y / plan.patch * ratio, column: origin.x / plan.patch * ratio)
    }
  }
}

extension WindowStage {
  /// How many canvas cells a CLIP patch side has: more than one where DINO's patches are smaller.
  ///
  /// - Source: the public implementation's rounding of the grids' ratio.
  static func canvasRatio(window: Int, clipPatch: Int, featurePatch: Int) -> Int {
    let clip = window / clipPatch
    let feature = window / featurePatch
    if feature % clip == 0 { return feature / clip }
    return max(1, Int((Double(feature) / Double(clip)).rounded(.toNearestOrEven)))
  }
}
