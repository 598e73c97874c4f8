// Bilinear resizing without antialiasing, row by row, to the integer arithmetic of OpenCV.

/// Resizes RGB rows as they arrive, like OpenCV's `INTER_LINEAR` on 8-bit pictures.
///
/// Half-pixel centres, coefficients of 11 bits, borders repeated. An unchanged size copies, and exactly half
/// of both sides averages 2 x 2 pixels, as OpenCV does.
/// Rows may come as a camera stored them: the picture is then resized as if it had been turned upright first,
/// to the last bit, and handed out in stored order.
///
/// - Shapes: rows in [sourceWidth * 3], pushed sourceHeight times; rows out [targetWidth * 3], in order.
/// - Memory: `byteCount(...)`, taken at `init`; nothing while rows flow.
/// - Errors: none; traps if more rows are pushed than the source has.
/// - Source: OpenCV `resize`, INTER_LINEAR for 8-bit unsigned.
package final class BilinearRows {
  /// Pixels in a row pushed, rows to push, pixels in a row emitted, rows emitted.
  package let sourceWidth: Int, sourceHeight: Int, targetWidth: Int, targetHeight: Int

  private enum Rule { case copy, halve, blend }

  private let rule: Rule
  private let workspace: Workspace
  private let orientation: Orientation
  /// The seen picture's horizontal pass comes first, and runs down the stored columns where axes are swapped.
  private var rowsFirst: Bool { orientation.swapsAxes }
  /// Left source element of each target pixel, times 3, and the right one; their weights, which add up to
  /// 2048 but for rounding.
  private let left: UnsafeMutablePointer<Int32>
  private let right: UnsafeMutablePointer<Int32>
  private let leftWeight: UnsafeMutablePointer<Int32>
  private let rightWeight: UnsafeMutablePointer<Int32>
  /// Two source rows, by the parity of the row: after the horizontal pass, in 15 bits (255 * 2048 >> 4), or
  /// as they came; and one row after the first pass down the columns.
  private let rows: UnsafeMutablePointer<Int16>
  private let line: UnsafeMutablePointer<Int16>
  private let out: UnsafeMutablePointer<UInt8>
  private var nextSource = 0
  private var nextTarget = 0

  /// Bytes that one resizer works in.
  ///
  /// - Units: bytes, a multiple of 64. The source width matters where axes are swapped.
  package static func byteCount(
    sourceWidth: Int, targetWidth: Int, orientation: Orientation = .upright
  ) -> Int {
    let rowsFirst = orientation.swapsAxes
    return 4 * Workspace.bytes(targetWidth, of: Int32.self)
      + Workspace.bytes(6 * (rowsFirst ? max(sourceWidth, targetWidth) : targetWidth), of: Int16.self)
      + Workspace.bytes(rowsFirst ? 3 * sourceWidth : 0, of: Int16.self)
      + Workspace.bytes(3 * targetWidth, of: UInt8.self)
  }

  /// Prepares coefficients. Sizes are those of the stored picture. `workspace` holds `byteCount(...)` bytes,
  /// 64-byte aligned, and outlives the resizer; without it the resizer allocates its own.
  package init(
    sourceWidth: Int, sourceHeight: Int, targetWidth: Int, targetHeight: Int,
    orientation: Orientation = .upright, workspace given: UnsafeMutableRawPointer? = nil
  ) {
    precondition(min(sourceWidth, sourceHeight, targetWidth, targetHeight) > 0, "sizes must be positive")
    self.sourceWidth = sourceWidth
    self.sourceHeight = sourceHeight
    self.targetWidth = targetWidth
    self.targetHeight = targetHeight
    if sourceWidth == targetWidth && sourceHeight == targetHeight {
      rule = .copy
    } else if sourceWidth == 2 * targetWidth && sourceHeight == 2 * targetHeight {
      rule = .halve
    } else {
      rule = .blend
    }
    self.orientation = orientation
    let workspace = Workspace(
      given,
      byteCount: Self.byteCount(sourceWidth: sourceWidth, targetWidth: targetWidth, orientation: orientation))
    self.workspace = workspace
    left = workspace.take(targetWidth, of: Int32.self)
    right = workspace.take(targetWidth, of: Int32.self)
    leftWeight = workspace.take(targetWidth, of: Int32.self)
    rightWeight = workspace.take(targetWidth, of: Int32.self)
    let swaps = orientation.swapsAxes
    rows = workspace.take(6 * (swaps ? max(sourceWidth, targetWidth) : targetWidth), of: Int16.self)
    line = workspace.take(swaps ? 3 * sourceWidth : 0, of: Int16.self)
    out = workspace.take(3 * targetWidth, of: UInt8.self)
    let isReversed = swaps ? orientation.reversesY : orientation.reversesX
    for x in 0..<targetWidth {
      let taps = Self.taps(
        x, source: sourceWidth, target: targetWidth, isReversed: isReversed, isHorizontal: !swaps)
      left[x] = Int32(3 * taps.first)
      right[x] = Int32(3 * taps.second)
      leftWeight[x] = taps.firstWeight
      rightWeight[x] = taps.secondWeight
    }
  }

  /// The two source cells of a target cell, in stored order, with weights of 11 bits, by OpenCV's rule for
  /// one of the seen picture's axes: its horizontal pass stops at the border, its vertical one reads the
  /// border twice.
  private static func taps(
    _ target: Int, source: Int, target targets: Int, isReversed: Bool, isHorizontal: Bool
  ) -> (first: Int, second: Int, firstWeight: Int32, secondWeight: Int32) {
    // OpenCV divides twice; one division can differ in the last bit.
    let scale = 1 / (Double(targets) / Double(source))
    let seen = isReversed ? targets - 1 - target : target
    let centre = Float((Double(seen) + 0.5) * scale - 0.5)
    let floor = centre.rounded(.down)
    var (index, part) = (Int(floor), centre - floor)
    if isHorizontal && index < 0 { (index, part) = (0, 0) }
    if isHorizontal && index >= source - 1 { (index, part) = (source - 1, 0) }
    func fixed(_ weight: Float) -> Int32 { Int32((weight * 2048).rounded(.toNearestOrEven)) }
    let second = fixed(part)
    let first = isHorizontal ? 2048 - second : fixed(1 - part)
    let upper = min(max(index, 0), source - 1)
    let lower = min(max(index + 1, 0), source - 1)
    return isReversed
      ? (source - 1 - lower, source - 1 - upper, second, first) : (upper, lower, first, second)
  }

  /// Takes the next source row and emits every target row that it completes.
  ///
  /// - Shapes: `row` [sourceWidth * 3]; `emit` gets the target row's number and [targetWidth * 3], valid only
  ///   during the call.
  /// - Memory: allocates nothing.
  package func push(_ row: UnsafePointer<UInt8>, emit: (Int, UnsafePointer<UInt8>) -> Void) {
    precondition(nextSource < sourceHeight, "all \(sourceHeight) rows have been pushed")
    switch rule {
    case .copy: emit(nextSource, row)
    case .halve: halve(row, emit: emit)
    case .blend: blend(row, emit: emit)
    }
    nextSource += 1
  }

  private func halve(_ row: UnsafePointer<UInt8>, emit: (Int, UnsafePointer<UInt8>) -> Void) {
    let isSecond = nextSource & 1 == 1
    for x in 0..<targetWidth {
      for c in 0..<3 {
        let pair = Int16(row[6 * x + c]) + Int16(row[6 * x + 3 + c])
        let at = 3 * x + c
        if isSecond {
          out[at] = UInt8(truncatingIfNeeded: (rows[at] + pair + 2) >> 2)
        } else {
          rows[at] = pair
        }
      }
    }
    if isSecond { emit(nextSource / 2, UnsafePointer(out)) }
  }

  private func blend(_ row: UnsafePointer<UInt8>, emit: (Int, UnsafePointer<UInt8>) -> Void) {
    let isReversed = rowsFirst ? orientation.reversesX : orientation.reversesY
    var isKept = false
    while nextTarget < targetHeight {
      let taps = Self.taps(
        nextTarget, source: sourceHeight, target: targetHeight, isReversed: isReversed,
        isHorizontal: rowsFirst)
      guard taps.first <= nextSource else { return }
      if !isKept {
        keep(row)
        isKept = true
      }
      guard taps.second <= nextSource else { return }
      if rowsFirst {
        mixThenSpread(slot(taps.first), slot(taps.second), taps.firstWeight, taps.secondWeight)
      } else {
        mix(slot(taps.first), slot(taps.second), taps.firstWeight, taps.secondWeight)
      }
      emit(nextTarget, UnsafePointer(out))
      nextTarget += 1
    }
  }

  private func slot(_ row: Int) -> UnsafeMutablePointer<Int16> {
    rows + (row & 1) * 3 * (rowsFirst ? sourceWidth : targetWidth)
  }

  /// Keeps a source row for the rows that read it, after the horizontal pass where that comes first.
  private func keep(_ row: UnsafePointer<UInt8>) {
    let target = slot(nextSource)
    if rowsFirst {
      for i in 0..<3 * sourceWidth { target[i] = Int16(row[i]) }
      return
    }
    for x in 0..<targetWidth {
      let a = row + Int(left[x])
      let b = row + Int(right[x])
      let (weight, rest) = (rightWeight[x], leftWeight[x])
      for c in 0..<3 {
        target[3 &* x &+ c] = Int16(truncatingIfNeeded: (Int32(a[c]) &* rest &+ Int32(b[c]) &* weight) >> 4)
      }
    }
  }

  /// Vertical pass. Each product is cut to 16 bits before the sum, as in OpenCV's vector code.
  private func mix(_ upper: UnsafePointer<Int16>, _ lower: UnsafePointer<Int16>, _ a: Int32, _ b: Int32) {
    for i in 0..<3 * targetWidth { out[i] = Self.blend(upper[i], lower[i], a, b) }
  }

  /// Both passes with the axes swapped: the seen picture's horizontal one across two stored rows, then its
  /// vertical one along them.
  private func mixThenSpread(
    _ upper: UnsafePointer<Int16>, _ lower: UnsafePointer<Int16>, _ a: Int32, _ b: Int32
  ) {
    for i in 0..<3 * sourceWidth {
      line[i] = Int16(truncatingIfNeeded: (Int32(upper[i]) &* a &+ Int32(lower[i]) &* b) >> 4)
    }
    for x in 0..<targetWidth {
      let (from, to) = (line + Int(left[x]), line + Int(right[x]))
      for c in 0..<3 { out[3 &* x &+ c] = Self.blend(from[c], to[c], leftWeight[x], rightWeight[x]) }
    }
  }

  @inline(__always)
  private static func blend(_ upper: Int16, _ lower: Int16, _ a: Int32, _ b: Int32) -> UInt8 {
    let sum = ((Int32(upper) &* a) >> 16) &+ ((Int32(lower) &* b) >> 16)
    return UInt8(truncatingIfNeeded: (sum &+ 2) >> 2)
  }
}
