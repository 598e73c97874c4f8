// SAM's neck: a 1x1 convolution, a norm, a 3x3 convolution, a norm; tokens in, image embedding out.
import Compute

/// Turns the encoder's tokens into the image embedding.
///
/// - Shapes: `x` [grid * grid, width]; `out` [grid * grid, neckWidth], may be the same memory as `x` (x is
///   spent when out is written).
/// - Memory: grid * grid * neckWidth floats and per worker a tile of gathered 3x3 neighbourhoods.
/// - Source: segment-anything `image_encoder.py`, `neck`; both convolutions without bias.
struct Neck {
  let run: RunContext
  let config: SAMConfig
  let schema: NeckSchema

  func embed(_ x: Rows, into out: Rows) throws {
    let engine = run.engine
    let (conv1, norm1) = (run.model[schema.conv1], run.model[schema.norm1])
    let (conv2, norm2) = (run.model[schema.conv2], run.model[schema.norm2])
    let neck = config.neckWidth
    run.note(.linear(rows: x.count, inputs: config.blocks.width + 9 * neck, outputs: neck))
    try run.scope {
      let middle = try run.arena.rows(x.count, neck)
      let limit = min(run.tiling.rows, x.count)
      let rooms = try engine.perWorker { () throws(ComputeError) in
        (
          rows: try RowScratch(
            run.arena, engine: engine, rows: limit, depth: max(config.blocks.width, 9 * neck)),
          gathered: try run.arena.rows(limit, 9 * neck)
        )
      }
      if run.isPlanning { return }
      engine.share(x.count, limit: limit) { range, worker in
        engine.linear(conv1, engine.prepare(x[range], rooms[worker].rows), into: middle[range])
        engine.normalize(middle[range], norm1)
      }
      engine.share(x.count, limit: limit) { range, worker in
        let gathered = rooms[worker].gathered.prefix(range.count)
        for cell in range { gather(middle, cell: cell, into: gathered.row(cell - range.lowerBound)) }
        engine.linear(conv2, engine.prepare(gathered, rooms[worker].rows), into: out[range])
        engine.normalize(out[range], norm2)
      }
    }
  }

  /// The 3x3 neighbourhood of a cell in order (ky, kx, channel), zero outside.
  private func gather(_ source: Rows, cell: Int, into out: UnsafeMutablePointer<Float>) {
    let (grid, width) = (config.grid, source.width)
    for tap in 0..<9 {
      let row = cell / grid + tap / 3 - 1
      let column = cell % grid + tap % 3 - 1
      let target = out + tap * width
      if row < 0 || row >= grid || column < 0 || column >= grid {
        target.update(repeating: 0, count: width)
      } else {
        target.update(from: source.row(row * grid + column), count: width)
      }
    }
  }
}
