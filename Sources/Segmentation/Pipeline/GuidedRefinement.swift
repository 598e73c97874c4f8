// Refinement without SAM: scores of the classes that are there, on a small copy of the photo, led by its colours.
import Compute

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// From scores to label rows by way of `PixelAdaptation` or `DenseField`.
///
/// Both work on the photo itself up to 512 pixels a side and on a copy of that size beyond (their reach is a number of
/// pixels, chosen for such photos); refined scores are then resampled bilinearly. Of the classes, those 16 take part that
/// win most pixels before. Where the best refined probability is below the probability threshold the label is 0.
///
/// - Memory: at most 512 * 512 pixels, 32 bytes each for every eight classes, and what the method takes; everything from the
///   arena, given back before return. On a counting arena the same reservations are made and nothing else happens.
/// - Errors: an arena that is too small throws.
/// - Source: SCLIP's and Trident's public code for PAMR on logits. It adapts logits and takes the softmax afterwards; here
///   log-probabilities are adapted. The largest class is the same where classes have one phrase each; what is compared with
///   the threshold is smaller.
package struct GuidedRefinement {
  package static let sideLimit = 512
  package static let classLimit = 16

  private let engine: Engine
  private let height: Int
  private let width: Int
  private let settings: LabelSettings

  package init(engine: Engine, height: Int, width: Int, settings: LabelSettings) {
    self.engine = engine
    self.height = height
    self.width = width
    self.settings = settings
  }

  /// Size of the copy.
  package static func guideSize(height: Int, width: Int) -> (height: Int, width: Int) {
    PhotoGeometry.shrunk(height, width, longSide: sideLimit)
  }

  /// Label rows of the photo, top to bottom.
  ///
  /// - Shapes: `guide`: the photo at `guideSize`.
  package func run(
    _ arena: Arena, scores: ScoreMap, guide: ColourGuide, _ choice: RefinementChoice, _ consume: LabelConsumer
  ) throws(ComputeError) -> RefinementReport {
    let mark = arena.mark()
    defer { arena.release(to: mark) }
    var report = RefinementReport()
    let pixels = try arena.reserve(Int.self, scores.classCount)
    let limit = min(Self.classLimit, scores.classCount)
    let classes = try arena.reserve(UInt16.self, limit)
    var planes: [UnsafeMutablePointer<Eight>] = []
    for _ in 0..<ceilDivide(limit, by: 8) { planes.append(try arena.reserve(Eight.self, guide.count)) }
    let count = try refine(arena, scores, guide, choice, classes, &planes)
    let last = try GuidedRows(
      arena, engine: engine, guide: guide, height: height, width: width,
      threshold: choice == .crf ? settings.probabilityThreshold : logf(settings.probabilityThreshold))
    if arena.isCounting { return report }
    pixels.update(repeating: 0, count: scores.classCount)
    last.run(planes, UnsafeBufferPointer(start: classes, count: count), pixels: pixels, consume)
    report.pixels = Array(UnsafeBufferPointer(start: pixels, count: scores.classCount))
    return report
  }

  /// Fills `classes` and their planes: adapted log-probabilities, or probabilities of the field. Returns how many there are.
  ///
  /// - Memory: released on return.
  private func refine(
    _ arena: Arena, _ scores: ScoreMap, _ guide: ColourGuide, _ choice: RefinementChoice,
    _ classes: UnsafeMutablePointer<UInt16>, _ planes: inout [UnsafeMutablePointer<Eight>]
  ) throws(ComputeError) -> Int {
    let mark = arena.mark()
    defer { arena.release(to: mark) }
    // The threshold comes last; until then every pixel counts for its best class.
    let rows = try LabelRows(
      arena, engine: engine, scores: scores, height: guide.height, width: guide.width,
      settings: LabelSettings(logitScale: settings.logitScale))
    let count = try choose(arena, rows, into: classes)
    var adaptation: PixelAdaptation?
    var field: DenseField?
    var lines: [UnsafeMutablePointer<Eight>] = []
    if choice == .crf {
      field = try DenseField(arena, engine: engine, guide: guide, planeCount: planes.count)
    } else {
      adaptation = try PixelAdaptation(arena, engine: engine, guide: guide)
      for _ in 0..<engine.pool.threadCount { lines.append(try arena.reserve(Eight.self, guide.width * planes.count)) }
    }
    if arena.isCounting { return count }
    planes.removeLast(planes.count - ceilDivide(count, by: 8))
    let used = planes
    field?.run(used) { y, worker, line in
      rows.logProbabilities(y, worker: worker, of: classes, count: count, planes: used.count, into: line)
    }
    if let adaptation {
      engine.pool.run(count: guide.height, chunk: 4) { range, worker in
        for y in range {
          let line = lines[worker]
          rows.logProbabilities(y, worker: worker, of: classes, count: count, planes: used.count, into: line)
          for x in 0..<guide.width {
            for index in used.indices { used[index][y * guide.width + x] = line[x * used.count + index] }
          }
        }
      }
      for plane in used { adaptation.run(plane) }
    }
    return count
  }

  /// The classes that win most pixels, ascending; of equal ones the first.
  ///
  /// - Memory: released on return.
  private func choose(
    _ arena: Arena, _ rows: LabelRows, into classes: UnsafeMutablePointer<UInt16>
  ) throws(ComputeError) -> Int {
    let mark = arena.mark()
    defer { arena.release(to: mark) }
    let classCount = rows.scores.classCount
    let workers = engine.pool.threadCount
    let wins = try arena.reserve(Int.self, workers * classCount)
    let lines = try arena.reserve(UInt16.self, workers * rows.width)
    if arena.isCounting { return min(Self.classLimit, classCount) }
    wins.update(repeating: 0, count: workers * classCount)
    engine.pool.run(count: rows.height, chunk: 8) { range, worker in
      let line = lines + worker * rows.width
      let own = wins + worker * classCount
      for y in range {
        rows.labels(y, worker: worker, into: line)
        for x in 0..<rows.width { own[Int(line[x])] += 1 }
      }
    }
    for worker in 1..<max(workers, 1) {
      for label in 0..<classCount { wins[label] += wins[worker * classCount + label] }
    }
    var chosen = (0..<classCount).filter { wins[$0] > 0 }
    chosen.sort { wins[$0] > wins[$1] || (wins[$0] == wins[$1] && $0 < $1) }
    chosen = chosen.prefix(Self.classLimit).sorted()
    for (index, label) in chosen.enumerated() { classes[index] = UInt16(label) }
    return chosen.count
  }
}
