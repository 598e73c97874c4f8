// Stored position tables brought to another grid, with the sampling steps of the published code.
import Compute
import Raster

/// A learned position table at the window's grid.
///
/// - Source: each network's published code; see `PositionRule`.
package struct PositionTable {
  /// Prefix tokens that have a position first: [positionedPrefix + rows * columns, width].
  package let rows: Rows

  /// - Memory: as many rows of floats kept, and for a bicubic rule the stored table as floats while it is
  ///   resampled.
  package init(
    _ run: RunContext, _ spec: PositionSpec, _ config: VisionConfig, grid size: (rows: Int, columns: Int)
  ) throws {
    let (grid, prefix, width) = (config.grid, config.positionedPrefix, config.width)
    let rows = try run.arena.rows(prefix + size.rows * size.columns, width)
    self.rows = rows
    if config.positions == .bilinearCropped || config.positions == .ofWindow {
      precondition(
        config.positions == .bilinearCropped || max(size.rows, size.columns) == grid,
        "positions of another window")
      try Self.crop(run, spec, grid, size, into: rows)
      return
    }
    try run.scope {
      let source = try run.arena.rows(spec.rows, width)
      if run.isPlanning { return }
      run.model.load(spec, 0..<spec.rows, run.engine, into: source.base)
      rows.prefix(prefix).update(from: source.prefix(prefix))
      let (from, to) = (source[prefix..<source.count], rows[prefix..<rows.count])
      if size == (grid, grid) {
        to.update(from: from)
        return
      }
      func axis(_ side: Int) -> ResampleTaps {
        switch config.positions {
        case .bicubicAntialias: return ResampleTaps(.antialiasedBicubic, source: grid, target: side)
        case .bicubic: return ResampleTaps(.bicubic, source: grid, target: side)
        default:
          return ResampleTaps(
            .bicubic, source: grid, target: side, step: Double(grid) / (Double(side) + 0.1))
        }
      }
      GridTaps(rows: axis(size.rows), columns: axis(size.columns)).resample(
        from.base, channels: width, into: to.base)
    }
  }

  /// Bilinear to a square of the longer side, cut to the grid; rows of the table are read as they are needed.
  private static func crop(
    _ run: RunContext, _ spec: PositionSpec, _ grid: Int, _ size: (rows: Int, columns: Int), into out: Rows
  ) throws {
    try run.scope {
      let row = try run.arena.rows(1, spec.width)
      if run.isPlanning { return }
      let axis = ResampleTaps(.bilinear, source: grid, target: max(size.rows, size.columns))
      let taps = GridTaps(rows: axis, columns: axis)
      out.fill(0)
      let stored = run.model.range(of: [spec])
      for y in 0..<size.rows {
        var last = 0
        for x in 0..<size.columns {
          let target = out.row(y * size.columns + x)
          taps.forEachTap(row: y, column: x) { cell, weight in
            if weight == 0 { return }
            last = max(last, cell)
            run.model.load(spec, cell..<cell + 1, run.engine, into: row.base)
            for channel in 0..<spec.width { target[channel] += weight * row.base[channel] }
          }
        }
        // A large table is read from top to bottom: what lies above the last two rows of cells is done with.
        let above = stored.count / spec.rows * max(0, last - last % grid - grid)
        let done = y == size.rows - 1 ? stored : stored.prefix(above)
        if !run.keepsWeights { run.model.file.advise(done, .dontNeed) }
      }
    }
  }
}
