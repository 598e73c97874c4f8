// Which way up a photo is meant to be seen.

/// Which way up a stored picture is meant to be seen, numbered as in EXIF.
///
/// - Source: EXIF 2.32, tag 0x0112.
package struct Orientation: Equatable, Sendable {
  /// 1...8; 1 is upright.
  package let rawValue: Int

  /// An orientation; anything outside 1...8 counts as upright.
  package init(_ rawValue: Int) { self.rawValue = (1...8).contains(rawValue) ? rawValue : 1 }

  /// Stored as seen.
  package static let upright = Orientation(1)

  /// Whether width and height change places.
  package var swapsAxes: Bool { rawValue >= 5 }
  /// Whether the seen x runs against the stored axis that it follows.
  package var reversesX: Bool { [2, 3, 6, 7].contains(rawValue) }
  /// Whether the seen y runs against the stored axis that it follows.
  package var reversesY: Bool { [3, 4, 7, 8].contains(rawValue) }

  /// The size as seen, from the stored size, or the other way round.
  package func size(width: Int, height: Int) -> (width: Int, height: Int) {
    swapsAxes ? (height, width) : (width, height)
  }

  /// Where a stored pixel of a `width` x `height` stored picture is seen.
  ///
  /// - Shapes: `x` < width, `y` < height; the result lies in `size(width:height:)`.
  package func seen(x: Int, y: Int, width: Int, height: Int) -> (x: Int, y: Int) {
    let size = size(width: width, height: height)
    let (u, v) = swapsAxes ? (y, x) : (x, y)
    return (reversesX ? size.width - 1 - u : u, reversesY ? size.height - 1 - v : v)
  }
}
