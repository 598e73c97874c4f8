// Reading a tensor's values as float32, row by row.

import System

/// Bytes of one storage kept for tensors whose elements are scattered.
struct SpanCache {
  var storage: Int
  var start: Int
  var count: Int
  var bytes: ScratchBytes
}

/// Rows of one tensor, dense, kept because their elements lie far apart.
struct RowCache {
  var name: String
  var rows: Range<Int>
  var values: [Float]
}

extension TensorDirectory {
  /// Reads rows of a tensor as float32, honouring strides and offset.
  ///
  /// - Shapes: the tensor is seen as [shape[0], product of the rest]; a single number is one row of one.
  ///   `out` holds `rows.count` such rows, dense, and is overwritten.
  /// - Units: floats are converted to nearest, ties to even; integers and bools as their value.
  /// - Memory: 64 KiB for dense tensors; up to 32 MiB, kept until the next tensor, for scattered ones.
  /// - Errors: `noSuchTensor`, `rowsOutOfRange`, `truncated`, `cannotRead`; for a deflated storage see
  ///   `ZipDirectory.extent`.
  package func readFloat(
    _ name: String, rows: Range<Int>, into out: UnsafeMutablePointer<Float>
  ) throws(QuantizationError) {
    guard let record = record(name) else { throw file.error(.noSuchTensor, name: name) }
    let shape = record.shape.isEmpty ? [1] : record.shape
    let strides = record.strides.isEmpty ? [1] : record.strides
    if rows.lowerBound < 0 || rows.upperBound > shape[0] {
      throw file.error(
        .rowsOutOfRange(lower: rows.lowerBound, upper: rows.upperBound, rows: shape[0]), name: name)
    }
    if rows.isEmpty || record.elementCount == 0 { return }
    var partShape = shape
    partShape[0] = rows.count
    let run = Run(shape: partShape, strides: strides)
    let isScattered = run.count * record.elementType.byteCount < 4096 && run.outerCount > 1
    let window = isScattered ? 65_536 : min(65_536, max(run.count * record.elementType.byteCount, 1))
    let source = Source(
      extent: try extent(of: record.storage), record: record, window: ScratchBytes(count: window))
    // Scattered elements are picked out of memory if their span is small enough to hold.
    let span =
      isScattered ? try spanBytes(record, shape: shape, strides: strides, rows: rows, source: source) : nil
    if isScattered, span == nil, shape.count > 1, strides[0] * record.elementType.byteCount <= 64 {
      try readAcross(record, shape: shape, strides: strides, rows: rows, source: source, into: out)
    } else {
      try readRuns(run, at: record.storageOffset + rows.lowerBound * strides[0], span, source, into: out)
    }
    if record.isNegated { for index in 0..<partShape.reduce(1, *) { out[index] = -out[index] } }
  }

  /// Reads a block run by run, out of `span` where it is held.
  private func readRuns(
    _ run: Run, at start: Int, _ span: SpanCache?, _ source: Source, into out: UnsafeMutablePointer<Float>
  ) throws(QuantizationError) {
    let record = source.record
    var position = start
    var counters = [Int](repeating: 0, count: run.outerShape.count)
    var target = out
    for _ in 0..<run.outerCount {
      if let span {
        let start = position * record.elementType.byteCount - span.start
        convert(span.bytes.base + start, count: run.count, type: record.elementType, into: target)
      } else {
        try source.read(at: position, count: run.count, into: target)
      }
      target += run.count
      var axis = run.outerShape.count - 1
      while axis >= 0 {
        counters[axis] += 1
        position += run.outerStrides[axis]
        if counters[axis] < run.outerShape[axis] { break }
        position -= run.outerStrides[axis] * run.outerShape[axis]
        counters[axis] = 0
        axis -= 1
      }
    }
  }

  /// Reads rows of a tensor whose first axis is the innermost of its storage, many rows at a time.
  ///
  /// - Memory: the rows, or `scratchByteLimit` of them, kept until another tensor.
  private func readAcross(
    _ record: TensorRecord, shape: [Int], strides: [Int], rows: Range<Int>, source: Source,
    into out: UnsafeMutablePointer<Float>
  ) throws(QuantizationError) {
    let width = record.elementCount / shape[0]
    let fitting = Self.scratchByteLimit / 4 / width
    guard rows.count < fitting else {
      return try gather(rows, shape: shape, strides: strides, source: source, into: out)
    }
    if rowCache?.name != record.name || rowCache?.rows.contains(rows.lowerBound) != true
      || (rowCache?.rows.upperBound ?? 0) < rows.upperBound
    {
      (spanCache, rowCache) = (nil, nil)
      let block = rows.lowerBound..<min(shape[0], rows.lowerBound + fitting)
      var failure: QuantizationError?
      let values = [Float](unsafeUninitializedCapacity: block.count * width) { buffer, count in
        do throws(QuantizationError) {
          try gather(block, shape: shape, strides: strides, source: source, into: buffer.baseAddress!)
          count = block.count * width
        } catch { failure = error }
      }
      if let failure { throw failure }
      rowCache = RowCache(name: record.name, rows: block, values: values)
    }
    guard let cache = rowCache else { return }
    let first = (rows.lowerBound - cache.rows.lowerBound) * width
    cache.values.withUnsafeBufferPointer { values in
      out.update(from: values.baseAddress! + first, count: rows.count * width)
    }
  }

  /// Reads columns of rows, and turns them.
  private func gather(
    _ rows: Range<Int>, shape: [Int], strides: [Int], source: Source, into out: UnsafeMutablePointer<Float>
  ) throws(QuantizationError) {
    let (width, step) = (shape.dropFirst().reduce(1, *), strides[0])
    let piece = max(1, 65_536 / max(step, 1))
    let line = UnsafeMutablePointer<Float>.allocate(capacity: piece * max(step, 1))
    defer { line.deallocate() }
    for column in 0..<width {
      var (position, rest) = (source.record.storageOffset, column)
      for axis in shape.indices.dropFirst().reversed() {
        position += rest % shape[axis] * strides[axis]
        rest /= shape[axis]
      }
      for start in stride(from: rows.lowerBound, to: rows.upperBound, by: piece) {
        let count = min(piece, rows.upperBound - start)
        try source.read(at: position + start * step, count: (count - 1) * step + 1, into: line)
        let target = out + (start - rows.lowerBound) * width + column
        for row in 0..<count { target[row * width] = line[row * step] }
      }
    }
  }

  /// Reads a whole tensor as float32, dense, row-major.
  ///
  /// - Memory: the result, besides what `readFloat(_:rows:into:)` holds.
  package func readFloat(_ name: String) throws(QuantizationError) -> [Float] {
    guard let record = record(name) else { throw file.error(.noSuchTensor, name: name) }
    if record.elementCount == 0 { return [] }
    // Straight into the result, which may be the largest there is. The error is carried out by hand.
    var failure: QuantizationError?
    let floats = [Float](unsafeUninitializedCapacity: record.elementCount) { buffer, count in
      do throws(QuantizationError) {
        try readFloat(name, rows: 0..<(record.shape.first ?? 1), into: buffer.baseAddress!)
        count = record.elementCount
      } catch { failure = error }
    }
    if let failure { throw failure }
    return floats
  }

  /// The bytes from the first to the last element of a tensor, or of the rows asked for; nil for more than
  /// `scratchByteLimit`.
  private func spanBytes(
    _ record: TensorRecord, shape: [Int], strides: [Int], rows: Range<Int>, source: Source
  ) throws(QuantizationError) -> SpanCache? {
    let size = record.elementType.byteCount
    var rest = 0
    for (extent, stride) in zip(shape, strides).dropFirst() { rest += (extent - 1) * stride }
    var start = record.storageOffset * size
    var count = ((shape[0] - 1) * strides[0] + rest + 1) * size
    if count > Self.scratchByteLimit {
      start += rows.lowerBound * strides[0] * size
      count = ((rows.count - 1) * strides[0] + rest + 1) * size
      // Rows that lie between each other would be read over and over.
      if count / 16 > rows.count * shape.dropFirst().reduce(size, *) { return nil }
    }
    if let cached = spanCache, cached.storage == record.storage, cached.start <= start,
      start + count <= cached.start + cached.count
    {
      return cached
    }
    if count > Self.scratchByteLimit { return nil }
    (spanCache, rowCache) = (nil, nil)
    let bytes = ScratchBytes(count: count)
    try source.extent.file.read(at: source.extent.offset + start, count: count, into: bytes.base)
    let span = SpanCache(storage: record.storage, start: start, count: count, bytes: bytes)
    spanCache = span
    return span
  }
}

/// A strided block split into dense runs and the axes that step from one run to the next.
private struct Run {
  var count = 1
  var outerShape: [Int]
  var outerStrides: [Int]

  /// Moves dense trailing axes into the run; an axis of one element is dense whatever its stride.
  init(shape: [Int], strides: [Int]) {
    outerShape = shape
    outerStrides = strides
    while let extent = outerShape.last, let stride = outerStrides.last, extent == 1 || stride == count {
      count *= extent
      outerShape.removeLast()
      outerStrides.removeLast()
    }
  }

  var outerCount: Int { outerShape.reduce(1, *) }
}

/// Dense runs of one storage, converted through a window.
private struct Source {
  let extent: ByteExtent
  let record: TensorRecord
  let window: ScratchBytes

  func read(at element: Int, count: Int, into out: UnsafeMutablePointer<Float>) throws(QuantizationError) {
    let size = record.elementType.byteCount
    let perWindow = max(window.count / size, 1)
    var done = 0
    while done < count {
      let part = min(perWindow, count - done)
      try extent.file.read(
        at: extent.offset + (element + done) * size, count: part * size, into: window.base)
      convert(window.base, count: part, type: record.elementType, into: out + done)
      done += part
    }
  }
}

/// Converts little-endian stored numbers to float32.
private func convert(
  _ bytes: UnsafeMutableRawPointer, count: Int, type: ElementType, into out: UnsafeMutablePointer<Float>
) {
  let source = UnsafeRawPointer(bytes)
  switch type {
  case .float32:
    for i in 0..<count {
      out[i] = Float(bitPattern: source.loadUnaligned(fromByteOffset: 4 * i, as: UInt32.self))
    }
  case .float16:
    for i in 0..<count {
      out[i] = widenHalf(source.loadUnaligned(fromByteOffset: 2 * i, as: UInt16.self))
    }
  case .bfloat16:
    for i in 0..<count {
      out[i] = Float(bitPattern: UInt32(source.loadUnaligned(fromByteOffset: 2 * i, as: UInt16.self)) << 16)
    }
  case .float64:
    for i in 0..<count {
      out[i] = Float(Double(bitPattern: source.loadUnaligned(fromByteOffset: 8 * i, as: UInt64.self)))
    }
  case .int64:
    for i in 0..<count { out[i] = Float(source.loadUnaligned(fromByteOffset: 8 * i, as: Int64.self)) }
  case .int32:
    for i in 0..<count { out[i] = Float(source.loadUnaligned(fromByteOffset: 4 * i, as: Int32.self)) }
  case .int16:
    for i in 0..<count { out[i] = Float(source.loadUnaligned(fromByteOffset: 2 * i, as: Int16.self)) }
  case .int8:
    for i in 0..<count { out[i] = Float(source.load(fromByteOffset: i, as: Int8.self)) }
  case .uint8:
    for i in 0..<count { out[i] = Float(source.load(fromByteOffset: i, as: UInt8.self)) }
  case .bool:
    for i in 0..<count { out[i] = source.load(fromByteOffset: i, as: UInt8.self) == 0 ? 0 : 1 }
  }
}

/// IEEE binary16 to binary32, exact.
///
/// Shifting exponent and mantissa into place leaves the exponent 112 short, which a multiplication by 2^112
/// mends for normal and subnormal numbers alike; infinities and NaNs are set apart.
@inline(__always)
private func widenHalf(_ bits: UInt16) -> Float {
  let sign = UInt32(bits & 0x8000) << 16
  let rest = UInt32(bits & 0x7fff) << 13
  if rest >= 0x0f80_0000 { return Float(bitPattern: sign | 0x7f80_0000 | (rest & 0x007f_ffff)) }
  let scaled = Float(bitPattern: rest) * Float(bitPattern: 0x7780_0000)
  return Float(bitPattern: sign | scaled.bitPattern)
}
