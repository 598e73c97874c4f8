// CLIP's text tower over a trie of prompts: a token's state depends only on what stands before it, so every
// shared beginning of the templates is computed once. Rows are fine: words are encoded once and kept, and an
// error of theirs is in every score of every photo.
import Compute

/// Encodes phrases through all templates into unit vectors.
///
/// - Shapes: result [phrases, embedWidth] f32.
/// - Memory: nodes of one group * (width + 4 * inner) floats, and a `RowRoom` a thread.
/// - Source: CLIP `encode_text`; vectors taken at end-of-text, normalized, averaged over templates,
///   normalized again.
package struct TextTower {
  let run: RunContext
  let config: TextConfig
  let schema: TextSchema

  private var engine: Engine { run.engine }
  private var blocks: TransformerConfig { config.blocks }

  package init(_ run: RunContext, _ config: TextConfig, _ schema: TextSchema) {
    (self.run, self.config, self.schema) = (run, config, schema)
  }

  /// Room for one group of prompts.
  private struct Room {
    let x: Rows
    let qkv: Rows
    let mixed: Rows
    let ends: Rows
    let embedded: Rows
    let rows: [RowRoom]
    let scores: [UnsafeMutablePointer<Float>]
  }

  /// Reserves what the largest group needs; encodes group after group.
  ///
  /// - Shapes: `vectors` [phrases, embedWidth], in phrase order, overwritten.
  package func encode(_ source: PromptSource, into vectors: Rows) throws {
    try run.scope {
      let groups = source.groups(nodeLimit: run.tiling.textRows)
      let room = try reserve(
        nodes: groups.map(\.nodeCount).max() ?? 0, ends: groups.map(\.endCount).max() ?? 0)
      let stream = run.blocks(of: schema)
      note(groups)
      if run.isPlanning { return }
      for (index, group) in groups.enumerated() {
        let trie = source.trie(group)
        try encode(trie, room, stream, group: index, of: groups.count)
        reduce(trie, room, into: vectors[group.phrases])
      }
    }
  }

  private func reserve(nodes: Int, ends: Int) throws -> Room {
    let arena = run.arena
    let limit = max(1, min(run.tiling.rows, max(nodes, ends)))
    let rows = try engine.perWorker { () throws(ComputeError) in
      try RowRoom(run, blocks, rows: limit, isFine: true)
    }
    let scores = try engine.perWorker { () throws(ComputeError) in try arena.floats(config.context + 1) }
    return Room(
      x: try arena.rows(nodes, config.width), qkv: try arena.rows(nodes, 3 * blocks.inner),
      mixed: try arena.rows(nodes, blocks.inner), ends: try arena.rows(ends, config.width),
      embedded: try arena.rows(ends, config.embedWidth), rows: rows, scores: scores)
  }

  /// Attention is to a few ancestors only, which costs less than half as much again.
  private func note(_ groups: [PromptGroup]) {
    let nodes = groups.reduce(0) { $0 + $1.nodeCount }
    let ends = groups.reduce(0) { $0 + $1.endCount }
    run.note(
      1.4 * Double(blocks.depth) * blocks.linearWork(tokens: nodes)
        + .linear(rows: ends, inputs: config.width, outputs: config.embedWidth))
  }

  private func encode(_ trie: PromptTrie, _ room: Room, _ stream: BlockStream, group: Int, of count: Int)
    throws
  {
    let nodes = trie.tokens.count
    let x = room.x.prefix(nodes)
    embed(trie, x)
    run.record("text.tree.embed", x)
    let tower = TransformerBlocks(run, blocks)
    let rows = SequenceRoom(qkv: room.qkv.prefix(nodes), mixed: room.mixed.prefix(nodes), rows: room.rows)
    try stream.forEach(0..<blocks.depth) { block, weights in
      tower.project(x, weights, rows)
      engine.share(nodes, limit: min(run.tiling.rows, nodes)) { range, worker in
        for node in range { attend(node, trie, rows, room.scores[worker]) }
      }
      tower.finish(x, weights, rows)
      run.record("text.tree.\(block)", x)
      run.step((Double(group) + Double(block + 1) / Double(blocks.depth)) / Double(count))
    }
  }

  /// Token rows (stored as bytes with a scale) plus the position of the node's depth.
  private func embed(_ trie: PromptTrie, _ x: Rows) {
    let embedding = TokenEmbedding(run, schema.tokens, schema.position)
    for node in trie.tokens.indices {
      embedding.write(Int(trie.tokens[node]), at: Int(trie.depth[node]), into: x.row(node))
    }
  }

  /// Attention of one node to itself and everything before it, all heads.
  private func attend(
    _ node: Int, _ trie: PromptTrie, _ room: SequenceRoom, _ scores: UnsafeMutablePointer<Float>
  ) {
    let (inner, head) = (blocks.inner, blocks.paddedHead)
    let q = room.qkv.row(node)
    let out = room.mixed.row(node)
    trie.parent.withUnsafeBufferPointer { parent in
      for index in 0..<blocks.heads {
        let offset = index * head
        var length = 0
        var largest = -Float.infinity
        var ancestor = node
        while ancestor >= 0 {
          let score = dot(q + offset, room.qkv.row(ancestor) + inner + offset, head) * blocks.attentionScale
          scores[length] = score
          largest = max(largest, score)
          length += 1
          ancestor = Int(parent[ancestor])
        }
        for step in 0..<length { scores[step] -= largest }
        var sum: Float = 0
        engine.expRows(Rows(scores, count: 1, width: length), factor: 1, rowSum: &sum)
        let mixed = out + offset
        mixed.update(repeating: 0, count: head)
        ancestor = node
        for step in 0..<length {
          let weight = scores[step] / sum
          let value = room.qkv.row(ancestor) + 2 * inner + offset
          for channel in 0..<head { mixed[channel] += weight * value[channel] }
          ancestor = Int(parent[ancestor])
        }
      }
    }
  }

  /// End-of-text states to unit vectors, averaged over templates.
  private func reduce(_ trie: PromptTrie, _ room: Room, into vectors: Rows) {
    let (norm, layer) = (run.model[schema.normPost], run.model[schema.projection])
    let ends = room.ends.prefix(trie.endNodes.count)
    let embedded = room.embedded.prefix(ends.count)
    for (row, node) in trie.endNodes.enumerated() {
      ends.row(row).update(from: room.x.row(Int(node)), count: config.width)
    }
    engine.share(ends.count, limit: min(run.tiling.rows, ends.count)) { range, worker in
      engine.normalize(ends[range], norm)
      engine.linear(layer, engine.prepare(ends[range], room.rows[worker].scratch), into: embedded[range])
      embedded[range].normalize()
    }
    var row = 0
    for phrase in 0..<trie.phraseCount {
      let vector = vectors[phrase..<phrase + 1]
      vector.fill(0)
      for _ in 0..<trie.promptsPerPhrase {
        vector.add(embedded[row..<row + 1])
        row += 1
      }
      vector.normalize()
    }
  }
}

/// Sum of products in a fixed order.
@inline(__always)
func dot(_ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>, _ count: Int) -> Float {
  var sum = SIMD16<Float>(repeating: 0)
  var index = 0
  while index + 16 <= count {
    sum +=
      UnsafeRawPointer(a + index).loadUnaligned(as: SIMD16<Float>.self)
      * UnsafeRawPointer(b + index).loadUnaligned(as: SIMD16<Float>.self)
    index += 16
  }
  var total = sum.sum()
  while index < count {
    total += a[index] * b[index]
    index += 1
  }
  return total
}
