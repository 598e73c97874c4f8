// SigLIP 2's text tower. Attention goes both ways and padding takes part in it, so that no prompt shares
// anything with another and every one is 64 positions long. Prompts go through the blocks a group at a time:
// the weights, four hundred megabytes of them, are read once a group. Inside a block a few prompts are taken
// at a time, so that queries, keys and values of a group need never exist together. The last block is wanted
// at one position only.
import Compute

/// Encodes phrases through all templates into unit vectors.
///
/// - Shapes: result [phrases, embedWidth] f32.
/// - Memory: per prompt of a group context * width floats; per prompt of a batch context * 4 * inner floats;
///   a `RowRoom` and a `HeadRoom` a thread. Of the embeddings rows are gathered where they are mapped.
/// - Source: SigLIP 2 (arXiv 2502.14786), `Siglip2TextModel`; vectors taken at the last position, normalized,
///   averaged over templates, normalized again.
package struct SigLIPTower {
  let run: RunContext
  let config: TextConfig
  let schema: SigLIPSchema

  private var engine: Engine { run.engine }
  private var blocks: TransformerConfig { config.blocks }
  private var context: Int { config.context }

  package init(_ run: RunContext, _ config: SigLIPConfig, _ schema: SigLIPSchema) {
    (self.run, self.config, self.schema) = (run, config.tower, schema)
  }

  /// Room for one group of prompts.
  private struct Room {
    /// Shapes: [prompts * context, width].
    let x: Rows
    /// Of a batch.
    let batch: SequenceRoom
    let heads: [HeadRoom]
    /// Last positions. Shapes: [prompts, width], [prompts, inner], [prompts, embedWidth].
    let ends: Rows
    let mixedEnds: Rows
    let embedded: Rows

    /// What some rows of a batch go through a block in.
    func rows(_ count: Int) -> SequenceRoom {
      SequenceRoom(qkv: batch.qkv.prefix(count), mixed: batch.mixed.prefix(count), rows: batch.rows)
    }
  }

  /// Reserves what the largest group needs; encodes group after group.
  ///
  /// - Shapes: `vectors` [phrases, embedWidth], in phrase order, overwritten.
  package func encode(_ source: PromptSource, into vectors: Rows) throws {
    try run.scope {
      let count = source.phrases.count * source.promptsPerPhrase
      let group = max(1, min(count, run.tiling.textRows / context))
      let room = try reserve(group)
      let stream = run.blocks(of: schema)
      note(prompts: count)
      if run.isPlanning { return }
      vectors.fill(0)
      for prompts in strips(of: count, group) {
        try encode(prompts, of: count, source, room, stream)
        reduce(prompts, source.promptsPerPhrase, room, into: vectors)
      }
      vectors.normalize()
    }
  }

  private func reserve(_ prompts: Int) throws -> Room {
    let arena = run.arena
    let batch = min(prompts, max(1, 4 * run.tiling.rows / context)) * context
    let limit = min(run.tiling.rows, batch)
    let rows = try engine.perWorker { () throws(ComputeError) in
      try RowRoom(run, blocks, rows: limit, isFine: true)
    }
    let heads = try engine.perWorker { () throws(ComputeError) in
      try HeadRoom(
        run, width: blocks.paddedHead, tokens: context, strip: min(context, 2 * run.tiling.strip))
    }
    return Room(
      x: try arena.rows(prompts * context, config.width),
      batch: SequenceRoom(
        qkv: try arena.rows(batch, 3 * blocks.inner), mixed: try arena.rows(batch, blocks.inner), rows: rows),
      heads: heads, ends: try arena.rows(prompts, config.width),
      mixedEnds: try arena.rows(prompts, blocks.inner),
      embedded: try arena.rows(prompts, config.embedWidth))
  }

  private func note(prompts: Int) {
    var one = Double(blocks.depth - 1) * blocks.blockWork(tokens: context)
    one = one + .linear(rows: context, inputs: config.width, outputs: 3 * blocks.inner)
    one = one + blocks.attentionWork(queries: 1, keys: context)
    one = one + .linear(rows: 1, inputs: config.width, outputs: blocks.inner + 2 * blocks.mlpWidth)
    one = one + .linear(rows: 1, inputs: config.width, outputs: config.embedWidth)
    run.note(prompts * one)
  }

  // MARK: A group

  /// Prompts through all blocks; their last positions end in `room.ends`.
  private func encode(
    _ prompts: Range<Int>, of count: Int, _ source: PromptSource, _ room: Room, _ stream: BlockStream
  ) throws {
    embed(prompts, source, room.x)
    let last = blocks.depth - 1
    let isFirst = prompts.lowerBound == 0
    if isFirst { run.record("siglip.embed", room.x.prefix(context)) }
    try stream.forEach(0..<blocks.depth) { block, weights in
      for part in strips(of: prompts.count, room.batch.tokens / context) {
        let x = room.x[part.lowerBound * context..<part.upperBound * context]
        if block < last { self.block(x, weights, room) } else { attendLast(x, part, weights, room) }
      }
      if block < last {
        if isFirst { run.record("siglip.blocks.\(block)", room.x.prefix(context)) }
      } else {
        finishLast(prompts.count, weights, room)
        if isFirst { run.record("siglip.blocks.\(block)", room.ends.prefix(1), at: context - 1) }
      }
      let share = (Double(block + 1) / Double(blocks.depth)) * Double(prompts.count)
      run.step((Double(prompts.lowerBound) + share) / Double(count))
    }
  }

  /// Token rows (stored as bytes with a scale) plus positions; the table's pages are given back.
  private func embed(_ prompts: Range<Int>, _ source: PromptSource, _ x: Rows) {
    let embedding = TokenEmbedding(run, schema.tokens, schema.position)
    for (index, prompt) in prompts.enumerated() {
      for (place, token) in source.sequence(prompt).enumerated() {
        embedding.write(Int(token), at: place, into: x.row(index * context + place))
      }
    }
    if !run.keepsWeights { run.model.file.advise(run.model.range(of: [schema.tokens]), .dontNeed) }
  }

  /// x += out(attention(norm1(x))); x += mlp(norm2(x)), for a few prompts.
  private func block(_ x: Rows, _ weights: BlockWeights, _ room: Room) {
    let tower = TransformerBlocks(run, blocks)
    let rows = room.rows(x.count)
    tower.project(x, weights, rows)
    attend(rows.qkv, room, from: 0, into: rows.mixed)
    tower.finish(x, weights, rows)
  }

  /// mixed = softmax(q k^T / sqrt(headWidth)) v of each prompt, for its positions from one on.
  ///
  /// - Shapes: `qkv` [prompts * context, 3 * inner]; `mixed` [prompts * (context - first), inner].
  private func attend(_ qkv: Rows, _ room: Room, from first: Int, into mixed: Rows) {
    let count = context - first
    engine.pool.run(count: qkv.count / context * blocks.heads, chunk: 1) { range, worker in
      let (prompt, head) = range.lowerBound.quotientAndRemainder(dividingBy: blocks.heads)
      let own = room.heads[worker]
      let (q, k, v) = blocks.split(qkv[prompt * context..<(prompt + 1) * context], head: head)
      own.memory.load(engine, k: k, v: v)
      let queries = q[first..<context]
      let out = mixed[prompt * count..<(prompt + 1) * count].columns(blocks.columns(ofHead: head))
      for strip in strips(of: count, own.strip.rowCapacity) {
        engine.attend(
          queries[strip], own.memory, factor: blocks.attentionScale, own.strip, into: out[strip])
      }
    }
  }

  // MARK: The last block

  /// What the last positions of a few prompts draw from all of theirs.
  private func attendLast(_ x: Rows, _ prompts: Range<Int>, _ weights: BlockWeights, _ room: Room) {
    let rows = room.rows(x.count)
    TransformerBlocks(run, blocks).project(x, weights, rows)
    attend(rows.qkv, room, from: context - 1, into: room.mixedEnds[prompts])
  }

  /// The rest of the last block, at the last positions.
  private func finishLast(_ prompts: Int, _ weights: BlockWeights, _ room: Room) {
    let ends = room.ends.prefix(prompts)
    ends.update(from: room.x.every(context, from: context - 1, count: prompts))
    let rows = SequenceRoom(
      qkv: room.batch.qkv, mixed: room.mixedEnds.prefix(prompts), rows: room.batch.rows)
    TransformerBlocks(run, blocks).finish(ends, weights, rows)
  }

  /// Last positions to unit vectors, added up by phrase.
  private func reduce(_ prompts: Range<Int>, _ perPhrase: Int, _ room: Room, into vectors: Rows) {
    let (norm, layer) = (run.model[schema.normPost], run.model[schema.projection])
    let (ends, embedded) = (room.ends.prefix(prompts.count), room.embedded.prefix(prompts.count))
    engine.share(ends.count, limit: min(run.tiling.rows, room.batch.tokens)) { range, worker in
      engine.normalize(ends[range], norm)
      let rows = engine.prepare(ends[range], room.batch.rows[worker].scratch)
      engine.linear(layer, rows, into: embedded[range])
    }
    if prompts.lowerBound == 0 { run.record("text.pooled", embedded.prefix(1)) }
    embedded.normalize()
    for (row, prompt) in prompts.enumerated() {
      let phrase = prompt / perPhrase
      vectors[phrase..<phrase + 1].add(embedded[row..<row + 1])
    }
  }
}
