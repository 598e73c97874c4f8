// Streams one plan item into the model file.

import Container
import Raster

/// Converts and writes the tensors of one item.
///
/// - Memory: 16 rows of floats and their packed form, scales and sums of one layer; position tables whole.
struct ItemWriter {
  private let item: PlanItem
  private let directory: TensorDirectory
  private let writer: ModelWriter
  private let factors: [Float]?
  /// Numbers that are written at a time where a tensor is held whole.
  private static let chunk = 1 << 16

  /// - Parameter factors: what calibration multiplies a float tensor, or the columns of a layer, by.
  init(_ item: PlanItem, _ writer: ModelWriter, factors: [Float]? = nil) {
    self.item = item
    self.writer = writer
    self.factors = factors
    directory = item.directory
  }

  /// - Errors: weights that are not finite or do not fit the stored type, with tensor and element; failed
  ///   reads and writes.
  func write() throws(QuantizationFailure) -> QuantizationReport.Entry {
    var tally = ErrorTally()
    let before = writer.byteCount
    let names: [String]
    let kind: String
    switch item.recipe {
    case .floats(let sources):
      try writeFloats(sources, &tally)
      (names, kind) = (sources, "f32")
    case .halves(let source):
      try writeHalves(source, &tally)
      (names, kind) = ([source], "f16")
    case .resampled(let source, let grid, let side):
      try writeResampled(source, grid: grid, side: side, &tally)
      (names, kind) = ([source], "f32")
    case .ones(let count):
      try append([Float](repeating: 1, count: count).map(\.bitPattern.littleEndian))
      (names, kind) = ([], "f32")
    case .table(let source, let rows, let columns):
      try writeTable(source, rows: rows, columns: columns, &tally)
      (names, kind) = ([source], "int8")
    case .linear(let layer):
      try writeLinear(layer, &tally)
      (names, kind) = (layer.weight.names, "int8")
    }
    var sourceByteCount = 0
    for name in names {
      guard let record = directory.record(name) else { continue }
      sourceByteCount += record.elementCount * record.elementType.byteCount
    }
    return QuantizationReport.Entry(
      name: item.name, kind: kind, sourceByteCount: sourceByteCount,
      storedByteCount: writer.byteCount - before,
      tally: tally, suppressed: item.suppressed)
  }

  // MARK: - Plain tensors

  private func read(_ name: String) throws(QuantizationFailure) -> [Float] {
    let values: [Float]
    do throws(QuantizationError) { values = try directory.readFloat(name) } catch { throw .source(error) }
    if let element = values.firstIndex(where: { !$0.isFinite }) {
      throw bad(.notFinite(element: element), name)
    }
    return values
  }

  private func bad(_ reason: QuantizationError.Reason, _ name: String) -> QuantizationFailure {
    .source(QuantizationError(reason, path: directory.path, name: name))
  }

  private func append<T>(_ values: [T]) throws(QuantizationFailure) {
    let failure: ContainerError? = values.withUnsafeBytes { bytes in
      do throws(ContainerError) { try writer.append(bytes) } catch { return error }
      return nil
    }
    if let failure { throw .output(failure) }
  }

  private func writeFloats(_ names: [String], _ tally: inout ErrorTally) throws(QuantizationFailure) {
    for name in names {
      var values = try read(name)
      if let factors { for index in values.indices { values[index] *= factors[index] } }
      try append(floats: values, &tally)
    }
  }

  /// Values that are stored as they are.
  private func append(floats values: [Float], _ tally: inout ErrorTally) throws(QuantizationFailure) {
    for value in values { tally.add(original: value, stored: value) }
    for start in stride(from: 0, to: values.count, by: Self.chunk) {
      try append(values[start..<min(start + Self.chunk, values.count)].map(\.bitPattern.littleEndian))
    }
  }

  private func writeHalves(_ name: String, _ tally: inout ErrorTally) throws(QuantizationFailure) {
    let values = try read(name)
    for value in values { tally.add(original: value, stored: value) }
    for start in stride(from: 0, to: values.count, by: Self.chunk) {
      let some = values[start..<min(start + Self.chunk, values.count)]
      try append(some.map { Float16($0).bitPattern.littleEndian })
    }
  }

  /// As `PositionTable` resamples at run time, to the last bit.
  private func writeResampled(
    _ name: String, grid: Int, side: Int, _ tally: inout ErrorTally
  ) throws(QuantizationFailure) {
    let values = try read(name)
    let width = values.count / (grid * grid)
    let axis = ResampleTaps(.bilinear, source: grid, target: side)
    var resampled = [Float](repeating: 0, count: side * side * width)
    GridTaps(rows: axis, columns: axis).resample(values, channels: width, into: &resampled)
    try append(floats: resampled, &tally)
  }

  /// Plain rows with one scale each.
  private func writeTable(
    _ name: String, rows: Int, columns: Int, _ tally: inout ErrorTally
  ) throws(QuantizationFailure) {
    let padded = roundUp(columns, 16)
    var line = [Float](repeating: 0, count: padded)
    var integers = [Int8](repeating: 0, count: padded)
    var scales: [Float] = []
    scales.reserveCapacity(rows)
    let block = max(1, min(rows, (1 << 20) / (4 * columns)))
    var floats = [Float](repeating: 0, count: block * columns)
    var packed: [Int8] = []
    for start in stride(from: 0, to: rows, by: block) {
      let range = start..<min(rows, start + block)
      try fill(&floats) { pointer throws(QuantizationError) in
        try directory.readFloat(name, rows: range, into: pointer)
      }
      packed.removeAll(keepingCapacity: true)
      for row in range {
        let first = (row - start) * columns
        line.replaceSubrange(0..<columns, with: floats[first..<(first + columns)])
        guard let result = RowQuantizer.quantize(line, count: padded, into: &integers, tally: &tally) else {
          throw bad(.notFinite(element: row * columns + firstNonFinite(line)), name)
        }
        scales.append(result.scale)
        packed += integers[0..<columns]
      }
      try append(packed)
    }
    tally.elementCount += rows * columns
    try append(scales.map(\.bitPattern.littleEndian))
  }

  private func firstNonFinite(_ line: [Float]) -> Int { line.firstIndex { !$0.isFinite } ?? 0 }

  /// Lends an array's storage to a reader.
  private func fill(
    _ floats: inout [Float], _ body: (UnsafeMutablePointer<Float>) throws(QuantizationError) -> Void
  ) throws(QuantizationFailure) {
    let failure: QuantizationError? = floats.withUnsafeMutableBufferPointer { buffer in
      do throws(QuantizationError) { try body(buffer.baseAddress!) } catch { return error }
      return nil
    }
    if let failure { throw .source(failure) }
  }

  // MARK: - Packed layers

  private func writeLinear(_ layer: LinearRecipe, _ tally: inout ErrorTally) throws(QuantizationFailure) {
    let reader: MatrixReader
    do throws(QuantizationError) { reader = try MatrixReader(directory, layer) } catch {
      throw .source(error)
    }
    let depth = layer.paddedColumns
    var scales: [Float] = []
    var sums: [Int32] = []
    var floats = [Float](repeating: 0, count: 16 * layer.columns)
    var lines = [Float](repeating: 0, count: 16 * depth)
    var integers = [Int8](repeating: 0, count: 16 * depth)
    var panel = [Int8](repeating: 0, count: 16 * depth)
    for first in stride(from: 0, to: layer.paddedRows, by: 16) {
      // A panel never spans two heads, so its real rows are one run from its start.
      let start = layer.sourceRow(first) ?? 0
      let count = (0..<16).prefix { layer.sourceRow(first + $0) != nil }.count
      if count > 0 {
        try fill(&floats) { pointer throws(QuantizationError) in
          try reader.read(start..<(start + count), into: pointer)
        }
      }
      if let factors { scale(&floats, rows: count, by: factors) }
      spread(floats, rows: count, layer, into: &lines)
      for row in 0..<16 {
        let result = quantize(lines, row: row, depth: depth, into: &integers, &tally)
        guard let result else {
          let column = firstNonFinite(Array(floats[(row * layer.columns)...]))
          let (name, element) = layer.weight.place(start + row, column, rows: layer.rows, layer.columns)
          throw bad(.notFinite(element: element), name)
        }
        scales.append(result.scale)
        sums.append(result.sum)
      }
      RowQuantizer.pack(integers, depth: depth, into: &panel)
      try append(panel)
    }
    tally.elementCount += layer.rows * layer.columns
    try append(scales.map(\.bitPattern.littleEndian))
    try append(sums.map(\.littleEndian))
    if !layer.bias.names.isEmpty { try writeBias(layer) }
  }

  private func quantize(
    _ lines: [Float], row: Int, depth: Int, into integers: inout [Int8], _ tally: inout ErrorTally
  ) -> RowQuantizer.Row? {
    lines.withUnsafeBufferPointer { source in
      integers.withUnsafeMutableBufferPointer { target in
        RowQuantizer.quantize(
          source.baseAddress! + row * depth, count: depth, into: target.baseAddress! + row * depth,
          tally: &tally)
      }
    }
  }

  /// Multiplies the columns of dense rows.
  private func scale(_ floats: inout [Float], rows: Int, by factors: [Float]) {
    let columns = factors.count
    floats.withUnsafeMutableBufferPointer { target in
      for row in 0..<rows {
        for column in 0..<columns { target[row * columns + column] *= factors[column] }
      }
    }
  }

  /// Puts dense rows into padded ones, columns of heads apart from each other.
  private func spread(_ floats: [Float], rows: Int, _ layer: LinearRecipe, into lines: inout [Float]) {
    let depth = layer.paddedColumns
    let group = layer.columnHeads?.width ?? layer.columns
    lines.withUnsafeMutableBufferPointer { target in
      target.update(repeating: 0)
      floats.withUnsafeBufferPointer { source in
        for row in 0..<rows {
          for start in stride(from: 0, to: layer.columns, by: group) {
            let place = layer.columnHeads?.place(start) ?? start
            let from = source.baseAddress! + row * layer.columns + start
            (target.baseAddress! + row * depth + place).update(from: from, count: group)
          }
        }
      }
    }
  }

  private func writeBias(_ layer: LinearRecipe) throws(QuantizationFailure) {
    var values: [Float] = []
    for name in layer.bias.names { values += try read(name) }
    let once = values
    for _ in 1..<max(layer.bias.repeats, 1) { values += once }
    if let factors = layer.rowFactors { for row in values.indices { values[row] *= factors[row] } }
    var padded = [Float](repeating: 0, count: layer.paddedRows)
    for row in 0..<layer.paddedRows {
      if let source = layer.sourceRow(row) { padded[row] = values[source] }
    }
    try append(padded.map(\.bitPattern.littleEndian))
  }
}

extension MatrixSource {
  /// The tensor that holds a number of the matrix [rows, columns], and which of its elements that is.
  func place(_ row: Int, _ column: Int, rows: Int, _ columns: Int) -> (name: String, element: Int) {
    switch self {
    case .rows(let names):
      let (part, local) = row.quotientAndRemainder(dividingBy: rows / names.count)
      return (names[part], local * columns + column)
    case .transposed(let name): return (name, column * rows + row)
    case .convolution(let name, let channels, let side):
      let (cell, channel) = column.quotientAndRemainder(dividingBy: channels)
      return (name, row * columns + channel * side * side + cell)
    case .transposedConvolution(let name, let outputs, let side):
      let (cell, output) = row.quotientAndRemainder(dividingBy: outputs)
      return (name, (column * outputs + output) * side * side + cell)
    }
  }

  /// The tensors it reads.
  var names: [String] {
    switch self {
    case .rows(let names): return names
    case .transposed(let name), .convolution(let name, _, _), .transposedConvolution(let name, _, _):
      return [name]
    }
  }
}
