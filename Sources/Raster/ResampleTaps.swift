// Resampling of float tables and maps, to PyTorch's rules.

/// Where the cells of one resampled axis draw from.
///
/// - Shapes: `indices` and `weights` [target, tapCount], row-major; 2 taps for bilinear, 4 for bicubic, twice
///   the widened kernel's reach and one where it is antialiased.
/// - Units: indices are source cells, already clamped; weights of a target cell sum to 1.
/// - Memory: 8 bytes a tap.
/// - Source: PyTorch `F.interpolate(align_corners=False)`, in its single-precision arithmetic; antialiased in
///   double precision.
package struct ResampleTaps: Equatable, Sendable {
  /// Source cells of each target cell.
  package let indices: [Int32]
  /// Weights of each target cell.
  package let weights: [Float]
  /// Taps of a target cell.
  package let tapCount: Int
  /// Cells of the source axis.
  package let source: Int
  /// Cells of the target axis.
  package var target: Int { weights.count / tapCount }

  /// The interpolation rule.
  package enum Rule: Equatable, Sendable {
    /// Two neighbours; positions before the first centre are clamped.
    case bilinear
    /// Four neighbours, Keys' kernel with A = -0.75.
    case bicubic
    /// Keys' kernel with A = -0.5, widened by the step where that is above one; cells beyond the axis do not
    /// count, and the others are brought to sum one.
    case antialiasedBicubic
  }

  /// Taps of one axis.
  ///
  /// - Units: `step` is source cells for one target cell. PyTorch uses `source / target` where it is given a
  ///   size, and `1 / scale_factor` where it is given a factor: pass that here. Antialiasing knows the
  ///   first only.
  /// - Errors: none; traps on an empty axis.
  package init(_ rule: Rule, source: Int, target: Int, step: Double? = nil) {
    precondition(source > 0 && target > 0, "an axis cannot be empty")
    if rule == .antialiasedBicubic {
      (indices, weights, tapCount) = Self.antialiased(source: source, target: target)
      self.source = source
      return
    }
    let step = step.map { Float($0) } ?? Float(source) / Float(target)
    let count = rule == .bilinear ? 2 : 4
    var indices: [Int32] = []
    var weights: [Float] = []
    indices.reserveCapacity(target * count)
    weights.reserveCapacity(target * count)
    for cell in 0..<target {
      let position = step * (Float(cell) + 0.5) - 0.5
      switch rule {
      case .bilinear:
        let clamped = max(position, 0)
        let first = min(Int(clamped), source - 1)
        let part = min(max(clamped - Float(first), 0), 1)
        indices += [Int32(first), Int32(min(first + 1, source - 1))]
        weights += [1 - part, part]
      case .bicubic:
        let floor = position.rounded(.down)
        let first = min(Int(floor), source - 1)
        let part = min(max(position - Float(first), 0), 1)
        for k in -1...2 { indices.append(Int32(min(max(first + k, 0), source - 1))) }
        weights += Self.keys(part)
      case .antialiasedBicubic: preconditionFailure("made above")
      }
    }
    self.indices = indices
    self.weights = weights
    self.source = source
    tapCount = count
  }

  /// Taps of the widened kernel; places that a target cell does not need have weight 0.
  private static func antialiased(source: Int, target: Int) -> ([Int32], [Float], Int) {
    let axis = AntialiasRows.Axis(.cubic, source: source, target: target)
    var indices: [Int32] = []
    var weights = [Float](repeating: 0, count: target * axis.tapLimit)
    for cell in 0..<target {
      let first = axis.range(cell).first
      indices += (0..<axis.tapLimit).map { Int32(min(first + $0, source - 1)) }
      axis.forEachShare(cell) { tap, share in weights[cell * axis.tapLimit + tap] = Float(share) }
    }
    return (indices, weights, axis.tapLimit)
  }

  /// Keys' cubic kernel at the four neighbours of a point `part` beyond the second one.
  private static func keys(_ part: Float) -> [Float] {
    let a: Float = -0.75
    func near(_ x: Float) -> Float { ((a + 2) * x - (a + 3)) * x * x + 1 }
    func far(_ x: Float) -> Float { ((a * x - 5 * a) * x + 8 * a) * x - 4 * a }
    return [far(part + 1), near(part), near(1 - part), far(2 - part)]
  }
}

/// Brings a map of rows from one grid to another, one cell at a time or as a whole.
///
/// - Shapes: source [rows.source * columns.source, channels]; out [rows.target * columns.target, channels].
/// - Units: f32, channels last, row-major. Within 1e-5 of PyTorch for values near 1.
/// - Memory: the taps of both axes; resampling allocates nothing.
/// - Errors: none; traps on a cell outside the target.
/// - Source: PyTorch `F.interpolate`, bilinear and bicubic. Differs: a zero weight skips its value, so an
///   infinite neighbour that does not count does not poison the result.
package struct GridTaps: Sendable {
  package let rows: ResampleTaps
  package let columns: ResampleTaps

  package init(rows: ResampleTaps, columns: ResampleTaps) {
    self.rows = rows
    self.columns = columns
  }

  /// Bilinear taps between two grids.
  package init(bilinearFrom source: (rows: Int, columns: Int), to target: (rows: Int, columns: Int)) {
    self.init(
      rows: ResampleTaps(.bilinear, source: source.rows, target: target.rows),
      columns: ResampleTaps(.bilinear, source: source.columns, target: target.columns))
  }

  /// Calls `body(source cell, weight)` for every cell that the target cell (row, column) reads.
  @inlinable @inline(__always)
  package func forEachTap(row: Int, column: Int, _ body: (Int, Float) -> Void) {
    for i in row * rows.tapCount..<(row + 1) * rows.tapCount {
      let line = Int(rows.indices[i]) * columns.source
      for j in column * columns.tapCount..<(column + 1) * columns.tapCount {
        body(line + Int(columns.indices[j]), rows.weights[i] * columns.weights[j])
      }
    }
  }

  /// One target cell [channels]; cells are counted row by row.
  package func resample(
    _ source: UnsafePointer<Float>, channels: Int, cell: Int, into out: UnsafeMutablePointer<Float>
  ) {
    out.update(repeating: 0, count: channels)
    forEachTap(row: cell / columns.target, column: cell % columns.target) { cell, weight in
      if weight == 0 { return }
      let from = source + cell * channels
      for channel in 0..<channels { out[channel] += weight * from[channel] }
    }
  }

  /// The whole map; the two do not overlap.
  package func resample(
    _ source: UnsafePointer<Float>, channels: Int, into out: UnsafeMutablePointer<Float>
  ) {
    for cell in 0..<rows.target * columns.target {
      resample(source, channels: channels, cell: cell, into: out + cell * channels)
    }
  }
}
