// Linear layers on packed INT8 weights: rows are prepared once (quantized, or normalized in float32 mode) and
// then meet any number of layers.
import CKernels

/// A linear layer as it lies in the model file.
///
/// - Shapes: weights [outputs, inputs] in panels; both padded (outputs to 16, inputs to 64).
package struct PackedLinear {
  package let inputs: Int
  package let outputs: Int
  package let panels: ck_panels

  package var depth: Int { panels.depth }

  package init(
    inputs: Int, outputs: Int, weight: UnsafePointer<Int8>, scale: UnsafePointer<Float>, sum: UnsafePointer<Int32>,
    bias: UnsafePointer<Float>?
  ) {
    self.inputs = inputs
    self.outputs = outputs
    panels = ck_panels(
      weight: weight, scale: scale, sum: sum, bias: bias, depth: roundUp(inputs, to: 64),
      panel_count: ceilDivide(outputs, by: 16))
  }
}

/// Room for one worker's prepared rows.
///
/// - Memory: int8: rows * (depth + 4) bytes (64 more where depth is a multiple of 2048) and one float row; float32: rows * depth floats and a chunk of expanded weights.
package struct RowScratch {
  package static let weightChunk = 128

  package let rowCapacity: Int
  package let depth: Int
  let quantized: UnsafeMutablePointer<Int8>?
  let scale: UnsafeMutablePointer<Float>?
  let float: UnsafeMutablePointer<Float>
  let weights: UnsafeMutablePointer<Float>?

  /// Bytes from one quantized row to the next: multiples of 2048 would crowd the rows of a tile into a few sets of the first cache.
  static func stride(_ depth: Int) -> Int { depth % 2048 == 0 ? depth + 64 : depth }

  package init(_ arena: Arena, engine: Engine, rows: Int, depth unpadded: Int) throws(ComputeError) {
    rowCapacity = rows
    depth = roundUp(unpadded, to: 64)
    if engine.isInteger {
      quantized = try arena.reserve(Int8.self, rows * Self.stride(depth))
      scale = try arena.floats(rows)
      float = try arena.floats(depth)
      weights = nil
    } else {
      quantized = nil
      scale = nil
      float = try arena.floats(rows * depth)
      weights = try arena.floats(Self.weightChunk * depth)
    }
  }
}

/// Rows ready for a product: quantized (int8) or plain (float32).
package struct PreparedRows {
  package let rows: Int
  let quantized: UnsafePointer<Int8>?
  let scale: UnsafePointer<Float>?
  let stride: Int
  let float: UnsafePointer<Float>?
  let floatStride: Int
  let weights: UnsafeMutablePointer<Float>?
}

extension Engine {
  /// Quantizes rows (int8), or lends them as they are (float32).
  ///
  /// - Shapes: `x` [rows, columns].
  package func prepare(
    _ x: UnsafePointer<Float>, _ xStride: Int, rows: Int, columns: Int, _ scratch: RowScratch
  ) -> PreparedRows {
    let depth = roundUp(columns, to: 64)
    precondition(depth <= scratch.depth && rows <= scratch.rowCapacity, "row scratch too small")
    if let quantized = scratch.quantized, let scale = scratch.scale {
      let stride = RowScratch.stride(depth)
      table.pointee.quantize_rows(x, xStride, rows, columns, quantized, stride, scale)
      return PreparedRows(
        rows: rows, quantized: quantized, scale: scale, stride: stride, float: nil, floatStride: 0, weights: nil)
    }
    return PreparedRows(
      rows: rows, quantized: nil, scale: nil, stride: 0, float: x, floatStride: xStride, weights: scratch.weights)
  }

  /// LayerNorm, then `prepare`, without storing the floats in int8 mode. `at`: first row of the scratch to write.
  /// `temporary` [columns padded to 64]: a float row of the caller's own, where several workers fill one scratch.
  package func prepareNormalized(
    _ x: UnsafePointer<Float>, _ xStride: Int, rows: Int, _ norm: NormWeights, at row: Int = 0,
    _ scratch: RowScratch, temporary: UnsafeMutablePointer<Float>? = nil
  ) {
    let depth = roundUp(norm.width, to: 64)
    precondition(depth <= scratch.depth && row + rows <= scratch.rowCapacity, "row scratch too small")
    observer?.observe(self, x, xStride, rows: rows, norm)
    if let quantized = scratch.quantized, let scale = scratch.scale {
      let stride = RowScratch.stride(depth)
      table.pointee.norm_quantize_rows(
        x, xStride, rows, norm.width, norm.weight, norm.bias, norm.epsilon, quantized + row * stride, stride,
        scale + row, temporary ?? scratch.float)
    } else {
      table.pointee.norm_rows(
        x, xStride, rows, norm.width, norm.weight, norm.bias, norm.epsilon, scratch.float + row * depth, depth)
    }
  }

  /// The scratch rows that `prepareNormalized` filled.
  ///
  /// Several workers may read one scratch; each then names a scratch of its own in `expanding`, whose room float32 mode
  /// expands weights in.
  package func prepared(
    rows: Int, columns: Int, from row: Int = 0, _ scratch: RowScratch, expanding own: RowScratch? = nil
  ) -> PreparedRows {
    let depth = roundUp(columns, to: 64)
    let stride = RowScratch.stride(depth)
    return PreparedRows(
      rows: rows, quantized: scratch.quantized.map { UnsafePointer($0 + row * stride) },
      scale: scratch.scale.map { UnsafePointer($0 + row) }, stride: stride,
      float: UnsafePointer(scratch.float + row * depth), floatStride: depth, weights: (own ?? scratch).weights)
  }

  /// out = activation(rows W^T + b), or added to out.
  ///
  /// - Shapes: rows [rows, inputs]; out [rows, channels.count], `channels` starting at a multiple of 16.
  package func linear(
    _ layer: PackedLinear, _ rows: PreparedRows, channels: Range<Int>? = nil, activation: Activation = .none,
    accumulate: Bool = false, out: UnsafeMutablePointer<Float>, _ outStride: Int
  ) {
    let channels = channels ?? 0..<layer.outputs
    precondition(channels.lowerBound % 16 == 0 && channels.upperBound <= layer.outputs, "panel borders")
    if let quantized = rows.quantized, let scale = rows.scale {
      precondition(rows.stride >= layer.depth, "prepared rows are too short for the layer")
      var panels = layer.panels
      var epilogue = ck_epilogue(activation: activation.raw, accumulate: accumulate ? 1 : 0)
      table.pointee.gemm_s8(
        quantized, rows.stride, scale, rows.rows, &panels, channels.lowerBound / 16,
        ceilDivide(channels.upperBound, by: 16), channels.upperBound, &epilogue, out, outStride)
    } else {
      linearFloat(
        layer, rows, channels: channels, activation: activation, accumulate: accumulate, out: out, outStride)
    }
  }

  private func linearFloat(
    _ layer: PackedLinear, _ rows: PreparedRows, channels: Range<Int>, activation: Activation, accumulate: Bool,
    out: UnsafeMutablePointer<Float>, _ outStride: Int
  ) {
    guard let input = rows.float, let weights = rows.weights else {
      preconditionFailure("float rows without float32 precision")
    }
    precondition(activation == .none || !accumulate, "an activated product is not added")
    var panels = layer.panels
    var begin = channels.lowerBound
    while begin < channels.upperBound {
      let end = min(begin + RowScratch.weightChunk, channels.upperBound)
      let part = out + (begin - channels.lowerBound)
      table.pointee.unpack_rows(&panels, begin, end, layer.inputs, weights, layer.inputs)
      productFloat(
        input, rows.floatStride, weights, layer.inputs, transposed: true, rows: rows.rows, columns: end - begin,
        depth: layer.inputs, accumulate: accumulate, out: part, outStride)
      for row in 0..<rows.rows {
        let line = part + row * outStride
        if let bias = layer.panels.bias {
          for channel in begin..<end { line[channel - begin] += bias[channel] }
        }
        if activation != .none { activate(line, end - begin, activation) }
      }
      begin = end
    }
  }
}
