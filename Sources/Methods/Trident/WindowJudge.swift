// Scores of single windows, for the rule that asks which classes each of them keeps. Trident itself scores
// the spliced map alone, so these are made for the test and forgotten.
import Compute
import Raster

/// What the rule `purify` wants of CLIP's windows.
struct WindowJudge {
  let purity: ClassPurity
  /// Shapes: [phrases, embedWidth].
  let text: Rows
  let mix: ClassMix?

  /// Nil where the options ask for no such rule.
  init?(_ options: SegmentOptions, _ words: Wording, _ text: Rows, _ mix: ClassMix?) {
    guard let purity = ClassPurity(options, words) else { return nil }
    (self.purity, self.text, self.mix) = (purity, text, mix)
  }
}

/// Room to judge the windows of a group, and the attention that they are judged by.
///
/// - Memory: cells * phrases * 4 bytes, a `PurityTest`, and a strip a worker.
struct JudgeRoom {
  private let run: RunContext
  private let text: Rows
  private let mix: ClassMix?
  private let seen: AttentionSum
  private let test: PurityTest
  private let head: ScoreHead
  /// [cells, phrases].
  private let scores: Rows
  private let workers: [Worker]
  /// From the grid of the last block's output to CLIP's own, which attention lies on.
  private let taps: GridTaps

  private struct Worker {
    /// [strip, width].
    let rows: Rows
    let head: ScoreHead.Room
  }

  /// - Parameter side: patches along a side of the last block's output.
  init(
    _ windows: CLIPWindows, _ judge: WindowJudge, _ tower: WindowTransformer, _ seen: AttentionSum, side: Int
  )
    throws(ComputeError)
  {
    let (run, clip) = (windows.run, windows.clip)
    (self.run, text, mix, self.seen) = (run, judge.text, judge.mix, seen)
    test = try PurityTest(run, judge.purity, grid: tower.grid)
    head = ScoreHead(run, windows.schema)
    scores = try run.arena.rows(tower.cells, text.count)
    let strip = min(tower.cells, run.tiling.strip)
    workers = try run.engine.perWorker { () throws(ComputeError) in
      Worker(
        rows: try run.arena.rows(strip, clip.width), head: try ScoreHead.Room(run, clip, rows: strip))
    }
    taps = GridTaps(bilinearFrom: (side, side), to: tower.grid)
    test.note(windows: tower.plan.origins.count)
    run.note(
      tower.plan.origins.count
        * (.linear(rows: tower.cells, inputs: clip.width, outputs: clip.embedWidth)
          + Work(float: Double(tower.cells * clip.embedWidth * text.count))))
  }

  /// Judges one window by what its last block gave.
  ///
  /// - Shapes: `output` [side * side, width], not changed.
  /// - Parameters:
  ///   - index: in its group.
  ///   - window: of the photo.
  func judge(_ output: Rows, index: Int, window: Int) {
    run.engine.share(scores.count, limit: workers[0].rows.count, multiple: 1) { cells, worker in
      let own = workers[worker]
      for cell in cells {
        taps.resample(
          output.base, channels: output.width, cell: cell, into: own.rows.row(cell - cells.lowerBound))
      }
      let features = head.project(own.rows.prefix(cells.count), own.head)
      run.engine.productNT(features, text, into: scores[cells])
    }
    if let mix, let photo = mix.photo { mix.mix(photo, into: scores) }
    run.record("absent.scores.\(window)", scores)
    test.apply(scores, attention: seen.window(index), name: window)
  }
}
