// What a guided refinement reads and writes: log-probabilities of a few classes, and label rows from refined
// scores.
import Compute

#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

extension LabelRows {
  /// Log-probabilities of a few classes along row `y`; the softmax runs over all phrases.
  ///
  /// - Shapes: `out` [width, planes] of four or eight classes each, overwritten; places behind the last class
  ///   are far below.
  /// - Parameter areRelative: a number a pixel may be missing. Whoever takes a softmax of them takes it out
  ///   again, and it costs more than everything else here.
  /// - Memory: allocates nothing.
  func logProbabilities<Values: ClassLanes>(
    _ y: Int, worker index: Int, of classes: UnsafeBufferPointer<UInt16>, planes: Int, areRelative: Bool,
    into out: UnsafeMutablePointer<Values>
  ) {
    let worker = workers[index]
    blend(y, worker, into: worker.blends[0])
    for x in 0..<width {
      let (left, right) = cells(x, worker.blends[0])
      // Of probabilities the logarithm itself, however small.
      let level = isSoftmax && !areRelative ? logOfSum(left, right, fraction[x], worker.pixel) : 0
      let cell = floats(out + x * planes)
      (cell + classes.count).update(
        repeating: ScoreGrid.padding, count: planes * Values.scalarCount - classes.count)
      for (slot, label) in classes.enumerated() {
        var value = -Float.infinity
        for phrase in Int(scores.firstPhrase[Int(label)])..<Int(scores.firstPhrase[Int(label) + 1]) {
          value = max(
            value, floats(left)[phrase] * (1 - fraction[x]) + floats(right)[phrase] * fraction[x])
        }
        cell[slot] = isSoftmax ? value - level : logf(max(value, 1e-12))
      }
    }
  }

  /// log(sum of exp) over all phrases of a pixel.
  ///
  /// - Shapes: all [lanes]; `pixel` is overwritten.
  @inline(__always)
  private func logOfSum(
    _ left: UnsafeMutablePointer<Eight>, _ right: UnsafeMutablePointer<Eight>, _ fraction: Float,
    _ pixel: UnsafeMutablePointer<Eight>
  ) -> Float {
    let (rest, weight) = (Eight(repeating: 1 - fraction), Eight(repeating: fraction))
    var best = Eight(repeating: -.infinity)
    for lane in 0..<lanes {
      pixel[lane] = left[lane] * rest + right[lane] * weight
      best = larger(best, pixel[lane])
    }
    let top = largest(best)
    var sum = Eight(repeating: 0)
    for lane in 0..<lanes { sum += expOfNonPositive(pixel[lane] - top) }
    return top + logf(total(sum))
  }
}

/// Scores below which a pixel's label is another than its best class's.
struct GuidedThresholds {
  /// Below it: label 0.
  private let probability: Float
  /// Below it: the label behind the last class.
  private let unknown: Float
  private let unknownLabel: UInt16

  /// - Parameter areLogarithms: scores are log-probabilities.
  init(_ settings: LabelSettings, _ grid: ScoreGrid, areLogarithms: Bool) {
    probability = areLogarithms ? logf(settings.probabilityThreshold) : settings.probabilityThreshold
    unknown = areLogarithms ? logf(settings.unknownThreshold) : settings.unknownThreshold
    unknownLabel = settings.unknownLabel(grid)
  }

  @inline(__always)
  func label(_ winner: UInt16, _ score: Float) -> UInt16 {
    score < unknown ? unknownLabel : score < probability ? 0 : winner
  }
}

/// The last pass of a guided refinement: scores of the copy, resampled bilinearly, become label rows of the
/// photo.
///
/// - Memory: 8 rows of labels a worker.
struct GuidedRows {
  private static let rowsPerWorker = 8

  private let engine: Engine
  private let width: Int
  private let height: Int
  private let guideWidth: Int
  private let down: AxisSampling
  private let across: AxisSampling
  private let band: UnsafeMutablePointer<UInt16>
  private let bandRows: Int
  private let thresholds: GuidedThresholds

  init(
    _ arena: Arena, engine: Engine, guide: ColourGuide, height: Int, width: Int, thresholds: GuidedThresholds
  ) throws(ComputeError) {
    self.engine = engine
    self.height = height
    self.width = width
    self.thresholds = thresholds
    guideWidth = guide.width
    down = AxisSampling(from: guide.height, to: height)
    across = AxisSampling(from: guide.width, to: width)
    bandRows = Self.rowsPerWorker * engine.pool.threadCount
    band = try arena.reserve(UInt16.self, bandRows * width)
  }

  /// Runs the pass.
  ///
  /// - Shapes: `planes` at the copy's size; `pixels` [all classes], counted up.
  func run<Values: ClassLanes>(
    _ planes: [UnsafeMutablePointer<Values>], _ classes: UnsafeBufferPointer<UInt16>,
    pixels: UnsafeMutablePointer<Int>,
    _ consume: LabelConsumer
  ) {
    var start = 0
    while start < height {
      let count = min(bandRows, height - start)
      engine.pool.run(count: count, chunk: Self.rowsPerWorker) { range, _ in
        for row in range { label(start + row, planes, classes, into: band + row * width) }
      }
      for row in 0..<count {
        let line = band + row * width
        for x in 0..<width { pixels[Int(line[x])] += 1 }
        if !consume(start + row, line) { return }
      }
      start += count
    }
  }

  private func label<Values: ClassLanes>(
    _ y: Int, _ planes: [UnsafeMutablePointer<Values>], _ classes: UnsafeBufferPointer<UInt16>,
    into labels: UnsafeMutablePointer<UInt16>
  ) {
    let row = down.tap(y)
    for x in 0..<width {
      let column = across.tap(x)
      var best = -Float.infinity
      var winner = 0
      for (index, plane) in planes.enumerated() {
        let upper = plane + row.lower * guideWidth
        let lower = plane + row.upper * guideWidth
        let left = upper[column.lower] * (1 - row.fraction) + lower[column.lower] * row.fraction
        let right = upper[column.upper] * (1 - row.fraction) + lower[column.upper] * row.fraction
        let value = left * (1 - column.fraction) + right * column.fraction
        let top = largest(value)
        guard top > best else { continue }
        best = top
        let first = index * Values.scalarCount
        for lane in value.indices.reversed() where value[lane] == top { winner = first + lane }
      }
      labels[x] = winner >= classes.count ? 0 : thresholds.label(classes[winner], best)
    }
  }
}
