// A product with a layer's weights the other way round: what a gradient behind a linear layer becomes in
// front of it. A few channels at a time are expanded to floats; weights are read once, in their own order.
import CKernels

/// One worker's room: some channels of a few columns.
///
/// - Memory: 16 KiB.
package struct BackScratch {
  /// Channels expanded together, and columns a worker takes at a time.
  static let side = 64
  let weights: UnsafeMutablePointer<Float>

  package init(_ arena: Arena) throws(ComputeError) { weights = try arena.floats(Self.side * Self.side) }
}

extension PreparedRows {
  /// The same rows where another worker's scratch has the room to expand weights in.
  package func expanding(in own: RowScratch) -> PreparedRows {
    PreparedRows(
      rows: rows, bytes: bytes, lowBytes: lowBytes, stride: stride, float: float, floatStride: floatStride,
      weights: own.weights)
  }
}

extension Engine {
  /// A few rows through a layer, its channels shared out among the threads.
  ///
  /// - Shapes: rows [rows, inputs]; out [rows, outputs]. `rooms`: a scratch a worker, as deep as the layer.
  package func linearByChannels(
    _ layer: PackedLinear, _ rows: PreparedRows, accumulate: Bool = false, _ rooms: [RowScratch],
    into out: Rows
  ) {
    let chunk = RowScratch.weightChunk
    pool.run(count: ceilDivide(layer.outputs, by: chunk), chunk: 1) { range, worker in
      let channels = range.lowerBound * chunk..<min(range.upperBound * chunk, layer.outputs)
      linear(
        layer, rows.expanding(in: rooms[worker]), channels: channels, accumulate: accumulate,
        into: out.columns(channels))
    }
  }

  /// out = (out +) dy W, in float on expanded weights; its order of sums depends on nothing but the shapes.
  ///
  /// - Shapes: `dy` [rows, outputs]; `out` [rows, columns.count]; `columns` of the inputs, starting at a
  ///   multiple of 4. `rooms`: one a worker.
  /// - Memory: allocates nothing.
  package func linearBack(
    _ layer: PackedLinear, _ dy: Rows, columns: Range<Int>? = nil, accumulate: Bool = false,
    _ rooms: [BackScratch], into out: Rows
  ) {
    let (columns, side) = (columns ?? 0..<layer.inputs, BackScratch.side)
    precondition(dy.width == layer.outputs && out.count == dy.count, "shapes of a gradient")
    precondition(
      columns.lowerBound % 4 == 0 && columns.upperBound <= layer.inputs && out.width == columns.count,
      "columns of a gradient")
    pool.run(count: columns.count, chunk: side) { part, worker in
      let target = out.columns(part)
      // Columns lie side by side in a panel, four to a group of 64 bytes.
      var panels = ck_panels(
        weight: layer.panels.weight + 16 * (columns.lowerBound + part.lowerBound), scale: layer.panels.scale,
        sum: layer.panels.sum, bias: nil, depth: layer.panels.depth, panel_count: layer.panels.panel_count)
      for first in stride(from: 0, to: layer.outputs, by: side) {
        let count = min(side, layer.outputs - first)
        let weights = Rows(rooms[worker].weights, count: count, width: part.count)
        table.pointee.unpack_rows(&panels, first, first + count, part.count, weights.base, weights.width)
        productNN(
          dy.columns(first..<first + count), weights, accumulate: accumulate || first > 0, into: target)
      }
    }
  }
}
