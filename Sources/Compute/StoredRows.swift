// Rows between stages in half the memory.

/// Rows kept as IEEE halves (int8 precision) or as they are (float32).
///
/// - Shapes: [count, width].
/// - Memory: count * width * 2 or 4 bytes of an arena.
/// - Errors: an arena that is too small throws.
package struct StoredRows {
  package let count: Int
  package let width: Int
  private let halves: UnsafeMutablePointer<UInt16>?
  private let floats: UnsafeMutablePointer<Float>?

  package init(_ arena: Arena, _ engine: Engine, count: Int, width: Int) throws(ComputeError) {
    self.count = count
    self.width = width
    halves = engine.isInteger ? try arena.reserve(UInt16.self, count * width) : nil
    floats = engine.isInteger ? nil : try arena.floats(count * width)
  }

  /// Whether `load` has to convert: what it is given to work in is then used.
  package var isConverted: Bool { halves != nil }

  /// Stores `part` columns of some rows from `column` on.
  ///
  /// - Shapes: `x` [rows, part].
  package func store(
    _ engine: Engine, _ x: UnsafePointer<Float>, rows: Int, at row: Int, column: Int = 0, width part: Int
  ) {
    precondition(row >= 0 && row + rows <= count && column + part <= width, "outside the stored rows")
    let isWhole = part == width
    for index in 0..<(isWhole ? 1 : rows) {
      let at = (row + index) * width + column
      let length = isWhole ? rows * width : part
      if let halves { engine.toHalf(x + index * part, length, halves + at) }
      if let floats { (floats + at).update(from: x + index * part, count: length) }
    }
  }

  /// Whole rows as floats.
  ///
  /// - Shapes: `out` [rows.count, width], overwritten.
  package func load(_ engine: Engine, rows: Range<Int>, into out: UnsafeMutablePointer<Float>) {
    let at = rows.lowerBound * width
    if let halves { engine.fromHalf(halves + at, rows.count * width, out) }
    if let floats { out.update(from: floats + at, count: rows.count * width) }
  }

  /// Floats of whole rows where they lie, or converted into `scratch` [rows.count, width].
  package func rows(
    _ engine: Engine, _ rows: Range<Int>, scratch: UnsafeMutablePointer<Float>
  ) -> UnsafePointer<Float> {
    if let floats { return UnsafePointer(floats + rows.lowerBound * width) }
    load(engine, rows: rows, into: scratch)
    return UnsafePointer(scratch)
  }

  /// The same rows where the arena stands now, below where they were.
  package func movedDown(_ arena: Arena, _ engine: Engine) throws(ComputeError) -> StoredRows {
    let low = try StoredRows(arena, engine, count: count, width: width)
    if arena.isCounting { return low }
    if let halves, let target = low.halves, target != halves { target.update(from: halves, count: count * width) }
    if let floats, let target = low.floats, target != floats { target.update(from: floats, count: count * width) }
    return low
  }
}
