// The transformer block over one sequence of tokens: the part that CLIP, DINO and SAM share.
import Compute

/// How work is cut into pieces. Results do not depend on it.
package struct Tiling: Equatable, Sendable {
  /// Rows of tokens a worker takes through a block at a time.
  package var rows = 128
  /// Queries a worker compares with all keys at a time.
  package var strip = 32
  /// Windows carried through the blocks together.
  package var windows = 4
  /// Text nodes encoded together.
  package var textRows = 2048

  package init() {}
}

/// Room for one worker to take rows through projections and MLP.
///
/// - Memory: rows * mlpWidth floats and rows * mlpWidth bytes.
package struct RowWorker {
  package let rows: RowScratch
  package let hidden: UnsafeMutablePointer<Float>

  package init(_ arena: Arena, _ engine: Engine, _ config: EncoderConfig, rowCount: Int, depth: Int = 0)
    throws(ComputeError)
  {
    rows = try RowScratch(
      arena, engine: engine, rows: rowCount, depth: max(config.width, config.inner, config.mlpWidth, depth))
    hidden = try arena.floats(rowCount * max(config.mlpWidth, config.inner, config.width, depth))
  }
}

/// Room for one worker to attend within one head of a sequence.
package struct HeadWorker {
  package let keys: KeyMatrix
  package let values: ValueMatrix
  package let strip: AttentionScratch
  package let center: UnsafeMutablePointer<Float>

  package init(_ arena: Arena, _ engine: Engine, width: Int, tokens: Int, strip rows: Int) throws(ComputeError) {
    keys = try KeyMatrix(arena, engine: engine, count: tokens, width: width)
    values = try ValueMatrix(arena, engine: engine, count: tokens, width: width)
    strip = try AttentionScratch(arena, engine: engine, rows: rows, keys: tokens, width: width, keepsLogits: false)
    center = try arena.floats(width)
  }
}

/// Room to take one sequence through one block at a time.
///
/// - Memory: tokens * 4 * inner floats, and per worker a `RowWorker` and a `HeadWorker`.
package struct SequenceScratch {
  let tokens: Int
  let qkv: UnsafeMutablePointer<Float>
  let mixed: UnsafeMutablePointer<Float>
  let rowWorkers: [RowWorker]
  let headWorkers: [HeadWorker]

  /// Over memory that the caller reserved, without heads of its own.
  init(
    tokens: Int, qkv: UnsafeMutablePointer<Float>, mixed: UnsafeMutablePointer<Float>, rowWorkers: [RowWorker]
  ) {
    self.tokens = tokens
    self.qkv = qkv
    self.mixed = mixed
    self.rowWorkers = rowWorkers
    headWorkers = []
  }

  package init(
    _ arena: Arena, _ engine: Engine, _ config: EncoderConfig, tokens: Int, tiling: Tiling, extraDepth: Int = 0
  ) throws(ComputeError) {
    self.tokens = tokens
    qkv = try arena.floats(tokens * 3 * config.inner)
    mixed = try arena.floats(tokens * config.inner)
    var rowWorkers: [RowWorker] = []
    var headWorkers: [HeadWorker] = []
    for _ in 0..<engine.pool.threadCount {
      rowWorkers.append(
        try RowWorker(arena, engine, config, rowCount: min(tiling.rows, tokens), depth: extraDepth))
      headWorkers.append(
        try HeadWorker(
          arena, engine, width: config.paddedHead, tokens: tokens, strip: min(tokens, 2 * tiling.strip)))
    }
    self.rowWorkers = rowWorkers
    self.headWorkers = headWorkers
  }
}

/// Takes sequences through pre-norm blocks.
///
/// - Shapes: `x` [tokens, width], updated in place.
package struct SequenceEncoder {
  let engine: Engine
  let config: EncoderConfig
  let tiling: Tiling

  /// x += out(attention(norm1(x))); x += mlp(norm2(x)).
  package func block(_ x: UnsafeMutablePointer<Float>, _ weights: BlockWeights, _ scratch: SequenceScratch) {
    project(x, weights, scratch)
    attend(scratch)
    finish(x, weights, scratch)
  }

  /// qkv = norm1(x) Wqkv^T + b.
  func project(_ x: UnsafeMutablePointer<Float>, _ weights: BlockWeights, _ scratch: SequenceScratch) {
    let width = config.width
    let stride = 3 * config.inner
    engine.pool.run(count: scratch.tokens, chunk: rowChunk(scratch.tokens)) { range, worker in
      let rows = scratch.rowWorkers[worker].rows
      engine.prepareNormalized(
        x + range.lowerBound * width, width, rows: range.count, weights.norm1, rows)
      let prepared = engine.prepared(rows: range.count, columns: width, rows)
      engine.linear(weights.qkv, prepared, out: scratch.qkv + range.lowerBound * stride, stride)
    }
  }

  /// mixed = softmax(q k^T / sqrt(headWidth)) v, head by head.
  func attend(_ scratch: SequenceScratch) {
    let head = config.paddedHead
    let inner = config.inner
    let stride = 3 * inner
    let tokens = scratch.tokens
    let factor = 1 / Float(config.headWidth).squareRoot()
    engine.pool.run(count: config.heads, chunk: 1) { range, worker in
      let room = scratch.headWorkers[worker]
      let q = scratch.qkv + range.lowerBound * head
      columnMeans(q + inner, stride, rows: tokens, columns: head, out: room.center)
      engine.packKeys(q + inner, stride, range: 0..<tokens, center: room.center, into: room.keys)
      engine.packValues(q + 2 * inner, stride, into: room.values)
      var row = 0
      while row < tokens {
        let count = min(room.strip.rowCapacity, tokens - row)
        engine.attend(
          q + row * stride, stride, rows: count, keys: room.keys, values: room.values, factor: factor, room.strip,
          out: scratch.mixed + row * inner + range.lowerBound * head, inner)
        row += count
      }
    }
  }

  /// x += out(mixed); x += mlp(norm2(x)).
  func finish(_ x: UnsafeMutablePointer<Float>, _ weights: BlockWeights, _ scratch: SequenceScratch) {
    let width = config.width
    let inner = config.inner
    engine.pool.run(count: scratch.tokens, chunk: rowChunk(scratch.tokens)) { range, worker in
      let room = scratch.rowWorkers[worker]
      let rows = x + range.lowerBound * width
      let mixed = engine.prepare(
        scratch.mixed + range.lowerBound * inner, inner, rows: range.count, columns: inner, room.rows)
      engine.linear(weights.out, mixed, accumulate: true, out: rows, width)
      engine.mlp(rows, width, count: range.count, weights, config.activation, room)
    }
  }

  private func rowChunk(_ tokens: Int) -> Int {
    engine.pool.chunk(count: tokens, limit: min(tiling.rows, tokens), multiple: 16)
  }
}

extension Engine {
  /// x += mlpOut(activation(mlpIn(norm2(x)))) for some rows.
  package func mlp(
    _ x: UnsafeMutablePointer<Float>, _ stride: Int, count: Int, _ weights: BlockWeights, _ activation: Activation,
    _ room: RowWorker
  ) {
    let hiddenWidth = weights.mlpIn.outputs
    prepareNormalized(x, stride, rows: count, weights.norm2, room.rows)
    let normalized = prepared(rows: count, columns: weights.norm2.width, room.rows)
    linear(weights.mlpIn, normalized, activation: activation, out: room.hidden, hiddenWidth)
    let hidden = prepare(room.hidden, hiddenWidth, rows: count, columns: hiddenWidth, room.rows)
    linear(weights.mlpOut, hidden, accumulate: true, out: x, stride)
  }
}

/// out[c] = mean over rows of x[r][c]; rows in order, so the result is always the same.
func columnMeans(
  _ x: UnsafePointer<Float>, _ stride: Int, rows: Int, columns: Int, out: UnsafeMutablePointer<Float>
) {
  out.update(repeating: 0, count: columns)
  for row in 0..<rows {
    let line = x + row * stride
    for column in 0..<columns { out[column] += line[column] }
  }
  let factor = 1 / Float(rows)
  for column in 0..<columns { out[column] *= factor }
}
