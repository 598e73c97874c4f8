// Stored position tables brought to another grid, with the sampling steps of the published code.
import Compute

/// Taps of one axis: output i reads `count` source indices with these weights.
struct AxisTaps {
  let count: Int
  private(set) var index: [Int32]
  private(set) var weight: [Float]

  /// Linear interpolation with half-pixel centres, borders clamped. Source: PyTorch `interpolate`, `align_corners=False`.
  static func linear(from source: Int, to target: Int) -> AxisTaps {
    var taps = AxisTaps(count: 2, capacity: target)
    let step = Float(source) / Float(target)
    for i in 0..<target {
      let position = max(0, step * (Float(i) + 0.5) - 0.5)
      let low = min(Int(position), source - 1)
      let fraction = min(max(position - Float(low), 0), 1)
      taps.append(low, 1 - fraction)
      taps.append(min(low + 1, source - 1), fraction)
    }
    return taps
  }

  /// Cubic interpolation (A = -0.75) sampled every `step` source cells, borders clamped.
  /// Source: PyTorch `interpolate(mode='bicubic')` with the scale factor passed through.
  static func cubic(from source: Int, to target: Int, step: Double) -> AxisTaps {
    var taps = AxisTaps(count: 4, capacity: target)
    let step = Float(step)
    for i in 0..<target {
      let position = step * (Float(i) + 0.5) - 0.5
      let low = position.rounded(.down)
      let t = position - low
      let a: Float = -0.75
      func near(_ x: Float) -> Float { ((a + 2) * x - (a + 3)) * x * x + 1 }
      func far(_ x: Float) -> Float { ((a * x - 5 * a) * x + 8 * a) * x - 4 * a }
      let weights = [far(t + 1), near(t), near(1 - t), far(2 - t)]
      for (offset, weight) in weights.enumerated() {
        taps.append(min(max(Int(low) - 1 + offset, 0), source - 1), weight)
      }
    }
    return taps
  }

  private init(count: Int, capacity: Int) {
    self.count = count
    index = []
    weight = []
    index.reserveCapacity(count * capacity)
    weight.reserveCapacity(count * capacity)
  }

  private mutating func append(_ source: Int, _ factor: Float) {
    index.append(Int32(source))
    weight.append(factor)
  }
}

/// Brings a map of rows from one grid to another, one output cell at a time.
///
/// - Shapes: source [sourceRows * sourceColumns, width]; out [rows * columns, width].
struct GridResampler {
  let rows: Int
  let columns: Int
  let sourceColumns: Int
  let vertical: AxisTaps
  let horizontal: AxisTaps

  static func linear(from source: (rows: Int, columns: Int), to target: (rows: Int, columns: Int)) -> GridResampler {
    GridResampler(
      rows: target.rows, columns: target.columns, sourceColumns: source.columns,
      vertical: .linear(from: source.rows, to: target.rows),
      horizontal: .linear(from: source.columns, to: target.columns))
  }

  /// Calls `body(source cell, weight)` for every cell that output cell (row, column) reads.
  @inline(__always)
  func forEachTap(row: Int, column: Int, _ body: (Int, Float) -> Void) {
    for v in 0..<vertical.count {
      let weightV = vertical.weight[row * vertical.count + v]
      let line = Int(vertical.index[row * vertical.count + v]) * sourceColumns
      for h in 0..<horizontal.count {
        let tap = column * horizontal.count + h
        body(line + Int(horizontal.index[tap]), weightV * horizontal.weight[tap])
      }
    }
  }

  /// One output cell: the weighted sum of its source rows.
  func cell(
    row: Int, column: Int, _ source: UnsafePointer<Float>, width: Int, out: UnsafeMutablePointer<Float>
  ) {
    out.update(repeating: 0, count: width)
    forEachTap(row: row, column: column) { cell, weight in
      if weight == 0 { return }
      let line = source + cell * width
      for channel in 0..<width { out[channel] += weight * line[channel] }
    }
  }
}

/// A learned position table at the window's grid.
///
/// - Source: the published code resamples with scale factor (grid + 0.1) / stored grid and samples by its inverse.
struct PositionGrid {
  /// Class token first: [1 + side * side, width].
  let table: UnsafeMutablePointer<Float>

  /// - Shapes: `stored` [1 + config.grid^2, width] halves.
  /// - Memory: (1 + side^2) * width floats kept, and the stored table as floats while it is resampled.
  init(
    _ arena: Arena, _ engine: Engine, stored: UnsafePointer<UInt16>, config: EncoderConfig, side: Int
  ) throws(ComputeError) {
    let width = config.width
    let grid = config.grid
    table = try arena.floats((1 + side * side) * width)
    let mark = arena.mark()
    defer { arena.release(to: mark) }
    let source = try arena.floats((1 + grid * grid) * width)
    if arena.isCounting { return }
    engine.fromHalf(stored, (1 + grid * grid) * width, source)
    if side == grid {
      table.update(from: source, count: (1 + grid * grid) * width)
      return
    }
    table.update(from: source, count: width)
    let axis = AxisTaps.cubic(from: grid, to: side, step: Double(grid) / (Double(side) + 0.1))
    let resampler = GridResampler(
      rows: side, columns: side, sourceColumns: grid, vertical: axis, horizontal: axis)
    for cell in 0..<side * side {
      resampler.cell(
        row: cell / side, column: cell % side, source + width, width: width, out: table + (1 + cell) * width)
    }
  }
}
