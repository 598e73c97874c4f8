// The image's side of the mask decoder: grid row by grid row, shared out among the workers.
import Compute

/// One worker's room for one grid row.
///
/// - Memory: at grid 64, width 256: about 0.5 MiB (int8), plus a chunk of expanded weights in float32
///   precision.
struct DecoderWorker {
  let prompt: PromptEncoder.Scratch
  /// [grid, width].
  let shifted: Rows
  /// [16 * grid, 1], where `shifted` is spent.
  let dots: Rows
  /// [grid, attentionWidth].
  let projected: Rows
  /// [grid, tokens].
  let scores: Rows
  let sums: UnsafeMutablePointer<Float>
  /// [grid, width], or [4 * grid, width / 4].
  let coarse: Rows
  /// [4 * grid, width / 2].
  let fine: Rows
  let rows: RowScratch
  /// Two bytes a value: of the refined labels that one byte changes, two thirds are the second upscaling's.
  let fineRows: RowScratch

  init(_ arena: Arena, engine: Engine, shape: DecoderShape) throws(ComputeError) {
    let grid = shape.grid
    prompt = try PromptEncoder.Scratch(arena, shape: shape)
    let storage = try arena.floats(grid * max(shape.width, 16))
    shifted = Rows(storage, count: grid, width: shape.width)
    dots = Rows(storage, count: 16 * grid, width: 1)
    projected = try arena.rows(grid, shape.attentionWidth)
    scores = try arena.rows(grid, shape.tokens)
    sums = try arena.floats(grid)
    coarse = try arena.rows(grid, shape.width)
    fine = try arena.rows(4 * grid, shape.width / 2)
    rows = try RowScratch(arena, engine: engine, rows: grid, depth: max(shape.width, shape.attentionWidth))
    fineRows = try RowScratch(
      arena, engine: engine, rows: 4 * grid, depth: shape.width / 4, isFine: true)
  }
}

extension MaskDecoder {
  /// One pass over the image: what the layer before left to do (or, in the first pass, embedding plus mask
  /// prompt),
  /// then the raw attention weights and values that `look` wants, and the image's queries for its own turn.
  func sweepImage(
    _ mask: UnsafePointer<Float>, _ embedding: UnsafePointer<Float>, updatedBy previous: DecoderLayerWeights?,
    for layer: AttentionWeights, query: PackedLinear?
  ) {
    let grid = shape.grid
    engine.pool.run(count: grid, chunk: 1) { range, index in
      let worker = workers[index]
      for row in range {
        let place = row * grid..<(row + 1) * grid
        let cells = image[place]
        if let previous {
          readTokens(previous, cells, imageQuery[place], worker)
        } else {
          let source = Rows(
            reading: embedding + place.lowerBound * shape.width, count: grid, width: shape.width)
          prompts.addMask(engine, row, mask: mask, embedding: source, worker.prompt, out: cells)
        }
        prompts.addPositions(row, to: cells, out: worker.shifted)
        let shifted = engine.prepare(worker.shifted, worker.rows)
        engine.linear(layer.k, shifted, into: worker.projected)
        if let query { engine.linear(query, shifted, into: imageQuery[place]) }
        weigh(place, worker)
        engine.linear(layer.v, engine.prepare(cells, worker.rows), into: imageValue[place])
      }
    }
  }

  /// Raw weights of every token for the cells of one row, from the keys in `worker.projected`.
  private func weigh(_ cells: Range<Int>, _ worker: DecoderWorker) {
    let query = tokens.rows(tokens.query, shape.attentionWidth)
    for (index, head) in strips(of: shape.attentionWidth, shape.attentionWidth / shape.heads).enumerated() {
      let weights = attention[index * shape.tokens..<(index + 1) * shape.tokens].columns(cells)
      engine.productNT(query.columns(head), worker.projected.columns(head), into: weights)
    }
  }

  /// The image's turn: cells of one row look at the tokens, in place, with residual and norm.
  private func readTokens(_ layer: DecoderLayerWeights, _ cells: Rows, _ query: Rows, _ worker: DecoderWorker)
  {
    let inner = shape.attentionWidth
    let (key, value) = (tokens.rows(tokens.turnKey, inner), tokens.rows(tokens.turnValue, inner))
    for head in strips(of: inner, inner / shape.heads) {
      mix(
        query.columns(head), key.columns(head), value.columns(head), scores: worker.scores, sums: worker.sums,
        into: worker.projected.columns(head))
    }
    engine.linear(
      layer.crossImage.out, engine.prepare(worker.projected, worker.rows), accumulate: true, into: cells)
    engine.normalize(cells, layer.norms[3])
  }

  /// Two transposed convolutions of stride 2 (kernels do not overlap, so they are products), then the dot
  /// product with the hypernetwork's answer.
  ///
  /// - Shapes: `hyper` [1, width / 8]; `logits` [4 * grid, 4 * grid].
  func upscale(_ hyper: Rows, gridRows: Int, logits: UnsafeMutablePointer<Float>) {
    let grid = shape.grid
    engine.pool.run(count: gridRows, chunk: 1) { range, index in
      let worker = workers[index]
      for row in range {
        engine.linear(
          weights.upscale.first, engine.prepare(image[row * grid..<(row + 1) * grid], worker.rows),
          into: worker.coarse)
        let coarse = worker.coarse.reshaped(width: shape.width / 4)
        engine.normalize(coarse, weights.upscale.norm)
        engine.activate(coarse.base, grid * shape.width, .gelu)
        engine.linear(
          weights.upscale.second, engine.prepare(coarse, worker.fineRows), activation: .gelu,
          into: worker.fine)
        // One product for all pixels of the row, then each goes to its place.
        engine.productNT(worker.fine.reshaped(width: shape.width / 8), hyper, into: worker.dots)
        for cell in 0..<grid {
          for outer in 0..<4 {
            let y = 4 * row + outer / 2 * 2
            let x = 4 * cell + outer % 2 * 2
            let source = worker.dots.row((cell * 4 + outer) * 4)
            let target = logits + y * shape.maskSide + x
            (target[0], target[1]) = (source[0], source[1])
            (target[shape.maskSide], target[shape.maskSide + 1]) = (source[2], source[3])
          }
        }
      }
    }
  }
}
