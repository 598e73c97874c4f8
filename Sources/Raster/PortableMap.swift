// PGM and PPM in, text and binary, through a small buffer.

import System

/// Reads a portable grey or pixel map row by row.
///
/// - Units: samples are scaled to 0...255, rounded to nearest; at a maximum of 65535 the low byte is dropped.
/// - Memory: 16 KiB of input, one sample row less than `workingByteCount`.
/// - Errors: header out of form, samples above the maximum, early end.
/// - Source: the Netpbm manual pages pgm(5) and ppm(5).
final class PortableMapReader {
  let file: InputFile
  let width: Int
  let height: Int
  private let isColour: Bool
  private let isText: Bool
  private let maximum: Int
  private let buffer: FileCursor<RasterError>
  private var row = 0

  init(file: InputFile) throws(RasterError) {
    self.file = file
    buffer = FileCursor(file: file, range: 0..<file.byteCount, windowByteCount: 16384)
    _ = try buffer.next()
    let kind = Int(try buffer.next() ?? 0) - 0x30
    isText = kind <= 3
    isColour = kind == 3 || kind == 6
    guard let width = try buffer.number(), let height = try buffer.number(), let maximum = try buffer.number()
    else {
      throw RasterError(.corrupt("header is not three numbers"), path: file.path, offset: buffer.position)
    }
    guard (1...65535).contains(maximum) else {
      throw RasterError(.corrupt("maximum is \(maximum), not 1 to 65535"), path: file.path)
    }
    self.width = width
    self.height = height
    self.maximum = maximum
  }

  /// Writes the next row as RGB.
  func readRow(into target: UnsafeMutablePointer<UInt8>) throws(RasterError) {
    if isColour && !isText && maximum == 255 {
      guard try buffer.copy(3 * width, into: target) else { throw missing() }
      row += 1
      return
    }
    let samples = isColour ? 3 : 1
    for x in 0..<width {
      for c in 0..<samples { target[3 * x + c] = try sample() }
      if !isColour {
        target[3 * x + 1] = target[3 * x]
        target[3 * x + 2] = target[3 * x]
      }
    }
    row += 1
  }

  private func sample() throws(RasterError) -> UInt8 {
    var value = 0
    if isText {
      guard let number = try buffer.number() else { throw missing() }
      value = number
    } else {
      guard let high = try buffer.next() else { throw missing() }
      value = Int(high)
      if maximum > 255 {
        guard let low = try buffer.next() else { throw missing() }
        value = value << 8 | Int(low)
      }
    }
    if maximum == 255, value <= 255 { return UInt8(value) }
    guard value <= maximum else {
      throw RasterError(
        .corrupt("sample \(value) above \(maximum)"), path: file.path, offset: buffer.position, row: row)
    }
    if maximum == 65535 { return UInt8(value >> 8) }
    return UInt8((value * 255 * 2 + maximum) / (2 * maximum))
  }

  private func missing() -> RasterError {
    let ended = buffer.position >= file.byteCount
    let reason: RasterError.Reason = ended ? .truncated("samples missing") : .corrupt("not a number")
    return RasterError(reason, path: file.path, offset: buffer.position, row: row)
  }
}

/// What may lie between two numbers, in bytes; the holes of a sparse file are free, and may be any number.
private let gapLimit = 1 << 20

private func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || (0x09...0x0D).contains(byte) }

extension FileCursor where Failure == RasterError {
  /// Skips blanks and comments and reads a decimal number below 2^24; nil if there is none.
  func number() throws(RasterError) -> Int? {
    let end = position + gapLimit
    var byte = try next()
    while let seen = byte, seen == 0x23 || isBlank(seen) {
      if seen == 0x23 {
        while position < end, let inside = try next(), inside != 0x0A, inside != 0x0D {}
      }
      guard position < end else { return nil }
      byte = try next()
    }
    guard var digit = byte, (0x30...0x39).contains(digit) else { return nil }
    var value = 0
    while true {
      value = value * 10 + Int(digit - 0x30)
      guard value < 1 << 24, let after = try next() else { return value < 1 << 24 ? value : nil }
      if isBlank(after) { return value }
      guard (0x30...0x39).contains(after) else { return nil }
      digit = after
    }
  }
}
