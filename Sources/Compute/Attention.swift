// Keys, values and the strip that meets them: softmax(q k^T) v for a few queries at a time, never more.
import CKernels

/// Rows that queries are compared with (keys, or unit features).
///
/// - Shapes: [count, width].
/// - Memory: int8: count * width bytes and 8 bytes a row; float32: count * width floats.
package struct KeyMatrix {
  package let count: Int
  package let width: Int
  let weight: UnsafeMutablePointer<Int8>?
  let scale: UnsafeMutablePointer<Float>?
  let sum: UnsafeMutablePointer<Int32>?
  let rows: Rows?

  private var paddedCount: Int { roundUp(count, to: 16) }
  var depth: Int { roundUp(width, to: 64) }

  package init(_ arena: Arena, engine: Engine, count: Int, width: Int) throws(ComputeError) {
    self.count = count
    self.width = width
    let padded = roundUp(count, to: 16)
    if engine.isInteger {
      weight = try arena.reserve(Int8.self, padded * roundUp(width, to: 64))
      scale = try arena.floats(padded)
      sum = try arena.reserve(Int32.self, padded)
      rows = nil
    } else {
      weight = nil
      scale = nil
      sum = nil
      rows = try arena.rows(count, width)
    }
  }

  var panels: ck_panels {
    ck_panels(
      weight: weight, scale: scale, sum: sum, bias: nil, depth: depth, panel_count: paddedCount / 16)
  }
}

/// Rows that are averaged with weights (values).
///
/// - Shapes: [count, width].
/// - Memory: int8: count (padded to 64) * width (padded to 16) bytes; float32: count * width floats.
package struct ValueMatrix {
  package let count: Int
  package let width: Int
  let weight: UnsafeMutablePointer<Int8>?
  let scale: UnsafeMutablePointer<Float>?
  let sum: UnsafeMutablePointer<Int32>?
  let rows: Rows?

  var depth: Int { roundUp(count, to: 64) }

  package init(_ arena: Arena, engine: Engine, count: Int, width: Int) throws(ComputeError) {
    self.count = count
    self.width = width
    let padded = roundUp(width, to: 16)
    if engine.isInteger {
      weight = try arena.reserve(Int8.self, padded * roundUp(count, to: 64))
      scale = try arena.floats(padded)
      sum = try arena.reserve(Int32.self, padded)
      rows = nil
    } else {
      weight = nil
      scale = nil
      sum = nil
      rows = try arena.rows(count, width)
    }
  }

  var panels: ck_panels {
    ck_panels(
      weight: weight, scale: scale, sum: sum, bias: nil, depth: depth, panel_count: ceilDivide(width, by: 16))
  }
}

/// One worker's room for a strip of queries.
///
/// - Memory: int8: rows * (keys + 64) bytes of weights, and rows * keys * 4 bytes of logits where they are
///   asked for; float32: the logits.
package struct AttentionScratch {
  package static let block = CK_SOFTMAX_BLOCK
  /// The widest grid of keys that relative positions may name.
  package static let widestGrid = CK_SOFTMAX_GRID

  package let rowCapacity: Int
  package let keyStride: Int
  /// Of weights: rows of 4096 bytes would share a few lines of the first cache.
  private(set) var weightStride = 0
  private let storedLogits: UnsafeMutablePointer<Float>?
  package let rowSum: UnsafeMutablePointer<Float>
  package let query: RowScratch
  let weights: UnsafeMutablePointer<Int8>?
  let blockScale: UnsafeMutablePointer<Float>?
  let blockPart: UnsafeMutablePointer<Float>?

  /// Probabilities or their logits as floats [rows, keyStride]; only where the scratch was made to keep them,
  /// or in float32 mode.
  var logits: UnsafeMutablePointer<Float> {
    guard let storedLogits else { preconditionFailure("attention scratch without logits") }
    return storedLogits
  }

  /// The first logits of the first rows.
  package func logits(rows: Int, keys: Int) -> Rows {
    precondition(rows <= rowCapacity && keys <= keyStride, "attention scratch too small")
    return Rows(logits, count: rows, width: keys, stride: keyStride)
  }

  /// `keepsLogits`: whether logits are wanted as floats, and not `attend` alone.
  package init(
    _ arena: Arena, engine: Engine, rows: Int, keys: Int, width: Int, keepsLogits: Bool
  ) throws(ComputeError) {
    rowCapacity = rows
    keyStride = roundUp(keys, to: 64)
    storedLogits = keepsLogits || !engine.isInteger ? try arena.floats(rows * keyStride) : nil
    rowSum = try arena.floats(rows)
    query = try RowScratch(arena, engine: engine, rows: rows, depth: width)
    if engine.isInteger {
      weightStride = keyStride + 64
      weights = try arena.reserve(Int8.self, rows * weightStride)
      blockScale = try arena.floats(rows * ceilDivide(keyStride, by: Self.block))
      blockPart = try arena.floats(rows * ceilDivide(keyStride, by: Self.block))
    } else {
      weights = nil
      blockScale = nil
      blockPart = nil
    }
  }
}

extension Engine {
  /// Stores rows `range` (starting at a multiple of 16) of x as keys; `center` [width] is subtracted first.
  package func packKeys(
    _ x: Rows, range: Range<Int>? = nil, center: UnsafePointer<Float>? = nil, into keys: KeyMatrix
  ) {
    precondition(x.count == keys.count && x.width == keys.width, "keys of another shape")
    let range = range ?? 0..<keys.count
    if let weight = keys.weight, let scale = keys.scale, let sum = keys.sum {
      table.pointee.pack_rows(
        x.base, x.stride, keys.count, range.lowerBound, range.upperBound, keys.width, center, weight, scale,
        sum,
        keys.depth)
    } else if let float = keys.rows {
      for row in range {
        let line = float.row(row)
        line.update(from: x.row(row), count: keys.width)
        guard let center else { continue }
        for column in 0..<keys.width { line[column] -= center[column] }
      }
    }
  }

  /// Stores all rows of x as values.
  package func packValues(_ x: Rows, into values: ValueMatrix) {
    precondition(x.count == values.count && x.width == values.width, "values of another shape")
    if let weight = values.weight, let scale = values.scale, let sum = values.sum {
      table.pointee.pack_columns(
        x.base, x.stride, values.count, values.width, weight, scale, sum, values.depth)
    } else {
      values.rows?.update(from: x)
    }
  }

  /// out [rows, keys] = q . k for every pair.
  package func similarities(_ q: Rows, keys: KeyMatrix, _ scratch: RowScratch, into out: Rows) {
    precondition(out.count == q.count && out.width == keys.count, "shapes of similarities")
    if isInteger {
      let prepared = prepare(q, scratch)
      var panels = keys.panels
      var epilogue = ck_epilogue(activation: CK_ACTIVATION_NONE, accumulate: 0)
      table.pointee.gemm_s8(
        prepared.bytes?.quantized, prepared.stride, prepared.bytes?.scale, q.count, &panels, 0,
        panels.panel_count,
        keys.count,
        &epilogue, out.base, out.stride)
    } else if let float = keys.rows {
      productFloat(q, float, transposed: true, accumulate: false, into: out)
    }
  }

  /// out = p v / rowSum(p), p being the numerators in `scratch.logits` and their sums in `scratch.rowSum`.
  ///
  /// - Shapes: `out` [rows, width], overwritten; as many rows of numerators.
  package func weightedValues(_ values: ValueMatrix, _ scratch: AttentionScratch, into out: Rows) {
    let sums = scratch.rowSum
    if let weights = scratch.weights, let blockScale = scratch.blockScale {
      let depth = values.depth
      table.pointee.quantize_blocks(
        scratch.logits, scratch.keyStride, out.count, values.count, AttentionScratch.block, weights,
        scratch.weightStride, blockScale, ceilDivide(depth, by: AttentionScratch.block), sums)
      mix(values, scratch, into: out)
    } else if let float = values.rows {
      productFloat(
        scratch.logits(rows: out.count, keys: values.count), float, transposed: false, accumulate: false,
        into: out)
      out.divide(by: sums)
    }
  }

  /// out = weights v / sums, the scratch's weights being bytes with a scale for each block. The scratch's row
  /// sums are spent: they become their reciprocals.
  private func mix(_ values: ValueMatrix, _ scratch: AttentionScratch, into out: Rows) {
    precondition(out.width == values.width && out.count <= scratch.rowCapacity, "shapes of mixed values")
    for row in 0..<out.count { scratch.rowSum[row] = 1 / scratch.rowSum[row] }
    var panels = values.panels
    table.pointee.gemm_s8_blocks(
      scratch.weights, scratch.weightStride, scratch.blockScale, AttentionScratch.block,
      ceilDivide(values.depth, by: AttentionScratch.block), values.count, out.count, &panels, values.width,
      scratch.rowSum, out.base, out.stride)
  }

  /// One strip of one head: out = softmax(factor * q k^T + bias) v.
  ///
  /// - Shapes: `q` [rows, width]; `out` [rows, width], overwritten.
  /// - Memory: allocates nothing.
  package func attend(
    _ q: Rows, _ head: HeadMemory, factor: Float, bias: RelativeBias? = nil, _ scratch: AttentionScratch,
    into out: Rows
  ) {
    guard let values = head.values else { preconditionFailure("keys without values") }
    let keys = head.keys
    precondition(
      q.count <= scratch.rowCapacity && keys.count <= scratch.keyStride, "attention scratch too small")
    precondition(
      (bias?.gridWidth ?? 1) <= AttentionScratch.widestGrid, "grid too wide for relative positions")
    precondition(out.count == q.count, "as many answers as queries")
    if let weights = scratch.weights, let blockScale = scratch.blockScale, let blockPart = scratch.blockPart {
      let prepared = prepare(q, scratch.query)
      var panels = keys.panels
      table.pointee.softmax_weights(
        table, prepared.bytes?.quantized, prepared.stride, prepared.bytes?.scale, q.count, &panels,
        keys.count, factor,
        bias?.vertical, bias?.horizontal, bias?.gridWidth ?? 1, weights, scratch.weightStride, blockScale,
        blockPart,
        ceilDivide(values.depth, by: AttentionScratch.block), scratch.rowSum)
      mix(values, scratch, into: out)
      return
    }
    let logits = scratch.logits(rows: q.count, keys: keys.count)
    similarities(q, keys: keys, scratch.query, into: logits)
    expRows(logits, factor: factor, bias: bias, rowSum: scratch.rowSum)
    weightedValues(values, scratch, into: out)
  }

  /// sum += the weights with which the last `attend` in this scratch mixed values, rows of which sum to one
  /// over all keys.
  ///
  /// - Shapes: `sum` [rows, keys - firstKey]: the scratch's rows from `first` on, its keys from `firstKey`
  ///   on.
  /// - Memory: allocates nothing.
  package func addWeights(_ scratch: AttentionScratch, from first: Int, firstKey: Int, into sum: Rows) {
    let keys = firstKey + sum.width
    precondition(
      first + sum.count <= scratch.rowCapacity && roundUp(keys, to: 64) == scratch.keyStride,
      "weights of another shape")
    let blocks = ceilDivide(scratch.keyStride, by: AttentionScratch.block)
    for row in 0..<sum.count {
      let (line, at) = (sum.row(row), first + row)
      if let weights = scratch.weights, let blockScale = scratch.blockScale {
        let bytes = weights + at * scratch.weightStride
        for block in 0..<blocks {
          // `mix` left the reciprocal of the row's sum.
          let factor = blockScale[at * blocks + block] * scratch.rowSum[at]
          let range =
            max(
              block * AttentionScratch.block, firstKey)..<min(
              (block + 1) * AttentionScratch.block, keys)
          for key in range { line[key - firstKey] += Float(bytes[key]) * factor }
        }
      } else {
        let (numerators, factor) = (scratch.logits + at * scratch.keyStride, 1 / scratch.rowSum[at])
        for key in firstKey..<keys { line[key - firstKey] += numerators[key] * factor }
      }
    }
  }
}
