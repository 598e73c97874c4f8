// CLIP's last block with another network's features as attention: unit features compared, values mixed.
import Compute

/// Room to mix one window's values.
///
/// - Memory: tokens * (featureWidth + inner) floats and per worker a strip of similarities.
struct ProxyRoom {
  let features: Rows
  let values: ValueMatrix
  let output: Rows
  let workers: [Worker]

  struct Worker {
    let strip: AttentionScratch
    let mixed: Rows
    let rows: RowScratch
  }

  init(_ run: RunContext, tokens: Int, featureWidth: Int, config: TransformerConfig) throws(ComputeError) {
    let (arena, engine) = (run.arena, run.engine)
    features = try arena.rows(tokens, featureWidth)
    values = try ValueMatrix(arena, engine: engine, count: tokens, width: config.inner)
    output = try arena.rows(tokens, config.width)
    let strip = min(tokens, 2 * run.tiling.strip)
    workers = try engine.perWorker { () throws(ComputeError) in
      Worker(
        strip: try AttentionScratch(
          arena, engine: engine, rows: strip, keys: tokens, width: 64, keepsLogits: true),
        mixed: try arena.rows(strip, config.inner),
        rows: try RowScratch(arena, engine: engine, rows: strip, depth: config.inner))
    }
  }
}

/// Softmax over similarities above the mean, then CLIP's own output projection.
///
/// - Source: Trident section 3; the mean runs over all windows of the photo, as in the public implementation.
struct ProxyAttention {
  let engine: Engine
  let beta: Float
  let gamma: Float
  /// Mean of all similarities of all windows.
  let mean: Float

  /// output = out(softmax(s') v), s' = (f f^T - beta mean) gamma, entries below zero left out.
  ///
  /// - Shapes: room.features [tokens, featureWidth] unit rows; room.values holds [tokens, inner]; room.output
  ///   [tokens, width].
  func mix(_ layer: PackedLinear, _ room: ProxyRoom) {
    let features = room.features
    let limit = room.workers[0].strip.rowCapacity
    engine.share(features.count, limit: limit, multiple: 1) { range, worker in
      let own = room.workers[worker]
      let logits = own.strip.logits(rows: range.count, keys: features.count)
      engine.productNT(features[range], features, into: logits)
      for row in range { shift(logits.row(row - range.lowerBound), features.count, own: row) }
      engine.expRows(logits, factor: 1, rowSum: own.strip.rowSum)
      let mixed = own.mixed.prefix(range.count)
      engine.weightedValues(room.values, own.strip, into: mixed)
      engine.linear(layer, engine.prepare(mixed, own.rows), into: room.output[range])
    }
  }

  /// s' of one row; where nothing is left the token keeps itself (the public implementation divides by zero
  /// there).
  private func shift(_ row: UnsafeMutablePointer<Float>, _ count: Int, own: Int) {
    let offset = mean * beta
    var any = false
    for key in 0..<count {
      let value = (row[key] - offset) * gamma
      any = any || value >= 0
      row[key] = value < 0 ? -.infinity : value
    }
    if !any { row[own] = 0 }
  }
}
