// Scores of windows that lie anywhere on the copy of the photo, averaged on the copy's pixels a row at a
// time.
import Compute

/// Scores of every window on its own patches; a row of the grid is a row of the copy's pixels.
///
/// A window's scores are stretched bilinearly over all its pixels; where windows overlap their mean counts.
///
/// - Shapes: [windows, cells, lanes * 8].
/// - Units: cosine, f32.
/// - Memory: windows * cells * phrases (rounded up to 8) * 4 bytes.
/// - Errors: an arena that is too small throws.
/// - Source: SC-CLIP's public code.
package struct WindowScores: ScoreField {
  package let grid: ScoreGrid
  private let plan: WindowPlan
  private let cells: (rows: Int, columns: Int)
  private let down: AxisSampling
  private let across: AxisSampling
  private let values: UnsafeMutablePointer<Float>

  package init(_ arena: Arena, _ plan: WindowPlan, phraseClass: [Int]) throws(ComputeError) {
    self.plan = plan
    grid = try ScoreGrid(arena, rows: plan.height, columns: plan.width, phraseClass: phraseClass)
    cells = (plan.windowHeight / plan.patch, plan.windowWidth / plan.patch)
    down = AxisSampling(from: cells.rows, to: plan.windowHeight)
    across = AxisSampling(from: cells.columns, to: plan.windowWidth)
    let count = plan.origins.count * cells.rows * cells.columns * grid.lanes * 8
    values = try arena.floats(count)
    if !arena.isCounting { values.update(repeating: ScoreGrid.padding, count: count) }
  }

  private var stride: Int { grid.lanes * 8 }

  /// Scores of one window. Shapes: [cells, phrases].
  func phrases(ofWindow window: Int) -> Rows {
    let count = cells.rows * cells.columns
    return Rows(values + window * count * stride, count: count, width: grid.phraseCount, stride: stride)
  }

  /// Scores of some cells of a window, from `cell` on. Shapes: `features` [cells, width]; `text` [phrases,
  /// width].
  func store(_ engine: Engine, _ features: Rows, _ text: Rows, window: Int, at cell: Int) {
    engine.productNT(features, text, into: phrases(ofWindow: window)[cell..<cell + features.count])
  }

  package var isFinite: Bool {
    allFinite(values, plan.origins.count * cells.rows * cells.columns * stride)
  }

  /// Two windows at a pixel, two cells each.
  package var rowWork: Double { Double(grid.columns) * 4 * Double(grid.phraseCount) }

  /// A row of one window's grid, and the number of windows at every pixel.
  package var scratchCount: Int { cells.columns * stride + grid.columns }

  package func row(
    _ engine: Engine, _ index: Int, scratch: UnsafeMutablePointer<Float>,
    into out: UnsafeMutablePointer<Float>
  ) {
    let lanes = grid.lanes
    let counts = scratch + cells.columns * stride
    let (blended, sums) = (eights(scratch), eights(out))
    sums.update(repeating: Eight(repeating: 0), count: grid.columns * lanes)
    counts.update(repeating: 0, count: grid.columns)
    for (window, origin) in plan.origins.enumerated() where (0..<plan.windowHeight).contains(index - origin.y)
    {
      let tap = down.tap(index - origin.y)
      let first = eights(values + window * cells.rows * cells.columns * stride)
      let (upper, lower) = (
        first + tap.lower * cells.columns * lanes, first + tap.upper * cells.columns * lanes
      )
      for lane in 0..<cells.columns * lanes {
        blended[lane] = upper[lane] * (1 - tap.fraction) + lower[lane] * tap.fraction
      }
      for x in 0..<plan.windowWidth {
        let tap = across.tap(x)
        let (left, right) = (blended + tap.lower * lanes, blended + tap.upper * lanes)
        let sum = sums + (origin.x + x) * lanes
        for lane in 0..<lanes { sum[lane] += left[lane] * (1 - tap.fraction) + right[lane] * tap.fraction }
        counts[origin.x + x] += 1
      }
    }
    for x in 0..<grid.columns where counts[x] > 1 {
      let sum = sums + x * lanes
      for lane in 0..<lanes { sum[lane] /= Eight(repeating: counts[x]) }
    }
  }

  /// Those of every window, window after window.
  package var patches: (rows: Int, columns: Int) { (plan.origins.count * cells.rows, cells.columns) }

  package func patchRow(
    _ engine: Engine, _ index: Int, scratch: UnsafeMutablePointer<Float>,
    into out: UnsafeMutablePointer<Float>
  ) {
    let length = cells.columns * stride
    out.update(from: values + index * length, count: length)
  }

  /// Rows of the arena begin on whole cache lines.
  @inline(__always)
  private func eights(_ floats: UnsafeMutablePointer<Float>) -> UnsafeMutablePointer<Eight> {
    UnsafeMutableRawPointer(floats).assumingMemoryBound(to: Eight.self)
  }
}
