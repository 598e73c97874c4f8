// Where the windows lie on the CLIP copy of the photo.
import Compute

/// Sizes of the CLIP copy and its windows.
///
/// - Units: pixels of the CLIP copy unless a name says patches.
/// - Source: mmsegmentation-style sliding windows as the published code lays them.
package struct WindowPlan: Equatable, Sendable {
  package struct Origin: Equatable, Sendable {
    package var y: Int
    package var x: Int
  }

  /// The 8-bit copy: short side as asked, long side capped.
  package let copyWidth: Int
  package let copyHeight: Int
  /// The float copy that windows are cut from: multiples of the patch, at least one window.
  package let width: Int
  package let height: Int
  /// Side that windows have where the image is large enough.
  package let window: Int
  /// Of every window.
  package let windowHeight: Int
  package let windowWidth: Int
  package let patch: Int
  package let origins: [Origin]

  package var gridRows: Int { height / patch }
  package var gridColumns: Int { width / patch }
  package var windowGrid: Int { window / patch }

  /// Long side never larger than this, whatever the short side asked for. Source: the published
  /// configurations' `(2048, shortSide)` scale.
  package static let longSideLimit = 2048

  package init(photoWidth: Int, photoHeight: Int, shortSide: Int, window: Int, stride: Int, patch: Int) {
    (copyWidth, copyHeight) = Self.copySize(
      photoWidth, photoHeight, shortSide: shortSide, longSide: Self.longSideLimit)
    self.window = window
    (windowWidth, windowHeight) = (window, window)
    self.patch = patch
    var width = copyWidth
    var height = copyHeight
    if width % patch != 0 || height % patch != 0 {
      let longer = max(width, height)
      let target = roundUp(longer, to: patch)
      width = max(roundUp(width * target / longer, to: patch), window)
      height = max(roundUp(height * target / longer, to: patch), window)
    }
    width = max(width, window)
    height = max(height, window)
    self.width = width
    self.height = height
    origins = Self.origins(width: width, height: height, window: window, stride: stride)
  }

  /// Windows over an image of any size, as small as the image where it is smaller; `stride` 0: the whole
  /// image is one.
  package init(
    copy: (width: Int, height: Int), image: (width: Int, height: Int), window: Int, stride: Int, patch: Int
  ) {
    (copyWidth, copyHeight) = copy
    (width, height) = image
    self.window = window
    self.patch = patch
    (windowWidth, windowHeight) = stride == 0 ? image : (min(window, image.width), min(window, image.height))
    origins =
      stride == 0
      ? [Origin(y: 0, x: 0)] : Self.origins(width: width, height: height, window: window, stride: stride)
  }

  /// Short side as asked, long side capped, aspect kept.
  package static func copySize(
    _ photoWidth: Int, _ photoHeight: Int, shortSide: Int, longSide: Int
  ) -> (width: Int, height: Int) {
    let short = Double(min(photoWidth, photoHeight))
    let long = Double(max(photoWidth, photoHeight))
    let scale = min(Double(longSide) / long, Double(shortSide) / short)
    return (max(1, Int(Double(photoWidth) * scale + 0.5)), max(1, Int(Double(photoHeight) * scale + 0.5)))
  }

  private static func origins(width: Int, height: Int, window: Int, stride: Int) -> [Origin] {
    let rows = max(height - window + stride - 1, 0) / stride + 1
    let columns = max(width - window + stride - 1, 0) / stride + 1
    var origins: [Origin] = []
    for row in 0..<rows {
      for column in 0..<columns {
        let bottom = min(row * stride + window, height)
        let right = min(column * stride + window, width)
        origins.append(Origin(y: max(bottom - window, 0), x: max(right - window, 0)))
      }
    }
    return origins
  }
}
