// Attention of one head: its keys and values are packed once, then meet a strip of queries after another.
import Compute

/// Keys and values of one head.
///
/// - Shapes: keys, values [tokens, width].
/// - Memory: those of `KeyMatrix` and `ValueMatrix`, and one row.
package struct HeadMemory {
  package let keys: KeyMatrix
  /// Nil where only similarities are wanted.
  package let values: ValueMatrix?
  private let center: UnsafeMutablePointer<Float>

  package init(_ run: RunContext, tokens: Int, width: Int, keepsValues: Bool = true) throws(ComputeError) {
    keys = try KeyMatrix(run.arena, engine: run.engine, count: tokens, width: width)
    values = keepsValues ? try ValueMatrix(run.arena, engine: run.engine, count: tokens, width: width) : nil
    center = try run.arena.floats(width)
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

  /// out = softmax(scale q k^T + bias) v for one strip of queries.
  ///
  /// - Shapes: `q`, `out` [rows, width], at most as many rows as the strip has.
  @inline(__always)
  package func attend(
    _ engine: Engine, q: Rows, scale: Float, bias: RelativeBias? = nil, _ strip: AttentionScratch,
    into out: Rows
  ) {
    guard let values else { preconditionFailure("keys without values") }
    engine.attend(q, keys: keys, values: values, factor: scale, bias: bias, strip, into: out)
  }
}
