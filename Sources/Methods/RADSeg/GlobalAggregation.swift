// Self-correlating global aggregation (SCGA): section 6. Every cell of the photo becomes a mean of the cells
// that are more alike than cells are on average; a strip of cells at a time, so that no n x n matrix is
// formed.
import Compute

/// `A = scale (g g^T - mu)` without negative entries, `G' = softmax(A) G`, `g` being unit rows of `G` and
/// `mu` the mean of all entries: the squared length of the summed unit rows, in double (in single it moves
/// entries across the cut).
///
/// - Memory: a float a cell, and per worker a strip of similarities and of mixed rows.
/// - Source: RADSeg (arXiv 2511.19704). A row with nothing left keeps itself; the public code returns NaN
///   there.
struct GlobalAggregation {
  let run: RunContext
  let scale: Float

  /// Mixes strip after strip and hands each on.
  ///
  /// - Shapes: `canvas` [cells, width]. `room` makes a worker's room for so many rows; `sink` receives the
  ///   first cell of a strip, its rows [count, width], which it may spend, and the worker's room.
  func run<Room>(
    _ canvas: Rows, room make: (_ rows: Int) throws -> Room,
    into sink: (_ first: Int, _ rows: Rows, _ room: Room) -> Void
  ) throws {
    let (engine, arena, cells) = (run.engine, run.arena, canvas.count)
    run.note(Work(float: 2 * Double(cells) * Double(cells) * Double(canvas.width)))
    try run.scope {
      let lengths = try arena.floats(cells)
      let strip = min(2 * run.tiling.strip, cells)
      var workers: [(logits: Rows, sums: UnsafeMutablePointer<Float>, mixed: Rows, room: Room)] = []
      for _ in 0..<engine.pool.threadCount {
        let stride = roundUp(cells, to: 16)
        let logits = Rows(try arena.floats(strip * stride), count: strip, width: cells, stride: stride)
        workers.append(
          (logits, try arena.floats(strip), try arena.rows(strip, canvas.width), try make(strip)))
      }
      if run.isPlanning { return }
      let mean = Float(meanSimilarity(canvas, lengths))
      engine.pool.run(count: cells, chunk: strip) { range, index in
        let worker = workers[index]
        let logits = worker.logits.prefix(range.count)
        engine.productNT(canvas[range], canvas, into: logits)
        for row in range { shift(logits.row(row - range.lowerBound), lengths, mean, own: row, cells) }
        engine.expRows(logits, factor: 1, rowSum: worker.sums)
        let mixed = worker.mixed.prefix(range.count)
        engine.productNN(logits, canvas, into: mixed)
        mixed.divide(by: worker.sums)
        sink(range.lowerBound, mixed, worker.room)
        if index == 0 { run.step(Double(range.upperBound) / Double(cells)) }
      }
    }
  }

  /// Mean of all products of two unit rows; `lengths` become 1 / |row|.
  private func meanSimilarity(_ canvas: Rows, _ lengths: UnsafeMutablePointer<Float>) -> Double {
    var sum = [Double](repeating: 0, count: canvas.width)
    for cell in 0..<canvas.count {
      let row = canvas.row(cell)
      var square = 0.0
      for channel in 0..<canvas.width { square += Double(row[channel]) * Double(row[channel]) }
      let factor = 1 / max(square.squareRoot(), 1e-12)
      lengths[cell] = Float(factor)
      for channel in 0..<canvas.width { sum[channel] += Double(row[channel]) * factor }
    }
    return sum.reduce(0) { $0 + $1 * $1 } / (Double(canvas.count) * Double(canvas.count))
  }

  /// Products to cosines, less their mean; where nothing is left the cell keeps itself.
  private func shift(
    _ row: UnsafeMutablePointer<Float>, _ lengths: UnsafePointer<Float>, _ mean: Float, own: Int, _ count: Int
  ) {
    let length = lengths[own]
    var any = false
    for key in 0..<count {
      let value = scale * (row[key] * length * lengths[key] - mean)
      any = any || value >= 0
      row[key] = value < 0 ? -.infinity : value
    }
    if !any { row[own] = 0 }
  }
}
