// Antialiased bilinear resizing, row by row, to the integer arithmetic of Pillow.

/// Resizes RGB rows as they arrive, like Pillow's `Image.resize(size, BILINEAR)`.
///
/// A triangle filter, widened by the scale when shrinking; weights of 22 bits; the horizontal pass first, rounded
/// to 8 bits, then the vertical one.
///
/// - Shapes: rows in [sourceWidth * 3], pushed sourceHeight times; rows out [targetWidth * 3], in order.
/// - Memory: `byteCount(...)`, taken at `init`; nothing while rows flow.
/// - Errors: none; traps if more rows are pushed than the source has.
/// - Source: Pillow `Image.resize`, BILINEAR for 8-bit RGB.
package final class AntialiasRows {
  /// Pixels in a row pushed, rows to push, pixels in a row emitted, rows emitted.
  package let sourceWidth: Int, sourceHeight: Int, targetWidth: Int, targetHeight: Int

  /// One axis of the filter: which source cells a target cell draws from, and how much.
  private struct Axis {
    let source: Int
    let scale: Double
    let support: Double
    /// Most cells that a target cell can draw from.
    let tapLimit: Int

    init(source: Int, target: Int) {
      self.source = source
      scale = Double(source) / Double(target)
      support = max(scale, 1)
      tapLimit = min(Int(support.rounded(.up)) * 2 + 1, source)
    }

    func range(_ target: Int) -> (first: Int, count: Int) {
      let centre = (Double(target) + 0.5) * scale
      let first = max(Int(centre - support + 0.5), 0)
      return (first, min(Int(centre + support + 0.5), source) - first)
    }

    /// Fills `weights` with the fixed-point weights of one target cell.
    func weigh(_ target: Int, _ weights: UnsafeMutablePointer<Int32>) -> (first: Int, count: Int) {
      let (first, count) = range(target)
      let centre = (Double(target) + 0.5) * scale
      let step = 1 / support
      func weight(_ i: Int) -> Double {
        max(1 - abs((Double(i + first) - centre + 0.5) * step), 0)
      }
      var sum = 0.0
      for i in 0..<count { sum += weight(i) }
      for i in 0..<count {
        let share = sum == 0 ? weight(i) : weight(i) / sum
        weights[i] = Int32(0.5 + share * Double(1 << AntialiasRows.precision))
      }
      return (first, count)
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
  private let ring: UnsafeMutablePointer<UInt8>
  private let sums: UnsafeMutablePointer<Int32>
  private let out: UnsafeMutablePointer<UInt8>
  private var nextSource = 0
  private var nextTarget = 0

  /// Bytes that one resizer works in: the weights of both axes, and as many 8-bit rows as the filter is tall.
  ///
  /// - Units: bytes, a multiple of 64.
  package static func byteCount(sourceWidth: Int, sourceHeight: Int, targetWidth: Int, targetHeight: Int) -> Int {
    let columns = Axis(source: sourceWidth, target: targetWidth)
    let lines = Axis(source: sourceHeight, target: targetHeight)
    return 2 * Workspace.bytes(targetWidth, of: Int32.self)
      + Workspace.bytes(targetWidth * columns.tapLimit, of: Int32.self)
      + Workspace.bytes(lines.tapLimit, of: Int32.self)
      + Workspace.bytes(lines.tapLimit * 3 * targetWidth, of: UInt8.self)
      + Workspace.bytes(3 * targetWidth, of: Int32.self)
      + Workspace.bytes(3 * targetWidth, of: UInt8.self)
  }

  /// Prepares coefficients. `workspace` holds `byteCount(...)` bytes, 64-byte aligned, and outlives the resizer;
  /// without it the resizer allocates its own.
  package init(
    sourceWidth: Int, sourceHeight: Int, targetWidth: Int, targetHeight: Int,
    workspace given: UnsafeMutableRawPointer? = nil
  ) {
    precondition(min(sourceWidth, sourceHeight, targetWidth, targetHeight) > 0, "sizes must be positive")
    self.sourceWidth = sourceWidth
    self.sourceHeight = sourceHeight
    self.targetWidth = targetWidth
    self.targetHeight = targetHeight
    columns = Axis(source: sourceWidth, target: targetWidth)
    lines = Axis(source: sourceHeight, target: targetHeight)
    let byteCount = Self.byteCount(
      sourceWidth: sourceWidth, sourceHeight: sourceHeight, targetWidth: targetWidth, targetHeight: targetHeight)
    let workspace = Workspace(given, byteCount: byteCount)
    self.workspace = workspace
    columnFirst = workspace.take(targetWidth, of: Int32.self)
    columnCount = workspace.take(targetWidth, of: Int32.self)
    columnWeights = workspace.take(targetWidth * columns.tapLimit, of: Int32.self)
    lineWeights = workspace.take(lines.tapLimit, of: Int32.self)
    ring = workspace.take(lines.tapLimit * 3 * targetWidth, of: UInt8.self)
    sums = workspace.take(3 * targetWidth, of: Int32.self)
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
    spread(row)
    nextSource += 1
    while nextTarget < targetHeight {
      let (first, count) = lines.range(nextTarget)
      guard first + count <= nextSource else { return }
      mix()
      emit(nextTarget, UnsafePointer(out))
      nextTarget += 1
    }
  }

  /// Horizontal pass into the ring.
  private func spread(_ row: UnsafePointer<UInt8>) {
    let target = ring + nextSource % lines.tapLimit * 3 * targetWidth
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

  /// Vertical pass over the ring.
  private func mix() {
    let (first, count) = lines.weigh(nextTarget, lineWeights)
    let width = 3 * targetWidth
    for i in 0..<width { sums[i] = 1 << (Self.precision - 1) }
    for k in 0..<count {
      let from = ring + (first + k) % lines.tapLimit * width
      let weight = lineWeights[k]
      for i in 0..<width { sums[i] &+= Int32(from[i]) &* weight }
    }
    for i in 0..<width { out[i] = Self.clip(sums[i]) }
  }

  private static func clip(_ sum: Int32) -> UInt8 {
    UInt8(truncatingIfNeeded: min(max(sum >> precision, 0), 255))
  }
}
