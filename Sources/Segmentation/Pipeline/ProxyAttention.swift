// CLIP's last block with another network's features as attention: unit features compared, values mixed.
import Compute

/// Room to mix one window's values.
///
/// - Memory: tokens * (featureWidth + inner) floats and per worker a strip of similarities.
struct ProxyScratch {
  let tokens: Int
  let features: UnsafeMutablePointer<Float>
  let values: ValueMatrix
  let output: UnsafeMutablePointer<Float>
  let workers: [Worker]

  struct Worker {
    let strip: AttentionScratch
    let mixed: UnsafeMutablePointer<Float>
    let rows: RowScratch
  }

  init(
    _ arena: Arena, _ engine: Engine, tokens: Int, featureWidth: Int, config: EncoderConfig, tiling: Tiling
  ) throws(ComputeError) {
    self.tokens = tokens
    features = try arena.floats(tokens * featureWidth)
    values = try ValueMatrix(arena, engine: engine, count: tokens, width: config.inner)
    output = try arena.floats(tokens * config.width)
    let strip = min(tokens, 2 * tiling.strip)
    var workers: [Worker] = []
    for _ in 0..<engine.pool.threadCount {
      workers.append(
        Worker(
          strip: try AttentionScratch(arena, engine: engine, rows: strip, keys: tokens, width: 64, keepsLogits: true),
          mixed: try arena.floats(strip * config.inner),
          rows: try RowScratch(arena, engine: engine, rows: strip, depth: config.inner)))
    }
    self.workers = workers
  }
}

/// Softmax over similarities above the mean, then CLIP's own output projection.
///
/// - Source: Trident section 3; the mean runs over all windows of the photo, as in the public implementation.
struct ProxyAttention {
  let engine: Engine
  let config: EncoderConfig
  let featureWidth: Int
  let beta: Float
  let gamma: Float
  /// Mean of all similarities of all windows.
  let mean: Float

  /// output = out(softmax(s') v), s' = (f f^T - beta mean) gamma, entries below zero left out.
  ///
  /// - Shapes: scratch.features [tokens, featureWidth] unit rows; scratch.values holds [tokens, inner]; scratch.output [tokens, width].
  func mix(_ layer: PackedLinear, _ scratch: ProxyScratch) {
    let tokens = scratch.tokens
    let chunk = engine.pool.chunk(count: tokens, limit: min(tokens, scratch.workers[0].strip.rowCapacity))
    engine.pool.run(count: tokens, chunk: chunk) { range, worker in
      let room = scratch.workers[worker]
      let logits = room.strip.logits
      let stride = room.strip.keyStride
      engine.productNT(
        scratch.features + range.lowerBound * featureWidth, featureWidth, rows: range.count, scratch.features,
        featureWidth, columns: tokens, depth: featureWidth, out: logits, stride)
      for row in range { shift(logits + (row - range.lowerBound) * stride, tokens, own: row) }
      engine.expRows(logits, stride, rows: range.count, keys: tokens, factor: 1, rowSum: room.strip.rowSum)
      engine.weightedValues(rows: range.count, values: scratch.values, room.strip, out: room.mixed, config.inner)
      let mixed = engine.prepare(room.mixed, config.inner, rows: range.count, columns: config.inner, room.rows)
      engine.linear(layer, mixed, out: scratch.output + range.lowerBound * config.width, config.width)
    }
  }

  /// s' of one row; where nothing is left the token keeps itself (the public implementation divides by zero there).
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

/// f / |f| by row, in place; a zero row stays zero.
///
/// - Source: PyTorch `normalize` (eps 1e-12).
func normalizeRows(_ x: UnsafeMutablePointer<Float>, rows: Int, width: Int) {
  for row in 0..<rows {
    let line = x + row * width
    var sum = SIMD8<Float>(repeating: 0)
    var channel = 0
    while channel + 8 <= width {
      let part = UnsafeRawPointer(line + channel).loadUnaligned(as: SIMD8<Float>.self)
      sum += part * part
      channel += 8
    }
    var square = sum.sum()
    while channel < width {
      square += line[channel] * line[channel]
      channel += 1
    }
    let factor = 1 / max(square.squareRoot(), 1e-12)
    for channel in 0..<width { line[channel] *= factor }
  }
}
