// Stored position tables brought to another grid, with the sampling steps of the published code.
import Compute
import Raster

/// A learned position table at the window's grid.
///
/// - Source: the published code resamples with scale factor (grid + 0.1) / stored grid and samples by its inverse.
struct PositionGrid {
  /// Class token first: [1 + side * side, width].
  let table: UnsafeMutablePointer<Float>

  /// - Shapes: `stored` [1 + config.grid^2, width] halves.
  /// - Memory: (1 + side^2) * width floats kept, and the stored table as floats while it is resampled.
  init(
    _ arena: Arena, _ engine: Engine, stored: UnsafePointer<UInt16>, config: EncoderConfig, side: Int
  ) throws(ComputeError) {
    let width = config.width
    let grid = config.grid
    table = try arena.floats((1 + side * side) * width)
    let mark = arena.mark()
    defer { arena.release(to: mark) }
    let source = try arena.floats((1 + grid * grid) * width)
    if arena.isCounting { return }
    engine.fromHalf(stored, (1 + grid * grid) * width, source)
    if side == grid {
      table.update(from: source, count: (1 + grid * grid) * width)
      return
    }
    table.update(from: source, count: width)
    let axis = ResampleTaps(.bicubic, source: grid, target: side, step: Double(grid) / (Double(side) + 0.1))
    GridTaps(rows: axis, columns: axis).resample(source + width, channels: width, into: table + width)
  }
}
