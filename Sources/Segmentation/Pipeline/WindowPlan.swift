// Where the windows lie on the CLIP copy of the photo, and the pixels a patch reads.
import Compute
import Raster

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
  package let window: Int
  package let patch: Int
  package let origins: [Origin]

  package var gridRows: Int { height / patch }
  package var gridColumns: Int { width / patch }
  package var windowGrid: Int { window / patch }

  /// Long side never larger than this, whatever the short side asked for. Source: the published configurations' `(2048, shortSide)` scale.
  package static let longSideLimit = 2048

  package init(photoWidth: Int, photoHeight: Int, shortSide: Int, window: Int, stride: Int, patch: Int) {
    let short = Double(min(photoWidth, photoHeight))
    let long = Double(max(photoWidth, photoHeight))
    let scale = min(Double(Self.longSideLimit) / long, Double(shortSide) / short)
    copyWidth = max(1, Int(Double(photoWidth) * scale + 0.5))
    copyHeight = max(1, Int(Double(photoHeight) * scale + 0.5))
    self.window = window
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
    self.origins = origins
  }
}

/// Reads normalized patches from an 8-bit RGB image, resampled bilinearly where the grid asks for other sizes.
///
/// Normalizing is affine and bilinear weights sum to one, so resampling bytes and normalizing afterwards equals the published
/// order (normalize, then resample the floats).
struct PatchReader {
  let image: UnsafePointer<UInt8>
  let imageWidth: Int
  let taps: GridTaps?
  let scale: (Float, Float, Float)
  let shift: (Float, Float, Float)

  /// Value = (byte / 255 - mean) / deviation.
  init(
    image: UnsafePointer<UInt8>, plan: WindowPlan, mean: (Float, Float, Float), deviation: (Float, Float, Float)
  ) {
    self.image = image
    imageWidth = plan.copyWidth
    let same = plan.copyWidth == plan.width && plan.copyHeight == plan.height
    taps =
      same
      ? nil
      : GridTaps(bilinearFrom: (plan.copyHeight, plan.copyWidth), to: (plan.height, plan.width))
    scale = (1 / (255 * deviation.0), 1 / (255 * deviation.1), 1 / (255 * deviation.2))
    shift = (-mean.0 / deviation.0, -mean.1 / deviation.1, -mean.2 / deviation.2)
  }

  /// One patch in order (channel, y, x).
  ///
  /// - Shapes: out [3 * patch * patch].
  func patch(y: Int, x: Int, side: Int, out: UnsafeMutablePointer<Float>) {
    let plane = side * side
    for row in 0..<side {
      for column in 0..<side {
        var red: Float = 0
        var green: Float = 0
        var blue: Float = 0
        if let taps {
          taps.forEachTap(row: y + row, column: x + column) { cell, weight in
            let pixel = image + 3 * cell
            red += weight * Float(pixel[0])
            green += weight * Float(pixel[1])
            blue += weight * Float(pixel[2])
          }
        } else {
          let pixel = image + 3 * ((y + row) * imageWidth + x + column)
          red = Float(pixel[0])
          green = Float(pixel[1])
          blue = Float(pixel[2])
        }
        let at = row * side + column
        out[at] = red * scale.0 + shift.0
        out[plane + at] = green * scale.1 + shift.1
        out[2 * plane + at] = blue * scale.2 + shift.2
      }
    }
  }
}

extension SequenceEncoder {
  /// x = patches W^T (+ b), behind a class token, plus positions.
  ///
  /// - Shapes: `x` [1 + grid * grid, width], overwritten.
  func embed(
    _ reader: PatchReader, origin: WindowPlan.Origin, grid: Int, layer: PackedLinear,
    classToken: UnsafePointer<Float>, positions: PositionGrid, x: UnsafeMutablePointer<Float>,
    _ scratch: SequenceScratch
  ) {
    let width = config.width
    let patch = config.patch
    let length = 3 * patch * patch
    for channel in 0..<width { x[channel] = classToken[channel] + positions.table[channel] }
    let chunk = engine.pool.chunk(count: grid * grid, limit: min(tiling.rows, scratch.tokens), multiple: 16)
    engine.pool.run(count: grid * grid, chunk: chunk) { range, worker in
      let room = scratch.rowWorkers[worker]
      for cell in range {
        reader.patch(
          y: origin.y + cell / grid * patch, x: origin.x + cell % grid * patch, side: patch,
          out: room.hidden + (cell - range.lowerBound) * length)
      }
      let rows = engine.prepare(room.hidden, length, rows: range.count, columns: length, room.rows)
      let out = x + (1 + range.lowerBound) * width
      engine.linear(layer, rows, out: out, width)
      let position = positions.table + (1 + range.lowerBound) * width
      for index in 0..<range.count * width { out[index] += position[index] }
    }
  }
}
