// SAM's mask decoder for one prompt at a time: tokens and image look at each other, then the image is
// upscaled.
import Compute

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// What a prompt says, in pixels of SAM's square.
package struct MaskPrompt {
  package var point: (x: Float, y: Float)
  package var boxMin: (x: Float, y: Float)
  package var boxMax: (x: Float, y: Float)
  /// [4 * grid, 4 * grid].
  package var mask: UnsafePointer<Float>

  package init(
    point: (x: Float, y: Float), boxMin: (x: Float, y: Float), boxMax: (x: Float, y: Float),
    mask: UnsafePointer<Float>
  ) {
    self.point = point
    self.boxMin = boxMin
    self.boxMax = boxMax
    self.mask = mask
  }
}

/// The mask decoder with its room for one prompt.
///
/// - Shapes: embedding [grid * grid, width]; mask logits [4 * grid, 4 * grid].
/// - Memory: at grid 64, width 256, 8 tokens: 4 MiB of image tokens, 2 MiB of queries, 2 MiB of values, 1
///   MiB of
///   attention weights, and about 0.5 MiB a worker.
/// - Source: segment-anything `mask_decoder.py` and `transformer.py`, single-mask output (mask token 0).
package struct MaskDecoder {
  let engine: Engine
  let shape: DecoderShape
  let weights: DecoderWeights
  let prompts: PromptEncoder
  /// [cells, width]: the image's side of the two-way transformer.
  let image: Rows
  /// [cells, attentionWidth]: queries of the image towards the tokens.
  let imageQuery: Rows
  /// [cells, attentionWidth]: values of the image for the tokens.
  let imageValue: Rows
  /// [heads * tokens, cells]: how much each token looks at each cell.
  let attention: Rows
  let rowSum: UnsafeMutablePointer<Float>
  let tokens: TokenScratch
  let workers: [DecoderWorker]

  package init(
    _ arena: Arena, engine: Engine, shape: DecoderShape, weights: DecoderWeights
  ) throws(ComputeError) {
    self.engine = engine
    self.shape = shape
    self.weights = weights
    prompts = try PromptEncoder(arena, shape: shape, weights: weights.prompt)
    image = try arena.rows(shape.cells, shape.width)
    imageQuery = try arena.rows(shape.cells, shape.attentionWidth)
    imageValue = try arena.rows(shape.cells, shape.attentionWidth)
    attention = try arena.rows(shape.heads * shape.tokens, shape.cells)
    rowSum = try arena.floats(shape.heads * shape.tokens)
    tokens = try TokenScratch(arena, engine: engine, shape: shape)
    workers = try engine.perWorker { () throws(ComputeError) in
      try DecoderWorker(arena, engine: engine, shape: shape)
    }
  }

  /// Mask logits and predicted IoU of one prompt.
  ///
  /// - Shapes: `embedding` [cells, width]; `logits` [4 * grid, 4 * grid], rows of the first `gridRows` grid
  ///   rows
  ///   (default all) are written.
  /// - Memory: allocates nothing of size.
  package func decode(
    _ prompt: MaskPrompt, embedding: UnsafePointer<Float>, gridRows: Int? = nil,
    logits: UnsafeMutablePointer<Float>
  ) -> Float {
    let width = shape.width
    tokens.start.base.update(from: weights.tokens.iou, count: width)
    tokens.start.row(1).update(from: weights.tokens.masks, count: shape.maskTokens * width)
    if shape.promptTokens > 0 {
      prompts.tokens(
        point: prompt.point, boxMin: prompt.boxMin, boxMax: prompt.boxMax,
        out: tokens.start.row(1 + shape.maskTokens))
    }
    tokens.state.update(from: tokens.start)
    if shape.prompts.contains(.mask) { prompts.learn(engine, mask: prompt.mask, workers[0].prompt) }

    for layer in 0..<shape.depth {
      let current = weights.layers[layer]
      selfAttention(current, isFirst: layer == 0)
      project(current.crossToken.q, addingStart: true, into: tokens.query)
      sweepImage(
        prompt.mask, embedding, updatedBy: layer == 0 ? nil : weights.layers[layer - 1],
        for: current.crossToken,
        query: current.crossImage.q)
      look(current.crossToken)
      engine.normalize(tokens.state, current.norms[1])
      perceptron(current)
      // What the image reads in its own turn, at the start of the next sweep.
      project(current.crossImage.k, addingStart: true, into: tokens.turnKey)
      project(current.crossImage.v, addingStart: false, into: tokens.turnValue)
    }
    project(weights.final.q, addingStart: true, into: tokens.query)
    sweepImage(prompt.mask, embedding, updatedBy: weights.layers.last, for: weights.final, query: nil)
    look(weights.final)
    engine.normalize(tokens.state, weights.finalNorm)

    let iou = network(weights.iou, tokens.state[0..<1]).base[0]
    let hyper = network(weights.hyper, tokens.state[1..<2])
    upscale(hyper, gridRows: min(gridRows ?? shape.grid, shape.grid), logits: logits)
    return iou
  }

  // MARK: Tokens

  /// Tokens look at one another; without positions in the first layer, where they replace the tokens.
  private func selfAttention(_ layer: DecoderLayerWeights, isFirst: Bool) {
    let query = project(layer.selfAttention.q, addingStart: !isFirst, into: tokens.query)
    let key = project(layer.selfAttention.k, addingStart: !isFirst, into: tokens.key)
    let value = project(layer.selfAttention.v, addingStart: false, into: tokens.value)
    let mixed = tokens.rows(tokens.mixed, shape.width)
    for head in strips(of: shape.width, shape.width / shape.heads) {
      mix(
        query.columns(head), key.columns(head), value.columns(head), scores: tokens.scores, sums: rowSum,
        into: mixed.columns(head))
    }
    let rows = engine.prepare(mixed, tokens.scratch)
    engine.linear(layer.selfAttention.out, rows, accumulate: !isFirst, into: tokens.state)
    engine.normalize(tokens.state, layer.norms[0])
  }

  /// out = softmax(q k^T / sqrt(width)) v, all in float.
  ///
  /// - Shapes: `scores` [queries, keys], `sums` [queries]: room.
  func mix(_ q: Rows, _ k: Rows, _ v: Rows, scores: Rows, sums: UnsafeMutablePointer<Float>, into out: Rows) {
    engine.productNT(q, k, into: scores)
    engine.expRows(scores, factor: 1 / Float(q.width).squareRoot(), rowSum: sums)
    scores.divide(by: sums)
    engine.productNN(scores, v, into: out)
  }

  /// out = layer(tokens), or layer(tokens + the tokens at the start, which serve as their positions).
  @discardableResult
  private func project(_ layer: PackedLinear, addingStart: Bool, into out: UnsafeMutablePointer<Float>)
    -> Rows
  {
    var source = tokens.state
    if addingStart {
      source = tokens.rows(tokens.shifted, shape.width)
      for index in 0..<shape.tokens * shape.width {
        source.base[index] = tokens.state.base[index] + tokens.start.base[index]
      }
    }
    let target = tokens.rows(out, layer.outputs)
    engine.linear(layer, engine.prepare(source, tokens.scratch), into: target)
    return target
  }

  /// The tokens' MLP with its residual and norm.
  private func perceptron(_ layer: DecoderLayerWeights) {
    engine.linear(
      layer.mlpIn, engine.prepare(tokens.state, tokens.scratch), activation: .relu, into: tokens.hidden)
    engine.linear(
      layer.mlpOut, engine.prepare(tokens.hidden, tokens.scratch), accumulate: true, into: tokens.state)
    engine.normalize(tokens.state, layer.norms[2])
  }

  /// A float network with ReLU between its layers; the answer lies in scratch.
  private func network(_ layers: [DenseWeights], _ input: Rows) -> Rows {
    var source = input
    for (index, layer) in layers.enumerated() {
      let target = Rows(index % 2 == 0 ? tokens.shifted : tokens.mixed, count: 1, width: layer.outputs)
      engine.productNT(source, layer.rows, bias: layer.bias, into: target)
      if index < layers.count - 1 { engine.activate(target.base, layer.outputs, .relu) }
      source = target
    }
    return source
  }

  /// Tokens gather values of the image with the weights of `sweepImage`; head by head, cells in order.
  private func look(_ layer: AttentionWeights) {
    let head = shape.attentionWidth / shape.heads
    let mixed = tokens.rows(tokens.mixed, shape.attentionWidth)
    engine.pool.run(count: shape.heads, chunk: 1) { range, _ in
      for index in range {
        let weights = attention[index * shape.tokens..<(index + 1) * shape.tokens]
        let sums = rowSum + index * shape.tokens
        let columns = index * head..<(index + 1) * head
        engine.expRows(weights, factor: 1 / Float(head).squareRoot(), rowSum: sums)
        engine.productNN(weights, imageValue.columns(columns), into: mixed.columns(columns))
        mixed.columns(columns).divide(by: sums)
      }
    }
    engine.linear(layer.out, engine.prepare(mixed, tokens.scratch), accumulate: true, into: tokens.state)
  }
}

/// Room for the tokens of one prompt.
struct TokenScratch {
  /// The tokens as they came; they serve as their own positions. Shapes: [tokens, width].
  let start: Rows
  let state: Rows
  let shifted: UnsafeMutablePointer<Float>
  let query: UnsafeMutablePointer<Float>
  let key: UnsafeMutablePointer<Float>
  let value: UnsafeMutablePointer<Float>
  /// Keys and values for the image's turn; they wait for the next sweep.
  let turnKey: UnsafeMutablePointer<Float>
  let turnValue: UnsafeMutablePointer<Float>
  let mixed: UnsafeMutablePointer<Float>
  let scores: Rows
  let hidden: Rows
  let scratch: RowScratch

  init(_ arena: Arena, engine: Engine, shape: DecoderShape) throws(ComputeError) {
    // A layer of a head's network, too, has its room in `shifted` and `mixed`.
    let count = max(shape.tokens * max(shape.width, shape.attentionWidth), shape.iouWidth)
    start = try arena.rows(shape.tokens, shape.width)
    state = try arena.rows(shape.tokens, shape.width)
    shifted = try arena.floats(count)
    query = try arena.floats(count)
    key = try arena.floats(count)
    value = try arena.floats(count)
    turnKey = try arena.floats(count)
    turnValue = try arena.floats(count)
    mixed = try arena.floats(count)
    scores = try arena.rows(shape.tokens, shape.tokens)
    hidden = try arena.rows(shape.tokens, shape.mlpWidth)
    scratch = try RowScratch(
      arena, engine: engine, rows: shape.tokens, depth: max(shape.width, shape.mlpWidth, shape.attentionWidth)
    )
  }

  /// One of the rooms as a row a token.
  func rows(_ room: UnsafeMutablePointer<Float>, _ width: Int) -> Rows {
    Rows(room, count: state.count, width: width)
  }
}
