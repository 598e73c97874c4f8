// DINO's patch features of every window: section 3 of the method.
import Compute

/// Unit features of every window.
///
/// - Shapes: [windows * side * side, width].
struct WindowFeatures {
  let side: Int
  let rows: StoredRows
  /// Mean of all products of two features of one window, over all windows.
  private(set) var mean: Float = 0

  var width: Int { rows.width }
  private var cells: Int { side * side }

  /// Runs DINO over the windows; the mean similarity is the squared length of the summed features.
  ///
  /// - Memory: the features stay; a group's tokens and one `SequenceRoom` are given back.
  init(
    _ run: RunContext, _ dino: VisionConfig, _ schema: VisionSchema, image: UnsafePointer<UInt8>,
    plan: WindowPlan
  )
    throws
  {
    let side = plan.window / dino.patch
    let rows = try StoredRows(
      run.arena, run.engine, count: plan.origins.count * side * side, width: dino.width)
    (self.side, self.rows) = (side, rows)
    mean = try run.stage(.dino) {
      let tower = WindowTransformer(run, dino, schema, streaming: schema, image: image, plan: plan)
      return try run.scope {
        let x = try run.arena.rows(tower.group * tower.tokens, dino.width)
        var squares = 0.0
        try tower.forEachGroup { windows in
          try tower.encode(windows, through: 0..<dino.depth, into: x)
          if run.isPlanning { return }
          for index in 0..<windows.count {
            let window = windows.lowerBound + index
            let features = tower.patches(index, of: x)
            if let norm = schema.normPost { run.engine.normalize(features, run.model[norm]) }
            run.record("dino.features.\(window)", features)
            features.normalize()
            squares += features.squaredSum()
            rows.store(run.engine, features, at: window * tower.cells)
          }
        }
        let pairs = Double(tower.cells) * Double(tower.cells)
        return Float(squares / (Double(plan.origins.count) * pairs))
      }
    }
  }

  /// Features of one window.
  ///
  /// - Shapes: `out` [side * side, width], overwritten.
  func load(_ engine: Engine, window: Int, into out: Rows) {
    rows.load(engine, window * cells..<(window + 1) * cells, into: out)
  }
}
