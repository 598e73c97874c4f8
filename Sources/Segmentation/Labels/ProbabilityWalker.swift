// Class probabilities of one photo row, pixel after pixel: between two grid columns logits are linear in x,
// so
// softmax numerators are multiplied by a constant from pixel to pixel.
import Compute

/// Walks along a blended row.
///
/// - Units: probability; relative error below 4e-6, since the numerators are computed afresh every 16 pixels.
///   What a pixel gets depends only on where the walk jumped, never on threads or memory.
/// - Memory: three pixels of scores, from the worker.
struct ProbabilityWalker {
  private static let refresh = 16

  // Numbers and pointers only, no `LabelRows`: a walk that counts references as it is copied costs more than
  // its arithmetic.
  private let grid: ScoreGrid
  private let horizontal: AxisSampling
  private let runStart: UnsafeMutablePointer<Int32>
  private let line: UnsafeMutablePointer<Eight>
  private let numerators: UnsafeMutablePointer<Eight>
  private let steps: UnsafeMutablePointer<Eight>
  private let classes: UnsafeMutablePointer<Eight>
  private let stepLength: Float
  private let classLanes: Int
  private let isSoftmax: Bool
  private let fraction: UnsafeMutablePointer<Float>
  private var x = -2
  private var column = -1
  private var end = 0
  private var age = 0
  private var canStep = false

  private var lanes: Int { grid.lanes }

  /// `line`: a row from `LabelRows.blend`; `slot`: which of the worker's walks this is.
  init(_ rows: LabelRows, _ worker: LabelWorker, line: UnsafeMutablePointer<Eight>, slot: Int) {
    grid = rows.scores
    horizontal = rows.horizontal
    runStart = rows.runStart
    self.line = line
    classLanes = rows.classLanes
    isSoftmax = rows.isSoftmax
    fraction = rows.fraction
    numerators = worker.walks + 2 * slot * rows.lanes
    steps = worker.walks + (2 * slot + 1) * rows.lanes
    classes = worker.classes
    stepLength = Float(rows.scores.columns) / Float(rows.width)
  }

  /// Adds `weight` times the class probabilities of pixel `next`, which lies at or after the one before.
  ///
  /// - Shapes: `sum` [classLanes].
  @inline(__always)
  mutating func add(_ next: Int, weight: Float, to sum: UnsafeMutablePointer<Eight>) {
    let factor = Eight(repeating: weight / goTo(next))
    if grid.isPlain {
      for lane in 0..<lanes { sum[lane] += numerators[lane] * factor }
    } else {
      grid.reduceToClasses(floats(numerators), into: floats(classes))
      for lane in 0..<classLanes { sum[lane] += classes[lane] * factor }
    }
  }

  /// Writes the class probabilities of pixel `next`, which lies at or after the one before.
  ///
  /// - Shapes: `out` [classLanes], overwritten.
  @inline(__always)
  mutating func write(_ next: Int, to out: UnsafeMutablePointer<Eight>) {
    let factor = Eight(repeating: 1 / goTo(next))
    if grid.isPlain {
      for lane in 0..<lanes { out[lane] = numerators[lane] * factor }
    } else {
      grid.reduceToClasses(floats(numerators), into: floats(classes))
      for lane in 0..<classLanes { out[lane] = classes[lane] * factor }
    }
  }

  /// Sum of the numerators of pixel `next`.
  @inline(__always)
  private mutating func goTo(_ next: Int) -> Float {
    if next != x { isSoftmax ? move(next) : interpolate(next) }
    if !isSoftmax { return 1 }
    var denominator = numerators[0]
    for lane in 1..<max(lanes, 1) { denominator += numerators[lane] }
    return total(denominator)
  }

  @inline(__always)
  private mutating func move(_ next: Int) {
    defer { x = next }
    if next == x + 1 && next < end && age < Self.refresh && canStep {
      let before = fraction[x]
      // Left of the outermost cell's centre nothing changes.
      if fraction[next] == before { return }
      if before > 0 {
        age += 1
        for lane in 0..<lanes { numerators[lane] *= steps[lane] }
        return
      }
    }
    start(next)
  }

  /// Where what is resampled are probabilities.
  private mutating func interpolate(_ next: Int) {
    x = next
    let tap = horizontal.tap(next)
    let (left, right) = (line + tap.lower * lanes, line + tap.upper * lanes)
    let (rest, weight) = (Eight(repeating: 1 - fraction[next]), Eight(repeating: fraction[next]))
    for lane in 0..<lanes { numerators[lane] = left[lane] * rest + right[lane] * weight }
  }

  /// Computes numerators afresh, and the step if the grid column is new.
  private mutating func start(_ next: Int) {
    age = 0
    let isNew = next >= end || next < x
    if isNew {
      column = horizontal.tap(next).lower
      end = Int(runStart[column + 1])
    }
    let left = line + column * lanes
    let right = line + min(column + 1, grid.columns - 1) * lanes
    let weight = Eight(repeating: fraction[next])
    let rest = Eight(repeating: 1 - fraction[next])
    var best = Eight(repeating: -.infinity)
    for lane in 0..<lanes {
      let value = left[lane] * rest + right[lane] * weight
      numerators[lane] = value
      best = larger(best, value)
    }
    let top = Eight(repeating: largest(best))
    for lane in 0..<lanes { numerators[lane] = expOfNonPositive(numerators[lane] - top) }
    if !isNew { return }
    var steepest = Eight(repeating: 0)
    for lane in 0..<lanes {
      let rise = (right[lane] - left[lane]) * stepLength
      steepest = larger(steepest, larger(rise, -rise))
      steps[lane] = rise
    }
    canStep = largest(steepest) * Float(Self.refresh) < 30
    if !canStep { return }
    for lane in 0..<lanes { steps[lane] = expOfNonPositive(steps[lane]) }
  }
}
