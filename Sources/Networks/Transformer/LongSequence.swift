// Blocks over one sequence of thousands of tokens: one head at a time, whose queries are shared out among the
// workers, so that queries, keys and values of all heads never exist together.
import Compute

/// Takes one long sequence through pre-norm blocks.
///
/// - Shapes: `x` [tokens, width], updated in place.
/// - Memory: tokens * inner halves (floats in float32 mode), tokens * width bytes, and a `LongRoom`.
package struct LongSequence {
  let run: RunContext
  let config: TransformerConfig

  private var engine: Engine { run.engine }

  package init(_ run: RunContext, _ config: TransformerConfig) { (self.run, self.config) = (run, config) }

  /// x += out(attention(norm1(x))); x += mlp(norm2(x)).
  package func block(_ x: Rows, _ weights: BlockWeights) throws {
    try run.scope {
      let mixed = try StoredRows(run.arena, engine, count: x.count, width: config.inner)
      try run.scope {
        let room = try LongRoom(run, config, tokens: x.count, keepsLogits: false)
        if !run.isPlanning { attend(x, weights, room, into: mixed) }
      }
      try finish(x, weights, mixed)
    }
  }

  /// mixed = softmax(q k^T / sqrt(headWidth)) v, one head after another.
  package func attend(_ x: Rows, _ weights: BlockWeights, _ room: LongRoom, into mixed: StoredRows) {
    prepareAll(x, weights.norm1, room.all, room.workers.map(\.temporary))
    for head in 0..<config.heads {
      for (part, out) in [room.q, room.k, room.v].enumerated() {
        project(head: head, part: part, weights, room.all, into: out)
      }
      room.memory.load(engine, k: room.k, v: room.v, sharing: true)
      engine.pool.run(count: x.count, chunk: room.strip) { range, worker in
        let own = room.workers[worker]
        let out = own.out.prefix(range.count)
        engine.attend(room.q[range], room.memory, factor: config.attentionScale, own.strip, into: out)
        mixed.store(engine, out, at: range.lowerBound, column: head * config.paddedHead)
      }
    }
  }

  /// norm1 of every token, prepared once for all heads.
  package func prepareAll(
    _ x: Rows, _ norm: NormWeights, _ all: RowScratch, _ temporary: [UnsafeMutablePointer<Float>]
  ) {
    engine.share(x.count, limit: 256, multiple: 1) { range, worker in
      engine.prepare(x[range], normalizedBy: norm, all, at: range.lowerBound, temporary: temporary[worker])
    }
  }

  /// Channels of one head out of the fused projection, for all tokens: part 0 = q, 1 = k, 2 = v.
  package func project(head: Int, part: Int, _ weights: BlockWeights, _ all: RowScratch, into out: Rows) {
    let channels = config.columns(ofHead: head, part: part)
    engine.share(out.count, limit: 256) { range, _ in
      let rows = all.prepared(range, width: config.width)
      engine.linear(weights.qkv, rows, channels: channels, into: out[range])
    }
  }

  /// x += out(mixed); x += mlp(norm2(x)).
  package func finish(_ x: Rows, _ weights: BlockWeights, _ mixed: StoredRows) throws {
    try run.scope {
      let limit = min(run.tiling.rows, x.count)
      let rooms = try engine.perWorker { () throws(ComputeError) in try RowRoom(run, config, rows: limit) }
      if run.isPlanning { return }
      engine.share(x.count, limit: limit) { range, worker in
        let room = rooms[worker]
        let rows = room.rows(range.count, config.inner)
        mixed.load(engine, range, into: rows)
        engine.linear(weights.out, engine.prepare(rows, room.scratch), accumulate: true, into: x[range])
        engine.mlp(x[range], weights, config.activation, room)
      }
    }
  }
}

/// Room for one head over a long sequence.
///
/// - Memory: tokens * (width bytes + 3 * paddedHead floats), a `HeadMemory`, and a strip a thread.
package struct LongRoom {
  /// norm1 of every token.
  let all: RowScratch
  let q: Rows
  let k: Rows
  let v: Rows
  let memory: HeadMemory
  /// Queries that a worker takes at a time.
  let strip: Int
  let workers: [Worker]

  struct Worker {
    let strip: AttentionScratch
    let out: Rows
    let temporary: UnsafeMutablePointer<Float>
  }

  init(_ run: RunContext, _ config: TransformerConfig, tokens: Int, keepsLogits: Bool) throws {
    let (arena, engine, head) = (run.arena, run.engine, config.paddedHead)
    let strip = min(2 * run.tiling.strip, tokens)
    self.strip = strip
    all = try RowScratch(arena, engine: engine, rows: tokens, depth: config.width)
    (q, k, v) = (
      try arena.rows(tokens, head), try arena.rows(tokens, head), try arena.rows(tokens, head)
    )
    memory = try HeadMemory(arena, engine: engine, tokens: tokens, width: head)
    workers = try engine.perWorker { () throws(ComputeError) in
      Worker(
        strip: try AttentionScratch(
          arena, engine: engine, rows: strip, keys: tokens, width: head, keepsLogits: keepsLogits),
        out: try arena.rows(strip, head), temporary: try arena.floats(roundUp(config.width, to: 64)))
    }
  }
}
