// The last block of C-RADIO with self-correlating recursive attention (SCRA): section 4. The ordinary output,
// cut into heads behind its projection, says which tokens are alike; the same values are mixed once more by
// that.
import Compute

/// One window's last block.
///
/// With `o` the ordinary output of attention, per head `u = o / |o|`, `T = scale u u^T` without its negative
/// entries,
/// `y = proj(softmax(T) v)`, and `x += g1 y`, then the MLP.
///
/// - Memory: a `SequenceRoom`, tokens * width floats, and per worker values and a strip of similarities.
/// - Source: RADSeg (arXiv 2511.19704), as the public implementation computes it.
struct RecursiveAttention {
  private let run: RunContext
  private let config: RADIOConfig
  private let schema: RADIOSchema
  private let scale: Float
  private let room: SequenceRoom
  /// Shapes: [tokens, width]: `o`, then its unit heads, then `y`.
  private let output: Rows
  private let workers: [Worker]
  private let normalized: Rows?

  private struct Worker {
    let values: ValueMatrix
    let strip: AttentionScratch
  }

  private var blocks: TransformerConfig { config.vision.blocks }

  init(_ run: RunContext, _ config: RADIOConfig, _ schema: RADIOSchema, tokens: Int, scale: Float) throws {
    (self.run, self.config, self.schema, self.scale) = (run, config, schema, scale)
    let blocks = config.vision.blocks
    room = try SequenceRoom(run, blocks, tokens: tokens)
    output = try run.arena.rows(tokens, config.width)
    let strip = min(tokens, 2 * run.tiling.strip)
    workers = try run.engine.perWorker { () throws(ComputeError) in
      Worker(
        values: try ValueMatrix(run.arena, engine: run.engine, count: tokens, width: blocks.paddedHead),
        strip: try AttentionScratch(
          run.arena, engine: run.engine, rows: strip, keys: tokens, width: blocks.paddedHead,
          keepsLogits: true))
    }
    normalized =
      config.hasNormalizer ? try run.arena.rows(tokens - config.vision.prefixTokens, config.width) : nil
  }

  /// Of one window: the block, attention and projection once more.
  var work: Work {
    blocks.blockWork(tokens: output.count) + blocks.attentionWork(queries: output.count, keys: output.count)
      + .linear(rows: output.count, inputs: blocks.inner, outputs: blocks.width)
  }

  /// x += g1 y; x += mlp(norm2(x)).
  ///
  /// - Shapes: `x` [tokens, width], prefix tokens first, updated in place.
  func block(_ x: Rows, _ weights: BlockWeights, _ window: Int) {
    let tower = TransformerBlocks(run, blocks)
    tower.project(x, weights, room)
    tower.attend(room)
    project(weights)
    run.record("scra.first.\(window)", output)
    mixAlike()
    project(weights)
    run.record("scra.output.\(window)", output)
    run.finishRecursive(x, output, g1: run.model[schema.lastScale], weights, blocks.activation, room.rows)
    run.record("radio.blocks.\(config.vision.depth - 1).\(window)", x)
  }

  /// output = mixed W^T + b.
  private func project(_ weights: BlockWeights) {
    run.engine.share(output.count, limit: min(run.tiling.rows, output.count)) { range, worker in
      let rows = run.engine.prepare(room.mixed[range], room.rows[worker].scratch)
      run.engine.linear(weights.out, rows, into: output[range])
    }
  }

  /// mixed = softmax(T) v, head by head; `output` becomes unit heads.
  private func mixAlike() {
    let engine = run.engine
    engine.pool.run(count: blocks.heads, chunk: 1) { range, worker in
      let (head, own) = (range.lowerBound, workers[worker])
      let unit = output.columns(head * blocks.headWidth..<(head + 1) * blocks.headWidth)
      unit.normalize()
      engine.packValues(blocks.split(room.qkv, head: head).v, into: own.values)
      let out = room.mixed.columns(blocks.columns(ofHead: head))
      for strip in strips(of: unit.count, own.strip.rowCapacity) {
        engine.mixAlike(unit, strip, scale: scale, own.values, own.strip, into: out[strip])
      }
    }
  }

  /// What follows the blocks.
  ///
  /// - Shapes: `rows` [cells, width], updated in place or answered elsewhere.
  func finish(_ rows: Rows) -> Rows {
    let finish = FeatureFinish(run, schema)
    run.engine.share(rows.count, limit: min(run.tiling.rows, rows.count)) { range, worker in
      finish.apply(rows[range], room.rows[worker].scratch, into: normalized?[range])
    }
    return normalized ?? rows
  }
}

/// What follows C-RADIO's blocks: a norm and the feature normalizer, where the network has them.
struct FeatureFinish {
  private let engine: Engine
  private let norm: NormWeights?
  private let normalizer: (mean: UnsafePointer<Float>, matrix: PackedLinear)?

  init(_ run: RunContext, _ schema: RADIOSchema) {
    engine = run.engine
    norm = schema.vision.normPost.map { run.model[$0] }
    if let mean = schema.normalizerMean, let matrix = schema.normalizer {
      normalizer = (run.model[mean], run.model[matrix])
    } else {
      normalizer = nil
    }
  }

  /// - Shapes: `rows` [cells, width], updated in place; with a normalizer the answer is in `out`.
  func apply(_ rows: Rows, _ scratch: RowScratch, into out: Rows?) {
    if let norm { engine.normalize(rows, norm) }
    guard let normalizer, let out else { return }
    for row in 0..<rows.count {
      let line = rows.row(row)
      for channel in 0..<rows.width { line[channel] -= normalizer.mean[channel] }
    }
    engine.linear(normalizer.matrix, engine.prepare(rows, scratch), into: out)
  }
}

extension Engine {
  /// out = softmax(T) v for a strip of rows of T = scale u u^T without its negative entries.
  ///
  /// - Shapes: `unit` [tokens, headWidth], unit rows; `out` [strip, width of values].
  func mixAlike(
    _ unit: Rows, _ strip: Range<Int>, scale: Float, _ values: ValueMatrix, _ room: AttentionScratch,
    into out: Rows
  ) {
    let logits = room.logits(rows: strip.count, keys: unit.count)
    productNT(unit[strip], unit, into: logits)
    logits.keepPositive(scale: scale)
    expRows(logits, factor: 1, rowSum: room.rowSum)
    weightedValues(values, room, into: out)
  }
}

extension RunContext {
  /// x += g1 y; x += mlp(norm2(x)).
  func finishRecursive(
    _ x: Rows, _ y: Rows, g1: UnsafePointer<Float>, _ weights: BlockWeights, _ activation: Activation,
    _ rooms: [RowRoom]
  ) {
    engine.share(x.count, limit: min(tiling.rows, x.count)) { range, worker in
      for row in range {
        let (target, addend) = (x.row(row), y.row(row))
        for channel in 0..<x.width { target[channel] += g1[channel] * addend[channel] }
      }
      engine.mlp(x[range], weights, activation, rooms[worker])
    }
  }
}

extension Rows {
  /// x = scale * x, entries below zero left out of a softmax that follows.
  func keepPositive(scale: Float) {
    for index in 0..<count {
      let line = row(index)
      for key in 0..<width {
        let value = scale * line[key]
        line[key] = value < 0 ? -.infinity : value
      }
    }
  }
}
