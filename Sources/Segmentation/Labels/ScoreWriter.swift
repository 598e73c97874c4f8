// Scores as they are reported: class by class on one grid, a few classes at a time so that no phrase is
// computed for every class anew and nothing grows with classes.
import Compute
import Raster

package typealias ScoreRowConsumer = (_ row: UnsafePointer<Float>, _ count: Int) throws -> Void

extension Scored {
  /// Room for classes that are written together, floats.
  private static let roomLimit = 1 << 18

  /// Class scores in C order: [classes, grid.rows, grid.columns].
  ///
  /// - Memory: 1 MiB and a few rows; given back.
  func write(
    in run: RunContext, _ open: (_ classes: Int, _ rows: Int, _ columns: Int) throws -> ScoreRowConsumer
  ) throws {
    try run.scope {
      let map = reported.grid
      let cells = grid.rows * grid.columns
      let group = min(map.classCount, max(1, Self.roomLimit / cells))
      let room = try run.arena.rows(group, cells)
      let all = try run.arena.floats(map.classCount * grid.columns)
      let rows = try ScoreRows(run.arena, reported, grid: grid)
      let consume = try open(map.classCount, grid.rows, grid.columns)
      if run.isPlanning { return }
      for classes in strips(of: map.classCount, group) {
        for y in 0..<grid.rows {
          map.classScores(rows.row(run.engine, y), columns: grid.columns, into: all)
          for label in classes {
            (room.row(label - classes.lowerBound) + y * grid.columns).update(
              from: all + label * grid.columns, count: grid.columns)
          }
        }
        for label in classes {
          for y in 0..<grid.rows {
            try consume(room.row(label - classes.lowerBound) + y * grid.columns, grid.columns)
          }
        }
      }
    }
  }
}

/// Rows of scores on another grid than their own. Scores of windows lie on the windows' grid; all others are
/// where they belong, and the taps copy them.
private struct ScoreRows {
  private let scores: any ScoreField
  private let down: ResampleTaps
  private let across: GridTaps
  private let scratch: UnsafeMutablePointer<Float>
  private let line: UnsafeMutablePointer<Float>
  private let blended: UnsafeMutablePointer<Float>
  private let resampled: UnsafeMutablePointer<Float>

  init(_ arena: Arena, _ scores: any ScoreField, grid: (rows: Int, columns: Int)) throws(ComputeError) {
    let map = scores.grid
    self.scores = scores
    down = ResampleTaps(.bilinear, source: map.rows, target: grid.rows)
    across = GridTaps(bilinearFrom: (1, map.columns), to: (1, grid.columns))
    scratch = try arena.floats(scores.scratchCount)
    line = try arena.floats(map.rowLength)
    blended = try arena.floats(map.rowLength)
    resampled = try arena.floats(grid.columns * map.lanes * 8)
  }

  func row(_ engine: Engine, _ y: Int) -> UnsafePointer<Float> {
    let length = scores.grid.rowLength
    blended.update(repeating: 0, count: length)
    for tap in 2 * y..<2 * y + 2 where down.weights[tap] != 0 {
      scores.row(engine, Int(down.indices[tap]), scratch: scratch, into: line)
      for index in 0..<length { blended[index] += down.weights[tap] * line[index] }
    }
    across.resample(blended, channels: scores.grid.lanes * 8, into: resampled)
    return UnsafePointer(resampled)
  }
}
