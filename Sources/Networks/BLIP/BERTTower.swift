// BLIP's text tower: BERT with a cross-attention to an image's tokens in every layer. Norms stand behind the
// sums. Captions are few and short, and what they decide is a sign: rows are fine, attention is in float, and
// channels, not rows, are shared out among the threads.
import Compute

/// Takes captions through the layers, beside an image or alone.
///
/// - Shapes: states [rows, width].
/// - Source: salesforce/BLIP `models/med.py`.
package struct BERTTower {
  let run: RunContext
  let config: TextConfig
  let schema: BERTSchema

  private var engine: Engine { run.engine }
  private var blocks: TransformerConfig { config.blocks }

  package init(_ run: RunContext, _ config: TextConfig, _ schema: BERTSchema) {
    (self.run, self.config, self.schema) = (run, config, schema)
  }

  /// All layers over a batch; states end in `room.x`.
  ///
  /// - Shapes: `image` [imageTokens, image width].
  /// - Parameter tape: keeps what the way back needs, of a batch of one caption.
  func forward(
    _ batch: CaptionBatch, image: Rows?, _ stream: BlockStream, _ room: CaptionRoom, tape: CaptionTape? = nil
  ) throws {
    let x = room.x.prefix(batch.rows)
    let embedding = TokenEmbedding(run, schema.tokens, schema.position)
    for sequence in batch.sequences {
      for row in sequence {
        embedding.write(Int(batch.tokens[row]), at: row - sequence.lowerBound, into: x.row(row))
      }
    }
    engine.normalize(x, run.model[schema.normEmbed])
    let imageRows = image.flatMap { image in room.image.map { engine.prepare(image, $0.prepared) } }
    for index in 0..<blocks.depth {
      try stream.withLayer(index) { layer(index, batch, imageRows, room, tape) }
    }
    if !run.keepsWeights { run.model.file.advise(run.model.range(of: [schema.tokens]), .dontNeed) }
  }

  private func layer(
    _ index: Int, _ batch: CaptionBatch, _ image: PreparedRows?, _ room: CaptionRoom, _ tape: CaptionTape?
  ) {
    let (block, model) = (schema.textBlocks[index], run.model)
    let (x, kept) = (room.x.prefix(batch.rows), tape?[index])
    let (qkv, mixed) = (room.qkv.prefix(batch.rows), room.mixed.prefix(batch.rows))
    let whole = tape.flatMap { tape in kept?.whole.map { (tape, $0) } }
    apply(block.selfQKV, x, room, into: qkv)
    attend(batch, room, qkv, keys: nil, whole, into: mixed)
    kept?.whole?.qkv.prefix(x.count).update(from: qkv)
    apply(block.selfOut, mixed, room, accumulate: true, into: x)
    kept?.whole?.norm1.keep(x, epsilon: block.norm1.epsilon)
    engine.normalize(x, model[block.norm1])
    if let image, let keys = room.image?.keysValues {
      engine.linearByChannels(model[block.crossKV], image, room.expanded, into: keys)
      apply(block.crossQ, x, room, into: qkv.columns(0..<blocks.inner))
      attend(batch, room, qkv, keys: keys, whole, into: mixed)
      kept?.whole?.context.prefix(x.count).update(from: mixed)
      kept?.whole?.keysValues.store(engine, keys, at: 0)
      if let tape, index == tape.lowest { keep(tape, qkv, keys, room.sums[0]) }
      apply(block.crossOut, mixed, room, accumulate: true, into: x)
      kept?.norm2.keep(x, epsilon: block.norm2.epsilon)
      engine.normalize(x, model[block.norm2])
    }
    let hidden = room.hidden.prefix(x.count)
    apply(block.mlpIn, x, room, into: hidden)
    kept?.hidden.prefix(x.count).update(from: hidden)
    engine.share(hidden.count, limit: 4, multiple: 1) { range, _ in
      engine.activate(hidden.row(range.lowerBound), range.count * hidden.width, blocks.activation)
    }
    apply(block.mlpOut, hidden, room, accumulate: true, into: x)
    kept?.norm3.keep(x, epsilon: block.norm3.epsilon)
    engine.normalize(x, model[block.norm3])
  }

  private func apply(
    _ layer: LinearSpec, _ rows: Rows, _ room: CaptionRoom, accumulate: Bool = false, into out: Rows
  ) {
    engine.linearByChannels(
      run.model[layer], engine.prepare(rows, room.prepared), accumulate: accumulate, room.expanded, into: out)
  }

  /// mixed = softmax(q k^T / sqrt(headWidth)) v for every caption and head: of its own tokens, or of an
  /// image's `keys` [imageTokens, 2 * inner].
  private func attend(
    _ batch: CaptionBatch, _ room: CaptionRoom, _ qkv: Rows, keys: Rows?,
    _ kept: (tape: CaptionTape, layer: LayerTape.Whole)?, into mixed: Rows
  ) {
    engine.pool.run(count: batch.sequences.count * blocks.heads, chunk: 1) { range, worker in
      let (number, head) = range.lowerBound.quotientAndRemainder(dividingBy: blocks.heads)
      let rows = batch.sequences[number]
      let own = blocks.split(qkv[rows], head: head)
      let q = own.q
      var (k, v) = (own.k, own.v)
      if let keys { (k, v) = blocks.keysValues(keys, head: head) }
      var weights = Rows(room.weights[worker], count: q.count, width: k.count)
      if let kept {
        weights =
          keys == nil
          ? kept.tape.weights(kept.layer, head: head, tokens: q.count)
          : kept.tape.crossWeights(kept.layer, head: head, tokens: q.count)
      }
      softmax(q, k, room.sums[worker], into: weights)
      engine.productNN(weights, v, into: mixed[rows].columns(blocks.columns(ofHead: head)))
    }
  }

  private func softmax(_ q: Rows, _ k: Rows, _ sums: UnsafeMutablePointer<Float>, into weights: Rows) {
    engine.productNT(q, k, into: weights)
    engine.expRows(weights, factor: blocks.attentionScale, rowSum: sums)
    weights.divide(by: sums)
  }

  /// Attention of the one head of the lowest layer, and its values.
  private func keep(_ tape: CaptionTape, _ qkv: Rows, _ keys: Rows, _ sums: UnsafeMutablePointer<Float>) {
    let (k, v) = blocks.keysValues(keys, head: tape.head)
    let q = blocks.split(qkv, head: tape.head).q
    let weights = tape.probabilities.prefix(q.count)
    softmax(q, k, sums, into: weights)
    tape.values.update(from: v)
  }

  // MARK: What becomes of the states

  /// Logits of no match and match of every caption of a batch that went through with an image.
  func matchLogits(_ batch: CaptionBatch, _ room: CaptionRoom) -> [(no: Float, yes: Float)] {
    let layer = run.model[schema.match]
    return batch.sequences.map { rows in
      var pair: (Float, Float) = (0, 0)
      withUnsafeMutablePointer(to: &pair) { pointer in
        pointer.withMemoryRebound(to: Float.self, capacity: 2) { out in
          engine.productNT(
            room.x[rows.lowerBound..<rows.lowerBound + 1],
            Rows(reading: layer.weight, count: 2, width: config.width), bias: layer.bias,
            into: Rows(out, count: 1, width: 2))
        }
      }
      return (no: pair.0, yes: pair.1)
    }
  }

  /// Unit vectors of the first states of a batch that went through alone.
  ///
  /// - Shapes: `vectors` [captions, embedWidth], overwritten.
  func project(_ batch: CaptionBatch, _ room: CaptionRoom, into vectors: Rows) {
    for (index, rows) in batch.sequences.enumerated() {
      room.mixed[index..<index + 1].columns(0..<config.width).update(
        from: room.x[rows.lowerBound..<rows.lowerBound + 1])
    }
    let first = room.mixed.prefix(batch.sequences.count).columns(0..<config.width)
    apply(schema.textProjection, first, room, into: vectors)
    vectors.normalize()
  }

  /// The unit vector of an image.
  ///
  /// - Shapes: `token` [1, image width]; `vector` [1, embedWidth], overwritten.
  func project(image token: Rows, _ room: CaptionRoom, into vector: Rows) {
    apply(schema.imageProjection, token, room, into: vector)
    vector.normalize()
  }

  /// Phrases, each in a caption of its own, to unit vectors.
  ///
  /// - Shapes: `vectors` [phrases, embedWidth], overwritten.
  /// - Memory: a `CaptionRoom` of a batch; given back.
  package func encode(_ source: PromptSource, into vectors: Rows) throws {
    try run.scope {
      let captions = source.phrases.indices.map { source.caption($0) }
      let batches = CaptionBatch.batches(captions, limit: max(32, run.tiling.textRows / 4))
      let room = try CaptionRoom(
        run, blocks, rows: batches.map(\.rows).max() ?? 0, longest: batches.map(\.longest).max() ?? 0)
      let stream = run.blocks(of: schema)
      run.note(batches.reduce(Work()) { $0 + work($1, imageTokens: 0) })
      if run.isPlanning { return }
      var first = 0
      for (index, batch) in batches.enumerated() {
        try forward(batch, image: nil, stream, room)
        project(batch, room, into: vectors[first..<first + batch.sequences.count])
        first += batch.sequences.count
        run.step(Double(index + 1) / Double(batches.count))
      }
    }
  }

  /// Arithmetic of a batch; of the image's keys and values once.
  func work(_ batch: CaptionBatch, imageTokens: Int) -> Work {
    work(rows: batch.rows, longest: batch.longest, imageTokens: imageTokens)
  }

  func work(rows: Int, longest: Int, imageTokens: Int) -> Work {
    let attentions = imageTokens > 0 ? 2 : 1
    var one = Work.linear(
      rows: rows, inputs: config.width, outputs: (2 + 2 * attentions) * blocks.inner + 2 * blocks.mlpWidth)
    one.float += 2 * Double(rows) * Double(longest + imageTokens) * Double(blocks.inner)
    if imageTokens > 0 {
      let spec = schema.textBlocks[0].crossKV
      one = one + .linear(rows: imageTokens, inputs: spec.inputs, outputs: spec.outputs)
    }
    return Double(blocks.depth) * one
  }
}

extension TransformerConfig {
  /// Keys and values of one head, of an image's tokens.
  ///
  /// - Shapes: `rows` [tokens, 2 * inner]; each part [tokens, paddedHead].
  func keysValues(_ rows: Rows, head: Int) -> (k: Rows, v: Rows) {
    (rows.columns(columns(ofHead: head)), rows.columns(columns(ofHead: head, part: 1)))
  }
}
