// A group of windows behind the last block but one: what both ways through the last one share, and the way
// that is not SC-CLIP's.
import Compute

/// Windows behind the last but one block, and where their scores go.
struct WindowGroup {
  let tower: WindowTransformer
  let windows: Range<Int>
  /// [windows * tokens, width].
  let x: Rows
  /// [phrases, embedWidth].
  let text: Rows
  let mix: ClassMix?
  let scores: WindowScores

  /// Gives `body` one window after another, in its place in the group and in the photo, and then mixes class
  /// tokens in.
  ///
  /// - Memory: a `ClassTokenScores` where every window has its own.
  func forEach(
    _ clip: CLIPConfig, _ schema: CLIPSchema,
    _ body: (_ index: Int, _ number: Int, _ weights: BlockWeights) -> Void
  ) throws {
    let run = tower.run
    var own: ClassTokenScores?
    if let mix, mix.photo == nil {
      own = try ClassTokenScores(
        run, clip, schema, tokens: tower.tokens, windows: tower.plan.origins.count, phrases: text.count)
    }
    if run.isPlanning { return }
    try tower.withLastBlock { weights in
      for (index, number) in windows.enumerated() {
        let picture = own?.apply(tower.window(index, of: x), weights, text) ?? mix?.photo
        body(index, number, weights)
        let rows = scores.phrases(ofWindow: number)
        if let mix, let picture { mix.mix(picture, into: rows) }
        run.record("scores.\(number)", rows)
      }
    }
  }

  /// Unit features of some patches of a window, from `cell` on.
  func store(_ features: Rows, _ number: Int, at cell: Int) {
    tower.run.record("scclip.features.\(number)", features, at: cell)
    scores.store(tower.run.engine, features, text, window: number, at: cell)
  }
}

extension SCCLIPMethod {
  /// The last block with another attention, and section 6.
  func attend(_ group: WindowGroup, _ looked: AttentionSum?) throws {
    let (tower, run) = (group.tower, group.tower.run)
    let attention = try LastAttention(run, tower, clip.vision.blocks, options)
    let head = ScoreHead(run, schema)
    let strip = min(tower.cells, 2 * run.tiling.strip)
    let rooms = try run.engine.perWorker { () throws(ComputeError) in
      try ScoreHead.Room(run, clip, rows: strip)
    }
    run.note(
      tower.plan.origins.count
        * (.linear(rows: tower.cells, inputs: clip.width, outputs: clip.embedWidth)
          + Work(float: Double(tower.cells * clip.embedWidth * group.text.count))))
    try group.forEach(clip, schema) { index, number, weights in
      let rows = attention.apply(tower.window(index, of: group.x), weights, seen: looked?.window(index))
      run.record("clip.attended.\(number)", rows)
      run.engine.share(rows.count, limit: strip, multiple: 1) { cells, worker in
        group.store(head.project(rows[cells], rooms[worker]), number, at: cells.lowerBound)
      }
    }
  }
}
