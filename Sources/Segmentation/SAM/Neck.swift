// SAM's neck: a 1x1 convolution, a norm, a 3x3 convolution, a norm; tokens in, image embedding out.
import Compute

/// Turns the encoder's tokens into the image embedding.
///
/// - Shapes: `x` [grid * grid, width]; `out` [grid * grid, neckWidth], may be the same memory as `x` (x is spent when out is written).
/// - Memory: grid * grid * neckWidth floats and per worker a tile of gathered 3x3 neighbourhoods.
/// - Source: segment-anything `image_encoder.py`, `neck`; both convolutions without bias.
struct Neck {
  let engine: Engine
  let arena: Arena
  let reader: ModelReader
  let tiling: Tiling

  func run(_ x: UnsafePointer<Float>, out: UnsafeMutablePointer<Float>) throws {
    let mark = arena.mark()
    defer { arena.release(to: mark) }
    let sam = reader.config.sam
    let config = sam.encoder
    let neck = sam.neckWidth
    let count = sam.tokenCount
    let first = try reader.packed("sam.neck.conv1", inputs: config.width, outputs: neck, bias: false)
    let second = try reader.packed("sam.neck.conv2", inputs: 9 * neck, outputs: neck, bias: false)
    let norm1 = try reader.norm("sam.neck.norm1", width: neck, epsilon: config.normEpsilon)
    let norm2 = try reader.norm("sam.neck.norm2", width: neck, epsilon: config.normEpsilon)
    let middle = try arena.floats(count * neck)
    let limit = min(tiling.rows, count)
    var workers: [(rows: RowScratch, gathered: UnsafeMutablePointer<Float>)] = []
    for _ in 0..<engine.pool.threadCount {
      workers.append(
        (
          try RowScratch(arena, engine: engine, rows: limit, depth: max(config.width, 9 * neck)),
          try arena.floats(limit * 9 * neck)
        ))
    }
    if arena.isCounting { return }
    let chunk = engine.pool.chunk(count: count, limit: limit, multiple: 16)
    engine.pool.run(count: count, chunk: chunk) { range, worker in
      let rows = engine.prepare(
        x + range.lowerBound * config.width, config.width, rows: range.count, columns: config.width,
        workers[worker].rows)
      let target = middle + range.lowerBound * neck
      engine.linear(first, rows, out: target, neck)
      engine.normalize(target, neck, rows: range.count, norm1, out: target, neck)
    }
    engine.pool.run(count: count, chunk: chunk) { range, worker in
      let room = workers[worker]
      for cell in range {
        gather(middle, cell: cell, grid: sam.grid, width: neck, out: room.gathered + (cell - range.lowerBound) * 9 * neck)
      }
      let rows = engine.prepare(room.gathered, 9 * neck, rows: range.count, columns: 9 * neck, room.rows)
      let target = out + range.lowerBound * neck
      engine.linear(second, rows, out: target, neck)
      engine.normalize(target, neck, rows: range.count, norm2, out: target, neck)
    }
  }

  /// The 3x3 neighbourhood of a cell in order (ky, kx, channel), zero outside.
  private func gather(
    _ source: UnsafePointer<Float>, cell: Int, grid: Int, width: Int, out: UnsafeMutablePointer<Float>
  ) {
    let y = cell / grid
    let x = cell % grid
    for tap in 0..<9 {
      let row = y + tap / 3 - 1
      let column = x + tap % 3 - 1
      let target = out + tap * width
      if row < 0 || row >= grid || column < 0 || column >= grid {
        target.update(repeating: 0, count: width)
      } else {
        target.update(from: source + (row * grid + column) * width, count: width)
      }
    }
  }
}
