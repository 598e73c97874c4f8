// Boxes around what stands out in a map of patches.
import Compute

/// Marks cells inside the boxes of a map's regions.
///
/// The grid is small and held, so its regions are filled; `RegionFinder` is for maps that pass by in rows.
///
/// A region is 8-connected cells above a share of the map's largest 8-bit value. OpenCV, which the public
/// code asks, gives holes boxes, too; they lie inside their region's and change no union.
///
/// - Shapes: maps [rows * columns].
/// - Memory: 6 bytes a cell.
/// - Source: FreeCP's public code: boxes end one cell early at the last column and the last row.
package struct RegionBoxes {
  /// Of the map's largest value.
  static let share = 0.4

  private let rows: Int
  private let columns: Int
  private let levels: UnsafeMutablePointer<UInt8>
  private let stack: UnsafeMutablePointer<Int32>
  /// 1 inside some box, else 0; of the last map.
  package let inside: UnsafeMutablePointer<UInt8>

  package init(_ arena: Arena, rows: Int, columns: Int) throws(ComputeError) {
    (self.rows, self.columns) = (rows, columns)
    levels = try arena.reserve(UInt8.self, rows * columns)
    inside = try arena.reserve(UInt8.self, rows * columns)
    stack = try arena.reserve(Int32.self, rows * columns)
  }

  /// - Shapes: `map` [rows * columns], 0 to 1.
  package func mark(_ map: UnsafePointer<Float>) {
    let count = rows * columns
    var most = 0
    for cell in 0..<count {
      levels[cell] = UInt8(max(0, min(map[cell], 1)) * 255)
      most = max(most, Int(levels[cell]))
    }
    let edge = UInt8(Self.share * Double(most))
    for cell in 0..<count { levels[cell] = levels[cell] > edge ? 1 : 0 }
    inside.update(repeating: 0, count: count)
    for cell in 0..<count where levels[cell] == 1 { fill(region(around: cell)) }
  }

  /// Takes the cells of a region away; the result ends with its last row and column.
  private func region(around seed: Int) -> (rows: ClosedRange<Int>, columns: ClosedRange<Int>) {
    var (top, bottom, left, right) = (rows, 0, columns, 0)
    var depth = 1
    (stack[0], levels[seed]) = (Int32(seed), 0)
    while depth > 0 {
      depth -= 1
      let (row, column) = (Int(stack[depth]) / columns, Int(stack[depth]) % columns)
      (top, bottom, left, right) = (min(top, row), max(bottom, row), min(left, column), max(right, column))
      for y in max(row - 1, 0)...min(row + 1, rows - 1) {
        for x in max(column - 1, 0)...min(column + 1, columns - 1) where levels[y * columns + x] == 1 {
          (stack[depth], levels[y * columns + x]) = (Int32(y * columns + x), 0)
          depth += 1
        }
      }
    }
    return (top...bottom, left...right)
  }

  private func fill(_ box: (rows: ClosedRange<Int>, columns: ClosedRange<Int>)) {
    let (bottom, right) = (
      min(box.rows.upperBound + 1, rows - 1), min(box.columns.upperBound + 1, columns - 1)
    )
    for y in box.rows.lowerBound..<max(bottom, box.rows.lowerBound) {
      for x in box.columns.lowerBound..<max(right, box.columns.lowerBound) { inside[y * columns + x] = 1 }
    }
  }
}
