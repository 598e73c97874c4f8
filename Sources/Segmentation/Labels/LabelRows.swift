// Scores of the grid -> labels and class probabilities of the photo, a row at a time.
import Compute

/// How scores become labels.
package struct LabelSettings: Equatable, Sendable {
  package var logitScale: Float
  /// Pixels whose best class is less probable than this get label 0.
  package var probabilityThreshold: Float
  /// Pixels whose best class is less probable than this are of no class: `unknownLabel`.
  package var unknownThreshold: Float
  /// [classes]: which of them may be labels; empty: all. The others keep their place in the softmax.
  package var keeps: [Bool]
  /// The last class is what negative phrases get: its pixels are of no class.
  package var hasNegatives: Bool

  package init(
    logitScale: Float = 40, probabilityThreshold: Float = 0, unknownThreshold: Float = 0, keeps: [Bool] = [],
    hasNegatives: Bool = false
  ) {
    self.logitScale = logitScale
    self.probabilityThreshold = probabilityThreshold
    self.unknownThreshold = unknownThreshold
    self.keeps = keeps
    self.hasNegatives = hasNegatives
  }

  /// Where what is resampled are probabilities: nothing scales them.
  var forProbabilities: LabelSettings {
    var settings = self
    settings.logitScale = 1
    return settings
  }
}

/// Evaluates label rows of one photo.
///
/// - Shapes: score map [rows, columns] -> photo [height, width].
/// - Memory: width * 4 bytes, and per worker 6 grid rows of scores (columns * lanes * 32 bytes each), one
///   tile of
///   features and some 14 pixels; nothing that grows with pixels.
/// - Source: Trident's public code: bilinear upsampling of cosines, times the logit scale, softmax over
///   phrases, the
///   best phrase of each class, arg-max. Differs: every class may have several phrases.
package struct LabelRows {
  /// The label of a pixel that belongs to no class.
  package static let noClass = UInt16.max

  package let height: Int
  package let width: Int
  let engine: Engine
  private let field: any ScoreField
  let scores: ScoreGrid
  let settings: LabelSettings
  /// Pixels take a softmax; otherwise what is resampled are probabilities.
  let isSoftmax: Bool
  let vertical: AxisSampling
  let horizontal: AxisSampling
  /// [width]: weight of the right neighbour of each pixel.
  let fraction: UnsafeMutablePointer<Float>
  /// [columns + 1]: the first pixel between this grid column and the next.
  let runStart: UnsafeMutablePointer<Int32>
  let masks: ClassMasks
  let workers: [LabelWorker]

  package init(
    _ arena: Arena, engine: Engine, scores field: any ScoreField, height: Int, width: Int,
    settings: LabelSettings
  ) throws(ComputeError) {
    self.engine = engine
    self.field = field
    let scores = field.grid
    self.scores = scores
    self.height = height
    self.width = width
    self.settings = field.rule == .scores ? settings : settings.forProbabilities
    isSoftmax = field.rule == .scores
    vertical = AxisSampling(from: scores.rows, to: height)
    horizontal = AxisSampling(from: scores.columns, to: width)
    fraction = try arena.floats(width)
    runStart = try arena.reserve(Int32.self, scores.columns + 1)
    masks = try ClassMasks(arena, scores, keeps: settings.keeps)
    workers = try engine.perWorker { () throws(ComputeError) in try LabelWorker(arena, field) }
    if arena.isCounting { return }
    var column = 0
    runStart[0] = 0
    for x in 0..<width {
      let tap = horizontal.tap(x)
      fraction[x] = tap.fraction
      while column < tap.lower {
        column += 1
        runStart[column] = Int32(x)
      }
    }
    while column < scores.columns {
      column += 1
      runStart[column] = Int32(width)
    }
  }

  var lanes: Int { scores.lanes }
  var classLanes: Int { ceilDivide(scores.classCount, by: 8) }

  // MARK: Blended grid rows

  /// Logits at photo row `y`, still on the grid's columns.
  ///
  /// - Shapes: `out` [columns, lanes], overwritten.
  func blend(_ y: Int, _ worker: LabelWorker, into out: UnsafeMutablePointer<Eight>) {
    let tap = vertical.tap(y)
    let upper = worker.row(tap.lower, engine, field)
    let lower = worker.row(tap.upper, engine, field)
    let weight = Eight(repeating: tap.fraction)
    let rest = Eight(repeating: 1 - tap.fraction)
    let scale = Eight(repeating: settings.logitScale)
    for index in 0..<scores.columns * lanes {
      out[index] = (upper[index] * rest + lower[index] * weight) * scale
    }
  }

  /// The blended cells left and right of pixel `x`.
  @inline(__always)
  func cells(_ x: Int, _ line: UnsafeMutablePointer<Eight>) -> (
    left: UnsafeMutablePointer<Eight>, right: UnsafeMutablePointer<Eight>
  ) {
    let tap = horizontal.tap(x)
    return (line + tap.lower * lanes, line + tap.upper * lanes)
  }

  // MARK: Labels

  /// Coarse labels of photo row `y`.
  ///
  /// - Shapes: `labels` [width], overwritten.
  /// - Memory: allocates nothing. `worker` says whose scratch is used.
  package func labels(_ y: Int, worker: Int, into labels: UnsafeMutablePointer<UInt16>) {
    let worker = workers[worker]
    blend(y, worker, into: worker.blends[0])
    for column in 0..<scores.columns {
      let start = Int(runStart[column])
      let end = Int(runStart[column + 1])
      if start == end { continue }
      let left = worker.blends[0] + column * lanes
      let right = worker.blends[0] + min(column + 1, scores.columns - 1) * lanes
      let first = decide(left, right, fraction[start], worker)
      labels[start] = first.label
      if end - start == 1 { continue }
      let last = decide(left, right, fraction[end - 1], worker)
      labels[end - 1] = last.label
      fill(start, first, end - 1, last, left, right, worker, labels)
    }
  }

  /// What wins at one place, and whether that holds for all places between two that agree.
  struct Decision: Equatable {
    var label: UInt16
    var phrase: Int32
    /// Above the threshold: logits are linear between two cells, so the winner's lead is convex and its
    /// softmax
    /// denominator too; both ends winning above the threshold settles everything between. Below it nothing
    /// follows.
    var settles: Bool
  }

  /// Labels strictly between two decided pixels, halving until the ends agree.
  private func fill(
    _ low: Int, _ lowDecision: Decision, _ high: Int, _ highDecision: Decision,
    _ left: UnsafeMutablePointer<Eight>, _ right: UnsafeMutablePointer<Eight>, _ worker: LabelWorker,
    _ labels: UnsafeMutablePointer<UInt16>
  ) {
    if high - low < 2 { return }
    if lowDecision == highDecision && lowDecision.settles {
      (labels + low + 1).update(repeating: lowDecision.label, count: high - low - 1)
      return
    }
    let middle = (low + high) / 2
    let decision = decide(left, right, fraction[middle], worker)
    labels[middle] = decision.label
    fill(low, lowDecision, middle, decision, left, right, worker, labels)
    fill(middle, decision, high, highDecision, left, right, worker, labels)
  }

  /// The winner of one pixel.
  func decide(
    _ left: UnsafeMutablePointer<Eight>, _ right: UnsafeMutablePointer<Eight>, _ fraction: Float,
    _ worker: LabelWorker
  ) -> Decision {
    let pixel = worker.pixel
    let weight = Eight(repeating: fraction)
    let rest = Eight(repeating: 1 - fraction)
    var best = left[0] * rest + right[0] * weight
    var bestLane = SIMD8<Int32>(repeating: 0)
    var largestOfAll = best
    pixel[0] = best
    if masks.isUsed { best += masks.phrases[0] }
    for lane in 1..<max(lanes, 1) {
      var value = left[lane] * rest + right[lane] * weight
      pixel[lane] = value
      if masks.isUsed {
        largestOfAll = larger(largestOfAll, value)
        value += masks.phrases[lane]
      }
      let higher = value .> best
      best.replace(with: value, where: higher)
      bestLane.replace(with: SIMD8(repeating: Int32(lane)), where: higher)
    }
    let winner = largest(best)
    var phrase = Int32.max
    for index in 0..<8 where best[index] == winner {
      phrase = min(phrase, bestLane[index] * 8 + Int32(index))
    }
    // Not a number anywhere in a pixel: the first phrase, as good as any.
    if phrase == .max { phrase = 0 }
    let label = scores.classOf[Int(phrase)]
    guard settings.probabilityThreshold > 0 || settings.unknownThreshold > 0 else {
      return Decision(label: label, phrase: phrase, settles: true)
    }
    var certainty = winner
    if isSoftmax {
      let top = masks.isUsed ? largest(largestOfAll) : winner
      var sum = Eight(repeating: 0)
      for lane in 0..<lanes { sum += expOfNonPositive(pixel[lane] - top) }
      certainty = 1 / total(sum)
      if masks.isUsed { certainty *= expOfNonPositive(Eight(repeating: winner - top))[0] }
    }
    if certainty < settings.unknownThreshold {
      return Decision(label: settings.unknownLabel(scores), phrase: phrase, settles: false)
    }
    let isSure = certainty >= settings.probabilityThreshold
    return Decision(label: isSure ? label : 0, phrase: phrase, settles: isSure)
  }

  // MARK: Probabilities

  /// Adds `weight` times the class probabilities of one pixel.
  ///
  /// - Shapes: `left`, `right` [lanes]: blended cells; `sum` [classLanes].
  @inline(__always)
  func addProbabilities(
    _ left: UnsafeMutablePointer<Eight>, _ right: UnsafeMutablePointer<Eight>, _ fraction: Float,
    weight: Float,
    _ worker: LabelWorker, to sum: UnsafeMutablePointer<Eight>
  ) {
    let pixel = worker.pixel
    let right0 = Eight(repeating: fraction)
    let left0 = Eight(repeating: 1 - fraction)
    var best = Eight(repeating: -.infinity)
    for lane in 0..<lanes {
      let value = left[lane] * left0 + right[lane] * right0
      pixel[lane] = value
      best = larger(best, value)
    }
    if !isSoftmax {
      for lane in 0..<lanes { sum[lane] += pixel[lane] * Eight(repeating: weight) }
      return
    }
    let top = Eight(repeating: largest(best))
    var denominator = Eight(repeating: 0)
    for lane in 0..<lanes {
      let value = expOfNonPositive(pixel[lane] - top)
      pixel[lane] = value
      denominator += value
    }
    let factor = Eight(repeating: weight / total(denominator))
    if scores.isPlain {
      for lane in 0..<lanes { sum[lane] += pixel[lane] * factor }
      return
    }
    scores.reduceToClasses(floats(pixel), into: floats(worker.classes))
    for lane in 0..<classLanes { sum[lane] += worker.classes[lane] * factor }
  }

  /// Class probabilities at one pixel of the photo.
  ///
  /// - Shapes: `out` [classCount rounded up to 8], overwritten.
  package func probabilities(
    y: Int, x: Int, worker: Int = 0, into out: UnsafeMutablePointer<Float>
  ) {
    let worker = workers[worker]
    blend(y, worker, into: worker.blends[0])
    for lane in 0..<classLanes { worker.sum[lane] = Eight(repeating: 0) }
    let (left, right) = cells(x, worker.blends[0])
    addProbabilities(left, right, fraction[x], weight: 1, worker, to: worker.sum)
    if masks.isUsed { for lane in 0..<classLanes { worker.sum[lane] *= masks.classes[lane] } }
    out.update(from: floats(worker.sum), count: classLanes * 8)
  }
}

/// One worker's room: two cached grid rows, four blended rows, and single pixels.
struct LabelWorker {
  let blends: [UnsafeMutablePointer<Eight>]
  let pixel: UnsafeMutablePointer<Eight>
  let classes: UnsafeMutablePointer<Eight>
  let sum: UnsafeMutablePointer<Eight>
  /// [4, 2, lanes]: numerators and steps of four walks.
  let walks: UnsafeMutablePointer<Eight>
  /// [2, lanes]: two neighbouring half-size cells.
  let cells: UnsafeMutablePointer<Eight>
  /// Largest probability of each class this worker has seen.
  let top: UnsafeMutablePointer<Eight>
  private let cached: [UnsafeMutablePointer<Eight>]
  /// [2]: which grid row each cache slot holds, -1 for none.
  private let cachedRow: UnsafeMutablePointer<Int>
  private let scratch: UnsafeMutablePointer<Float>

  init(_ arena: Arena, _ field: any ScoreField) throws(ComputeError) {
    let scores = field.grid
    let count = scores.columns * scores.lanes
    blends = [
      try arena.reserve(Eight.self, count), try arena.reserve(Eight.self, count),
      try arena.reserve(Eight.self, count), try arena.reserve(Eight.self, count),
    ]
    cached = [try arena.reserve(Eight.self, count), try arena.reserve(Eight.self, count)]
    pixel = try arena.reserve(Eight.self, scores.lanes)
    classes = try arena.reserve(Eight.self, scores.lanes)
    sum = try arena.reserve(Eight.self, scores.lanes)
    walks = try arena.reserve(Eight.self, 8 * scores.lanes)
    cells = try arena.reserve(Eight.self, 2 * scores.lanes)
    top = try arena.reserve(Eight.self, scores.lanes)
    cachedRow = try arena.reserve(Int.self, 2)
    scratch = try arena.floats(field.scratchCount)
    if arena.isCounting { return }
    cachedRow.update(repeating: -1, count: 2)
    // Lanes behind the last class are read but never written again.
    for lane in 0..<scores.lanes {
      classes[lane] = Eight(repeating: 0)
      top[lane] = Eight(repeating: 0)
    }
  }

  /// Scores of a grid row; even and odd rows have a slot each, and two neighbours are all a photo row reads.
  func row(_ index: Int, _ engine: Engine, _ field: any ScoreField) -> UnsafeMutablePointer<Eight> {
    let slot = index & 1
    if cachedRow[slot] != index {
      field.row(engine, index, scratch: scratch, into: floats(cached[slot]))
      cachedRow[slot] = index
    }
    return cached[slot]
  }
}
