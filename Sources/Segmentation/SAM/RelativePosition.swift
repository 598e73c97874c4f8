// SAM's decomposed relative positions, turned round once a block so that a query's row is contiguous.
import Compute

/// Relative position tables with the key index ascending.
///
/// - Shapes: `height`, `width` [2 * side - 1, headWidth]; row `side - 1 - q + k` belongs to query coordinate q and key coordinate k.
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
    for row in 0...last {
      (height + row * headWidth).update(from: storedHeight + (last - row) * headWidth, count: headWidth)
      (width + row * headWidth).update(from: storedWidth + (last - row) * headWidth, count: headWidth)
    }
  }

  /// Bias of a run of queries inside one grid row.
  ///
  /// - Shapes: `q` [count, headWidth] at `stride`, queries (y, x ..< x + count); `vertical`, `horizontal` [count, side].
  func bias(
    _ engine: Engine, _ q: UnsafePointer<Float>, _ stride: Int, count: Int, y: Int, x: Int,
    vertical: UnsafeMutablePointer<Float>, horizontal: UnsafeMutablePointer<Float>
  ) {
    engine.productNT(
      q, stride, rows: count, height + (side - 1 - y) * headWidth, headWidth, columns: side, depth: headWidth,
      out: vertical, side)
    for index in 0..<count {
      engine.productNT(
        q + index * stride, stride, rows: 1, width + (side - 1 - x - index) * headWidth, headWidth, columns: side,
        depth: headWidth, out: horizontal + index * side, side)
    }
  }
}
