// How sure the scores are of each pixel, a row of the photo at a time, beside the rows of labels.
import Compute

/// Where confidences go: a row index and [width] bytes, right before the labels of that row. False ends the
/// pass.
package typealias ConfidenceConsumer = (_ row: Int, _ confidence: UnsafePointer<UInt8>) -> Bool

/// The largest class probability of every pixel: what the scores say, before borders are refined. Classes
/// that a rule took away do not count, negative phrases do.
///
/// Rows come in bands, a few rows a worker, and are computed when the first of a band is asked for: label
/// rows arrive in the same order, and no second map of the photo is kept.
///
/// - Units: 255 is certain; probability * 255, rounded.
/// - Memory: 8 bytes a pixel column for every worker, and a `LabelRows`.
final class ConfidenceRows {
  private static let rowsPerWorker = 8

  private let rows: LabelRows
  private let band: UnsafeMutablePointer<UInt8>
  private let bandRows: Int
  private var held = 0..<0

  /// - Memory: stays reserved.
  init(_ run: RunContext, _ scores: any ScoreField, _ photo: any PhotoPixels, _ settings: LabelSettings)
    throws(ComputeError)
  {
    rows = try LabelRows(
      run.arena, engine: run.engine, scores: scores, height: photo.height, width: photo.width,
      settings: settings)
    bandRows = Self.rowsPerWorker * run.engine.pool.threadCount
    band = try run.arena.reserve(UInt8.self, bandRows * photo.width)
  }

  /// Confidences of photo row `y`; the calls' rows ascend.
  ///
  /// - Shapes: the result [width], valid until the next call.
  func row(_ y: Int) -> UnsafePointer<UInt8> {
    if !held.contains(y) {
      held = y..<min(y + bandRows, rows.height)
      rows.engine.pool.run(count: held.count, chunk: Self.rowsPerWorker) { range, worker in
        for row in range { fill(y + row, worker: worker, into: band + row * rows.width) }
      }
    }
    return UnsafePointer(band + (y - held.lowerBound) * rows.width)
  }

  private func fill(_ y: Int, worker index: Int, into out: UnsafeMutablePointer<UInt8>) {
    let worker = rows.workers[index]
    let line = worker.blends[0]
    rows.blend(y, worker, into: line)
    var walk = ProbabilityWalker(rows, worker, line: line, slot: 0)
    for x in 0..<rows.width {
      walk.write(x, to: worker.sum)
      var best = Eight(repeating: 0)
      for lane in 0..<rows.classLanes { best = larger(best, worker.sum[lane] * rows.masks.classes[lane]) }
      out[x] = UInt8(min(largest(best), 1) * 255 + 0.5)
    }
  }
}
