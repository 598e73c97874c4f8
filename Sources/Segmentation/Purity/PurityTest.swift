// FreeCP's redundancy test of one window, in the order of its steps: probabilities, walk, boxes, refined
// maps, ratios. Some classes at a time, a worker each, so that no map of all classes exists.
import Compute

/// Tests the classes of a window after another.
///
/// - Shapes: n = rows * columns patches; maps are class by class: [classes, n].
/// - Memory: 12 bytes a patch, and for every worker `classesAtOnce` * 12 + 6 bytes a patch.
/// - Source: FreeCP, arXiv 2508.00557, and what its public code does where both differ: the ratio's
///   denominator counts the overlap twice, so 0.5 is the largest. Differs: a class's map is the largest of
///   its phrases' (the code knows one phrase a class); a window in which all probabilities are alike keeps no
///   class (the code divides zero by zero).
package struct PurityTest {
  /// Classes that a worker takes to the walk together.
  private static let classesAtOnce = 8
  /// Of cosines: CLIP's own, which the published edges belong to.
  private static let scale: Float = 100

  private let run: RunContext
  private let purity: ClassPurity
  private let cells: Int
  /// Of every patch: its largest cosine, one over the sum of its numerators. [n].
  private let top: UnsafeMutablePointer<Float>
  private let factor: UnsafeMutablePointer<Float>
  private let sums: UnsafeMutablePointer<Float>
  /// [classes].
  private let ratios: UnsafeMutablePointer<Float>
  private let workers: [Worker]

  private struct Worker {
    /// Probabilities; the map that walks; where it is after a step. [classesAtOnce, n].
    let probability: Rows
    let map: Rows
    let next: Rows
    let boxes: RegionBoxes
  }

  package init(
    _ run: RunContext, _ purity: ClassPurity, grid: (rows: Int, columns: Int)
  ) throws(ComputeError) {
    (self.run, self.purity, cells) = (run, purity, grid.rows * grid.columns)
    top = try run.arena.floats(cells)
    factor = try run.arena.floats(cells)
    sums = try run.arena.floats(cells)
    ratios = try run.arena.floats(purity.ratios.count)
    let (arena, cells) = (run.arena, cells)
    let count = min(Self.classesAtOnce, max(1, purity.tested.count))
    workers = try run.engine.perWorker { () throws(ComputeError) in
      Worker(
        probability: try arena.rows(count, cells), map: try arena.rows(count, cells),
        next: try arena.rows(count, cells),
        boxes: try RegionBoxes(arena, rows: grid.rows, columns: grid.columns))
    }
  }

  /// Of so many windows: probabilities, the walk's making, two products with it.
  package func note(windows: Int) {
    let phrases = purity.firstPhrase[purity.firstPhrase.count - 1]
    let (pairs, classes) = (Double(cells) * Double(cells), Double(purity.tested.count))
    run.note(
      windows
        * Work(
          float: pairs * (2 * classes + Double(4 * AttentionWalk.turns + 1))
            + Double(cells) * (Double(phrases) + 8 * classes)))
  }

  /// Tests one window.
  ///
  /// - Shapes: `scores` [n, phrases], cosines; `attention` [n, n], summed over heads and blocks, spent.
  /// - Parameter name: the window's number, for taps.
  package func apply(_ scores: Rows, attention: Rows, name: Int) {
    run.record("absent.attention.\(name)", attention)
    let walk = AttentionWalk(attention, sums: sums)
    run.record("absent.step.\(name)", walk.step)
    let span = probabilities(scores)
    let tested = purity.tested
    run.engine.pool.run(count: tested.count, chunk: Self.classesAtOnce) { range, worker in
      let own = workers[worker]
      let (p, map, next) = (
        own.probability.prefix(range.count), own.map.prefix(range.count), own.next.prefix(range.count)
      )
      for row in 0..<range.count {
        classMap(tested.lowerBound + range.lowerBound + row, scores, into: p.row(row))
        box(p.row(row), span, own.boxes, into: map.row(row))
      }
      run.record("absent.probability.\(name)", p, at: range.lowerBound)
      run.record("absent.boxed.\(name)", map, at: range.lowerBound)
      // The step is symmetric: what goes out of a patch comes in.
      run.engine.productNT(map, walk.step, into: next)
      run.engine.productNT(next, walk.step, into: map)
      for row in 0..<range.count {
        stretch(map.row(row))
        ratios[range.lowerBound + row] = ratio(p.row(row), map.row(row))
      }
      run.record("absent.refined.\(name)", map, at: range.lowerBound)
    }
    run.record("absent.ratio.\(name)", Rows(ratios, count: 1, width: tested.count))
    purity.take(UnsafeBufferPointer(start: ratios, count: tested.count), from: tested.lowerBound)
  }

  /// Step 1: softmax over all phrases, as a factor for every patch; the least and the largest probability of
  /// all phrases and patches.
  private func probabilities(_ scores: Rows) -> (least: Float, most: Float) {
    var (least, most) = (Float.infinity, -Float.infinity)
    for cell in 0..<cells {
      let line = scores.row(cell)
      var (highest, lowest) = (line[0], line[0])
      for phrase in 1..<max(1, scores.width) {
        (highest, lowest) = (max(highest, line[phrase]), min(lowest, line[phrase]))
      }
      var (lanes, phrase) = (Eight(repeating: 0), 0)
      while phrase < scores.width {
        var part = Eight(repeating: ScoreGrid.padding)
        for lane in 0..<min(8, scores.width - phrase) { part[lane] = line[phrase + lane] }
        var numerators = expOfNonPositive((part - highest) * Self.scale)
        // What lies behind the last phrase is next to nothing, and shall be nothing.
        numerators.replace(with: 0, where: part .== ScoreGrid.padding)
        lanes += numerators
        phrase += 8
      }
      (top[cell], factor[cell]) = (highest, 1 / total(lanes))
      least = min(least, numerator(lowest, cell) * factor[cell])
      most = max(most, numerator(highest, cell) * factor[cell])
    }
    return (least, most)
  }

  private func numerator(_ cosine: Float, _ cell: Int) -> Float {
    expOfNonPositive(Eight(repeating: (cosine - top[cell]) * Self.scale))[0]
  }

  /// The probability of a class's best phrase at every patch.
  private func classMap(_ label: Int, _ scores: Rows, into out: UnsafeMutablePointer<Float>) {
    let (first, end) = (purity.firstPhrase[label], purity.firstPhrase[label + 1])
    for start in stride(from: 0, to: cells, by: 8) {
      let count = min(8, cells - start)
      var part = Eight(repeating: 0)
      for lane in 0..<count {
        let line = scores.row(start + lane)
        var best = line[first]
        for phrase in first + 1..<max(end, first + 1) { best = max(best, line[phrase]) }
        part[lane] = (best - top[start + lane]) * Self.scale
      }
      let numerators = expOfNonPositive(part)
      for lane in 0..<count { out[start + lane] = numerators[lane] * factor[start + lane] }
    }
  }

  /// Steps 3 and 4: stretched to 0 to 1, what lies outside the boxes of its regions left out.
  private func box(
    _ p: UnsafePointer<Float>, _ span: (least: Float, most: Float), _ boxes: RegionBoxes,
    into out: UnsafeMutablePointer<Float>
  ) {
    let range = span.most - span.least
    for cell in 0..<cells { out[cell] = range > 0 ? (p[cell] - span.least) / range : 0 }
    boxes.mark(out)
    for cell in 0..<cells where boxes.inside[cell] == 0 { out[cell] = 0 }
  }

  /// To 0 to 1.
  private func stretch(_ map: UnsafeMutablePointer<Float>) {
    var (least, most) = (map[0], map[0])
    for cell in 1..<max(1, cells) { (least, most) = (min(least, map[cell]), max(most, map[cell])) }
    let range = most - least + 1e-8
    for cell in 0..<cells { map[cell] = (map[cell] - least) / range }
  }

  /// Step 5: how far a class's probabilities and its refined map agree.
  private func ratio(_ p: UnsafePointer<Float>, _ refined: UnsafeMutablePointer<Float>) -> Float {
    var both: Float = 0
    for cell in 0..<cells { both += p[cell] * refined[cell] }
    return both / (sum(p, cells) + sum(refined, cells) + 1e-8)
  }
}
