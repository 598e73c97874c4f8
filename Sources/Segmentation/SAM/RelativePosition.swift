// SAM's decomposed relative positions, turned round once a block so that a query's row is contiguous.
import Compute

/// Relative position tables with the key index ascending.
///
/// - Shapes: `height`, `width` [headWidth, 2 * side - 1]; column `side - 1 - q + k` belongs to query coordinate q and key coordinate k.
/// - Source: segment-anything `add_decomposed_rel_pos`: table row q - k + side - 1.
struct RelativePosition {
  let side: Int
  let headWidth: Int
  let height: UnsafeMutablePointer<Float>
  let width: UnsafeMutablePointer<Float>

  init(_ arena: Arena, side: Int, headWidth: Int) throws(ComputeError) {
    self.side = side
    self.headWidth = headWidth
    height = try arena.floats((2 * side - 1) * headWidth)
    width = try arena.floats((2 * side - 1) * headWidth)
  }

  func load(_ weights: BlockWeights) {
    guard let storedHeight = weights.relativeHeight, let storedWidth = weights.relativeWidth else {
      preconditionFailure("block without relative positions")
    }
    let last = 2 * side - 2
    for column in 0...last {
      for channel in 0..<headWidth {
        height[channel * (last + 1) + column] = storedHeight[(last - column) * headWidth + channel]
        width[channel * (last + 1) + column] = storedWidth[(last - column) * headWidth + channel]
      }
    }
  }

  /// Bias of a run of queries inside one grid row.
  ///
  /// - Shapes: `q` [count, headWidth] at `stride`, queries (y, x ..< x + count); `vertical`, `horizontal` [count, side].
  func bias(
    _ engine: Engine, _ q: UnsafePointer<Float>, _ stride: Int, count: Int, y: Int, x: Int,
    vertical: UnsafeMutablePointer<Float>, horizontal: UnsafeMutablePointer<Float>
  ) {
    multiply(engine, q, stride, rows: count, height, at: y, out: vertical, side)
    for index in 0..<count {
      multiply(engine, q + index * stride, stride, rows: 1, width, at: x + index, out: horizontal + index * side, side)
    }
  }

  /// Bias of the first `rows` rows of a whole window.
  ///
  /// - Shapes: `q` [rows * side, headWidth] at `stride`; `vertical`, `horizontal` [rows * side, side].
  func windowBias(
    _ engine: Engine, _ q: UnsafePointer<Float>, _ stride: Int, rows: Int, vertical: UnsafeMutablePointer<Float>,
    horizontal: UnsafeMutablePointer<Float>
  ) {
    for y in 0..<rows {
      multiply(
        engine, q + y * side * stride, stride, rows: side, height, at: y, out: vertical + y * side * side, side)
    }
    for x in 0..<side {
      multiply(
        engine, q + x * stride, side * stride, rows: rows, width, at: x, out: horizontal + x * side, side * side)
    }
  }

  /// out [rows, side] = q times the table's columns for query coordinate `at`.
  private func multiply(
    _ engine: Engine, _ q: UnsafePointer<Float>, _ stride: Int, rows: Int, _ table: UnsafePointer<Float>, at: Int,
    out: UnsafeMutablePointer<Float>, _ outStride: Int
  ) {
    engine.productNN(
      q, stride, rows: rows, table + (side - 1 - at), 2 * side - 1, columns: side, depth: headWidth,
      accumulate: false, out: out, outStride)
  }
}
