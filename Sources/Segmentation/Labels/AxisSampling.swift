// One axis of a resampling: which inputs an output position reads, and with what weights.
import Compute

/// Bilinear resampling along one axis, half-pixel centres, edges clamped.
///
/// - Units: positions in elements; weights f32.
/// - Memory: allocates nothing.
/// - Source: PyTorch `interpolate(mode: bilinear, align_corners: False)` and `nearest`, evaluated in f32 as
///   it does.
package struct AxisSampling: Equatable, Sendable {
  package let input: Int
  package let output: Int
  private let scale: Float

  package init(from input: Int, to output: Int) {
    precondition(input > 0 && output > 0, "an axis needs elements")
    self.input = input
    self.output = output
    scale = Float(input) / Float(output)
  }

  /// The two inputs of an output position: `(1 - fraction) * x[lower] + fraction * x[upper]`.
  @inline(__always)
  package func tap(_ index: Int) -> (lower: Int, upper: Int, fraction: Float) {
    if input == output { return (index, index, 0) }
    let position = max(0, scale * (Float(index) + 0.5) - 0.5)
    let lower = min(Int(position), input - 1)
    let fraction = min(max(position - Float(lower), 0), 1)
    return (lower, min(lower + 1, input - 1), fraction)
  }

  /// The input that a nearest-neighbour resampling reads.
  @inline(__always)
  package func nearest(_ index: Int) -> Int {
    input == output ? index : min(Int(Float(index) * scale), input - 1)
  }
}

/// Three bilinear resamplings of one axis in a row: mask logits -> SAM's square (padding cut) -> the photo
/// with
/// sides rounded up to whole patches -> the photo.
///
/// - Memory: allocates nothing; a position is a band of `span` weights.
/// - Source: segment-anything `postprocess_masks`, then the extra step of the public Trident code.
package struct AxisChain: Sendable {
  private let first: AxisSampling
  private let second: AxisSampling
  private let third: AxisSampling
  /// Most inputs between the first and the last that one output reads, both counted.
  package let span: Int

  /// - Shapes: `low` logits, resampled to `square`, cut to `valid`, resampled to `padded`, then to `full`.
  package init(low: Int, square: Int, valid: Int, padded: Int, full: Int) {
    first = AxisSampling(from: low, to: square)
    second = AxisSampling(from: min(valid, square), to: padded)
    third = AxisSampling(from: padded, to: full)
    var widest = 1
    for index in 0..<full {
      let range = Self.range(index, first, second, third)
      widest = max(widest, range.upper - range.lower + 1)
    }
    span = widest
  }

  /// Inputs with a weight other than zero that `index` reads.
  @inline(__always)
  package func range(_ index: Int) -> (lower: Int, upper: Int) { Self.range(index, first, second, third) }

  private static func range(
    _ index: Int, _ first: AxisSampling, _ second: AxisSampling, _ third: AxisSampling
  ) -> (lower: Int, upper: Int) {
    // Taps are monotone, so the outermost ones bound the rest; a tap of weight zero does not count.
    let outer = third.tap(index)
    let low = first.tap(second.tap(outer.lower).lower).lower
    let middle = second.tap(outer.fraction > 0 ? outer.upper : outer.lower)
    let high = first.tap(middle.fraction > 0 ? middle.upper : middle.lower)
    return (low, high.fraction > 0 ? high.upper : high.lower)
  }

  /// Writes the `span` weights of an output position (zeros behind the last) and returns the first input.
  package func band(_ index: Int, weights: UnsafeMutablePointer<Float>) -> Int {
    let start = range(index).lower
    weights.update(repeating: 0, count: span)
    let outer = third.tap(index)
    for side in 0..<2 {
      let outerWeight = side == 0 ? 1 - outer.fraction : outer.fraction
      if outerWeight == 0 { continue }
      let middle = second.tap(side == 0 ? outer.lower : outer.upper)
      for part in 0..<2 {
        let middleWeight = outerWeight * (part == 0 ? 1 - middle.fraction : middle.fraction)
        if middleWeight == 0 { continue }
        let inner = first.tap(part == 0 ? middle.lower : middle.upper)
        weights[inner.lower - start] += middleWeight * (1 - inner.fraction)
        if inner.fraction > 0 { weights[inner.upper - start] += middleWeight * inner.fraction }
      }
    }
    return start
  }
}

/// The sizes that one photo takes on its way through refinement.
///
/// - Units: pixels, of the oriented photo.
package struct PhotoGeometry: Equatable, Sendable {
  package let height: Int
  package let width: Int
  /// Regions, boxes, points and mask prompts come from this copy; a side may be 0 (then nothing is refined).
  package let halfHeight: Int
  package let halfWidth: Int
  /// The photo with sides rounded up to whole patches of CLIP, which SAM's copy is made from.
  package let paddedHeight: Int
  package let paddedWidth: Int
  /// The valid part of SAM's square; RADSeg+ has a rule of its own for it.
  package var inputHeight: Int
  package var inputWidth: Int
  /// The valid part of a mask prompt.
  package let promptHeight: Int
  package let promptWidth: Int
  package let grid: Int
  package let imageSide: Int

  /// `patch`: CLIP's; `grid`, `imageSide`: SAM's.
  package init(height: Int, width: Int, patch: Int, grid: Int, imageSide: Int) {
    precondition(height > 0 && width > 0, "an empty photo")
    self.height = height
    self.width = width
    self.grid = grid
    self.imageSide = imageSide
    halfHeight = height / 2
    halfWidth = width / 2
    paddedHeight = roundUp(height, to: patch)
    paddedWidth = roundUp(width, to: patch)
    (inputHeight, inputWidth) = Self.fitted(paddedHeight, paddedWidth, longSide: imageSide)
    (promptHeight, promptWidth) = Self.fitted(height, width, longSide: 4 * grid)
  }

  /// Sizes scaled to a long side, rounded half up, at least 1. Source: segment-anything
  /// `get_preprocess_shape`.
  package static func fitted(_ height: Int, _ width: Int, longSide: Int) -> (height: Int, width: Int) {
    let scale = Double(longSide) / Double(max(height, width))
    return (
      max(1, Int(Double(height) * scale + 0.5)), max(1, Int(Double(width) * scale + 0.5))
    )
  }

  /// Sizes as they are up to a long side, and scaled to it beyond.
  package static func shrunk(_ height: Int, _ width: Int, longSide: Int) -> (height: Int, width: Int) {
    max(height, width) <= longSide ? (height, width) : fitted(height, width, longSide: longSide)
  }

  /// Half-size pixels to pixels of SAM's square.
  package var promptScale: (x: Float, y: Float) {
    let size = Self.fitted(halfHeight, halfWidth, longSide: imageSide)
    return (Float(Double(size.width) / Double(halfWidth)), Float(Double(size.height) / Double(halfHeight)))
  }
}
