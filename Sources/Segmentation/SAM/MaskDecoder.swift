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
  let image: UnsafeMutablePointer<Float>
  /// [cells, attentionWidth]: queries of the image towards the tokens.
  let imageQuery: UnsafeMutablePointer<Float>
  /// [cells, attentionWidth]: values of the image for the tokens.
  let imageValue: UnsafeMutablePointer<Float>
  /// [heads * tokens, cells]: how much each token looks at each cell.
  let attention: UnsafeMutablePointer<Float>
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
    image = try arena.floats(shape.cells * shape.width)
    imageQuery = try arena.floats(shape.cells * shape.attentionWidth)
    imageValue = try arena.floats(shape.cells * shape.attentionWidth)
    attention = try arena.floats(shape.heads * shape.tokens * shape.cells)
    rowSum = try arena.floats(shape.heads * shape.tokens)
    tokens = try TokenScratch(arena, engine: engine, shape: shape)
    var workers: [DecoderWorker] = []
    for _ in 0..<engine.pool.threadCount {
      workers.append(try DecoderWorker(arena, engine: engine, shape: shape))
    }
    self.workers = workers
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
    tokens.start.update(from: weights.iouToken, count: width)
    (tokens.start + width).update(from: weights.maskTokens, count: shape.maskTokens * width)
    prompts.tokens(
      point: prompt.point, boxMin: prompt.boxMin, boxMax: prompt.boxMax,
      out: tokens.start + (1 + shape.maskTokens) * width)
    tokens.state.update(from: tokens.start, count: shape.tokens * width)
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
      engine.normalize(tokens.state, width, rows: shape.tokens, current.norms[1], out: tokens.state, width)
      perceptron(current)
      // What the image reads in its own turn, at the start of the next sweep.
      project(current.crossImage.k, addingStart: true, into: tokens.turnKey)
      project(current.crossImage.v, addingStart: false, into: tokens.turnValue)
    }
    project(weights.final.q, addingStart: true, into: tokens.query)
    sweepImage(prompt.mask, embedding, updatedBy: weights.layers.last, for: weights.final, query: nil)
    look(weights.final)
    engine.normalize(tokens.state, width, rows: shape.tokens, weights.finalNorm, out: tokens.state, width)

    let iou = network(weights.iou, tokens.state)[0]
    let hyper = network(weights.hyper, tokens.state + width)
    upscale(hyper, gridRows: min(gridRows ?? shape.grid, shape.grid), logits: logits)
    return iou
  }

  // MARK: Tokens

  /// Tokens look at one another; without positions in the first layer, where they replace the tokens.
  private func selfAttention(_ layer: DecoderLayerWeights, isFirst: Bool) {
    let width = shape.width
    let head = width / shape.heads
    let count = shape.tokens
    project(layer.selfAttention.q, addingStart: !isFirst, into: tokens.query)
    project(layer.selfAttention.k, addingStart: !isFirst, into: tokens.key)
    project(layer.selfAttention.v, addingStart: false, into: tokens.value)
    for index in 0..<shape.heads {
      engine.productNT(
        tokens.query + index * head, width, rows: count, tokens.key + index * head, width, columns: count,
        depth: head, out: tokens.scores, count)
      engine.expRows(
        tokens.scores, count, rows: count, keys: count, factor: 1 / Float(head).squareRoot(), rowSum: rowSum)
      scaleRows(tokens.scores, count, rows: count, columns: count, by: rowSum)
      engine.productNN(
        tokens.scores, count, rows: count, tokens.value + index * head, width, columns: head, depth: count,
        out: tokens.mixed + index * head, width)
    }
    let rows = engine.prepare(tokens.mixed, width, rows: count, columns: width, tokens.rows)
    engine.linear(layer.selfAttention.out, rows, accumulate: !isFirst, out: tokens.state, width)
    engine.normalize(tokens.state, width, rows: count, layer.norms[0], out: tokens.state, width)
  }

  /// out = layer(tokens), or layer(tokens + the tokens at the start, which serve as their positions).
  private func project(_ layer: PackedLinear, addingStart: Bool, into out: UnsafeMutablePointer<Float>) {
    let width = shape.width
    var source = tokens.state
    if addingStart {
      source = tokens.shifted
      for index in 0..<shape.tokens * width { source[index] = tokens.state[index] + tokens.start[index] }
    }
    let rows = engine.prepare(source, width, rows: shape.tokens, columns: width, tokens.rows)
    engine.linear(layer, rows, out: out, layer.outputs)
  }

  /// The tokens' MLP with its residual and norm.
  private func perceptron(_ layer: DecoderLayerWeights) {
    let width = shape.width
    let rows = engine.prepare(tokens.state, width, rows: shape.tokens, columns: width, tokens.rows)
    engine.linear(layer.mlpIn, rows, activation: .relu, out: tokens.hidden, shape.mlpWidth)
    let hidden = engine.prepare(
      tokens.hidden, shape.mlpWidth, rows: shape.tokens, columns: shape.mlpWidth, tokens.rows)
    engine.linear(layer.mlpOut, hidden, accumulate: true, out: tokens.state, width)
    engine.normalize(tokens.state, width, rows: shape.tokens, layer.norms[2], out: tokens.state, width)
  }

  /// A float network with ReLU between its layers; the answer lies in scratch.
  private func network(_ layers: [DenseWeights], _ input: UnsafePointer<Float>) -> UnsafeMutablePointer<Float>
  {
    var source = input
    var target = tokens.hidden
    for (index, layer) in layers.enumerated() {
      target = index % 2 == 0 ? tokens.shifted : tokens.mixed
      engine.productNT(
        source, layer.inputs, rows: 1, layer.weight, layer.inputs, columns: layer.outputs,
        depth: layer.inputs,
        bias: layer.bias, out: target, layer.outputs)
      if index < layers.count - 1 { engine.activate(target, layer.outputs, .relu) }
      source = UnsafePointer(target)
    }
    return target
  }

  func scaleRows(
    _ x: UnsafeMutablePointer<Float>, _ stride: Int, rows: Int, columns: Int, by sums: UnsafePointer<Float>
  ) {
    for row in 0..<rows {
      let factor = 1 / sums[row]
      for column in 0..<columns { x[row * stride + column] *= factor }
    }
  }

  /// Tokens gather values of the image with the weights of `sweepImage`; head by head, cells in order.
  private func look(_ layer: AttentionWeights) {
    let inner = shape.attentionWidth
    let head = inner / shape.heads
    let count = shape.tokens
    engine.pool.run(count: shape.heads, chunk: 1) { range, _ in
      for index in range {
        let weights = attention + index * count * shape.cells
        let sums = rowSum + index * count
        engine.expRows(
          weights, shape.cells, rows: count, keys: shape.cells, factor: 1 / Float(head).squareRoot(),
          rowSum: sums)
        engine.productNN(
          weights, shape.cells, rows: count, imageValue + index * head, inner, columns: head,
          depth: shape.cells,
          out: tokens.mixed + index * head, inner)
        scaleRows(tokens.mixed + index * head, inner, rows: count, columns: head, by: sums)
      }
    }
    let rows = engine.prepare(tokens.mixed, inner, rows: count, columns: inner, tokens.rows)
    engine.linear(layer.out, rows, accumulate: true, out: tokens.state, shape.width)
  }
}

/// Room for the tokens of one prompt.
struct TokenScratch {
  /// The tokens as they came; they serve as their own positions.
  let start: UnsafeMutablePointer<Float>
  let state: UnsafeMutablePointer<Float>
  let shifted: UnsafeMutablePointer<Float>
  let query: UnsafeMutablePointer<Float>
  let key: UnsafeMutablePointer<Float>
  let value: UnsafeMutablePointer<Float>
  /// Keys and values for the image's turn; they wait for the next sweep.
  let turnKey: UnsafeMutablePointer<Float>
  let turnValue: UnsafeMutablePointer<Float>
  let mixed: UnsafeMutablePointer<Float>
  let scores: UnsafeMutablePointer<Float>
  let hidden: UnsafeMutablePointer<Float>
  let rows: RowScratch

  init(_ arena: Arena, engine: Engine, shape: DecoderShape) throws(ComputeError) {
    let count = shape.tokens * max(shape.width, shape.attentionWidth)
    start = try arena.floats(count)
    state = try arena.floats(count)
    shifted = try arena.floats(count)
    query = try arena.floats(count)
    key = try arena.floats(count)
    value = try arena.floats(count)
    turnKey = try arena.floats(count)
    turnValue = try arena.floats(count)
    mixed = try arena.floats(count)
    scores = try arena.floats(shape.tokens * shape.tokens)
    hidden = try arena.floats(shape.tokens * shape.mlpWidth)
    rows = try RowScratch(
      arena, engine: engine, rows: shape.tokens, depth: max(shape.width, shape.mlpWidth, shape.attentionWidth)
    )
  }
}
