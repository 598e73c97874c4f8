// Antialiased resizing, bilinear and bicubic, row by row, to the integer arithmetic of Pillow.

/// Resizes RGB rows as they arrive, like Pillow's `Image.resize(size, BILINEAR)` or `BICUBIC`.
///
/// A triangle or a cubic filter, widened by the scale when shrinking; weights of 22 bits; the horizontal pass
/// first, rounded to 8 bits, then the vertical one. Rows may come as a camera stored them, as with
/// `BilinearRows`.
///
/// - Shapes: rows in [sourceWidth * 3], pushed sourceHeight times; rows out [targetWidth * 3], in order.
/// - Memory: `byteCount(...)`, taken at `init`; nothing while rows flow.
/// - Errors: none; traps if more rows are pushed than the source has.
/// - Source: Pillow `Image.resize`, BILINEAR and BICUBIC for 8-bit RGB, up to release 11. Differs from later
///   ones, which may run the vertical pass first, by at most one level.
package final class AntialiasRows {
  /// Pixels in a row pushed, rows to push, pixels in a row emitted, rows emitted.
  package let sourceWidth: Int, sourceHeight: Int, targetWidth: Int, targetHeight: Int

  /// What cells count by their distance, in cells of the coarser grid.
  package enum Filter: Sendable {
    /// Bilinear.
    case triangle
    /// Keys' cubic with A = -0.5.
    case cubic

    var support: Double { self == .triangle ? 1 : 2 }

    func weight(_ distance: Double) -> Double {
      let x = abs(distance)
      if self == .triangle { return max(1 - x, 0) }
      if x < 1 { return ((1.5 * x) - 2.5) * x * x + 1 }
      return x < 2 ? (((x - 5) * x + 8) * x - 4) * -0.5 : 0
    }
  }

  /// One axis of the filter: which source cells a target cell draws from, and how much.
  struct Axis {
    let source: Int
    let target: Int
    /// The seen axis runs against the stored one; cells and weights are in stored order all the same.
    let isReversed: Bool
    let scale: Double
    let filter: Filter
    let support: Double
    /// Most cells that a target cell can draw from.
    let tapLimit: Int

    init(_ filter: Filter, source: Int, target: Int, isReversed: Bool = false) {
      self.filter = filter
      self.source = source
      self.target = target
      self.isReversed = isReversed
      scale = Double(source) / Double(target)
      support = filter.support * max(scale, 1)
      tapLimit = min(Int(support.rounded(.up)) * 2 + 1, source)
    }

    func range(_ cell: Int) -> (first: Int, count: Int) {
      let (first, count) = seenRange(isReversed ? target - 1 - cell : cell)
      return (isReversed ? source - first - count : first, count)
    }

    private func seenRange(_ cell: Int) -> (first: Int, count: Int) {
      let centre = (Double(cell) + 0.5) * scale
      let first = max(Int(centre - support + 0.5), 0)
      return (first, min(Int(centre + support + 0.5), source) - first)
    }

    /// Hands over what each source cell of one target cell counts, in stored order.
    func forEachShare(_ cell: Int, _ body: (_ tap: Int, _ share: Double) -> Void) {
      let seen = isReversed ? target - 1 - cell : cell
      let (first, count) = seenRange(seen)
      let centre = (Double(seen) + 0.5) * scale
      let step = 1 / max(scale, 1)
      func weight(_ i: Int) -> Double { filter.weight((Double(i + first) - centre + 0.5) * step) }
      var sum = 0.0
      for i in 0..<count { sum += weight(i) }
      for i in 0..<count { body(isReversed ? count - 1 - i : i, sum == 0 ? weight(i) : weight(i) / sum) }
    }

    /// Fills `weights` with the fixed-point weights of one target cell.
    func weigh(_ cell: Int, _ weights: UnsafeMutablePointer<Int32>) -> (first: Int, count: Int) {
      forEachShare(cell) { tap, share in
        let fixed = share * Double(1 << AntialiasRows.precision)
        weights[tap] = Int32(fixed < 0 ? fixed - 0.5 : fixed + 0.5)
      }
      return range(cell)
    }
  }

  private static let precision: Int32 = 22

  private let columns: Axis
  private let lines: Axis
  private let workspace: Workspace
  private let columnFirst: UnsafeMutablePointer<Int32>
  private let columnCount: UnsafeMutablePointer<Int32>
  private let columnWeights: UnsafeMutablePointer<Int32>
  private let lineWeights: UnsafeMutablePointer<Int32>
  /// The seen picture's horizontal pass comes first, and runs down the stored columns where axes are swapped.
  private let rowsFirst: Bool
  /// Elements of a row between the passes.
  private let middle: Int
  private let ring: UnsafeMutablePointer<UInt8>
  private let line: UnsafeMutablePointer<UInt8>
  private let sums: UnsafeMutablePointer<Int32>
  private let out: UnsafeMutablePointer<UInt8>
  private var nextSource = 0
  private var nextTarget = 0

  /// Bytes that one resizer works in: the weights of both axes, and as many 8-bit rows as the filter is tall.
  ///
  /// - Units: bytes, a multiple of 64.
  package static func byteCount(
    sourceWidth: Int, sourceHeight: Int, targetWidth: Int, targetHeight: Int,
    orientation: Orientation = .upright, filter: Filter = .triangle
  ) -> Int {
    let rowsFirst = orientation.swapsAxes
    let middle = 3 * (rowsFirst ? sourceWidth : targetWidth)
    let columns = Axis(filter, source: sourceWidth, target: targetWidth)
    let lines = Axis(filter, source: sourceHeight, target: targetHeight)
    return 2 * Workspace.bytes(targetWidth, of: Int32.self)
      + Workspace.bytes(targetWidth * columns.tapLimit, of: Int32.self)
      + Workspace.bytes(lines.tapLimit, of: Int32.self)
      + Workspace.bytes(lines.tapLimit * middle, of: UInt8.self) + Workspace.bytes(middle, of: Int32.self)
      + Workspace.bytes(rowsFirst ? middle : 0, of: UInt8.self)
      + Workspace.bytes(3 * targetWidth, of: UInt8.self)
  }

  /// Prepares coefficients. Sizes are those of the stored picture. `workspace` holds `byteCount(...)` bytes,
  /// 64-byte aligned, and outlives the resizer; without it the resizer allocates its own.
  package init(
    sourceWidth: Int, sourceHeight: Int, targetWidth: Int, targetHeight: Int,
    orientation: Orientation = .upright, filter: Filter = .triangle,
    workspace given: UnsafeMutableRawPointer? = nil
  ) {
    precondition(min(sourceWidth, sourceHeight, targetWidth, targetHeight) > 0, "sizes must be positive")
    self.sourceWidth = sourceWidth
    self.sourceHeight = sourceHeight
    self.targetWidth = targetWidth
    self.targetHeight = targetHeight
    rowsFirst = orientation.swapsAxes
    middle = 3 * (rowsFirst ? sourceWidth : targetWidth)
    columns = Axis(
      filter, source: sourceWidth, target: targetWidth,
      isReversed: rowsFirst ? orientation.reversesY : orientation.reversesX)
    lines = Axis(
      filter, source: sourceHeight, target: targetHeight,
      isReversed: rowsFirst ? orientation.reversesX : orientation.reversesY)
    let byteCount = Self.byteCount(
      sourceWidth: sourceWidth, sourceHeight: sourceHeight, targetWidth: targetWidth,
      targetHeight: targetHeight, orientation: orientation, filter: filter)
    let workspace = Workspace(given, byteCount: byteCount)
    self.workspace = workspace
    columnFirst = workspace.take(targetWidth, of: Int32.self)
    columnCount = workspace.take(targetWidth, of: Int32.self)
    columnWeights = workspace.take(targetWidth * columns.tapLimit, of: Int32.self)
    lineWeights = workspace.take(lines.tapLimit, of: Int32.self)
    ring = workspace.take(lines.tapLimit * middle, of: UInt8.self)
    sums = workspace.take(middle, of: Int32.self)
    line = workspace.take(rowsFirst ? middle : 0, of: UInt8.self)
    out = workspace.take(3 * targetWidth, of: UInt8.self)
    for x in 0..<targetWidth {
      let (first, count) = columns.weigh(x, columnWeights + x * columns.tapLimit)
      columnFirst[x] = Int32(first)
      columnCount[x] = Int32(count)
    }
  }

  /// Takes the next source row and emits every target row that it completes.
  ///
  /// - Shapes: `row` [sourceWidth * 3]; `emit` gets the target row's number and [targetWidth * 3], valid only
  ///   during the call.
  /// - Memory: allocates nothing.
  package func push(_ row: UnsafePointer<UInt8>, emit: (Int, UnsafePointer<UInt8>) -> Void) {
    precondition(nextSource < sourceHeight, "all \(sourceHeight) rows have been pushed")
    let kept = ring + nextSource % lines.tapLimit * middle
    if rowsFirst { kept.update(from: row, count: middle) } else { spread(row, into: kept) }
    nextSource += 1
    while nextTarget < targetHeight {
      let (first, count) = lines.range(nextTarget)
      guard first + count <= nextSource else { return }
      if rowsFirst {
        mix(into: line)
        spread(line, into: out)
      } else {
        mix(into: out)
      }
      emit(nextTarget, UnsafePointer(out))
      nextTarget += 1
    }
  }

  /// The pass along rows.
  private func spread(_ row: UnsafePointer<UInt8>, into target: UnsafeMutablePointer<UInt8>) {
    if sourceWidth == targetWidth {
      target.update(from: row, count: 3 * targetWidth)
      return
    }
    let half: Int32 = 1 << (Self.precision - 1)
    for x in 0..<targetWidth {
      let weights = columnWeights + x &* columns.tapLimit
      let from = row + 3 &* Int(columnFirst[x])
      var red = half
      var green = half
      var blue = half
      for i in 0..<Int(columnCount[x]) {
        let weight = weights[i]
        red &+= Int32(from[3 &* i]) &* weight
        green &+= Int32(from[3 &* i &+ 1]) &* weight
        blue &+= Int32(from[3 &* i &+ 2]) &* weight
      }
      target[3 &* x] = Self.clip(red)
      target[3 &* x &+ 1] = Self.clip(green)
      target[3 &* x &+ 2] = Self.clip(blue)
    }
  }

  /// The pass down columns, over the ring.
  private func mix(into target: UnsafeMutablePointer<UInt8>) {
    let (first, count) = lines.weigh(nextTarget, lineWeights)
    let width = middle
    for i in 0..<width { sums[i] = 1 << (Self.precision - 1) }
    for k in 0..<count {
      let from = ring + (first + k) % lines.tapLimit * width
      let weight = lineWeights[k]
      for i in 0..<width { sums[i] &+= Int32(from[i]) &* weight }
    }
    for i in 0..<width { target[i] = Self.clip(sums[i]) }
  }

  private static func clip(_ sum: Int32) -> UInt8 {
    UInt8(truncatingIfNeeded: min(max(sum >> precision, 0), 255))
  }
}
