// Pixels to tokens: every patch of a grid times one matrix, plus its position.
import Compute
import Raster

/// Normalized pixels of patches of an 8-bit RGB image.
package protocol PatchPixels {
  /// One patch in order (channel, y, x), its first pixel at (y, x).
  ///
  /// - Shapes: out [3 * side * side], overwritten.
  func patch(y: Int, x: Int, side: Int, out: UnsafeMutablePointer<Float>)
}

/// Patches of windows of a copy that is resampled bilinearly where the windows' grid asks for other sizes.
///
/// Normalizing is affine and bilinear weights sum to one, so resampling bytes and normalizing afterwards
/// equals the published order (normalize, then resample the floats).
package struct ResampledPixels: PatchPixels {
  private let image: UnsafePointer<UInt8>
  private let imageWidth: Int
  private let taps: GridTaps?
  private let scale: SIMD3<Float>
  private let shift: SIMD3<Float>

  /// Value = (byte / 255 - mean) / deviation.
  package init(_ image: UnsafePointer<UInt8>, _ plan: WindowPlan, _ statistics: PixelStatistics) {
    self.image = image
    imageWidth = plan.copyWidth
    let same = plan.copyWidth == plan.width && plan.copyHeight == plan.height
    taps =
      same ? nil : GridTaps(bilinearFrom: (plan.copyHeight, plan.copyWidth), to: (plan.height, plan.width))
    scale = 1 / (255 * statistics.deviation)
    shift = -statistics.mean / statistics.deviation
  }

  /// Of an image that is as large as the network wants it.
  package init(_ image: UnsafePointer<UInt8>, width: Int, _ statistics: PixelStatistics) {
    self.image = image
    imageWidth = width
    taps = nil
    scale = 1 / (255 * statistics.deviation)
    shift = -statistics.mean / statistics.deviation
  }

  package func patch(y: Int, x: Int, side: Int, out: UnsafeMutablePointer<Float>) {
    let plane = side * side
    for row in 0..<side {
      for column in 0..<side {
        var (red, green, blue): (Float, Float, Float) = (0, 0, 0)
        if let taps {
          taps.forEachTap(row: y + row, column: x + column) { cell, weight in
            let pixel = image + 3 * cell
            red += weight * Float(pixel[0])
            green += weight * Float(pixel[1])
            blue += weight * Float(pixel[2])
          }
        } else {
          let pixel = image + 3 * ((y + row) * imageWidth + x + column)
          (red, green, blue) = (Float(pixel[0]), Float(pixel[1]), Float(pixel[2]))
        }
        let at = row * side + column
        out[at] = red * scale.x + shift.x
        out[plane + at] = green * scale.y + shift.y
        out[2 * plane + at] = blue * scale.z + shift.z
      }
    }
  }
}

/// Patches of a copy that stands in the corner of a square; zero beside it.
package struct PaddedPixels: PatchPixels {
  private let image: UnsafePointer<UInt8>
  private let width: Int
  private let height: Int
  private let statistics: PixelStatistics

  /// Value = (byte - mean) / deviation.
  ///
  /// - Shapes: `image` [height, width, 3].
  package init(_ image: UnsafePointer<UInt8>, width: Int, height: Int, _ statistics: PixelStatistics) {
    (self.image, self.width, self.height, self.statistics) = (image, width, height, statistics)
  }

  package func patch(y: Int, x: Int, side: Int, out: UnsafeMutablePointer<Float>) {
    let plane = side * side
    out.update(repeating: 0, count: 3 * plane)
    let (mean, deviation) = (statistics.mean, statistics.deviation)
    for row in 0..<max(0, min(side, height - y)) {
      for column in 0..<max(0, min(side, width - x)) {
        let pixel = image + 3 * ((y + row) * width + x + column)
        let at = row * side + column
        out[at] = (Float(pixel[0]) - mean.x) / deviation.x
        out[plane + at] = (Float(pixel[1]) - mean.y) / deviation.y
        out[2 * plane + at] = (Float(pixel[2]) - mean.z) / deviation.z
      }
    }
  }
}

/// The first layer of an image tower.
package struct PatchEmbedding {
  let run: RunContext
  let layer: PackedLinear
  /// Side of a patch.
  let side: Int

  /// x = patches W^T (+ b) + position.
  ///
  /// - Shapes: `x` [rows * columns, width], overwritten; patch (row, column) begins at `origin` plus so many
  ///   sides. `rooms` as for the blocks, at least 3 * side * side deep.
  /// - Parameter addPositions: adds the positions of a range of cells to their rows.
  package func embed(
    _ pixels: some PatchPixels, origin: (y: Int, x: Int), columns: Int, into x: Rows, _ rooms: [RowRoom],
    addPositions: (_ cells: Range<Int>, _ rows: Rows, _ room: RowRoom) -> Void
  ) {
    run.engine.share(x.count, limit: min(run.tiling.rows, x.count)) { range, worker in
      let room = rooms[worker]
      let patches = room.rows(range.count, layer.inputs)
      for cell in range {
        pixels.patch(
          y: origin.y + cell / columns * side, x: origin.x + cell % columns * side, side: side,
          out: patches.row(cell - range.lowerBound))
      }
      run.engine.linear(layer, run.engine.prepare(patches, room.scratch), into: x[range])
      addPositions(range, x[range], room)
    }
  }
}
