// Whom a patch looks at in CLIP's last block, where a method's own way is not asked for: ways of other
// papers, to compare. The block's skip and its MLP are left out: rows are out(W v).
//
// self: softmax(q q^T). neighbour: softmax(k k^T + closeness on the grid). value: itself alone. global: the
// mean of what some middle blocks look at and softmax(q q^T), one map for all heads.
import Compute

/// CLIP's last block over one window after another.
///
/// - Shapes: a window's tokens [tokens, width] to rows of its patches [cells, width].
/// - Memory: floats: tokens * 3 inner, cells * (inner + width); `global`: cells * tokens; and for every
///   worker a strip of weights, the values of a head, a strip of rows.
/// - Source: ClearCLIP, arXiv 2407.12442 (self); NACLIP, arXiv 2404.08181 (neighbour); MaskCLIP, arXiv
///   2112.01071 (value); GCLIP, arXiv 2502.06818, at second hand (global). The class token is among the keys.
///   Differs: MaskCLIP keeps the block's MLP.
struct LastAttention {
  /// NACLIP's standard deviation of closeness, patches.
  static let deviation: Float = 5
  private let run: RunContext
  private let config: TransformerConfig
  private let kind: CLIPAttention
  /// `global`: maps that are averaged, the last block's among them.
  private let mapCount: Int
  private let grid: (rows: Int, columns: Int)
  /// [tokens, 3 * inner].
  private let qkv: Rows
  /// What heads give. [cells, inner].
  private let mixed: Rows
  /// [cells, width].
  private let output: Rows
  /// `global` alone. [cells, tokens].
  private let map: Rows
  /// `neighbour` alone: exp(-d^2 / (2 deviation^2)) of every distance along an axis.
  private let near: UnsafeMutablePointer<Float>
  private let workers: [Worker]

  private struct Worker {
    /// Logits [strip, tokens].
    let strip: AttentionScratch
    let values: ValueMatrix
    let rows: RowScratch
  }

  private var engine: Engine { run.engine }
  private var cells: Int { mixed.count }
  private var prefix: Int { qkv.count - cells }

  init(
    _ run: RunContext, _ tower: WindowTransformer, _ config: TransformerConfig, _ options: SegmentOptions
  ) throws(ComputeError) {
    (self.run, self.config, kind, grid) = (run, config, options.clipAttention, tower.grid)
    mapCount = options.watchedBlocks.count + 1
    let (arena, engine, tokens) = (run.arena, run.engine, tower.tokens)
    qkv = try arena.rows(tokens, 3 * config.inner)
    mixed = try arena.rows(tower.cells, config.inner)
    output = try arena.rows(tower.cells, config.width)
    map = try arena.rows(kind == .global ? tower.cells : 0, tokens)
    let distances = kind == .neighbour ? max(grid.rows, grid.columns) : 0
    near = try arena.floats(distances)
    if !arena.isCounting {
      for distance in 0..<distances {
        let share = Float(distance) / Self.deviation
        near[distance] = expOfNonPositive(Eight(repeating: -share * share / 2))[0]
      }
    }
    let strip = min(tokens, 2 * run.tiling.strip)
    workers = try engine.perWorker { () throws(ComputeError) in
      Worker(
        strip: try AttentionScratch(
          arena, engine: engine, rows: strip, keys: tokens, width: 64, keepsLogits: true),
        values: try ValueMatrix(arena, engine: engine, count: tokens, width: config.paddedHead),
        rows: try RowScratch(arena, engine: engine, rows: strip, depth: max(config.inner, config.width)))
    }
    run.note(tower.plan.origins.count * work)
  }

  /// What blocks before the last are watched for; nil: nothing.
  ///
  /// - Memory: an `AttentionSum`.
  static func watched(
    _ run: RunContext, _ tower: WindowTransformer, _ options: SegmentOptions
  ) throws(ComputeError) -> AttentionSum? {
    guard options.clipAttention == .global else { return nil }
    return try AttentionSum(run, tower, blocks: options.watchedBlocks, keepsPrefix: true)
  }

  /// Rows of one window, valid until the next.
  ///
  /// - Shapes: `x` [tokens, width]; `seen` [cells, tokens], summed over heads and the watched blocks.
  func apply(_ x: Rows, _ weights: BlockWeights, seen: Rows?) -> Rows {
    shareStrips(x.count) { range, own in
      let rows = engine.prepare(x[range], normalizedBy: weights.norm1, own.rows)
      engine.linear(weights.qkv, rows, into: qkv[range])
    }
    switch kind {
    case .published: preconditionFailure("the method's own is the method's")
    case .value: mixed.update(from: patches(part: 2))
    case .queries, .neighbour: mixHeads()
    case .global: mixGlobally(seen)
    }
    shareStrips(cells) { range, own in
      engine.linear(weights.out, engine.prepare(mixed[range], own.rows), into: output[range])
    }
    return output
  }

  private func shareStrips(_ count: Int, _ body: (_ range: Range<Int>, _ own: Worker) -> Void) {
    engine.share(count, limit: workers[0].strip.rowCapacity, multiple: 1) { body($0, workers[$1]) }
  }

  /// Queries, keys or values of the patches, all heads. Shapes: [cells, inner].
  private func patches(part: Int) -> Rows {
    qkv[prefix..<qkv.count].columns(part * config.inner..<(part + 1) * config.inner)
  }

  /// Softmax over every token, head by head, a worker each.
  private func mixHeads() {
    engine.pool.run(count: config.heads, chunk: 1) { range, worker in
      let (own, head) = (workers[worker], range.lowerBound)
      engine.packValues(qkv.columns(config.columns(ofHead: head, part: 2)), into: own.values)
      let out = mixed.columns(config.columns(ofHead: head))
      for strip in strips(of: cells, own.strip.rowCapacity) {
        _ = weights(of: strip, head, own)
        engine.weightedValues(own.values, own.strip, into: out[strip])
      }
    }
  }

  /// Numerators of a strip of patches, their sums in the strip's `rowSum`.
  private func weights(of strip: Range<Int>, _ head: Int, _ own: Worker) -> Rows {
    let same = qkv.columns(config.columns(ofHead: head, part: kind == .neighbour ? 1 : 0))
    let logits = own.strip.logits(rows: strip.count, keys: qkv.count)
    engine.productNT(same[prefix + strip.lowerBound..<prefix + strip.upperBound], same, into: logits)
    var factor = config.attentionScale
    if kind == .neighbour {
      for cell in strip { addCloseness(to: cell, logits.row(cell - strip.lowerBound), scale: factor) }
      factor = 1
    }
    engine.expRows(logits, factor: factor, rowSum: own.strip.rowSum)
    return logits
  }

  /// logits = scale * logits + exp(-distance^2 / (2 deviation^2)); prefix tokens are near to nobody.
  private func addCloseness(to cell: Int, _ logits: UnsafeMutablePointer<Float>, scale: Float) {
    let (row, column) = (cell / grid.columns, cell % grid.columns)
    for key in 0..<qkv.count { logits[key] *= scale }
    for y in 0..<grid.rows {
      let (line, vertical) = (logits + prefix + y * grid.columns, near[abs(y - row)])
      for x in 0..<grid.columns { line[x] += vertical * near[abs(x - column)] }
    }
  }

  /// One map for the values of all heads: a mean over heads first, then over blocks.
  private func mixGlobally(_ seen: Rows?) {
    guard let seen else { preconditionFailure("nothing was watched") }
    let values = qkv.columns(2 * config.inner..<3 * config.inner)
    shareStrips(cells) { range, own in
      let map = map[range]
      map.update(from: seen[range])
      for head in 0..<config.heads {
        let numerators = weights(of: range, head, own)
        numerators.divide(by: own.strip.rowSum)
        map.add(numerators)
      }
      for row in 0..<map.count {
        let line = map.row(row)
        for key in 0..<map.width { line[key] /= Float(config.heads * mapCount) }
      }
      engine.productNN(map, values, into: mixed[range])
    }
  }

  /// Of one window.
  private var work: Work {
    let (tokens, inner) = (qkv.count, config.inner)
    let products = Double(cells) * Double(tokens) * Double(inner)
    let linear =
      Work.linear(rows: tokens, inputs: config.width, outputs: 3 * inner)
      + .linear(rows: cells, inputs: inner, outputs: config.width)
    switch kind {
    case .published, .value: return linear
    case .queries, .neighbour: return linear + Work(attention: products, float: products)
    case .global: return linear + Work(float: 2 * products)
    }
  }
}

extension SegmentOptions {
  /// `global`: middle blocks whose attention counts, from zero.
  ///
  /// - Source: GCLIP at second hand: where tokens that look everywhere first show in B/16.
  var watchedBlocks: Range<Int> {
    let (first, last) = globalBlocks == BlockRange() ? (7, 8) : (globalBlocks.first, globalBlocks.last)
    return first - 1..<max(first - 1, last)
  }

  /// Checks what the last block is asked for against what the network has.
  ///
  /// - Errors: `.usage`.
  func check(_ clip: CLIPConfig) throws(SegmentationError) {
    let depth = clip.vision.depth
    guard classMix <= 0 || clip.hasLastMLP else {
      throw SegmentationError(
        .usage(
          "--class-mix needs the last block's MLP, which this model file leaves out; "
            + "quantize with --keep-last-mlp"))
    }
    guard clipAttention == .global else { return }
    if globalBlocks == BlockRange() {
      if depth == 12 { return }
      guard depth > 1 else {
        throw SegmentationError(
          .usage("--clip-attention global needs a block before the last; this CLIP has 1"))
      }
      throw SegmentationError(
        .usage("--global-blocks must be given: 7-8 is known for 12 blocks, this CLIP has \(depth)"))
    }
    let (first, last) = (globalBlocks.first, globalBlocks.last)
    if first >= 1 && first <= last && last < depth { return }
    throw SegmentationError(
      .usage("--global-blocks \(globalBlocks) must be blocks of 1...\(depth - 1), the lower one first"))
  }

  /// DINO's features are CLIP's last attention.
  var readsDINO: Bool { usesDINO && clipAttention == .published }
}
