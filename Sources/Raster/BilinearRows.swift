// Bilinear resizing without antialiasing, row by row, to the integer arithmetic of OpenCV.

/// Resizes RGB rows as they arrive, like OpenCV's `INTER_LINEAR` on 8-bit pictures.
///
/// Half-pixel centres, coefficients of 11 bits, borders repeated. An unchanged size copies, and exactly half of
/// both sides averages 2 x 2 pixels, as OpenCV does.
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
  /// Left source element of each target pixel, times 3; the right one is next to it or the same.
  private let left: UnsafeMutablePointer<Int32>
  private let right: UnsafeMutablePointer<Int32>
  private let rightWeight: UnsafeMutablePointer<Int32>
  /// Two source rows after the horizontal pass, by the parity of the row; 15 bits: 255 * 2048 >> 4.
  private let rows: UnsafeMutablePointer<Int16>
  private let out: UnsafeMutablePointer<UInt8>
  private let rowScale: Double
  private var nextSource = 0
  private var nextTarget = 0

  /// Bytes that one resizer works in.
  ///
  /// - Units: bytes, a multiple of 64. The source width does not matter.
  package static func byteCount(targetWidth: Int) -> Int {
    3 * Workspace.bytes(targetWidth, of: Int32.self) + Workspace.bytes(6 * targetWidth, of: Int16.self)
      + Workspace.bytes(3 * targetWidth, of: UInt8.self)
  }

  /// Prepares coefficients. `workspace` holds `byteCount(targetWidth:)` bytes, 64-byte aligned, and outlives the
  /// resizer; without it the resizer allocates its own.
  package init(
    sourceWidth: Int, sourceHeight: Int, targetWidth: Int, targetHeight: Int,
    workspace given: UnsafeMutableRawPointer? = nil
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
    let workspace = Workspace(given, byteCount: Self.byteCount(targetWidth: targetWidth))
    self.workspace = workspace
    left = workspace.take(targetWidth, of: Int32.self)
    right = workspace.take(targetWidth, of: Int32.self)
    rightWeight = workspace.take(targetWidth, of: Int32.self)
    rows = workspace.take(6 * targetWidth, of: Int16.self)
    out = workspace.take(3 * targetWidth, of: UInt8.self)
    // OpenCV divides twice; one division can differ in the last bit.
    rowScale = 1 / (Double(targetHeight) / Double(sourceHeight))
    let columnScale = 1 / (Double(targetWidth) / Double(sourceWidth))
    for x in 0..<targetWidth {
      var (index, part) = Self.place(x, scale: columnScale)
      if index < 0 { (index, part) = (0, 0) }
      if index >= sourceWidth - 1 { (index, part) = (sourceWidth - 1, 0) }
      left[x] = Int32(3 * index)
      right[x] = Int32(3 * min(index + 1, sourceWidth - 1))
      rightWeight[x] = Self.fixed(part)
    }
  }

  /// Source cell below the centre of a target cell, and the way to the next one, in single precision.
  private static func place(_ target: Int, scale: Double) -> (index: Int, part: Float) {
    let centre = Float((Double(target) + 0.5) * scale - 0.5)
    let floor = centre.rounded(.down)
    return (Int(floor), centre - floor)
  }

  private static func fixed(_ weight: Float) -> Int32 { Int32((weight * 2048).rounded(.toNearestOrEven)) }

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
        if isSecond { out[at] = UInt8(truncatingIfNeeded: (rows[at] + pair + 2) >> 2) } else { rows[at] = pair }
      }
    }
    if isSecond { emit(nextSource / 2, UnsafePointer(out)) }
  }

  private func blend(_ row: UnsafePointer<UInt8>, emit: (Int, UnsafePointer<UInt8>) -> Void) {
    var isSpread = false
    while nextTarget < targetHeight {
      let (index, part) = Self.place(nextTarget, scale: rowScale)
      let upper = min(max(index, 0), sourceHeight - 1)
      let lower = min(max(index + 1, 0), sourceHeight - 1)
      guard upper <= nextSource else { return }
      if !isSpread {
        spread(row)
        isSpread = true
      }
      guard lower <= nextSource else { return }
      mix(slot(upper), slot(lower), part)
      emit(nextTarget, UnsafePointer(out))
      nextTarget += 1
    }
  }

  private func slot(_ row: Int) -> UnsafeMutablePointer<Int16> { rows + (row & 1) * 3 * targetWidth }

  /// Horizontal pass.
  private func spread(_ row: UnsafePointer<UInt8>) {
    let target = slot(nextSource)
    for x in 0..<targetWidth {
      let a = row + Int(left[x])
      let b = row + Int(right[x])
      let weight = rightWeight[x]
      let rest = 2048 &- weight
      for c in 0..<3 {
        target[3 &* x &+ c] = Int16(truncatingIfNeeded: (Int32(a[c]) &* rest &+ Int32(b[c]) &* weight) >> 4)
      }
    }
  }

  /// Vertical pass. Each product is cut to 16 bits before the sum, as in OpenCV's vector code.
  private func mix(_ upper: UnsafePointer<Int16>, _ lower: UnsafePointer<Int16>, _ part: Float) {
    let b = Self.fixed(part)
    let a = Self.fixed(1 - part)
    for i in 0..<3 * targetWidth {
      let sum = ((Int32(upper[i]) &* a) >> 16) &+ ((Int32(lower[i]) &* b) >> 16)
      out[i] = UInt8(truncatingIfNeeded: (sum &+ 2) >> 2)
    }
  }
}
