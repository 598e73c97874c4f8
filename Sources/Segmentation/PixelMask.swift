// Which pixels of a small square copy of a photo belong to a class.
import Compute

/// A bit a pixel of a square.
///
/// - Memory: side * side / 8 bytes.
package struct PixelMask: Hashable, Sendable {
  package let side: Int
  private var words: [UInt64]

  /// Shapes: [side, side], row by row.
  package init(side: Int, _ isIn: (_ pixel: Int) -> Bool) {
    self.side = side
    words = [UInt64](repeating: 0, count: ceilDivide(side * side, by: 64))
    for pixel in 0..<side * side where isIn(pixel) { words[pixel >> 6] |= 1 << UInt64(pixel & 63) }
  }

  /// No pixel, or all of them.
  package init(side: Int, all: Bool) { self.init(side: side) { _ in all } }

  package subscript(pixel: Int) -> Bool { words[pixel >> 6] >> UInt64(pixel & 63) & 1 == 1 }

  package var count: Int { words.reduce(0) { $0 + $1.nonzeroBitCount } }

  /// The other pixels.
  package var complement: PixelMask { PixelMask(side: side) { !self[$0] } }

  package static func byteCount(side: Int) -> Int { 8 * ceilDivide(side * side, by: 64) + 64 }
}
