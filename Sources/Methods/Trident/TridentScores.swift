// From rows of the canvas to unit features, and where both lie: section 8 up to the products with text.
import Compute
import Raster

/// What stays of a photo's networks.
struct Made: Movable {
  let features: StoredRows
  let embedding: Rows?

  func moved(down run: RunContext) throws(ComputeError) -> Made {
    let features = try features.moved(down: run)
    return Made(features: features, embedding: try embedding?.moved(down: run))
  }
}

extension TridentMethod {
  var usesSAM: Bool {
    options.refinement == .sam || (options.affinity != .none && options.paradigm == .splice)
  }

  /// What windows are spliced into: CLIP's features, or unit embeddings in the baseline paradigm.
  func canvas(_ layout: TridentLayout, _ run: RunContext) throws(ComputeError) -> SpliceCanvas {
    try SpliceCanvas(
      run.arena, rows: layout.canvas.rows, columns: layout.canvas.columns,
      width: options.paradigm == .window ? clip.embedWidth : clip.width)
  }

  /// Unit features of every cell that scores lie on.
  func features(_ layout: TridentLayout, _ run: RunContext) throws(ComputeError) -> StoredRows {
    let size = options.paradigm == .window ? layout.canvas : layout.grid
    return try StoredRows(run.arena, run.engine, count: size.rows * size.columns, width: clip.embedWidth)
  }

  /// SAM's last block as affinity, strips straight into the features.
  func aggregate(
    _ pass: SAMPass, _ encoder: SAMEncoder, _ x: Rows, _ target: AffinityTarget, into features: StoredRows,
    _ layout: TridentLayout
  ) throws {
    let run = encoder.run
    let strips = AffinityStrips(encoder: encoder, options: options, target: target, needsOutput: pass.embeds)
    try run.scope {
      let head = ScoreHead(run, clipSchema)
      let rooms = try run.engine.perWorker { () throws(ComputeError) in
        try ScoreHead.Room(run, clip, rows: min(run.tiling.strip, sam.grid))
      }
      try strips.aggregate(x) { y, column, rows, worker in
        let first = y * layout.grid.columns + pass.mapColumn + column
        run.record("affinity.features", rows, at: first)
        features.store(run.engine, head.project(rows, rooms[worker]), at: first)
      }
    }
  }

  /// The canvas itself becomes the features.
  func finish(_ canvas: SpliceCanvas, into features: StoredRows, _ layout: TridentLayout, _ run: RunContext)
    throws
  {
    try run.scope {
      let tile = 64
      let row = try run.arena.rows(tile, canvas.width)
      let room = try ScoreHead.Room(run, clip, rows: tile)
      if run.isPlanning { return }
      if options.paradigm == .window { return features.store(run.engine, canvas.rows, at: 0) }
      let head = ScoreHead(run, clipSchema)
      let taps = GridTaps(bilinearFrom: (canvas.rowCount, canvas.columns), to: layout.grid)
      for cells in strips(of: features.count, tile) {
        for cell in cells {
          taps.resample(
            canvas.rows.base, channels: canvas.width, cell: cell, into: row.row(cell - cells.lowerBound))
        }
        features.store(run.engine, head.project(row.prefix(cells.count), room), at: cells.lowerBound)
      }
    }
  }

  /// What a window's rows become before they are spliced: unit embeddings in the baseline paradigm.
  func windowHead(
    _ canvas: SpliceCanvas, _ layout: TridentLayout, _ run: RunContext
  ) throws -> CLIPWindows.Finish {
    guard options.paradigm == .window else { return { $0 } }
    let side = layout.plan.windowGrid * (canvas.columns / layout.plan.gridColumns)
    let head = ScoreHead(run, clipSchema)
    let room = try ScoreHead.Room(run, clip, rows: side * side)
    return { head.project($0, room) }
  }
}
