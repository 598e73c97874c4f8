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

  /// Stores some rows' columns from `column` on.
  package func store(_ engine: Engine, _ x: Rows, at row: Int, column: Int = 0) {
    precondition(row >= 0 && row + x.count <= count && column + x.width <= width, "outside the stored rows")
    let isWhole = x.width == width && x.stride == width
    for index in 0..<(isWhole ? 1 : x.count) {
      let at = (row + index) * width + column
      let length = isWhole ? x.count * width : x.width
      if let halves { engine.toHalf(x.row(index), length, halves + at) }
      if let floats { (floats + at).update(from: x.row(index), count: length) }
    }
  }

  /// Whole rows as floats.
  ///
  /// - Shapes: `out` [range.count, width], dense, overwritten.
  package func load(_ engine: Engine, _ range: Range<Int>, into out: Rows) {
    precondition(range.upperBound <= count && out.count == range.count, "outside the stored rows")
    precondition(out.width == width && out.stride == width, "stored rows load dense")
    let at = range.lowerBound * width
    if let halves { engine.fromHalf(halves + at, range.count * width, out.base) }
    if let floats { out.base.update(from: floats + at, count: range.count * width) }
  }

  /// Floats of whole rows where they lie, or converted into `scratch` [range.count, width].
  package func rows(_ engine: Engine, _ range: Range<Int>, scratch: UnsafeMutablePointer<Float>) -> Rows {
    if let floats { return Rows(floats + range.lowerBound * width, count: range.count, width: width) }
    let out = Rows(scratch, count: range.count, width: width)
    load(engine, range, into: out)
    return out
  }

  /// No element is infinite or no number.
  package var isFinite: Bool {
    if let floats { return allFinite(floats, count * width) }
    guard let halves else { return true }
    var isFinite = true
    for index in 0..<count * width { isFinite = isFinite && halves[index] & 0x7C00 != 0x7C00 }
    return isFinite
  }

  /// The same rows where the arena stands now, below where they were.
  package func moved(down arena: Arena, _ engine: Engine) throws(ComputeError) -> StoredRows {
    let low = try StoredRows(arena, engine, count: count, width: width)
    if arena.isCounting { return low }
    if let halves, let target = low.halves, target != halves {
      target.update(from: halves, count: count * width)
    }
    if let floats, let target = low.floats, target != floats {
      target.update(from: floats, count: count * width)
    }
    return low
  }
}
