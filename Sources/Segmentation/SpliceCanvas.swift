// The whole photo's patch grid: windows are added where they lie, overlaps averaged.
import Compute

/// Sum of window outputs on the photo's patch grid.
///
/// - Shapes: `rows` [rows * columns, width]: sums until `average`, means afterwards.
/// - Memory: rows * columns * width floats and one count a cell.
/// - Source: Trident (arXiv 2411.09219), splice of sub-images.
package struct SpliceCanvas {
  package let rowCount: Int
  package let columns: Int
  package let rows: Rows
  private let count: UnsafeMutablePointer<Float>

  package var width: Int { rows.width }

  package init(_ arena: Arena, rows rowCount: Int, columns: Int, width: Int) throws(ComputeError) {
    self.rowCount = rowCount
    self.columns = columns
    rows = try arena.rows(rowCount * columns, width)
    count = try arena.floats(rowCount * columns)
    guard !arena.isCounting else { return }
    rows.fill(0)
    count.update(repeating: 0, count: rows.count)
  }

  /// Adds one window `width` cells wide whose first cell is (row, column).
  package func add(_ window: Rows, width: Int, row: Int, column: Int) {
    for y in 0..<window.count / width {
      let first = (row + y) * columns + column
      rows[first..<first + width].add(window[y * width..<(y + 1) * width])
      for cell in first..<first + width { count[cell] += 1 }
    }
  }

  /// Turns sums into means. Call once, after the last window.
  package func average() {
    for cell in 0..<rows.count where count[cell] > 1 {
      let factor = 1 / count[cell]
      let target = rows.row(cell)
      for channel in 0..<width { target[channel] *= factor }
    }
  }
}
