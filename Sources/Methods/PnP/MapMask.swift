// From a map of some hundred patches to a mask of the judge's square, as PnP-OVSS's search makes it.
import Raster

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Makes masks of maps.
///
/// - Source: PnP-OVSS's public code; borders as in `ChannelField`. A map or a mask that is constant is empty.
package struct MapMask {
  private let grid: Int
  private let side: Int
  private let taps: GridTaps

  /// - Parameters:
  ///   - grid: cells along a side of a map.
  ///   - side: of the masks, pixels.
  package init(grid: Int, side: Int) {
    (self.grid, self.side) = (grid, side)
    let axis = ResampleTaps(.bicubic, source: grid, target: side)
    taps = GridTaps(rows: axis, columns: axis)
  }

  /// - Shapes: `map` [grid * grid]; `room` two of [side * side].
  /// - Parameter blur: standard deviation as a share of the side.
  package func mask(
    _ map: UnsafePointer<Float>, threshold: Float, blur: Float,
    _ room: (UnsafeMutablePointer<Float>, UnsafeMutablePointer<Float>)
  ) -> PixelMask {
    let (pixels, other) = room
    let cells = grid * grid
    let (low, high) = Self.limits(map, cells)
    guard high > low else { return PixelMask(side: side, all: false) }
    var cut = [Float](repeating: 0, count: cells)
    for cell in 0..<cells where (map[cell] - low) / (high - low) > threshold { cut[cell] = 1 }
    taps.resample(cut, channels: 1, into: pixels)
    smooth(pixels, other, sigma: Double(blur) * Double(side))
    let (least, most) = Self.limits(pixels, side * side)
    guard most > least else { return PixelMask(side: side, all: false) }
    return PixelMask(side: side) { (pixels[$0] - least) / (most - least) > threshold }
  }

  private static func limits(_ values: UnsafePointer<Float>, _ count: Int) -> (Float, Float) {
    var (low, high) = (values[0], values[0])
    for index in 0..<count { (low, high) = (min(low, values[index]), max(high, values[index])) }
    return (low, high)
  }

  /// A Gaussian cut at four deviations, one axis after the other; beyond an end the samples come back, the
  /// one at the end twice.
  private func smooth(
    _ pixels: UnsafeMutablePointer<Float>, _ other: UnsafeMutablePointer<Float>, sigma: Double
  ) {
    let radius = Int(4 * sigma + 0.5)
    guard radius > 0 else { return }
    var kernel = (-radius...radius).map { Float(exp(-0.5 * Double($0 * $0) / (sigma * sigma))) }
    let sum = kernel.reduce(0, +)
    for index in kernel.indices { kernel[index] /= sum }
    let places = (-radius..<side + radius).map { index in
      let turn = ((index % (2 * side)) + 2 * side) % (2 * side)
      return turn < side ? turn : 2 * side - 1 - turn
    }
    for y in 0..<side {
      for x in 0..<side {
        var value: Float = 0
        for index in kernel.indices { value += kernel[index] * pixels[y * side + places[x + index]] }
        other[y * side + x] = value
      }
    }
    for y in 0..<side {
      let line = pixels + y * side
      line.update(repeating: 0, count: side)
      for index in kernel.indices {
        let source = other + places[y + index] * side
        for x in 0..<side { line[x] += kernel[index] * source[x] }
      }
    }
  }
}
