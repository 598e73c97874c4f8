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
  let float: UnsafeMutablePointer<Float>?

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
      float = nil
    } else {
      weight = nil
      scale = nil
      sum = nil
      float = try arena.floats(count * width)
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
  let float: UnsafeMutablePointer<Float>?

  var depth: Int { roundUp(count, to: 64) }

  package init(_ arena: Arena, engine: Engine, count: Int, width: Int) throws(ComputeError) {
    self.count = count
    self.width = width
    let padded = roundUp(width, to: 16)
    if engine.isInteger {
      weight = try arena.reserve(Int8.self, padded * roundUp(count, to: 64))
      scale = try arena.floats(padded)
      sum = try arena.reserve(Int32.self, padded)
      float = nil
    } else {
      weight = nil
      scale = nil
      sum = nil
      float = try arena.floats(count * width)
    }
  }

  var panels: ck_panels {
    ck_panels(
      weight: weight, scale: scale, sum: sum, bias: nil, depth: depth, panel_count: ceilDivide(width, by: 16))
  }
}

/// One worker's room for a strip of queries.
///
/// - Memory: int8: rows * (keys + 64) bytes of weights, and rows * keys * 4 bytes of logits where they are asked for; float32: the logits.
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

  /// Probabilities or their logits as floats [rows, keyStride]; only where the scratch was made to keep them, or in float32 mode.
  package var logits: UnsafeMutablePointer<Float> {
    guard let storedLogits else { preconditionFailure("attention scratch without logits") }
    return storedLogits
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
    _ x: UnsafePointer<Float>, _ stride: Int, range: Range<Int>, center: UnsafePointer<Float>? = nil,
    into keys: KeyMatrix
  ) {
    if let weight = keys.weight, let scale = keys.scale, let sum = keys.sum {
      table.pointee.pack_rows(
        x, stride, keys.count, range.lowerBound, range.upperBound, keys.width, center, weight, scale, sum, keys.depth)
    } else if let float = keys.float {
      for row in range {
        (float + row * keys.width).update(from: x + row * stride, count: keys.width)
        guard let center else { continue }
        for column in 0..<keys.width { float[row * keys.width + column] -= center[column] }
      }
    }
  }

  /// Stores all rows of x as values.
  package func packValues(_ x: UnsafePointer<Float>, _ stride: Int, into values: ValueMatrix) {
    if let weight = values.weight, let scale = values.scale, let sum = values.sum {
      table.pointee.pack_columns(x, stride, values.count, values.width, weight, scale, sum, values.depth)
    } else if let float = values.float {
      for row in 0..<values.count {
        (float + row * values.width).update(from: x + row * stride, count: values.width)
      }
    }
  }

  /// out [rows, keys] = q . k for every pair.
  package func similarities(
    _ q: UnsafePointer<Float>, _ qStride: Int, rows: Int, keys: KeyMatrix, _ scratch: RowScratch,
    out: UnsafeMutablePointer<Float>, _ outStride: Int
  ) {
    if isInteger {
      let prepared = prepare(q, qStride, rows: rows, columns: keys.width, scratch)
      var panels = keys.panels
      var epilogue = ck_epilogue(activation: CK_ACTIVATION_NONE, accumulate: 0)
      table.pointee.gemm_s8(
        prepared.quantized, prepared.stride, prepared.scale, rows, &panels, 0, panels.panel_count, keys.count,
        &epilogue, out, outStride)
    } else if let float = keys.float {
      productFloat(
        q, qStride, float, keys.width, transposed: true, rows: rows, columns: keys.count, depth: keys.width,
        accumulate: false, out: out, outStride)
    }
  }

  /// out [rows, width] = p v / rowSum(p), p being the numerators in `scratch.logits` and their sums in `scratch.rowSum`.
  package func weightedValues(
    rows: Int, values: ValueMatrix, _ scratch: AttentionScratch, out: UnsafeMutablePointer<Float>, _ outStride: Int
  ) {
    let sums = scratch.rowSum
    if let weights = scratch.weights, let blockScale = scratch.blockScale {
      let depth = values.depth
      table.pointee.quantize_blocks(
        scratch.logits, scratch.keyStride, rows, values.count, AttentionScratch.block, weights,
        scratch.weightStride, blockScale, ceilDivide(depth, by: AttentionScratch.block), sums)
      mix(rows: rows, values: values, weights, scratch.weightStride, blockScale, sums, out: out, outStride)
    } else if let float = values.float {
      productFloat(
        scratch.logits, scratch.keyStride, float, values.width, transposed: false, rows: rows,
        columns: values.width, depth: values.count, accumulate: false, out: out, outStride)
      for row in 0..<rows {
        let factor = 1 / sums[row]
        for column in 0..<values.width { out[row * outStride + column] *= factor }
      }
    }
  }

  /// out = weights v / sums, weights being bytes with a scale for each block.
  private func mix(
    rows: Int, values: ValueMatrix, _ weights: UnsafePointer<Int8>, _ stride: Int, _ blockScale: UnsafePointer<Float>,
    _ sums: UnsafeMutablePointer<Float>, out: UnsafeMutablePointer<Float>, _ outStride: Int
  ) {
    for row in 0..<rows { sums[row] = 1 / sums[row] }
    var panels = values.panels
    table.pointee.gemm_s8_blocks(
      weights, stride, blockScale, AttentionScratch.block,
      ceilDivide(values.depth, by: AttentionScratch.block), values.count, rows, &panels, values.width, sums, out, outStride)
  }

  /// One strip of one head: out = softmax(factor * q k^T + bias) v.
  ///
  /// - Shapes: `q` [rows, width]; `out` [rows, width], overwritten.
  /// - Memory: allocates nothing.
  package func attend(
    _ q: UnsafePointer<Float>, _ qStride: Int, rows: Int, keys: KeyMatrix, values: ValueMatrix, factor: Float,
    bias: RelativeBias? = nil, _ scratch: AttentionScratch, out: UnsafeMutablePointer<Float>, _ outStride: Int
  ) {
    precondition(rows <= scratch.rowCapacity && keys.count <= scratch.keyStride, "attention scratch too small")
    precondition((bias?.gridWidth ?? 1) <= AttentionScratch.widestGrid, "grid too wide for relative positions")
    if let weights = scratch.weights, let blockScale = scratch.blockScale, let blockPart = scratch.blockPart {
      let prepared = prepare(q, qStride, rows: rows, columns: keys.width, scratch.query)
      var panels = keys.panels
      table.pointee.softmax_weights(
        table, prepared.quantized, prepared.stride, prepared.scale, rows, &panels, keys.count, factor, bias?.vertical,
        bias?.horizontal, bias?.gridWidth ?? 1, weights, scratch.weightStride, blockScale, blockPart,
        ceilDivide(values.depth, by: AttentionScratch.block), scratch.rowSum)
      mix(
        rows: rows, values: values, weights, scratch.weightStride, blockScale, scratch.rowSum, out: out, outStride)
      return
    }
    similarities(q, qStride, rows: rows, keys: keys, scratch.query, out: scratch.logits, scratch.keyStride)
    expRows(
      scratch.logits, scratch.keyStride, rows: rows, keys: keys.count, factor: factor, bias: bias,
      rowSum: scratch.rowSum)
    weightedValues(rows: rows, values: values, scratch, out: out, outStride)
  }
}
