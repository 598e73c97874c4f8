// Class probabilities made on the grid, where a method resamples those and not its scores.
import Compute

/// A softmax over classes in every cell of a grid of cosines; classes that nowhere on the photo reach the
/// gate are 0.
///
/// The best phrase of a class is chosen before the softmax: after it, two good synonyms would halve each
/// other and fail the gate. The gate looks at probabilities resampled to the photo's pixels. Resampling only
/// averages, so a class below it on the whole grid is out at once; for the others pixels are looked at until
/// one reaches it. Negative phrases, which are the last class, are rivals and pass it always.
///
/// - Memory: a row of cosines a worker and a byte a class.
/// - Source: RADSeg's public code (`prompt_denoising_thresh`). Differs: several phrases a class.
package struct GridProbabilities: ScoreField {
  package let grid: ScoreGrid
  package var rule: ScoreRule { .probabilities }
  private let cosines: any ScoreField
  private let scale: Float
  private let gate: Float
  /// [classCount]: 1 where a class stays.
  private let kept: UnsafeMutablePointer<Float>

  package init(
    _ run: RunContext, _ cosines: any ScoreField, _ photo: any PhotoPixels, scale: Float, gate: Float,
    hasNegatives: Bool = false
  ) throws(ComputeError) {
    let inner = cosines.grid
    self.cosines = cosines
    (self.scale, self.gate) = (scale, gate)
    grid = try ScoreGrid(
      run.arena, rows: inner.rows, columns: inner.columns, phraseClass: Array(0..<inner.classCount))
    kept = try run.arena.floats(grid.lanes * 8)
    let mark = run.arena.mark()
    defer { run.arena.release(to: mark) }
    let scratch = try run.arena.floats(scratchCount)
    let lines = [try run.arena.floats(grid.rowLength), try run.arena.floats(grid.rowLength)]
    let blended = try run.arena.floats(grid.rowLength)
    if run.isPlanning { return }
    kept.update(repeating: 1, count: grid.classCount)
    (kept + grid.classCount).update(repeating: 0, count: grid.lanes * 8 - grid.classCount)
    if gate <= 0 { return }
    var search = GateSearch(grid, gate: gate)
    for row in 0..<grid.rows {
      self.row(run.engine, row, scratch: scratch, into: lines[0])
      search.seeGrid(lines[0])
    }
    search.beginPixels()
    let down = AxisSampling(from: grid.rows, to: photo.height)
    let across = AxisSampling(from: grid.columns, to: photo.width)
    var held = [-1, -1]
    for y in 0..<photo.height where !search.isDone {
      let tap = down.tap(y)
      for index in [tap.lower, tap.upper] where held[index & 1] != index {
        self.row(run.engine, index, scratch: scratch, into: lines[index & 1])
        held[index & 1] = index
      }
      let (upper, lower) = (lines[tap.lower & 1], lines[tap.upper & 1])
      for index in 0..<grid.rowLength {
        blended[index] = upper[index] * (1 - tap.fraction) + lower[index] * tap.fraction
      }
      search.seePixels(blended, across)
    }
    let tested = grid.classCount - (hasNegatives ? 1 : 0)
    for label in 0..<tested where !search.passed[label] { kept[label] = 0 }
  }

  package var isGated: [Bool] { gate > 0 ? (0..<grid.classCount).map { kept[$0] == 0 } : [] }

  package var rowWork: Double { cosines.rowWork }

  package var isFinite: Bool { cosines.isFinite }

  package var scratchCount: Int { cosines.scratchCount + cosines.grid.rowLength }

  package func row(
    _ engine: Engine, _ index: Int, scratch: UnsafeMutablePointer<Float>,
    into out: UnsafeMutablePointer<Float>
  ) {
    let line = scratch + cosines.scratchCount
    let (inner, stride) = (cosines.grid, grid.lanes * 8)
    cosines.row(engine, index, scratch: scratch, into: line)
    for column in 0..<grid.columns {
      let (source, target) = (line + column * inner.lanes * 8, out + column * stride)
      for label in 0..<grid.classCount {
        var best = -Float.infinity
        for phrase in Int(inner.firstPhrase[label])..<Int(inner.firstPhrase[label + 1]) {
          best = max(best, source[phrase])
        }
        target[label] = best
      }
      var sum: Float = 0
      engine.expRows(Rows(target, count: 1, width: grid.classCount), factor: scale, rowSum: &sum)
      for label in 0..<grid.classCount { target[label] = target[label] / sum * kept[label] }
      (target + grid.classCount).update(repeating: 0, count: stride - grid.classCount)
    }
  }
}

/// Which classes reach a probability somewhere on the photo.
private struct GateSearch {
  private let grid: ScoreGrid
  private let gate: Float
  private var top: [Float]
  private var open: [Int] = []
  private(set) var passed: [Bool]

  init(_ grid: ScoreGrid, gate: Float) {
    (self.grid, self.gate) = (grid, gate)
    top = [Float](repeating: 0, count: grid.classCount)
    passed = [Bool](repeating: false, count: grid.classCount)
  }

  var isDone: Bool { open.isEmpty }

  mutating func seeGrid(_ line: UnsafePointer<Float>) {
    for column in 0..<grid.columns {
      for label in 0..<grid.classCount { top[label] = max(top[label], line[column * grid.lanes * 8 + label]) }
    }
  }

  /// Classes that the grid does not rule out.
  mutating func beginPixels() { open = (0..<grid.classCount).filter { top[$0] >= gate } }

  /// One row of the photo, still on the grid's columns.
  mutating func seePixels(_ line: UnsafePointer<Float>, _ across: AxisSampling) {
    let stride = grid.lanes * 8
    open.removeAll { label in
      guard (0..<grid.columns).contains(where: { line[$0 * stride + label] >= gate }) else { return false }
      for x in 0..<across.output {
        let tap = across.tap(x)
        let value =
          line[tap.lower * stride + label] * (1 - tap.fraction) + line[tap.upper * stride + label]
          * tap.fraction
        if value >= gate {
          passed[label] = true
          return true
        }
      }
      return false
    }
  }
}
