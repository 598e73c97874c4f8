// The whole photo's patch grid: windows are added where they lie, overlaps averaged.
import Compute

/// Sum of window outputs on the photo's patch grid.
///
/// - Shapes: `sum` [rows * columns, width].
/// - Memory: rows * columns * width floats and one count a cell.
/// - Source: Trident (arXiv 2411.09219), splice of sub-images.
package struct SpliceCanvas {
  package let rows: Int
  package let columns: Int
  package let width: Int
  package let sum: UnsafeMutablePointer<Float>
  private let count: UnsafeMutablePointer<Float>

  package init(_ arena: Arena, rows: Int, columns: Int, width: Int) throws(ComputeError) {
    self.rows = rows
    self.columns = columns
    self.width = width
    sum = try arena.floats(rows * columns * width)
    count = try arena.floats(rows * columns)
    guard !arena.isCounting else { return }
    sum.update(repeating: 0, count: rows * columns * width)
    count.update(repeating: 0, count: rows * columns)
  }

  /// Adds one window of `side` x `side` cells whose first cell is (row, column).
  func add(_ window: UnsafePointer<Float>, side: Int, row: Int, column: Int) {
    for y in 0..<side {
      for x in 0..<side {
        let cell = (row + y) * columns + column + x
        let source = window + (y * side + x) * width
        let target = sum + cell * width
        for channel in 0..<width { target[channel] += source[channel] }
        count[cell] += 1
      }
    }
  }

  /// Turns sums into means. Call once, after the last window.
  func average() {
    for cell in 0..<rows * columns where count[cell] > 1 {
      let factor = 1 / count[cell]
      let target = sum + cell * width
      for channel in 0..<width { target[channel] *= factor }
    }
  }
}
