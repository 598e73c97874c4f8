// Where a class lies in a label map, from rows of it.

/// Pixels, box and centre of one class.
///
/// - Units: pixels of the upright photo.
package struct ClassExtent {
  package private(set) var pixelCount = 0
  private(set) var columns = Int.max..<Int.max
  private(set) var rows = 0..<0
  /// Sums of the pixels' places.
  private var sum = (x: 0, y: 0)

  var isPresent: Bool { pixelCount > 0 }
  /// Mean place; a pixel's own place is its upper left corner's.
  var centre: (x: Double, y: Double) {
    (Double(sum.x) / Double(pixelCount), Double(sum.y) / Double(pixelCount))
  }

  /// Adds a run of a row; rows come top to bottom.
  mutating func add(_ y: Int, _ run: Range<Int>) {
    rows = (isPresent ? rows.lowerBound : y)..<y + 1
    columns =
      isPresent ? min(columns.lowerBound, run.lowerBound)..<max(columns.upperBound, run.upperBound) : run
    pixelCount += run.count
    sum.x += run.count * (run.lowerBound + run.upperBound - 1) / 2
    sum.y += run.count * y
  }
}

/// Hands over every run of equal labels in a row, from the left.
func forEachRun(
  _ labels: UnsafePointer<UInt16>, width: Int, _ body: (_ label: Int, _ columns: Range<Int>) -> Void
) {
  var start = 0
  for x in 1...width where x == width || labels[x] != labels[start] {
    body(Int(labels[start]), start..<x)
    start = x
  }
}
