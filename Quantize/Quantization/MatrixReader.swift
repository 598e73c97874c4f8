// Reads a layer's weight as rows of outputs, whatever way round the checkpoint keeps it.

/// Rows of one weight matrix.
///
/// - Memory: nothing for rows as stored; the whole tensor for transposed ones, which are small (projections,
///   mask decoder).
final class MatrixReader {
  private let directory: TensorDirectory
  private let layer: LinearRecipe
  private var whole: [Float] = []
  private var line: [Float] = []

  init(_ directory: TensorDirectory, _ layer: LinearRecipe) throws(QuantizationError) {
    self.directory = directory
    self.layer = layer
    switch layer.weight {
    case .transposed(let name), .transposedConvolution(let name, _, _): whole = try directory.readFloat(name)
    case .convolution: line = [Float](repeating: 0, count: layer.columns)
    case .rows: break
    }
  }

  /// Reads `rows` of the unpadded matrix.
  ///
  /// - Shapes: `out` [rows.count, layer.columns].
  func read(_ rows: Range<Int>, into out: UnsafeMutablePointer<Float>) throws(QuantizationError) {
    try readStored(rows, into: out)
    scaleRows(rows, out)
    guard let suppressed = layer.suppressed, rows.contains(suppressed.channel) else { return }
    let line = out + (suppressed.channel - rows.lowerBound) * layer.columns
    for column in 0..<layer.columns { line[column] *= suppressed.factor }
  }

  private func scaleRows(_ rows: Range<Int>, _ out: UnsafeMutablePointer<Float>) {
    if layer.partFactors.isEmpty && layer.rowFactors == nil { return }
    let partRows = layer.rows / max(layer.partFactors.count, 1)
    for row in rows {
      let line = out + (row - rows.lowerBound) * layer.columns
      let part = layer.partFactors.isEmpty ? 1 : layer.partFactors[row / partRows]
      let factor = layer.rowFactors?[row] ?? 1
      for column in 0..<layer.columns { line[column] = Float(Double(line[column]) * part) * factor }
    }
  }

  private func readStored(_ rows: Range<Int>, into out: UnsafeMutablePointer<Float>) throws(QuantizationError)
  {
    let columns = layer.columns
    switch layer.weight {
    case .rows(let names):
      let height = layer.rows / names.count
      var row = rows.lowerBound
      while row < rows.upperBound {
        let part = row / height
        let end = min(rows.upperBound, (part + 1) * height)
        let local = (row - part * height)..<(end - part * height)
        try directory.readFloat(names[part], rows: local, into: out + (row - rows.lowerBound) * columns)
        row = end
      }
    case .transposed:
      for (step, row) in rows.enumerated() {
        for column in 0..<columns { out[step * columns + column] = whole[column * layer.rows + row] }
      }
    case .convolution(let name, let channels, let side):
      for (step, row) in rows.enumerated() {
        try readLine(name, row)
        // [channel, y, x] becomes [y, x, channel]: a pixel's channels lie together in the activations.
        for cell in 0..<(side * side) {
          let target = out + step * columns + cell * channels
          for channel in 0..<channels { target[channel] = line[channel * side * side + cell] }
        }
      }
    case .transposedConvolution(_, let outputs, let side):
      let cells = side * side
      for (step, row) in rows.enumerated() {
        let (cell, output) = row.quotientAndRemainder(dividingBy: outputs)
        for column in 0..<columns {
          out[step * columns + column] = whole[(column * outputs + output) * cells + cell]
        }
      }
    }
  }

  private func readLine(_ name: String, _ row: Int) throws(QuantizationError) {
    // The error is carried out by hand: the standard closure would erase its type on older compilers.
    let failure: QuantizationError? = line.withUnsafeMutableBufferPointer { buffer in
      do throws(QuantizationError) {
        try directory.readFloat(name, rows: row..<(row + 1), into: buffer.baseAddress!)
      } catch { return error }
      return nil
    }
    if let failure { throw failure }
  }
}
