// Keys and values of one head, packed once, for one strip of queries after another.

/// Keys and values of one head.
///
/// - Shapes: keys, values [tokens, width].
/// - Memory: those of `KeyMatrix` and `ValueMatrix`, and one row.
package struct HeadMemory {
  package let keys: KeyMatrix
  /// Nil where only similarities are wanted.
  package let values: ValueMatrix?
  private let center: UnsafeMutablePointer<Float>

  package init(
    _ arena: Arena, engine: Engine, tokens: Int, width: Int, keepsValues: Bool = true
  ) throws(ComputeError) {
    keys = try KeyMatrix(arena, engine: engine, count: tokens, width: width)
    values = keepsValues ? try ValueMatrix(arena, engine: engine, count: tokens, width: width) : nil
    center = try arena.floats(width)
  }

  /// Packs keys, their mean taken off (a softmax does not see it, the INT8 scale does), and values.
  ///
  /// - Shapes: `k`, `v` [tokens, width].
  /// - Parameter sharing: two threads share the work, where nothing else runs.
  package func load(_ engine: Engine, k: Rows, v: Rows, sharing: Bool = false) {
    k.columnMeans(into: center)
    let packKeys = { engine.packKeys(k, center: center, into: keys) }
    let packValues = { if let values { engine.packValues(v, into: values) } }
    if sharing {
      engine.pool.run(count: 2, chunk: 1) { range, _ in range.lowerBound == 0 ? packKeys() : packValues() }
    } else {
      packKeys()
      packValues()
    }
  }
}
