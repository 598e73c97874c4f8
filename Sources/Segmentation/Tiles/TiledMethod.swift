// A raster at its own resolution: each tile is a photo for the method, and their scores fade into each other.
//
// A photo is scaled to the size that a network knows, so a large raster loses what is small. Cut into tiles
// it keeps it, but a tile ends where its neighbour knows more. So tiles overlap, and in the overlap the
// scores of one fade out as the other's fade in, before any label is chosen: there is no seam at which labels
// jump. What follows, from rules of absence to labels and confidence, sees one field of scores, as of a
// photo.
import Compute
import Raster
import System

/// Another method, tile by tile.
///
/// - Memory: one tile's run, its pixels, and a row of scores; the raster is read once, as many rows as a tile
///   has lie in an unlinked temporary file, the scores in another (`ScoreMosaic`).
/// - Errors: those of the method; `.photo` for one that is stored turned; `temporaryFile` where disk is
///   short.
/// - Source: ours; docs/decisions/0011-rasters.md says what is decided of a tile and what of the raster.
///   Differs from a run without tiles wherever a tile sees less of the raster; a raster that fits one tile is
///   left to the method itself.
struct TiledMethod: SegmentationMethod {
  static let networks: [NetworkRole] = []

  private let method: any SegmentationMethod
  private let options: SegmentOptions

  init(_ model: Model, _ options: SegmentOptions) throws(SegmentationError) {
    method = try makeWholeMethod(model, options)
    self.options = options
  }

  func score(
    _ photo: any PhotoPixels, text: Rows, words: Wording, in run: RunContext
  ) throws -> Scored {
    let layout = TileLayout(
      width: photo.width, height: photo.height, tile: options.tile, overlap: options.overlap)
    if layout.count == 1 { return try method.score(photo, text: text, words: words, in: run) }
    var words = words
    words.isTile = true
    let one = try shape(layout, text, words, run)
    let purity = ClassPurity(options, words)
    let faded = method.fading(one)
    let grid = faded.field.grid
    let mosaic = try ScoreMosaic(
      run, layout, cells: faded.cells, rule: faded.field.rule,
      phraseClass: grid.isPlain ? Array(0..<grid.classCount) : words.phraseClass)
    var found = run.isPlanning ? one.found : nil
    try run.scope {
      let work = try TileWork(run, layout, mosaic, shape: faded, rowByteCount: photo.rowByteCount)
      if run.isPlanning {
        let first = run.log.entries.count
        try tile(work, text, words, purity, run) { _ in }
        run.log.repeatStages(from: first, times: layout.count)
        return
      }
      try photo.eachRow { y, row in
        try work.keep(y, row)
        for down in layout.down.origins.indices where layout.down.origins[down] + layout.down.side == y + 1 {
          for across in layout.across.origins.indices {
            try work.load(across: across, down: down)
            try tile(work, text, words, purity, run) { tile in
              found = tile.found.map { found?.joined(with: $0) ?? $0 }
              try work.add(method.fading(tile).field, across: across, down: down, run)
            }
          }
        }
      }
    }
    try mosaic.beginReading()
    let geometry = PhotoGeometry(
      height: photo.height, width: photo.width, patch: 1, grid: one.geometry.grid,
      imageSide: one.geometry.imageSide)
    let blended = Scored(
      scores: mosaic, grid: (mosaic.grid.rows, mosaic.grid.columns), embedding: nil, geometry: geometry,
      guided: one.guided, found: found, purity: purity)
    return try method.raster(blended, photo, words: words, in: run)
  }

  package func scores(of scored: Scored, _ photo: any PhotoPixels, in run: RunContext) throws
    -> any ScoreField
  {
    try method.scores(of: scored, photo, in: run)
  }

  /// What one tile gives, but for its numbers: a run that only counts.
  private func shape(_ layout: TileLayout, _ text: Rows, _ words: Wording, _ run: RunContext) throws -> Scored
  {
    let arena = Arena()
    let counting = RunContext(
      model: run.model, engine: run.engine, arena: arena, tiling: run.tiling, keepsWeights: run.keepsWeights,
      log: StageLog(arena: arena, measures: false))
    let size = PhotoSize(width: layout.across.side, height: layout.down.side)
    return try method.score(size, text: text, words: words, in: counting)
  }

  private func tile(
    _ work: TileWork, _ text: Rows, _ words: Wording, _ purity: ClassPurity?, _ run: RunContext,
    _ body: (Scored) throws -> Void
  ) throws {
    try run.checkCancelled()
    try run.scope {
      let scored = try method.score(work.photo, text: text, words: words, in: run)
      if let own = scored.purity { purity?.take(own.ratios) }
      try body(scored)
    }
  }
}

/// What tiles are read from and where their scores go.
private final class TileWork {
  /// The pixels of the tile that was loaded last.
  let photo: any PhotoPixels
  private let layout: TileLayout
  private let mosaic: ScoreMosaic
  private let pixels: UnsafeMutablePointer<UInt8>
  private let upper: UnsafeMutablePointer<Float>
  private let lower: UnsafeMutablePointer<Float>
  private let blended: UnsafeMutablePointer<Float>
  private let line: UnsafeMutablePointer<Float>
  private let shares: UnsafeMutablePointer<Float>
  private let scratch: UnsafeMutablePointer<Float>
  /// As many rows of the raster as a tile has: row y lies at y modulo that.
  private let rows: UnnamedFile?
  private var rowByteCount: Int { 3 * layout.across.length }

  /// `shape`: of one tile's scores; `rowByteCount`: what the raster's decoder holds while tiles are worked
  /// on.
  init(
    _ run: RunContext, _ layout: TileLayout, _ mosaic: ScoreMosaic, shape: FadingScores, rowByteCount: Int
  ) throws {
    (self.layout, self.mosaic) = (layout, mosaic)
    let (width, height) = (layout.across.side, layout.down.side)
    pixels = try run.arena.reserve(UInt8.self, 3 * width * height)
    // Not touched: it stands for what is allocated elsewhere.
    _ = try run.arena.reserve(UInt8.self, rowByteCount)
    upper = try run.arena.floats(shape.field.grid.rowLength)
    lower = try run.arena.floats(shape.field.grid.rowLength)
    // A tile covers a cell more than it has where the grids are not aligned.
    let cells = min(mosaic.grid.columns, shape.cells.columns + 2)
    blended = try run.arena.floats(cells * mosaic.grid.lanes * 8)
    line = try run.arena.floats(cells * mosaic.grid.lanes * 8)
    shares = try run.arena.floats(cells)
    scratch = try run.arena.floats(shape.field.scratchCount)
    photo =
      run.isPlanning
      ? PhotoSize(width: width, height: height) : PhotoInMemory(pixels: pixels, width: width, height: height)
    if run.isPlanning {
      rows = nil
      return
    }
    do throws(SystemError) {
      let file = try UnnamedFile()
      rows = file
      let byteCount = 3 * layout.across.length * height
      if file.isInMemory, byteCount > run.spillRoom {
        throw SystemError(
          .malformed("is memory, of which the limit leaves too little; set TMPDIR"), path: file.folder)
      }
      try file.reserve(byteCount)
    } catch { throw ComputeError(.temporaryFile(error.description)) }
  }

  /// Keeps a row of the raster until it is one tile's height above the last.
  func keep(_ y: Int, _ row: UnsafePointer<UInt8>) throws(ComputeError) {
    do throws(SystemError) {
      try rows?.write(row, count: rowByteCount, at: y % layout.down.side * rowByteCount)
    } catch { throw ComputeError(.temporaryFile(error.description)) }
  }

  /// Reads the pixels of a tile.
  func load(across: Int, down: Int) throws(ComputeError) {
    let (left, top, width) = (layout.across.origins[across], layout.down.origins[down], layout.across.side)
    do throws(SystemError) {
      for y in 0..<layout.down.side {
        let offset = (top + y) % layout.down.side * rowByteCount + 3 * left
        try rows?.read(pixels + 3 * width * y, count: 3 * width, at: offset)
      }
    } catch { throw ComputeError(.temporaryFile(error.description)) }
  }

  /// Cells of the mosaic whose centres lie in a tile.
  private func cells(_ axis: TileAxis, _ index: Int, _ count: Int) -> Range<Int> {
    func first(atOrBehind pixel: Int) -> Int {
      // The centre of cell c lies at (2 c + 1) * length / (2 * count).
      max(0, (2 * pixel * count - axis.length + 2 * axis.length - 1) / (2 * axis.length))
    }
    let start = axis.origins[index]
    let end = index + 1 == axis.origins.count ? count : min(count, first(atOrBehind: start + axis.side))
    return first(atOrBehind: start)..<end
  }

  /// Adds the scores of a tile to the mosaic.
  ///
  /// Every cell of the mosaic reads the tile's cells around its centre, bilinearly, edges clamped.
  func add(_ field: any ScoreField, across: Int, down: Int, _ run: RunContext) throws {
    mosaic.note(isFinite: field.isFinite)
    let (tile, grid) = (field.grid, mosaic.grid)
    let (stride, columns) = (grid.lanes * 8, cells(layout.across, across, grid.columns))
    var held = (upper: -1, lower: -1)
    for row in cells(layout.down, down, grid.rows) {
      let place = Self.centre(row, layout.down, grid.rows)
      let tap = Self.tap(place, layout.down, down, tile.rows)
      if held.upper != tap.lower { field.row(run.engine, tap.lower, scratch: scratch, into: upper) }
      if held.lower != tap.upper { field.row(run.engine, tap.upper, scratch: scratch, into: lower) }
      held = (tap.lower, tap.upper)
      let share = layout.down.share(down, at: place)
      for (cell, column) in columns.enumerated() {
        let place = Self.centre(column, layout.across, grid.columns)
        let side = Self.tap(place, layout.across, across, tile.columns)
        shares[cell] = share * layout.across.share(across, at: place)
        let (left, right) = (side.lower * stride, side.upper * stride)
        for index in 0..<stride {
          let above = upper[left + index] * (1 - side.fraction) + upper[right + index] * side.fraction
          let below = lower[left + index] * (1 - side.fraction) + lower[right + index] * side.fraction
          blended[cell * stride + index] = above * (1 - tap.fraction) + below * tap.fraction
        }
      }
      try mosaic.add(
        row: row, column: columns.lowerBound, count: columns.count, shares: shares, scores: blended,
        line: line)
    }
  }

  private static func centre(_ cell: Int, _ axis: TileAxis, _ count: Int) -> Double {
    (Double(cell) + 0.5) * Double(axis.length) / Double(count)
  }

  private static func tap(_ place: Double, _ axis: TileAxis, _ index: Int, _ count: Int)
    -> (lower: Int, upper: Int, fraction: Float)
  {
    let position = (place - Double(axis.origins[index])) * Double(count) / Double(axis.side) - 0.5
    let clamped = min(max(position, 0), Double(count - 1))
    let lower = Int(clamped)
    return (lower, min(lower + 1, count - 1), Float(clamped - Double(lower)))
  }
}
