// The image's side of the mask decoder: grid row by grid row, shared out among the workers.
import Compute

/// One worker's room for one grid row.
///
/// - Memory: at grid 64, width 256: about 0.5 MiB (int8), plus a chunk of expanded weights in float32 precision.
struct DecoderWorker {
  let prompt: PromptEncoder.Scratch
  /// [grid, width]; in `upscale` [grid, 16].
  let shifted: UnsafeMutablePointer<Float>
  /// [grid, attentionWidth].
  let projected: UnsafeMutablePointer<Float>
  /// [grid, tokens].
  let scores: UnsafeMutablePointer<Float>
  let sums: UnsafeMutablePointer<Float>
  /// [4 * grid, width / 4].
  let coarse: UnsafeMutablePointer<Float>
  /// [4 * grid, width / 2].
  let fine: UnsafeMutablePointer<Float>
  let rows: RowScratch
  let fineRows: RowScratch

  init(_ arena: Arena, engine: Engine, shape: DecoderShape) throws(ComputeError) {
    let grid = shape.grid
    prompt = try PromptEncoder.Scratch(arena, shape: shape)
    shifted = try arena.floats(grid * max(shape.width, 16))
    projected = try arena.floats(grid * shape.attentionWidth)
    scores = try arena.floats(grid * shape.tokens)
    sums = try arena.floats(grid)
    coarse = try arena.floats(grid * shape.width)
    fine = try arena.floats(4 * grid * (shape.width / 2))
    rows = try RowScratch(arena, engine: engine, rows: grid, depth: max(shape.width, shape.attentionWidth))
    fineRows = try RowScratch(arena, engine: engine, rows: 4 * grid, depth: shape.width / 4)
  }
}

extension MaskDecoder {
  /// One pass over the image: what the layer before left to do (or, in the first pass, embedding plus mask prompt),
  /// then the raw attention weights and values that `look` wants, and the image's queries for its own turn.
  func sweepImage(
    _ mask: UnsafePointer<Float>, _ embedding: UnsafePointer<Float>, updatedBy previous: DecoderLayerWeights?,
    for layer: AttentionWeights, query: PackedLinear?
  ) {
    let grid = shape.grid
    let width = shape.width
    let inner = shape.attentionWidth
    engine.pool.run(count: grid, chunk: 1) { range, index in
      let worker = workers[index]
      for row in range {
        let first = row * grid
        let cells = image + first * width
        if let previous {
          readTokens(previous, first: first, worker)
        } else {
          prompts.addMask(
            engine, row, mask: mask, embedding: embedding + first * width, worker.prompt, out: cells)
        }
        prompts.addPositions(row, to: cells, out: worker.shifted)
        let shifted = engine.prepare(worker.shifted, width, rows: grid, columns: width, worker.rows)
        engine.linear(layer.k, shifted, out: worker.projected, inner)
        if let query { engine.linear(query, shifted, out: imageQuery + first * inner, inner) }
        weigh(first: first, worker)
        let plain = engine.prepare(cells, width, rows: grid, columns: width, worker.rows)
        engine.linear(layer.v, plain, out: imageValue + first * inner, inner)
      }
    }
  }

  /// Raw weights of every token for the cells of one row, from the keys in `worker.projected`.
  private func weigh(first: Int, _ worker: DecoderWorker) {
    let inner = shape.attentionWidth
    let head = inner / shape.heads
    for index in 0..<shape.heads {
      engine.productNT(
        tokens.query + index * head, inner, rows: shape.tokens, worker.projected + index * head, inner,
        columns: shape.grid, depth: head, out: attention + index * shape.tokens * shape.cells + first, shape.cells)
    }
  }

  /// The image's turn: cells of one row look at the tokens, in place, with residual and norm.
  private func readTokens(_ layer: DecoderLayerWeights, first: Int, _ worker: DecoderWorker) {
    let inner = shape.attentionWidth
    let head = inner / shape.heads
    let count = shape.tokens
    let grid = shape.grid
    let width = shape.width
    let factor = 1 / Float(head).squareRoot()
    for index in 0..<shape.heads {
      engine.productNT(
        imageQuery + first * inner + index * head, inner, rows: grid, tokens.turnKey + index * head, inner,
        columns: count, depth: head, out: worker.scores, count)
      engine.expRows(worker.scores, count, rows: grid, keys: count, factor: factor, rowSum: worker.sums)
      scaleRows(worker.scores, count, rows: grid, columns: count, by: worker.sums)
      engine.productNN(
        worker.scores, count, rows: grid, tokens.turnValue + index * head, inner, columns: head, depth: count,
        out: worker.projected + index * head, inner)
    }
    let cells = image + first * width
    let rows = engine.prepare(worker.projected, inner, rows: grid, columns: inner, worker.rows)
    engine.linear(layer.crossImage.out, rows, accumulate: true, out: cells, width)
    engine.normalize(cells, width, rows: grid, layer.norms[3], out: cells, width)
  }

  /// Two transposed convolutions of stride 2 (kernels do not overlap, so they are products), then the dot product
  /// with the hypernetwork's answer.
  ///
  /// - Shapes: `hyper` [width / 8]; `logits` [4 * grid, 4 * grid].
  func upscale(_ hyper: UnsafePointer<Float>, gridRows: Int, logits: UnsafeMutablePointer<Float>) {
    let grid = shape.grid
    let width = shape.width
    let quarter = width / 4
    let eighth = width / 8
    engine.pool.run(count: gridRows, chunk: 1) { range, index in
      let worker = workers[index]
      for row in range {
        let rows = engine.prepare(image + row * grid * width, width, rows: grid, columns: width, worker.rows)
        engine.linear(weights.upscale0, rows, out: worker.coarse, width)
        engine.normalize(worker.coarse, quarter, rows: 4 * grid, weights.upscaleNorm, out: worker.coarse, quarter)
        engine.activate(worker.coarse, grid * width, .gelu)
        let fine = engine.prepare(worker.coarse, quarter, rows: 4 * grid, columns: quarter, worker.fineRows)
        engine.linear(weights.upscale3, fine, activation: .gelu, out: worker.fine, 4 * eighth)
        // One product for all pixels of the row, then each goes to its place.
        engine.productNT(
          worker.fine, eighth, rows: 16 * grid, hyper, eighth, columns: 1, depth: eighth, out: worker.shifted, 1)
        for cell in 0..<grid {
          for outer in 0..<4 {
            let y = 4 * row + outer / 2 * 2
            let x = 4 * cell + outer % 2 * 2
            let source = worker.shifted + (cell * 4 + outer) * 4
            let target = logits + y * shape.maskSide + x
            (target[0], target[1]) = (source[0], source[1])
            (target[shape.maskSide], target[shape.maskSide + 1]) = (source[2], source[3])
          }
        }
      }
    }
  }
}
