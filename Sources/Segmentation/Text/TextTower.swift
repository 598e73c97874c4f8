// CLIP's text tower over a trie of prompts: a token's state depends only on what stands before it, so every shared
// beginning of the templates is computed once.
import Compute

/// Encodes phrases through all templates into unit vectors.
///
/// - Shapes: result [phrases, embedWidth] f32.
/// - Memory: nodes of one group * (width + 4 * inner) floats, and a `RowWorker` a thread.
/// - Source: CLIP `encode_text`; vectors taken at end-of-text, normalized, averaged over templates, normalized again.
struct TextTower {
  let engine: Engine
  let arena: Arena
  let reader: ModelReader
  let tiling: Tiling
  let keepsWeights: Bool
  let progress: (Double) -> Void
  let taps: Taps?

  private var config: EncoderConfig { reader.config.text }

  /// Room for one group of prompts.
  private struct Scratch {
    let x: UnsafeMutablePointer<Float>
    let qkv: UnsafeMutablePointer<Float>
    let mixed: UnsafeMutablePointer<Float>
    let ends: UnsafeMutablePointer<Float>
    let embedded: UnsafeMutablePointer<Float>
    let workers: [RowWorker]
    let scores: [UnsafeMutablePointer<Float>]
  }

  /// Reserves what the largest group needs; encodes group after group.
  ///
  /// - Shapes: `vectors` [phrases, embedWidth], in phrase order, overwritten.
  func encode(_ source: PromptSource, into vectors: UnsafeMutablePointer<Float>) throws {
    let mark = arena.mark()
    defer { arena.release(to: mark) }
    let groups = source.groups(nodeLimit: tiling.textRows)
    let nodes = groups.map(\.nodeCount).max() ?? 0
    let ends = groups.map(\.endCount).max() ?? 0
    let scratch = try reserve(nodes: nodes, ends: ends)
    if arena.isCounting { return }
    for (index, group) in groups.enumerated() {
      let trie = source.trie(group)
      try encode(trie, scratch, done: Double(index) / Double(groups.count), share: 1 / Double(groups.count))
      reduce(trie, firstPhrase: group.phrases.lowerBound, scratch, into: vectors)
    }
  }

  private func reserve(nodes: Int, ends: Int) throws -> Scratch {
    let limit = max(1, min(tiling.rows, max(nodes, ends)))
    var workers: [RowWorker] = []
    var scores: [UnsafeMutablePointer<Float>] = []
    for _ in 0..<engine.pool.threadCount {
      workers.append(try RowWorker(arena, engine, config, rowCount: limit))
      scores.append(try arena.floats(config.grid + 1))
    }
    return Scratch(
      x: try arena.floats(nodes * config.width), qkv: try arena.floats(nodes * 3 * config.inner),
      mixed: try arena.floats(nodes * config.inner), ends: try arena.floats(ends * config.width),
      embedded: try arena.floats(ends * reader.config.embedWidth), workers: workers, scores: scores)
  }

  private func encode(_ trie: PromptTrie, _ scratch: Scratch, done: Double, share: Double) throws {
    let width = config.width
    let count = trie.tokens.count
    let stream = LayerStream(reader, config, keepsWeights: keepsWeights)
    try embed(trie, scratch.x)
    taps?.record("text.embed", scratch.x, [count, width])
    let encoder = SequenceEncoder(engine: engine, config: config, tiling: tiling)
    let chunk = engine.pool.chunk(count: count, limit: scratch.workers[0].rows.rowCapacity, multiple: 16)
    for block in 0..<config.depth {
      try stream.enter(block)
      let weights = try BlockWeights(reader, config, block: block)
      let rows = SequenceScratch(
        tokens: count, qkv: scratch.qkv, mixed: scratch.mixed, rowWorkers: scratch.workers)
      encoder.project(scratch.x, weights, rows)
      engine.pool.run(count: count, chunk: chunk) { range, worker in
        for node in range { attend(node, trie, scratch, scratch.scores[worker]) }
      }
      encoder.finish(scratch.x, weights, rows)
      taps?.record("text.block.\(block)", scratch.x, [count, width])
      stream.leave(block)
      progress(done + share * Double(block + 1) / Double(config.depth))
    }
  }

  /// Token rows (stored as bytes with a scale) plus the position of the node's depth.
  private func embed(_ trie: PromptTrie, _ x: UnsafeMutablePointer<Float>) throws {
    let width = config.width
    let table = try reader.bytes("text.token.weight", [width, reader.config.vocabularySize])
    let scale = try reader.floats("text.token.scale", [reader.config.vocabularySize])
    let positions = try reader.halves("text.position", [width, config.grid])
    for node in trie.tokens.indices {
      let token = Int(trie.tokens[node])
      let out = x + node * width
      engine.fromHalf(positions + Int(trie.depth[node]) * width, width, out)
      let row = table + token * width
      for channel in 0..<width { out[channel] += Float(row[channel]) * scale[token] }
    }
  }

  /// Attention of one node to itself and everything before it, all heads.
  private func attend(_ node: Int, _ trie: PromptTrie, _ scratch: Scratch, _ scores: UnsafeMutablePointer<Float>) {
    let inner = config.inner
    let head = config.paddedHead
    let factor = 1 / Float(config.headWidth).squareRoot()
    let q = scratch.qkv + node * 3 * inner
    let out = scratch.mixed + node * inner
    trie.parent.withUnsafeBufferPointer { parent in
      for index in 0..<config.heads {
        let offset = index * head
        var length = 0
        var largest = -Float.infinity
        var ancestor = node
        while ancestor >= 0 {
          let score = dot(q + offset, scratch.qkv + ancestor * 3 * inner + inner + offset, head) * factor
          scores[length] = score
          largest = max(largest, score)
          length += 1
          ancestor = Int(parent[ancestor])
        }
        for step in 0..<length { scores[step] -= largest }
        var sum: Float = 0
        engine.expRows(scores, length, rows: 1, keys: length, factor: 1, rowSum: &sum)
        let mixed = out + offset
        mixed.update(repeating: 0, count: head)
        ancestor = node
        for step in 0..<length {
          let weight = scores[step] / sum
          let value = scratch.qkv + ancestor * 3 * inner + 2 * inner + offset
          for channel in 0..<head { mixed[channel] += weight * value[channel] }
          ancestor = Int(parent[ancestor])
        }
      }
    }
  }

  /// End-of-text states to unit vectors, averaged over templates.
  private func reduce(
    _ trie: PromptTrie, firstPhrase: Int, _ scratch: Scratch, into vectors: UnsafeMutablePointer<Float>
  ) {
    guard
      let norm = try? reader.norm("text.norm_post", width: config.width, epsilon: config.normEpsilon),
      let layer = try? reader.packed(
        "text.proj", inputs: config.width, outputs: reader.config.embedWidth, bias: false)
    else { preconditionFailure("text head checked when the run began") }
    let width = config.width
    let embed = reader.config.embedWidth
    var row = 0
    for node in trie.endNodes {
      (scratch.ends + row * width).update(from: scratch.x + Int(node) * width, count: width)
      row += 1
    }
    let chunk = engine.pool.chunk(count: row, limit: scratch.workers[0].rows.rowCapacity, multiple: 16)
    engine.pool.run(count: row, chunk: chunk) { range, worker in
      let rows = scratch.ends + range.lowerBound * width
      engine.normalize(rows, width, rows: range.count, norm, out: rows, width)
      let prepared = engine.prepare(
        rows, width, rows: range.count, columns: width, scratch.workers[worker].rows)
      let out = scratch.embedded + range.lowerBound * embed
      engine.linear(layer, prepared, out: out, embed)
      normalizeRows(out, rows: range.count, width: embed)
    }
    row = 0
    for phrase in 0..<trie.phraseCount {
      let vector = vectors + (firstPhrase + phrase) * embed
      vector.update(repeating: 0, count: embed)
      for _ in 0..<trie.promptsPerPhrase {
        let source = scratch.embedded + row * embed
        for channel in 0..<embed { vector[channel] += source[channel] }
        row += 1
      }
      normalizeRows(vector, rows: 1, width: embed)
    }
  }
}

/// Sum of products in a fixed order.
@inline(__always)
func dot(_ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>, _ count: Int) -> Float {
  var sum = SIMD16<Float>(repeating: 0)
  var index = 0
  while index + 16 <= count {
    sum += UnsafeRawPointer(a + index).loadUnaligned(as: SIMD16<Float>.self)
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
