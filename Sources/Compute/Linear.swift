// Linear layers on packed INT8 weights: rows are prepared once (quantized, or normalized in float32 mode) and
// then meet any number of layers.
//
// Fine rows hold two bytes a value: the first is what plain rows hold, the second quantizes what the first
// left, x ~ scale * high + lowScale * low. Their product is two products with the same weights. Each is an
// exact integer on every path; they meet as floats, the small one first. The error of a value falls 254
// times.
import CKernels

/// A linear layer as it lies in the model file.
///
/// - Shapes: weights [outputs, inputs] in panels; both padded (outputs to 16, inputs to 64).
package struct PackedLinear {
  package let inputs: Int
  package let outputs: Int
  package let panels: ck_panels

  package var depth: Int { panels.depth }
  fileprivate var withoutBias: PackedLinear {
    PackedLinear(
      inputs: inputs, outputs: outputs, weight: panels.weight, scale: panels.scale, sum: panels.sum, bias: nil
    )
  }

  package init(
    inputs: Int, outputs: Int, weight: UnsafePointer<Int8>, scale: UnsafePointer<Float>,
    sum: UnsafePointer<Int32>,
    bias: UnsafePointer<Float>?
  ) {
    self.inputs = inputs
    self.outputs = outputs
    panels = ck_panels(
      weight: weight, scale: scale, sum: sum, bias: bias, depth: roundUp(inputs, to: 64),
      panel_count: ceilDivide(outputs, by: 16))
  }
}

/// Rows as bytes with a scale each.
struct ByteRows {
  let quantized: UnsafeMutablePointer<Int8>
  let scale: UnsafeMutablePointer<Float>

  init(_ arena: Arena, rows: Int, stride: Int) throws(ComputeError) {
    quantized = try arena.reserve(Int8.self, rows * stride)
    scale = try arena.floats(rows)
  }

  private init(_ quantized: UnsafeMutablePointer<Int8>, _ scale: UnsafeMutablePointer<Float>) {
    (self.quantized, self.scale) = (quantized, scale)
  }

  /// From one row on.
  func from(_ row: Int, stride: Int) -> ByteRows { ByteRows(quantized + row * stride, scale + row) }
}

/// Room for one worker's prepared rows.
///
/// - Memory: int8: rows * (depth + 4) bytes (64 more where depth is a multiple of 2048), twice for fine rows,
///   and one float row; float32: rows * depth floats and a chunk of expanded weights.
package struct RowScratch {
  package static let weightChunk = 128

  package let rowCapacity: Int
  package let depth: Int
  let bytes: ByteRows?
  /// Second bytes, of fine rows.
  let lowBytes: ByteRows?
  let float: UnsafeMutablePointer<Float>
  let weights: UnsafeMutablePointer<Float>?

  /// Bytes from one quantized row to the next: multiples of 2048 would crowd the rows of a tile into a few
  /// sets of the first cache.
  static func stride(_ depth: Int) -> Int { depth % 2048 == 0 ? depth + 64 : depth }

  /// `isFine`: whether rows are prepared in two bytes a value; without a meaning in float32 mode.
  package init(
    _ arena: Arena, engine: Engine, rows: Int, depth unpadded: Int, isFine: Bool = false
  ) throws(ComputeError) {
    rowCapacity = rows
    depth = roundUp(unpadded, to: 64)
    if engine.isInteger {
      bytes = try ByteRows(arena, rows: rows, stride: Self.stride(depth))
      lowBytes = isFine ? try ByteRows(arena, rows: rows, stride: Self.stride(depth)) : nil
      float = try arena.floats(depth)
      weights = nil
    } else {
      bytes = nil
      lowBytes = nil
      float = try arena.floats(rows * depth)
      weights = try arena.floats(Self.weightChunk * depth)
    }
  }
}

extension RowScratch {
  /// Some rows that `prepare` filled.
  ///
  /// Several workers may read one scratch; each then names a scratch of its own in `expanding`, whose room
  /// float32 mode expands weights in.
  package func prepared(_ rows: Range<Int>, width: Int, expanding own: RowScratch? = nil) -> PreparedRows {
    let depth = roundUp(width, to: 64)
    let stride = Self.stride(depth)
    precondition(rows.upperBound <= rowCapacity && depth <= self.depth, "rows outside the scratch")
    return PreparedRows(
      rows: rows.count, bytes: bytes?.from(rows.lowerBound, stride: stride),
      lowBytes: lowBytes?.from(rows.lowerBound, stride: stride), stride: stride,
      float: UnsafePointer(float + rows.lowerBound * depth), floatStride: depth,
      weights: (own ?? self).weights)
  }
}

/// Rows ready for a product: quantized (int8) or plain (float32).
package struct PreparedRows {
  package let rows: Int
  let bytes: ByteRows?
  let lowBytes: ByteRows?
  /// Bytes from one row to the next.
  let stride: Int
  let float: UnsafePointer<Float>?
  let floatStride: Int
  let weights: UnsafeMutablePointer<Float>?

  /// One byte a value: the first or the second of fine rows.
  fileprivate func plain(_ bytes: ByteRows) -> PreparedRows {
    PreparedRows(
      rows: rows, bytes: bytes, lowBytes: nil, stride: stride, float: float, floatStride: floatStride,
      weights: weights)
  }
}

extension Engine {
  /// Quantizes rows (int8), or lends them as they are (float32).
  package func prepare(_ x: Rows, _ scratch: RowScratch) -> PreparedRows {
    let depth = roundUp(x.width, to: 64)
    precondition(depth <= scratch.depth && x.count <= scratch.rowCapacity, "row scratch too small")
    if let bytes = scratch.bytes {
      let stride = RowScratch.stride(depth)
      table.pointee.quantize_rows(
        x.base, x.stride, x.count, x.width, bytes.quantized, stride, bytes.scale)
      if let low = scratch.lowBytes {
        for row in 0..<x.count {
          let line = UnsafePointer(x.row(row))
          quantizeRest(
            line, x.width, bytes.from(row, stride: stride), low.from(row, stride: stride), stride,
            scratch.float)
        }
      }
      return scratch.prepared(0..<x.count, width: x.width)
    }
    return PreparedRows(
      rows: x.count, bytes: nil, lowBytes: nil, stride: 0, float: UnsafePointer(x.base),
      floatStride: x.stride,
      weights: scratch.weights)
  }

  /// Second bytes of a fine row: what the first left of x, quantized like any row.
  ///
  /// - Shapes: `x` [width]; `rest` [width], overwritten; it may be x.
  private func quantizeRest(
    _ x: UnsafePointer<Float>, _ width: Int, _ high: ByteRows, _ low: ByteRows, _ stride: Int,
    _ rest: UnsafeMutablePointer<Float>
  ) {
    // Where bytes are stored with 128 added, their top bit is turned over.
    let flip: UInt8 = table.pointee.row_offset == 0 ? 0 : 0x80
    let scale = high.scale.pointee
    for column in 0..<width {
      let byte = Int8(bitPattern: UInt8(bitPattern: high.quantized[column]) ^ flip)
      rest[column] = x[column] - scale * Float(byte)
    }
    table.pointee.quantize_rows(rest, width, 1, width, low.quantized, stride, low.scale)
  }

  /// LayerNorm, then `prepare`, without storing the floats in int8 mode.
  ///
  /// - Parameters:
  ///   - row: first row of the scratch to write.
  ///   - temporary: a float row [width padded to 64] of the caller's own, where several workers fill one
  ///   scratch.
  @discardableResult
  package func prepare(
    _ x: Rows, normalizedBy norm: NormWeights, _ scratch: RowScratch, at row: Int = 0,
    temporary: UnsafeMutablePointer<Float>? = nil
  ) -> PreparedRows {
    let depth = roundUp(norm.width, to: 64)
    precondition(x.width == norm.width, "rows of another width than their norm")
    precondition(depth <= scratch.depth && row + x.count <= scratch.rowCapacity, "row scratch too small")
    observer?.observe(self, x, norm)
    let line = temporary ?? scratch.float
    let stride = RowScratch.stride(depth)
    if let bytes = scratch.bytes, let low = scratch.lowBytes {
      for index in 0..<x.count {
        let (high, low) = (bytes.from(row + index, stride: stride), low.from(row + index, stride: stride))
        normalize(x[index..<index + 1], norm, into: Rows(line, count: 1, width: norm.width))
        table.pointee.quantize_rows(line, norm.width, 1, norm.width, high.quantized, stride, high.scale)
        quantizeRest(line, norm.width, high, low, stride, line)
      }
    } else if let bytes = scratch.bytes?.from(row, stride: stride) {
      table.pointee.norm_quantize_rows(
        x.base, x.stride, x.count, norm.width, norm.weight, norm.bias, norm.epsilon, bytes.quantized, stride,
        bytes.scale, line)
    } else {
      table.pointee.norm_rows(
        x.base, x.stride, x.count, norm.width, norm.weight, norm.bias, norm.epsilon,
        scratch.float + row * depth, depth)
    }
    return scratch.prepared(row..<row + x.count, width: norm.width)
  }

  /// out = activation(rows W^T + b), or added to out.
  ///
  /// - Shapes: rows [rows, inputs]; out [rows, channels.count], `channels` starting at a multiple of 16.
  package func linear(
    _ layer: PackedLinear, _ rows: PreparedRows, channels: Range<Int>? = nil, activation: Activation = .none,
    accumulate: Bool = false, into out: Rows
  ) {
    let channels = channels ?? 0..<layer.outputs
    precondition(channels.lowerBound % 16 == 0 && channels.upperBound <= layer.outputs, "panel borders")
    precondition(out.count == rows.rows && out.width == channels.count, "a product's rows and columns")
    guard let bytes = rows.bytes else {
      linearFloat(layer, rows, channels: channels, activation: activation, accumulate: accumulate, into: out)
      return
    }
    precondition(rows.stride >= layer.depth, "prepared rows are too short for the layer")
    if let low = rows.lowBytes {
      precondition(activation == .none || !accumulate, "an activated product is not added")
      linear(layer.withoutBias, rows.plain(low), channels: channels, accumulate: accumulate, into: out)
      linear(layer, rows.plain(bytes), channels: channels, accumulate: true, into: out)
      if activation == .none { return }
      for row in 0..<out.count { activate(out.row(row), out.width, activation) }
      return
    }
    var panels = layer.panels
    var epilogue = ck_epilogue(activation: activation.raw, accumulate: accumulate ? 1 : 0)
    table.pointee.gemm_s8(
      bytes.quantized, rows.stride, bytes.scale, out.count, &panels, channels.lowerBound / 16,
      ceilDivide(channels.upperBound, by: 16), channels.upperBound, &epilogue, out.base, out.stride)
  }

  private func linearFloat(
    _ layer: PackedLinear, _ rows: PreparedRows, channels: Range<Int>, activation: Activation,
    accumulate: Bool,
    into out: Rows
  ) {
    guard let input = rows.float, let weights = rows.weights else {
      preconditionFailure("float rows without float32 precision")
    }
    precondition(activation == .none || !accumulate, "an activated product is not added")
    let x = Rows(reading: input, count: rows.rows, width: layer.inputs, stride: rows.floatStride)
    var panels = layer.panels
    var begin = channels.lowerBound
    while begin < channels.upperBound {
      let end = min(begin + RowScratch.weightChunk, channels.upperBound)
      let part = out.columns(begin - channels.lowerBound..<end - channels.lowerBound)
      table.pointee.unpack_rows(&panels, begin, end, layer.inputs, weights, layer.inputs)
      productFloat(
        x, Rows(weights, count: end - begin, width: layer.inputs), transposed: true, accumulate: accumulate,
        into: part)
      for row in 0..<rows.rows {
        let line = part.row(row)
        if let bias = layer.panels.bias {
          for channel in begin..<end { line[channel - begin] += bias[channel] }
        }
        if activation != .none { activate(line, end - begin, activation) }
      }
      begin = end
    }
  }
}
