// Scores of a whole raster, added up tile by tile in a file and read back by rows.
import Compute
import System

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// Where scores of tiles are blended, on a grid over the whole raster as dense as the tiles' own.
///
/// - Shapes: [grid.rows, grid.columns, lanes * 8], f32, in an unlinked temporary file.
/// - Memory: nothing that grows with the raster but pages of the file, which the system may take back; where
///   temporary files are memory, `room` bytes of them.
/// - Errors: `temporaryFile` where the scores do not fit.
final class ScoreMosaic: ScoreField {
  let grid: ScoreGrid
  let rule: ScoreRule
  private(set) var isFinite = true
  let scratchCount = 0
  private let file: UnnamedFile?
  private var mapped: UnsafeMutableRawPointer?

  private var rowByteCount: Int { grid.rowLength * MemoryLayout<Float>.stride }
  private var byteCount: Int { grid.rows * rowByteCount }

  /// `cells`: rows and columns of one tile's part.
  init(
    _ run: RunContext, _ layout: TileLayout, cells: (rows: Int, columns: Int), rule: ScoreRule,
    phraseClass: [Int]
  ) throws(ComputeError) {
    func all(_ axis: TileAxis, _ count: Int) -> Int {
      max(count, (axis.length * count + axis.side / 2) / axis.side)
    }
    grid = try ScoreGrid(
      run.arena, rows: all(layout.down, cells.rows), columns: all(layout.across, cells.columns),
      phraseClass: phraseClass)
    self.rule = rule
    if run.isPlanning {
      file = nil
      return
    }
    do throws(SystemError) {
      let file = try UnnamedFile()
      self.file = file
      if file.isInMemory, byteCount > run.spillRoom {
        throw SystemError(
          .malformed("is memory, of which the limit leaves too little; set TMPDIR"), path: file.folder)
      }
      // Room on the disk, not a hole: what cannot be written is an error here.
      try file.reserve(byteCount)
    } catch { throw ComputeError(.temporaryFile(error.description)) }
  }

  deinit { if let mapped { munmap(mapped, byteCount) } }

  /// Adds one row of the grid's columns from `column` on.
  ///
  /// - Shapes: `shares` [count]; `scores`, `line` [count, lanes * 8]; `line` is worked in.
  func add(
    row: Int, column: Int, count: Int, shares: UnsafePointer<Float>, scores: UnsafePointer<Float>,
    line: UnsafeMutablePointer<Float>
  ) throws(ComputeError) {
    let stride = grid.lanes * 8
    let offset = row * rowByteCount + column * stride * MemoryLayout<Float>.stride
    let size = count * stride * MemoryLayout<Float>.stride
    do throws(SystemError) {
      try file?.read(line, count: size, at: offset)
      for cell in 0..<count {
        for index in cell * stride..<(cell + 1) * stride { line[index] += shares[cell] * scores[index] }
      }
      try file?.write(line, count: size, at: offset)
    } catch { throw ComputeError(.temporaryFile(error.description)) }
  }

  /// Notes what a tile's scores are.
  func note(isFinite: Bool) { self.isFinite = self.isFinite && isFinite }

  /// Makes the rows readable; nothing may be added any more.
  func beginReading() throws(ComputeError) {
    guard let file else { return }
    let address = mmap(nil, byteCount, PROT_READ, MAP_SHARED, file.descriptor, 0)
    guard let address, address != MAP_FAILED else {
      throw ComputeError(.temporaryFile("\(file.folder): cannot map: \(systemMessage(errno))"))
    }
    mapped = address
  }

  var rowWork: Double { Double(grid.rowLength) }

  func row(
    _ engine: Engine, _ index: Int, scratch: UnsafeMutablePointer<Float>,
    into out: UnsafeMutablePointer<Float>
  ) {
    guard let mapped else { preconditionFailure("the mosaic is not finished") }
    let stored = mapped.assumingMemoryBound(to: Float.self) + index * grid.rowLength
    out.update(from: stored, count: grid.rowLength)
  }
}
