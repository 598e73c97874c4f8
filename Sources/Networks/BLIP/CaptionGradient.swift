// The way back from the match logit to one head's cross-attention, in closed form. Only text states depend on
// that attention, so one vector a token travels down from the last layer, and nothing goes through the image
// tower or into any weight:
//
//   R3 = LN3'(dX')       dZ = R3 + ((R3 W2) * gelu'(H)) W1      R2 = LN2'(dZ)
//   in the lowest layer  u = R2 Wout of the head, G = u V^T
//   above it             dC = R2 Wout, dS = P * (dC V^T - rowdot(dC, C)), dY = R2 + (dS K / 8) Wq
//                        R1 = LN1'(dY), and the same through self-attention gives the next dX'
//
// It runs in float on expanded weights: its sign decides what counts, and it is a hundredth of a round.
import Compute

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Room for the way back.
///
/// - Memory: tokens * (width + mlpWidth + 4 inner) floats, imageTokens * 2 inner floats (shared with the way
///   forth) and per worker tokens * imageTokens floats and 16 KiB.
package struct GradientRoom {
  /// Gradients. Shapes: [tokens, width].
  let states: Rows
  /// Shapes: [tokens, mlpWidth].
  let hidden: Rows
  /// Shapes: [tokens, inner].
  let context: Rows
  /// Shapes: [tokens, 3 * inner].
  let qkv: Rows
  /// Shapes: [tokens, paddedHead].
  let head: Rows
  let workers: [BackScratch]
  /// A worker each: gradients of one head's weights.
  let weights: [UnsafeMutablePointer<Float>]

  package init(_ run: RunContext, _ config: TransformerConfig, tokens: Int, imageTokens: Int)
    throws(ComputeError)
  {
    let (arena, engine) = (run.arena, run.engine)
    states = try arena.rows(tokens, config.width)
    hidden = try arena.rows(tokens, config.mlpWidth)
    context = try arena.rows(tokens, config.inner)
    qkv = try arena.rows(tokens, 3 * config.inner)
    head = try arena.rows(tokens, config.paddedHead)
    workers = try engine.perWorker { () throws(ComputeError) in try BackScratch(arena) }
    let widest = max(tokens, imageTokens)
    weights = try engine.perWorker { () throws(ComputeError) in try arena.floats(tokens * widest) }
  }
}

/// The gradient of one caption's match logit.
///
/// - Source: PnP-OVSS (arXiv 2311.17095), which takes it by automatic differentiation.
struct CaptionGradient {
  let tower: BERTTower
  let tape: CaptionTape
  let room: GradientRoom
  /// Keys and values of a layer, loaded. Shapes: [imageTokens, 2 * inner].
  let keysValues: Rows

  private var run: RunContext { tower.run }
  private var engine: Engine { tower.run.engine }
  private var config: TransformerConfig { tower.config.blocks }

  /// d logit / d probabilities of the head, for every token of the caption and of the image.
  ///
  /// - Shapes: `gradient` [tokens, imageTokens], overwritten.
  func run(_ stream: BlockStream, into gradient: Rows) throws {
    try descend(stream, tokens: gradient.count)
    engine.productNT(room.head.prefix(gradient.count), tape.values, into: gradient)
  }

  /// Takes a layer (from 0), a head (from 0), its probabilities and d logit / d probabilities.
  ///
  /// - Shapes: both [tokens, imageTokens]; valid during the call. Heads of a layer are handed over at once,
  ///   by several threads.
  typealias Visit = (_ layer: Int, _ head: Int, _ probabilities: Rows, _ slopes: Rows) -> Void

  /// Shows every head of every layer down to the tape's lowest, whose heads it must have kept.
  func visit(_ stream: BlockStream, tokens: Int, _ visit: Visit) throws {
    try withoutActuallyEscaping(visit) { try descend(stream, tokens: tokens, $0) }
  }

  private func descend(_ stream: BlockStream, tokens: Int, _ visit: Visit? = nil) throws {
    let dx = room.states.prefix(tokens)
    dx.fill(0)
    // The second row of the head: a match.
    let match = run.model[tower.schema.match]
    dx.base.update(from: match.weight + dx.width, count: dx.width)
    for index in (tape.lowest..<config.depth).reversed() {
      try stream.withLayer(index) {
        guard let kept = tape[index] else { return }
        layer(index, kept, dx, visit)
      }
    }
  }

  private func layer(_ index: Int, _ kept: LayerTape, _ dx: Rows, _ visit: Visit?) {
    let (model, workers, block) = (run.model, room.workers, tower.schema.textBlocks[index])
    kept.norm3.back(dx, weight: model[block.norm3].weight)
    let hidden = room.hidden.prefix(dx.count)
    engine.linearBack(model[block.mlpOut], dx, workers, into: hidden)
    multiplyBySlope(hidden, at: kept.hidden)
    engine.linearBack(model[block.mlpIn], hidden, accumulate: true, workers, into: dx)
    kept.norm2.back(dx, weight: model[block.norm2].weight)
    guard let whole = kept.whole else {
      engine.linearBack(
        model[block.crossOut], dx, columns: config.columns(ofHead: tape.head), workers,
        into: room.head.prefix(dx.count))
      return
    }
    let (context, qkv) = (room.context.prefix(dx.count), room.qkv.prefix(dx.count))
    engine.linearBack(model[block.crossOut], dx, workers, into: context)
    whole.keysValues.load(engine, 0..<keysValues.count, into: keysValues)
    let queries = qkv.columns(0..<config.inner)
    forEachHead { head, worker in
      cross(head, whole, context, worker, into: queries) { visit?(index, head, $0, $1) }
    }
    if index == tape.lowest { return }
    engine.linearBack(model[block.crossQ], queries, accumulate: true, workers, into: dx)
    whole.norm1.back(dx, weight: model[block.norm1].weight)
    engine.linearBack(model[block.selfOut], dx, workers, into: context)
    forEachHead { head, worker in own(head, whole, context, worker, into: qkv) }
    engine.linearBack(model[block.selfQKV], qkv, accumulate: true, workers, into: dx)
  }

  private func forEachHead(_ body: (_ head: Int, _ worker: Int) -> Void) {
    engine.pool.run(count: config.heads, chunk: 1) { range, worker in body(range.lowerBound, worker) }
  }

  /// x *= Phi(h) + h phi(h), the slope of the exact GELU.
  private func multiplyBySlope(_ x: Rows, at hidden: Rows) {
    engine.share(x.count, limit: 4, multiple: 1) { rows, _ in
      for row in rows {
        let (line, values) = (x.row(row), hidden.row(row))
        for column in 0..<x.width {
          let h = values[column]
          let below = 0.5 * (1 + erff(h * 0.707_106_77))
          line[column] *= below + h * 0.398_942_3 * expf(-0.5 * h * h)
        }
      }
    }
  }

  /// Gradients of one head's queries, through its attention to the image.
  private func cross(
    _ head: Int, _ whole: LayerTape.Whole, _ context: Rows, _ worker: Int, into queries: Rows,
    show: (_ probabilities: Rows, _ slopes: Rows) -> Void
  ) {
    let columns = config.columns(ofHead: head)
    let (k, v) = config.keysValues(keysValues, head: head)
    let (dc, c) = (context.columns(columns), whole.context.prefix(context.count).columns(columns))
    let weights = tape.crossWeights(whole, head: head, tokens: dc.count)
    let slopes = Rows(room.weights[worker], count: dc.count, width: weights.width)
    engine.productNT(dc, v, into: slopes)
    show(weights, slopes)
    for row in 0..<dc.count {
      let mean = dot(dc.row(row), c.row(row), dc.width)
      multiply(slopes.row(row), by: weights.row(row), minus: mean, weights.width)
    }
    engine.productNN(slopes, k, into: queries.columns(columns))
  }

  /// Gradients of one head's queries, keys and values, through its attention to the caption.
  private func own(_ head: Int, _ whole: LayerTape.Whole, _ context: Rows, _ worker: Int, into qkv: Rows) {
    let count = context.count
    let d = context.columns(config.columns(ofHead: head))
    let (q, k, v) = config.split(whole.qkv.prefix(count), head: head)
    let (dq, dk, dv) = config.split(qkv, head: head)
    let weights = tape.weights(whole, head: head, tokens: count)
    let slopes = Rows(room.weights[worker], count: count, width: count)
    engine.productNT(d, v, into: slopes)
    transposed(weights, times: d, into: dv)
    for row in 0..<count {
      let mean = dot(slopes.row(row), weights.row(row), count)
      multiply(slopes.row(row), by: weights.row(row), minus: mean, count)
    }
    engine.productNN(slopes, k, into: dq)
    transposed(slopes, times: q, into: dk)
  }

  /// slope = scale * weight * (slope - mean).
  private func multiply(
    _ slopes: UnsafeMutablePointer<Float>, by weights: UnsafePointer<Float>, minus mean: Float, _ count: Int
  ) {
    let scale = config.attentionScale
    for key in 0..<count { slopes[key] = weights[key] * (slopes[key] - mean) * scale }
  }

  /// out = a^T b.
  ///
  /// - Shapes: `a` [rows, columns]; `b` [rows, width]; `out` [columns, width], overwritten.
  private func transposed(_ a: Rows, times b: Rows, into out: Rows) {
    out.fill(0)
    for row in 0..<a.count {
      let (factors, source) = (a.row(row), b.row(row))
      for column in 0..<a.width {
        let (factor, target) = (factors[column], out.row(column))
        for channel in 0..<b.width { target[channel] += factor * source[channel] }
      }
    }
  }
}
