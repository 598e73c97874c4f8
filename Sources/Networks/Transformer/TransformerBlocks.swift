// The pre-norm transformer block over one sequence of tokens: x += out(attention(norm1(x))), x +=
// mlp(norm2(x)). Rows go through the projections in pieces, a worker each; heads attend on their own, a
// worker each.
import Compute

/// Room for one worker to take rows through projections and MLP.
///
/// - Memory: rows * mlpOutputs floats and rows * mlpWidth bytes, twice as many where rows are fine.
package struct RowRoom {
  package let scratch: RowScratch
  private let storage: UnsafeMutablePointer<Float>
  private let capacity: Int

  package init(
    _ run: RunContext, _ config: TransformerConfig, rows: Int, depth: Int = 0, isFine: Bool = false
  ) throws(ComputeError) {
    let widest = max(config.width, config.inner, config.mlpWidth, depth)
    scratch = try RowScratch(run.arena, engine: run.engine, rows: rows, depth: widest, isFine: isFine)
    capacity = rows * max(config.mlpOutputs, config.inner, config.width, depth)
    storage = try run.arena.floats(capacity)
  }

  /// Rows to work in.
  func rows(_ count: Int, _ width: Int) -> Rows {
    precondition(count * width <= capacity, "row room too small")
    return Rows(storage, count: count, width: width)
  }
}

/// Room for one worker to attend within one head of a sequence.
struct HeadRoom {
  let memory: HeadMemory
  let strip: AttentionScratch

  init(_ run: RunContext, width: Int, tokens: Int, strip rows: Int) throws(ComputeError) {
    memory = try HeadMemory(run.arena, engine: run.engine, tokens: tokens, width: width)
    strip = try AttentionScratch(
      run.arena, engine: run.engine, rows: rows, keys: tokens, width: width, keepsLogits: false)
  }
}

/// Room to take one sequence through one block at a time.
///
/// - Memory: tokens * 4 * inner floats, and per worker a `RowRoom` and a `HeadRoom`.
package struct SequenceRoom {
  /// Shapes: [tokens, 3 * inner]: queries, keys, values of all heads.
  package let qkv: Rows
  /// Shapes: [tokens, inner].
  package let mixed: Rows
  package let rows: [RowRoom]
  let heads: [HeadRoom]

  var tokens: Int { qkv.count }

  /// Over memory that the caller reserved, for attention of the caller's own.
  init(qkv: Rows, mixed: Rows, rows: [RowRoom]) {
    (self.qkv, self.mixed, self.rows, heads) = (qkv, mixed, rows, [])
  }

  package init(_ run: RunContext, _ config: TransformerConfig, tokens: Int, extraDepth: Int = 0)
    throws(ComputeError)
  {
    qkv = try run.arena.rows(tokens, 3 * config.inner)
    mixed = try run.arena.rows(tokens, config.inner)
    var rows: [RowRoom] = []
    var heads: [HeadRoom] = []
    for _ in 0..<run.engine.pool.threadCount {
      rows.append(try RowRoom(run, config, rows: min(run.tiling.rows, tokens), depth: extraDepth))
      heads.append(
        try HeadRoom(run, width: config.paddedHead, tokens: tokens, strip: min(tokens, 2 * run.tiling.strip)))
    }
    (self.rows, self.heads) = (rows, heads)
  }
}

/// Takes sequences through the three parts of pre-norm blocks: `project`, `attend`, `finish`.
///
/// - Shapes: `x` [tokens, width], updated in place.
package struct TransformerBlocks {
  let run: RunContext
  let config: TransformerConfig

  private var engine: Engine { run.engine }

  package init(_ run: RunContext, _ config: TransformerConfig) { (self.run, self.config) = (run, config) }

  /// qkv = norm1(x) Wqkv^T + b.
  func project(_ x: Rows, _ weights: BlockWeights, _ room: SequenceRoom) {
    engine.share(x.count, limit: min(run.tiling.rows, x.count)) { range, worker in
      let rows = engine.prepare(x[range], normalizedBy: weights.norm1, room.rows[worker].scratch)
      engine.linear(weights.qkv, rows, into: room.qkv[range])
    }
  }

  /// mixed = softmax(q k^T / sqrt(headWidth)) v, head by head.
  func attend(_ room: SequenceRoom) {
    engine.pool.run(count: config.heads, chunk: 1) { range, worker in
      let own = room.heads[worker]
      let (q, k, v) = config.split(room.qkv, head: range.lowerBound)
      own.memory.load(engine, k: k, v: v)
      let out = room.mixed.columns(config.columns(ofHead: range.lowerBound))
      for strip in strips(of: room.tokens, own.strip.rowCapacity) {
        engine.attend(q[strip], own.memory, factor: config.attentionScale, own.strip, into: out[strip])
      }
    }
  }

  /// x += out(mixed); x += mlp(norm2(x)).
  func finish(_ x: Rows, _ weights: BlockWeights, _ room: SequenceRoom) {
    engine.share(x.count, limit: min(run.tiling.rows, x.count)) { range, worker in
      let own = room.rows[worker]
      engine.linear(
        weights.out, engine.prepare(room.mixed[range], own.scratch), accumulate: true, into: x[range])
      engine.mlp(x[range], weights, config.activation, own)
    }
  }
}

extension TransformerConfig {
  /// Columns of one head among those of all.
  func columns(ofHead head: Int, part: Int = 0) -> Range<Int> {
    let first = part * inner + head * paddedHead
    return first..<first + paddedHead
  }

  /// Queries, keys and values of one head.
  ///
  /// - Shapes: `qkv` [tokens, 3 * inner]; each part [tokens, paddedHead].
  func split(_ qkv: Rows, head: Int) -> (q: Rows, k: Rows, v: Rows) {
    (
      qkv.columns(columns(ofHead: head)), qkv.columns(columns(ofHead: head, part: 1)),
      qkv.columns(columns(ofHead: head, part: 2))
    )
  }
}

/// Runs of at most `limit` out of `count`.
func strips(of count: Int, _ limit: Int) -> [Range<Int>] {
  stride(from: 0, to: count, by: limit).map { $0..<min($0 + limit, count) }
}

extension Engine {
  /// x += second(activation(first(norm2(x)))) for some rows; a gated MLP has its gate for activation.
  ///
  /// Traps for a block without an MLP: whoever walks through blocks of a file asks `WindowTransformer` first.
  package func mlp(_ x: Rows, _ weights: BlockWeights, _ activation: Activation, _ room: RowRoom) {
    guard let mlp = weights.mlp else { preconditionFailure("this block ends with its attention") }
    let hidden = room.rows(x.count, mlp.first.outputs)
    let normalized = prepare(x, normalizedBy: mlp.norm, room.scratch)
    linear(mlp.first, normalized, activation: mlp.isGated ? .none : activation, into: hidden)
    let inner = mlp.isGated ? gate(hidden) : hidden
    linear(mlp.second, prepare(inner, room.scratch), accumulate: true, into: x)
  }

  /// silu(first half) * second half of every row, in place of the first half.
  ///
  /// The kernels have x sigmoid(1.702 x), so silu(x) is taken as 1.702 times that of x / 1.702.
  /// - Shapes: `rows` [count, 2 * width]; the result [count, width], a view of it.
  /// - Source: DINOv2 `swiglu_ffn.py`; Shazeer, arXiv 2002.05202.
  private func gate(_ rows: Rows) -> Rows {
    let width = rows.width / 2
    let factor: Float = 1.702
    for index in 0..<rows.count {
      let (first, second) = (rows.row(index), rows.row(index) + width)
      for column in 0..<width { first[column] /= factor }
      activate(first, width, .quickGELU)
      for column in 0..<width { first[column] *= factor * second[column] }
    }
    return rows.columns(0..<width)
  }
}
